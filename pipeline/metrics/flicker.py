"""Flicker that a model adds over its source, on pictures that move by whole pixels.

A clip is made of one still: a window that moves over it (or stands), fresh noise in each frame, 8 bits. Where the
motion is known, the frames can be laid over each other exactly, and what still changes from frame to frame is
flicker: its standard deviation over time, in 10-bit PQ codes, for the model's output and for the source under the
same light mapping. Three clips tell three things apart:

    still   frozen frame with noise        how much of the source's noise is left (or amplified)
    pan     moving window with noise       the same in motion
    alias   moving window without noise    what motion alone makes: the source has none, so any is added

Aliasing comes from the network's stride: a shift by a multiple of 4 pixels adds none, one by 1 to 3 does.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .light import pq_codes

Offset = tuple[int, int]
"""(rows, columns) from the first frame's window to this one's."""
PAN: tuple[Offset, ...] = ((0, 0), (1, 2), (2, 3), (3, 5), (5, 6), (6, 9), (7, 10), (8, 13))
"""Steps of 1 to 3 pixels, every phase of the stride of 4."""
STILL: tuple[Offset, ...] = ((0, 0),) * len(PAN)
NOISE = 2.0 / 255.0
"""Standard deviation of the noise of consumer video after its codec, about two 8-bit codes."""


@dataclass(frozen=True)
class Flicker:
    """Standard deviation over time in 10-bit PQ codes, the mean over all pixels; `ratio` is result / source."""

    result: float
    source: float
    result_p95: float
    """95th percentile over the pixels."""
    source_p95: float

    @property
    def ratio(self) -> float:
        """Below 1 the model is steadier than its source; NaN where the source does not flicker."""
        return self.result / self.source if self.source > 0.0 else float("nan")


def make_clip(still: Tensor, offsets: Sequence[Offset], noise: float = NOISE, seed: int = 0) -> Tensor:
    """Frames of a window over a still (3, H, W), 0..1: (T, 3, h, w), float32, rounded to 8 bits.

    The window is as large as fits at all offsets. Raises ValueError where nothing does.
    """
    rows, columns = (max(offset[axis] for offset in offsets) for axis in (0, 1))
    height, width = still.shape[-2] - rows, still.shape[-1] - columns
    if min(height, width) < 1 or min(map(min, offsets)) < 0:
        raise ValueError(f"a picture of {tuple(still.shape)} has no window that moves by {rows} and {columns} pixels")
    frames = torch.stack([still[:, y : y + height, x : x + width] for y, x in offsets]).to(torch.float32)
    if noise > 0.0:
        # On the CPU, so that every device sees the same clip.
        grain = torch.randn(frames.shape, generator=torch.Generator().manual_seed(seed)) * noise
        frames = frames + grain.to(frames.device)
    return (frames.clamp(0.0, 1.0) * 255.0).round() / 255.0


def align(frames: Tensor, offsets: Sequence[Offset], margin: int = 0) -> Tensor:
    """What all frames (T, 3, h, w) of a moving window show, laid over each other and `margin` pixels off its edges."""
    rows, columns = (max(offset[axis] for offset in offsets) for axis in (0, 1))
    height, width = frames.shape[-2] - rows - 2 * margin, frames.shape[-1] - columns - 2 * margin
    if min(height, width) < 1:
        raise ValueError(f"frames of {tuple(frames.shape)} have nothing in common {margin} pixels off their edges")
    # A window that has moved down by y shows the same thing y rows higher.
    starts = [(rows - y + margin, columns - x + margin) for y, x in offsets]
    return torch.stack([frame[:, y : y + height, x : x + width] for frame, (y, x) in zip(frames, starts, strict=True)])


def unsteadiness(frames: Tensor) -> Tensor:
    """Standard deviation over time of aligned frames (T, 3, h, w), root mean square of R, G, B: (h, w), PQ codes."""
    return pq_codes(frames).var(dim=0, correction=1).mean(dim=0).sqrt()


@torch.inference_mode()
def flicker(
    model: Callable[[Tensor], Tensor], clip: Tensor, offsets: Sequence[Offset] = STILL, margin: int = 16
) -> Flicker:
    """Flicker of a model, (1, 3, h, w) signal to signal, and of its source, over a clip (T, 3, h, w).

    `margin` keeps out the edges of the frame, where the model sees more of the picture in one frame than in the next.
    """
    outputs = torch.cat([model(frame[None]).to(torch.float32) for frame in clip])
    made = unsteadiness(align(outputs, offsets, margin)).flatten()
    given = unsteadiness(align(clip, offsets, margin)).flatten()
    return Flicker(made.mean().item(), given.mean().item(), _p95(made), _p95(given))


def still_and_moving(model: Callable[[Tensor], Tensor], still: Tensor, seed: int = 0) -> dict[str, Flicker]:
    """`still`, `pan` and `alias` (see above) of a model over one picture (3, H, W), 0..1."""
    return {
        "still": flicker(model, make_clip(still, STILL, seed=seed), STILL),
        "pan": flicker(model, make_clip(still, PAN, seed=seed), PAN),
        "alias": flicker(model, make_clip(still, PAN, noise=0.0), PAN),
    }


def pumping(frames: Sequence[Tensor], sources: Sequence[Tensor]) -> float:
    """How much more the frames' mean brightness jerks than the sources', in PQ codes: signals (3, H, W) in order.

    The mean of |second difference over time| of the mean PQ code, of the results less that of the sources. Cut scenes
    apart before. Raises ValueError for fewer than three frames.
    """
    if len(frames) != len(sources) or len(frames) < 3:
        raise ValueError(f"{len(frames)} frames and {len(sources)} sources: as many, and three or more, are needed")
    return _jerk(frames) - _jerk(sources)


def _jerk(frames: Sequence[Tensor]) -> float:
    means = [pq_codes(frame).mean().item() for frame in frames]
    return statistics.fmean(abs(a - 2 * b + c) for a, b, c in zip(means, means[1:], means[2:], strict=False))


def _p95(values: Tensor) -> float:
    return torch.sort(values).values[int(0.95 * (len(values) - 1))].item()
