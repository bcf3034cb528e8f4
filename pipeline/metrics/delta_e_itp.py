"""Delta E ITP of Rec. ITU-R BT.2124: 1 is about one just noticeable difference of colour or of brightness.

I, C_T and C_P are those of Rec. ITU-R BT.2100 table 7 with PQ.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..color.transfer import pq_inverse_eotf
from .light import bt2020_nits, check_shapes

_LMS = ((1688, 2146, 262), (683, 2951, 462), (99, 309, 3688))
_ICTCP = ((2048, 2048, 0), (6610, -13613, 7003), (17933, -17390, -543))
"""Both in 4096ths, acting on a column of linear BT.2020 R, G, B and of PQ L', M', S'."""


def ictcp(light: Tensor) -> Tensor:
    """I, C_T, C_P of BT.2020 light in cd/m2: (..., 3, H, W) -> the same shape, float64."""
    lms = torch.einsum("rc,...chw->...rhw", _matrix(_LMS, light.device), light.to(torch.float64))
    return torch.einsum("rc,...chw->...rhw", _matrix(_ICTCP, light.device), pq_inverse_eotf(lms))


def delta_e_itp_map(result: Tensor, reference: Tensor) -> Tensor:
    """Delta E ITP of each pixel of two signals (3, H, W): (H, W), float64."""
    check_shapes(result, reference)
    difference = ictcp(bt2020_nits(result)) - ictcp(bt2020_nits(reference))
    # T is half of C_T (BT.2124 section 2).
    return 720.0 * (difference * difference.new_tensor((1.0, 0.5, 1.0))[:, None, None]).square().sum(dim=0).sqrt()


def delta_e_itp(result: Tensor, reference: Tensor) -> float:
    """Mean delta E ITP of two signals (3, H, W)."""
    return delta_e_itp_map(result, reference).mean().item()


def _matrix(rows: tuple[tuple[int, ...], ...], device: torch.device) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64, device=device) / 4096.0
