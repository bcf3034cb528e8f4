"""PSNR-L and PSNR-mu of the NTIRE 2021 HDR challenge and of HDRUNet (Chen et al., CVPRW 2021, section 4).

As in the challenge's scoring program: PSNR-L is taken on the gamma-encoded values, despite its name; PSNR-mu on
light, normalised by the 99th percentile of the reference, compressed by tanh and by the mu-law with mu = 5000. A
score of many pictures is the mean of their dB.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .light import check_shapes, linear

MU = 5000.0
PERCENTILE = 99.0


def psnr(result: Tensor, reference: Tensor, peak: float) -> float:
    """10 log10(peak^2 / mean squared error) in dB; infinite where both are equal, NaN where peak is 0."""
    if not peak > 0.0:
        return math.nan
    error = (result.to(torch.float64) - reference.to(torch.float64)).square().mean().item() / peak**2
    return math.inf if error == 0.0 else -10.0 * math.log10(error)


def psnr_l(result: Tensor, reference: Tensor) -> float:
    """PSNR-L in dB of two signals (3, H, W); the peak is the reference's maximum. NaN where that is black."""
    check_shapes(result, reference)
    return psnr(result.clamp(min=0.0), reference.clamp(min=0.0), reference.max().item())


def psnr_mu(result: Tensor, reference: Tensor) -> float:
    """PSNR-mu in dB of two signals (3, H, W). NaN where 99 % of the reference are black."""
    check_shapes(result, reference)
    norm = norm_of(reference)
    if not norm > 0.0:
        return math.nan
    return psnr(mu_law(linear(result), norm), mu_law(linear(reference), norm), 1.0)


def norm_of(reference: Tensor) -> float:
    """The 99th percentile of all values of the light of a signal, 1.0 = SDR white."""
    # torch.quantile refuses pictures of more than 16 million values.
    return float(np.percentile(linear(reference).cpu().numpy(), PERCENTILE))


def mu_law(light: Tensor, norm: float) -> Tensor:
    """log(1 + mu tanh(light / norm)) / log(1 + mu): any shape, 0..1; 0.968 at the norm."""
    return torch.log1p(MU * torch.tanh(light / norm)) / math.log1p(MU)
