"""When every output frame is shown, and where the film is cut into segments."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from .probe import VideoInfo


@dataclass(frozen=True)
class Timeline:
    """Exact times of all output frames."""

    pts: array[int]
    """Ascending, in `time_base`, one for each output frame."""
    end_pts: int
    """When the last frame ends."""
    time_base: Fraction
    frame_rate: Fraction
    """Nominal frames a second, for codecs and muxers that ask for one."""
    origin: Fraction
    """The source's second that is zero here, for what is copied along."""

    def duration(self, index: int) -> int:
        """How long output frame `index` is shown, in `time_base`."""
        following = self.pts[index + 1] if index + 1 < len(self.pts) else self.end_pts
        return following - self.pts[index]

    @property
    def is_constant(self) -> bool:
        """True where every frame is shown for the same time, up to one tick of rounding."""
        tick = 1 / (self.frame_rate * self.time_base)
        return all(abs(after - before - tick) <= 1 for before, after in pairwise(self.pts))

    @property
    def seconds(self) -> float:
        """Length of the film."""
        return float((self.end_pts - self.pts[0]) * self.time_base)


@dataclass(frozen=True)
class Segment:
    """A part of the film that is written, verified and, after a crash, redone as a whole."""

    index: int
    start: int
    """First source frame."""
    stop: int
    """Source frame after the last."""

    @property
    def name(self) -> str:
        """File name without extension; sorts in the film's order."""
        return f"seg_{self.index:06d}"


def make_timeline(info: VideoInfo, start: int, stop: int, per_frame: int, rebase: bool) -> Timeline:
    """Times of the output for source frames `start` to `stop`, `per_frame` outputs for each.

    `rebase` moves the first frame to time zero, for excerpts; whole films keep the source's start, but not its clock,
    nor times before zero, which players do not show.
    """
    pts = info.pts[start:stop]
    end = info.pts[stop] if stop < len(info.pts) else info.end_pts
    origin = pts[0] if rebase else min(pts[0], round(info.clock_start / info.time_base))
    pts, end = array("q", (time - origin for time in pts)), end - origin
    time_base, rate = info.time_base, info.frame_rate
    if grid := _constant_rate(pts, time_base, rate):
        pts, time_base = grid
        end = pts[-1] + int(1 / rate / time_base)
    if per_frame == 2:
        following = [*pts[1:], end]
        fields = zip(pts, following, strict=True)
        pts = array("q", (time for each, after in fields for time in (2 * each, each + after)))
        end, time_base, rate = 2 * end, time_base / 2, rate * 2
    return Timeline(pts, end, time_base, rate, origin * info.time_base)


def _constant_rate(pts: array[int], time_base: Fraction, rate: Fraction) -> tuple[array[int], Fraction] | None:
    """Exact times and their time base, where a coarse one (Matroska's 1 ms) only rounded a constant frame rate: from
    time zero on, or from the first frame on, as where the picture waits for sound.

    Without this a 23.976 fps film from Matroska would be variable-rate in QuickTime, which editors refuse.
    """
    if time_base < Fraction(1, 1000) or not rate or 1 / rate <= time_base:
        return None
    ticks = rate.numerator
    while ticks < 10_000:
        ticks *= 10
    frames = time_base * rate  # of a tick
    for first, base in ((0, 1 / rate), (pts[0], Fraction(1, ticks))):
        numbers = [_divided((time - first) * frames.numerator, frames.denominator) for time in pts]
        if any(after - before != 1 for before, after in pairwise(numbers)):
            continue
        late, step, unit = round(first * time_base / base), int(1 / rate / base), base / time_base
        exact = array("q", (late + number * step for number in numbers))
        most = unit.denominator
        if all(abs(time * most - there * unit.numerator) <= most for time, there in zip(pts, exact, strict=True)):
            return exact, base
    return None


def _divided(dividend: int, divisor: int) -> int:
    """The nearest integer; fractions take ten times as long."""
    return (2 * dividend + divisor) // (2 * divisor)


def cut(start: int, stop: int, frames: int) -> tuple[Segment, ...]:
    """Segments of `frames` source frames each; boundaries depend on nothing but the arguments."""
    starts = range(start, stop, frames)
    return tuple(Segment(index, first, min(first + frames, stop)) for index, first in enumerate(starts))


def timecode_of_fields(timecode: str) -> str:
    """The same moment where a frame is made of each field, which counts twice as many a second."""
    match = re.fullmatch(r"(.*[:;.])(\d\d)", timecode.strip())
    return f"{match[1]}{2 * int(match[2]):02}" if match else timecode


def timecode_after(timecode: str, frames: int, rate: Fraction) -> str:
    """The SMPTE ST 12-1 timecode `frames` after `timecode`; drop-frame (a `;` or `.`) is counted as such."""
    match = re.fullmatch(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d)", timecode.strip())
    if not match or not frames:
        return timecode
    hours, minutes, seconds, count = (int(match[group]) for group in (1, 2, 3, 5))
    nominal = round(rate)
    # Drop-frame leaves out the first 2 (or 4 at 60) numbers of each minute that is not a multiple of ten.
    dropped = 0 if match[4] == ":" else nominal // 15
    whole_minutes = hours * 60 + minutes
    number = (whole_minutes * 60 + seconds) * nominal + count - dropped * (whole_minutes - whole_minutes // 10)
    number += frames
    if dropped:
        per_minute = 60 * nominal - dropped
        per_ten = 10 * per_minute + dropped
        tens, rest = divmod(number, per_ten)
        number += dropped * 9 * tens
        if rest >= dropped:
            number += dropped * max(0, (rest - dropped) // per_minute)
    seconds, count = divmod(number, nominal)
    hours, minutes = seconds // 3600 % 24, seconds // 60 % 60
    return f"{hours:02}:{minutes:02}:{seconds % 60:02}{match[4]}{count:02}"
