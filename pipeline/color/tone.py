"""From the network's signal to the light of an HDR picture, and how bright that picture is.

Sources: Rec. ITU-R BT.2408 (reference white), BT.2087 (BT.709 to BT.2020), BT.2390 section 5.4.1 (EETF),
CTA-861.3 annex P (light levels).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .light import LightMapping, pq_from_nits
from .primaries import to_bt2020
from .spec import Primaries
from .transfer import power_, pq_eotf, pq_inverse_eotf

Active = tuple[int, int, int, int]
"""(top, bottom, left, right) of the picture without its bars, half-open."""
SIGNAL_MAX = 1e4
"""No network means more; it only keeps the power of an infinity finite."""
SURELY_BELOW = 0.99
"""Of the knee: light that rounding does not take across it."""


def blend(source: Tensor, output: Tensor, mapping: LightMapping) -> Tensor:
    """The signal whose light is `1 - mapping.strength` of the source's and `mapping.strength` of the output's.

    source, output: (B, 3, H, W), float32, R'G'B' of the same primaries, 1.0 = SDR white; negative values and NaN
    count as 0. Returns (B, 3, H, W), float32, >= 0. Light adds up in linear display light, `signal **
    mapping.display_gamma`, of each channel.
    """
    light = _display_light(output, mapping.display_gamma).mul_(mapping.strength)
    light.add_(_display_light(source, mapping.display_gamma), alpha=1.0 - mapping.strength)
    return power_(light, 1.0 / mapping.display_gamma)


def to_nits(signal: Tensor, primaries: Primaries, mapping: LightMapping) -> Tensor:
    """Light that the network's output stands for, rolled off to the peak of `mapping`.

    signal: (B, 3, H, W), float32 or float16, R'G'B' of `primaries`, 1.0 = SDR white, unbounded; negative
    values and NaN count as 0. Returns (B, 3, H, W), float32, cd/m2, BT.2020, within 0..mapping.peak. Every
    pixel stands alone.
    """
    light = _display_light(signal, mapping.display_gamma)
    nits = _matrix(light, (to_bt2020(primaries) * mapping.white).tolist())
    # One gain for R, G and B keeps the hue. The floor makes the gain of black 1 instead of 0 / 0.
    brightest = nits.amax(dim=1, keepdim=True).clamp_(min=1e-6)
    if nits.device.type == "cpu":
        for picture, of_picture in zip(nits, brightest, strict=True):
            _roll_off_where_bright(picture, of_picture, mapping)
    else:  # where looking for bright pixels would wait for the device
        nits *= bt2390_eetf(brightest, mapping.peak, mapping.source_peak).div_(brightest)
    return nits.clamp_(max=mapping.peak)


def _roll_off_where_bright(nits: Tensor, brightest: Tensor, mapping: LightMapping) -> None:
    """(3, H, W) nits, cd/m2, times the gain of BT.2390 at (1, H, W) brightest, in place: few pixels of most pictures
    need it."""
    bright = (brightest > mapping.knee_nits * SURELY_BELOW).flatten().nonzero().squeeze(1)
    part, channels = brightest.flatten()[bright], nits.view(3, -1)
    gain = bt2390_eetf(part, mapping.peak, mapping.source_peak).div_(part)
    channels[:, bright] = channels[:, bright].mul_(gain)


def bt2390_eetf(nits: Tensor, peak: float, source_peak: float) -> Tensor:
    """The roll-off of BT.2390 for black 0: luminance up to `source_peak` in at most `peak`.

    nits: any shape, float32, cd/m2, >= 0. Returns the same shape, float32, cd/m2, <= peak up to rounding.
    Untouched below the knee (LightMapping.knee_nits); `peak` for everything from `source_peak` on.
    """
    if source_peak <= peak:
        return nits.clamp(max=peak)
    high, goal = pq_from_nits(source_peak), pq_from_nits(peak)
    fall = high - goal
    signal = pq_inverse_eotf(nits.clamp(max=source_peak))
    # With KS = 1.5 maxLum - 0.5 the Hermite spline of BT.2390 is this cubic; `rest` falls from 1 at the knee
    # to 0.
    rest = signal.neg_().add_(high).mul_(1 / (1.5 * fall)).clamp_(min=0.0)
    touched = rest < 1.0
    rolled = pq_eotf(rest.pow_(3).mul_(-0.5 * fall).add_(goal))
    return torch.where(touched, rolled, nits)


def measure(nits: Tensor, active: Active | None = None) -> Tensor:
    """Light levels of a frame: MaxCLL's and MaxFALL's part, for LightLevels once they are on the host.

    nits: (1, 3, H, W), float32, cd/m2. active: None is all of the picture. Returns (2,), float64, on the same device:
    the largest max(R, G, B) of all pixels, and the mean of max(R, G, B) over the active picture.
    """
    brightest = nits.amax(dim=(0, 1))
    top, bottom, left, right = active_or_all(active, *brightest.shape)
    picture = brightest[top:bottom, left:right]
    return torch.stack((brightest.amax().to(torch.float64), picture.mean(dtype=torch.float64)))


def active_or_all(active: Active | None, height: int, width: int) -> Active:
    """The part of `active` that lies in a picture of that size, or all of it; ValueError where nothing does."""
    top, bottom, left, right = active or (0, height, 0, width)
    inside = (max(top, 0), min(bottom, height), max(left, 0), min(right, width))
    if inside[0] >= inside[1] or inside[2] >= inside[3]:
        raise ValueError(f"the active picture {active} is empty")
    return inside


def _display_light(signal: Tensor, display_gamma: float) -> Tensor:
    """Linear light of a signal, float32, >= 0, 1.0 = SDR white; a tensor of its own."""
    light = torch.nan_to_num(signal.to(torch.float32), nan=0.0, posinf=SIGNAL_MAX, neginf=0.0)
    return power_(light.clamp_(0.0, SIGNAL_MAX), display_gamma)


def _matrix(light: Tensor, rows: list[list[float]]) -> Tensor:
    """(B, 3, H, W) `light` times a 3 x 3 matrix, negative results as 0."""
    # Written out, because a matrix product may run in TF32 or bfloat16 where the network's settings allow it.
    result = torch.empty_like(light)
    red, green, blue = light.unbind(dim=1)
    for index, row in enumerate(rows):
        channel = torch.mul(red, row[0], out=result[:, index])
        channel.add_(green, alpha=row[1]).add_(blue, alpha=row[2])
    return result.clamp_(min=0.0) if min(map(min, rows)) < 0.0 else result
