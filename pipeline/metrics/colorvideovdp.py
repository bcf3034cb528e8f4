"""ColorVideoVDP (Mantiuk et al., SIGGRAPH 2024), where it is installed (`pip install cvvdp`; it is large).

The quality of a still in JOD: 10 is no difference that can be seen. The display is the package's
`standard_hdr_pq`, which takes PQ of BT.2020.
"""

from __future__ import annotations

import math
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import Tensor

from .light import PQ_CODES, check_shapes, pq_codes

DISPLAY = "standard_hdr_pq"
LEAST = 8
"""Side of the smallest picture, pixels: below it the metric has next to no frequencies to look at, or fails."""


def is_installed() -> bool:
    """Whether the package can be imported; nothing is imported to find out."""
    return find_spec("pycvvdp") is not None


def jod(result: Tensor, reference: Tensor) -> float:
    """Quality in JOD of a signal (3, H, W) against its reference. NaN where a side is below LEAST. Raises
    ModuleNotFoundError without the package."""
    check_shapes(result, reference)
    if min(result.shape[1:]) < LEAST:
        return math.nan
    test, true = (
        (pq_codes(signal) / PQ_CODES).float().cpu().permute(1, 2, 0).numpy() for signal in (result, reference)
    )
    quality, _ = _metric().predict(test, true, dim_order="HWC")
    return float(quality)


@cache
def _metric() -> Any:
    return import_module("pycvvdp").cvvdp(display_name=DISPLAY, heatmap=None)
