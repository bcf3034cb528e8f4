"""Two measures of what a user notices first: areas that were well exposed must keep their brightness, and dark areas
must not become noisier.

Both are this project's own; the light is that of light.py.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .light import check_shapes, luminance, pq_codes

EXPOSED = (0.1, 0.8)
"""Well exposed: the SDR luma (BT.709) is at least, and the largest of R', G', B' at most this."""
DARK = 0.1
"""Dark: the luminance of the reference is below this, 1.0 = SDR white: 20 cd/m2."""
FEWEST = 16
"""Pixels; a picture with fewer of a kind has no value."""


def exposed_stops(result: Tensor, reference: Tensor, source: Tensor) -> float:
    """Median of log2(luminance / true luminance) over what is well exposed in the SDR source; three (3, H, W).

    Positive is too bright. The median, because noise has no part in brightness. NaN where hardly anything is.
    """
    check_shapes(result, reference, source)
    red, green, blue = source.to(torch.float64).unbind(dim=0)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    true = luminance(reference)
    chosen = (luma >= EXPOSED[0]) & (source.amax(dim=0) <= EXPOSED[1]) & (true > 0.0)
    if int(chosen.sum()) < FEWEST:
        return math.nan
    # A pixel that came out black counts as very dark instead of infinitely so.
    return (luminance(result)[chosen].clamp(min=1e-9) / true[chosen]).log2().median().item()


def dark_noise(result: Tensor, reference: Tensor) -> float:
    """Standard deviation, in 10-bit PQ codes, of what differs from the reference in its dark areas, (3, H, W) each.

    The mean of each channel's difference is taken out. NaN where hardly anything is dark.
    """
    check_shapes(result, reference)
    dark = luminance(reference) < DARK
    if int(dark.sum()) < FEWEST:
        return math.nan
    difference = (pq_codes(result) - pq_codes(reference))[:, dark]
    return (difference - difference.mean(dim=1, keepdim=True)).square().mean().sqrt().item()
