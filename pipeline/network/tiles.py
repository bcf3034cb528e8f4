"""A picture in pieces that come out as the whole would: for memory, not for speed.

Exact for networks that say how far a pixel sees (`halo`): each tile is computed with that much of the picture
around it, which is cut off again. Where the picture ends the tile ends too, and the network pads as it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor

from .hdrunet import HDRUNet, pad_to_multiple

Network = Callable[[Tensor], Tensor]
"""(1, 3, H, W) signal -> (1, 3, H, W) signal."""
Size = tuple[int, int]
"""Width and height of a tile without its halo, pixels."""

SMALLEST = 64
"""Sides are halved down to this; with the halo around it, a smaller tile saves next to nothing."""
_MULTIPLE = HDRUNet.MULTIPLE
_MOST_SPLITS = 64


def run_in_tiles(network: Network, signal: Tensor, tile: Size, halo: tuple[int, int]) -> Tensor:
    """network(signal) tile by tile; (1, 3, H, W) -> (1, 3, H, W), any size, equal up to float rounding.

    halo: pixels (before, after) that a tile needs around it, multiples of 4.
    """
    height, width = signal.shape[-2:]
    whole = pad_to_multiple(signal, _MULTIPLE)
    output: Tensor | None = None
    for top, bottom, above, below in _spans(whole.shape[-2], tile[1], halo):
        for left, right, before, behind in _spans(whole.shape[-1], tile[0], halo):
            piece = network(whole[..., above:below, before:behind])
            if output is None:
                output = torch.empty(whole.shape, dtype=piece.dtype, device=piece.device)
            kept = piece[..., top - above : bottom - above, left - before : right - before]
            output[..., top:bottom, left:right] = kept
    assert output is not None
    return output[..., :height, :width]


@lru_cache(maxsize=64)
def choose_tile(width: int, height: int, halo: tuple[int, int], most_pixels: int) -> Size | None:
    """The split of a picture that computes least, with no tile and its halo above `most_pixels`.

    None where the whole picture fits. Of equal splits the one with fewer columns: a strip lies together.
    """
    width, height = _up(width), _up(height)
    best: tuple[int, int, int] | None = None
    chosen: Size = (SMALLEST, SMALLEST)
    for rows in range(1, _MOST_SPLITS + 1):
        for columns in range(1, _MOST_SPLITS + 1):
            tile = _up(-(-width // columns)), _up(-(-height // rows))
            across, down = (min(tile[0] + sum(halo), width), min(tile[1] + sum(halo), height))
            if across * down > most_pixels or min(tile) < min(SMALLEST, width, height):
                continue
            work = (width + (columns - 1) * sum(halo)) * (height + (rows - 1) * sum(halo))
            if best is None or (work, columns, rows) < best:
                best, chosen = (work, columns, rows), tile
    return None if best is not None and best[1:] == (1, 1) else chosen


def smaller_tile(width: int, height: int, tile: Size | None) -> Size | None:
    """The tile (None: the whole picture) with its longer side halved; None where it is at the minimum."""
    across, down = tile or (width, height)
    across, down = min(across, width), min(down, height)
    if max(across, down) <= SMALLEST:
        return None
    if across >= down:
        return max(_up(-(-across // 2)), SMALLEST), _up(down)
    return _up(across), max(_up(-(-down // 2)), SMALLEST)


def _spans(length: int, size: int, halo: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """(start, stop) of each tile along one side, and (start, stop) of what is computed for it."""
    size = _up(size)
    for start in range(0, length, size):
        stop = min(start + size, length)
        yield start, stop, max(start - halo[0], 0), min(stop + halo[1], length)


def _up(length: int) -> int:
    return -(-length // _MULTIPLE) * _MULTIPLE
