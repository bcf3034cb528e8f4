"""Flicker that a model adds over its source on real clips: what still changes once motion is taken out.

The motion is the source's own: dense inverse search (Kroeger et al., ECCV 2016) by OpenCV, the extra [flow], which
needs no weights. Each frame is compared with the frame before it, moved along the motion, in 10-bit PQ codes; so is the
source under the same light mapping, and the difference of the two is what the model adds. What comes into view, and
what flow cannot follow, is left out: there, forward and backward flow disagree (Sundaram et al., ECCV 2010). Noise of
the source counts, so a model that denoises adds less than nothing. Blur is steady as well: read `detail` beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .light import luminance, pq_codes

SAME_SHOT = 0.5
"""Least share of a frame's pixels that are seen in the frame before it; with fewer, a cut is between them."""

Flow = Callable[[Tensor, Tensor], Tensor]
"""(frame, other), signals (3, H, W) -> (2, H, W) float32: how many columns and rows on each pixel is in the other."""


@dataclass(frozen=True)
class Motion:
    """From a frame back to the one before it."""

    back: Tensor
    """(2, H, W) float32, columns and rows."""
    seen: Tensor
    """(H, W) bool: what the frame before shows as well."""

    @property
    def is_cut(self) -> bool:
        """True where the two frames are not of one shot."""
        return self.seen.double().mean().item() < SAME_SHOT


@dataclass(frozen=True)
class FlowFlicker:
    """Mean change along the motion in 10-bit PQ codes, over the frames of a clip; NaN where nothing can be followed."""

    result: float
    source: float
    added_p99: float
    """99th percentile over the pixels of the result's change less the source's."""
    detail: float
    """Mean gradient of the results over that of the sources: below 1 they are blurred, or of less contrast."""
    pumping: float
    """Mean |second difference over time| of the frames' mean codes, of the result less that of the source."""

    @property
    def added(self) -> float:
        """Below 0 the model is steadier than its source."""
        return self.result - self.source

    @property
    def ratio(self) -> float:
        """Change of the result over that of the source; NaN where the source does not change."""
        return self.result / self.source if self.source > 0.0 else float("nan")


def is_installed() -> bool:
    """Whether OpenCV can be imported; nothing is imported to find out."""
    return find_spec("cv2") is not None


def optical_flow(frame: Tensor, other: Tensor) -> Tensor:
    """A Flow: dense inverse search on 8-bit perceptual grey. Raises ModuleNotFoundError without OpenCV."""
    found = _search().calc(_grey(frame), _grey(other), None)
    return torch.from_numpy(found).permute(2, 0, 1)


def motions(frames: Sequence[Tensor], flow: Flow = optical_flow) -> list[Motion]:
    """The motion from each frame, a signal (3, H, W), to the one before it: one fewer than frames."""
    made = []
    for before, frame in pairwise(frames):
        back = flow(frame, before)
        made.append(Motion(back, _seen(back, flow(before, frame))))
    return made


def follow(values: Tensor, motion: Tensor) -> Tensor:
    """(C, H, W) of another frame, laid over this one: bilinear at (2, H, W) columns and rows on; edges are repeated."""
    height, width = values.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    # grid_sample counts from -1 to 1, half a pixel outside the outermost ones.
    across = (2 * (columns + motion[0]) + 1) / width - 1
    down = (2 * (rows + motion[1]) + 1) / height - 1
    grid = torch.stack((across, down), dim=-1)[None].to(values.dtype)
    return F.grid_sample(values[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]


def flicker_along(model: Callable[[Tensor], Tensor], frames: Sequence[Tensor], back: Sequence[Motion]) -> FlowFlicker:
    """Flicker of a model, (1, 3, H, W) signal to signal, over a clip and its motions."""
    changes: list[tuple[float, float, float]] = []
    levels: list[tuple[float, float]] = []
    gradients: list[tuple[float, float]] = []
    before: tuple[Tensor, Tensor] | None = None
    for frame, motion in zip(frames, (None, *back), strict=True):
        # float32 has 1e-4 of a code, and half the memory.
        now = pq_codes(model(frame[None])[0]).float(), pq_codes(frame).float()
        levels.append((now[0].mean().item(), now[1].mean().item()))
        gradients.append((_gradient(now[0]), _gradient(now[1])))
        if motion is not None and before is not None and not motion.is_cut:
            made, given = (
                (codes - follow(last, motion.back)).abs().mean(dim=0)[motion.seen]
                for codes, last in zip(now, before, strict=True)
            )
            p99 = torch.sort(made - given).values[int(0.99 * (len(made) - 1))]
            changes.append((made.mean().item(), given.mean().item(), p99.item()))
        before = now
    result, source, p99_mean = map(fmean, zip(*changes, strict=True)) if changes else (float("nan"),) * 3
    results, sources = (fmean(each) for each in zip(*gradients, strict=True))
    detail = results / sources if sources > 0.0 else float("nan")
    return FlowFlicker(result, source, p99_mean, detail, _pumping(levels, back))


def _pumping(levels: Sequence[tuple[float, float]], back: Sequence[Motion]) -> float:
    """How much more the mean of the results jerks than that of the sources, within shots; NaN without three frames."""
    jerks = [
        abs(a[0] - 2 * b[0] + c[0]) - abs(a[1] - 2 * b[1] + c[1])
        for a, b, c, one, other in zip(levels, levels[1:], levels[2:], back, back[1:], strict=False)
        if not (one.is_cut or other.is_cut)
    ]
    return fmean(jerks) if jerks else float("nan")


def _seen(back: Tensor, forth: Tensor) -> Tensor:
    """(H, W) bool: where going back and forth ends near where it began, and inside the frame."""
    height, width = back.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    across, down = columns + back[0], rows + back[1]
    inside = (across >= 0) & (across <= width - 1) & (down >= 0) & (down <= height - 1)
    again = follow(forth, back)
    lengths = back.square().sum(dim=0) + again.square().sum(dim=0)
    return inside & ((back + again).square().sum(dim=0) <= 0.01 * lengths + 0.5)


def _gradient(codes: Tensor) -> float:
    return (codes.diff(dim=-1).abs().mean() + codes.diff(dim=-2).abs().mean()).item()


def _grey(frame: Tensor) -> Any:
    grey = luminance(frame).clamp(0.0, 1.0) ** (1 / 2.24)
    return (grey * 255.0).round().to(torch.uint8).contiguous().numpy()


@cache
def _search() -> Any:
    cv2 = import_module("cv2")
    return cv2.DISOpticalFlow_create(cv2.DISOpticalFlow_PRESET_MEDIUM)
