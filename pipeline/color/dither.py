"""Ordered dither with blue noise: less than half a code, the same at the same place of every frame.

The 64 x 64 tile of ranks in blue_noise.npy was made by void and cluster (Ulichney, 1993);
tests/color/void_and_cluster.py makes it again.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

TILE_SIZE = 64

# Planes with the same noise would move together and show as grey grain, so each starts elsewhere in the tile.
_PLANE_STARTS = ((0, 0), (23, 41), (47, 11))

# A shade more than 4096, so that no dither reaches 0.497: black in PQ is code 64.0006 and grey has chroma
# 512 +- a rounding error, and neither may be lifted to the next code here and there.
_RANKS_PER_CODE = 4128


@cache
def dither_offset(height: int, width: int, plane_index: int, device: torch.device) -> Tensor:
    """What to add to a plane's values before they are rounded.

    Returns (height, width), float32, in LSB, within (-0.5, 0.5); do not write to it, it is kept for the next
    frame. plane_index: 0, 1 or 2. The value depends on (row mod 64, column mod 64) and the plane alone; a
    tile's sum is 0.
    """
    top, left = _PLANE_STARTS[plane_index]
    rows = (np.arange(height) + top) % TILE_SIZE
    columns = (np.arange(width) + left) % TILE_SIZE
    return torch.from_numpy(_tile()[rows[:, None], columns]).to(device)


@cache
def _tile() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """(64, 64) float32, LSB."""
    ranks = np.load(Path(__file__).with_name("blue_noise.npy"))
    middle = (ranks.size - 1) / 2
    return np.asarray((ranks - middle) / _RANKS_PER_CODE, dtype=np.float32)
