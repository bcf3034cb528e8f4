"""Transfer functions: light as non-linear signal and back, float32 tensors on any device.

Sources: SMPTE ST 2084 (PQ; the same curve as Rec. ITU-R BT.2100 table 4), Rec. ITU-R BT.2100 table 5 (HLG).
Results lie within 0.02 of a 10-bit code of the standards' formulae. The functions leave their arguments
alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .light import PQ_C1, PQ_C2, PQ_C3, PQ_M1, PQ_M2, PQ_PEAK_NITS

HLG_PEAK_NITS = 1000.0
"""Of a display whose system gamma is 1.2."""
HLG_A = 0.17883277
HLG_B = 1 - 4 * HLG_A
HLG_C = 0.5 - HLG_A * math.log(4 * HLG_A)

BT2100_LUMINANCE = (0.2627, 0.6780, 0.0593)
"""Luminance of linear BT.2020 R, G and B."""


def power_(base: Tensor, exponent: float) -> Tensor:
    """`base ** exponent` in place for base >= 0 and exponent != 0; 0 gives 0 (or infinity) as it should."""
    # On a CPU log and exp together take a third of pow's time, and pow rounds the last few elements of each
    # thread's share differently, which would make a pixel's value depend on the number of threads.
    return base.log_().mul_(exponent).exp_()


def pq_inverse_eotf(nits: Tensor) -> Tensor:
    """PQ signal of light, the inverse EOTF of SMPTE ST 2084.

    nits: any shape, float32, cd/m2, 0..10000 (negative values count as 0). Returns the same shape, float32;
    0..1.
    """
    power = power_(nits.clamp(min=0.0), PQ_M1)
    # (c1 + c2 p) / (1 + c3 p) with one division and no second tensor; p is still to be scaled to 10000 cd/m2.
    power.mul_(PQ_C3 * PQ_PEAK_NITS**-PQ_M1).add_(1.0).reciprocal_().mul_(PQ_C1 - PQ_C2 / PQ_C3)
    return power_(power.add_(PQ_C2 / PQ_C3), PQ_M2)


def pq_eotf(signal: Tensor) -> Tensor:
    """Light of a PQ signal, the EOTF of SMPTE ST 2084.

    signal: any shape, float32, clamped to 0..1. Returns the same shape, float32, cd/m2, 0..10000.
    """
    power = power_(signal.clamp(0.0, 1.0), 1 / PQ_M2)
    below = power.mul(-PQ_C3).add_(PQ_C2)
    return power_(power.sub_(PQ_C1).clamp_(min=0.0).div_(below), 1 / PQ_M1).mul_(PQ_PEAK_NITS)


def hlg_oetf(scene: Tensor) -> Tensor:
    """HLG signal of scene light, the OETF of BT.2100 table 5.

    scene: any shape, float32, linear, >= 0, where 1.0 gives signal 1.0. Returns the same shape, float32, >=
    0.
    """
    above = scene.mul(12.0).sub_(HLG_B).clamp_(min=1e-3).log_().mul_(HLG_A).add_(HLG_C)
    return torch.where(scene <= 1 / 12, scene.mul(3.0).sqrt_(), above, out=above)


def hlg_inverse_oetf(signal: Tensor) -> Tensor:
    """Scene light of an HLG signal, the inverse OETF of BT.2100 table 5.

    signal: any shape, float32, >= 0. Returns the same shape, float32, linear, 1.0 for signal 1.0.
    """
    above = signal.sub(HLG_C).div_(HLG_A).exp_().add_(HLG_B).div_(12.0)
    return torch.where(signal <= 0.5, signal.square().div_(3.0), above, out=above)


def hlg_inverse_ootf(nits: Tensor, peak: float = HLG_PEAK_NITS) -> Tensor:
    """Scene light that an HLG display of peak luminance `peak` shows as `nits` (BT.2100 table 5, black 0).

    nits: (..., 3, H, W), float32, cd/m2, BT.2020 R G B, >= 0. Returns the same shape, float32, linear; a
    component of a saturated colour can exceed 1. The system gamma is 1.2 at 1000 cd/m2. Black stays 0.
    """
    factor, exponent = hlg_inverse_ootf_power(peak)
    red, green, blue = BT2100_LUMINANCE
    luminance = nits.narrow(-3, 0, 1).mul(red)
    luminance.add_(nits.narrow(-3, 1, 1), alpha=green).add_(nits.narrow(-3, 2, 1), alpha=blue)
    # The floor only keeps black from being 0 * infinity; it is far below the first 16-bit code.
    gain = power_(luminance.clamp_(min=1e-12), exponent).mul_(factor)
    return gain * nits


def hlg_inverse_ootf_power(peak: float = HLG_PEAK_NITS) -> tuple[float, float]:
    """Of the gain from display light to linear scene light, luminance ** exponent * factor with luminance in cd/m2: its
    factor and its exponent, for a display of `peak` cd/m2 (BT.2100 table 5)."""
    gamma = 1.2 + 0.42 * math.log10(peak / HLG_PEAK_NITS)
    exponent = (1 - gamma) / gamma
    return peak ** (-exponent - 1), exponent
