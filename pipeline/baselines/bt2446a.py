"""Method A of Rep. ITU-R BT.2446-1, section 4.2 (table 4): SDR to HDR of 1000 cd/m2 by a curve of the luma alone.

The report's SDR is BT.2020 R'G'B' with the BT.1886 exponent 2.4 and its result is display light in cd/m2. Here the
signal is R'G'B' of BT.709 primaries: it is taken to BT.2020 before (BT.2087) and back after, so what the method
makes outside BT.709 is lost; the result is the signal whose light (203 cd/m2 at 1.0, exponent 2.24) is the report's.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..color.primaries import to_bt2020
from ..color.spec import Primaries
from ..color.transfer import power_

PEAK_NITS = 1000.0
_GAMMA = 2.4
_LUMA = (0.2627, 0.6780, 0.0593)
_DARK = (1.8712e-5, -2.7334e-3, 1.3141)
_BRIGHT = (2.8305e-6, -7.4622e-4, 1.2528)
"""a, b, c of the exponent E = a Y''^2 + b Y'' + c, for Y'' (0..255) up to 70 and above."""
_CHROMA_GAIN = 1.075


class BT2446A:
    """(B, 3, H, W) signal, 0..1 -> (B, 3, H, W) signal, 0..2.04."""

    halo = (0, 0)
    """A pixel sees itself only, so tiles need nothing around them."""

    def __init__(self, white: float = 203.0, display_gamma: float = 2.24) -> None:
        self.white, self.display_gamma = white, display_gamma
        wide = to_bt2020(Primaries.BT709)
        self._wide, self._narrow = wide.tolist(), np.linalg.inv(wide).tolist()

    def __call__(self, signal: Tensor) -> Tensor:
        light = power_(signal.clamp(0.0, 1.0), _GAMMA)
        wide = power_(_apply(self._wide, light).clamp_(0.0, 1.0), 1.0 / _GAMMA)
        nits = _apply(self._narrow, expand(wide)).clamp_(min=0.0)
        return power_(nits.div_(self.white), 1.0 / self.display_gamma)


def expand(signal: Tensor) -> Tensor:
    """Table 4 of BT.2446-1: (B, 3, H, W) BT.2020 R'G'B', 0..1 -> light, BT.2020, cd/m2, 0..1000."""
    red, green, blue = signal.unbind(dim=1)
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    cb, cr = (blue - luma) / 1.8814, (red - luma) / 1.4746
    code = 255.0 * luma
    exponent = torch.where(code <= 70.0, _polynomial(_DARK, code), _polynomial(_BRIGHT, code))
    bright = (code.log() * exponent).exp()
    gain = torch.where(luma > 0.0, _CHROMA_GAIN * bright / luma.clamp(min=1e-9), 1.0)
    cb, cr = cb * gain, cr * gain
    channels = (bright + 1.4746 * cr, bright - 0.16455 * cb - 0.57135 * cr, bright + 1.8814 * cb)
    return power_(torch.stack(channels, dim=1).clamp_(0.0, PEAK_NITS).div_(PEAK_NITS), _GAMMA).mul_(PEAK_NITS)


def _polynomial(factors: tuple[float, float, float], code: Tensor) -> Tensor:
    a, b, c = factors
    return (a * code + b) * code + c


def _apply(matrix: list[list[float]], light: Tensor) -> Tensor:
    # Written out, so that a pixel's value depends neither on the shape around it nor on a device's TF32.
    red, green, blue = light.unbind(dim=1)
    return torch.stack([row[0] * red + row[1] * green + row[2] * blue for row in matrix], dim=1)
