"""PU21-PSNR: Mantiuk and Azimi, "PU21: A novel perceptually uniform encoding for adapting existing quality metrics for
HDR", PCS 2021; the set `banding_glare`, which its authors recommend.

As their pu21_metric(test, reference, 'PSNR'): R, G and B in cd/m2 are encoded each, and the peak is 256, the value
of 100 cd/m2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .light import check_shapes, nits
from .psnr import psnr

_P = (0.353487901, 0.3734658629, 8.277049286e-05, 0.9062562627, 0.09150303166, 0.9099517204, 596.3148142)
DARKEST_NITS, BRIGHTEST_NITS = 0.005, 10000.0
PEAK = 256.0


def pu21_encode(light: Tensor) -> Tensor:
    """Perceptually uniform values, 0..about 600, of light in cd/m2 (clipped to 0.005..10000): any shape, float64."""
    power = light.to(torch.float64).clamp(DARKEST_NITS, BRIGHTEST_NITS) ** _P[3]
    return _P[6] * (((_P[0] + _P[1] * power) / (1.0 + _P[2] * power)) ** _P[4] - _P[5])


def pu21_psnr(result: Tensor, reference: Tensor) -> float:
    """PSNR in dB of the PU21-encoded light of two signals (3, H, W)."""
    check_shapes(result, reference)
    return psnr(pu21_encode(nits(result)), pu21_encode(nits(reference)), PEAK)
