"""A film that is read, written and converted, each timed: what needs PyAV."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from itertools import repeat
from pathlib import Path

from hdrunet_video.presets import Preset

from ..color.convert import Target, to_planes, to_signal
from ..color.light import LightMapping
from ..color.tone import to_nits
from ..frame import Frame
from ..host import release_team
from ..nvidia import check_encoder, is_nvenc
from ..prefetch import prefetch
from ..probe import probe
from ..reader import Reader
from ..tune import noise
from ..writer import Writer, WriterSpec
from .clip import RATE, SDR, make_clip
from .timeline import Timeline
from .timing import OwnTime, time_each
from .traced import TracedEngine


class Film:
    """`frames` frames in `folder`, made here. Times are seconds of a frame."""

    def __init__(self, folder: Path, width: int, height: int, frames: int, preset: Preset) -> None:
        if is_nvenc(preset.codec):
            check_encoder(preset.codec, preset.pixel_format, preset.options, width, height)
        self._folder, self._frames = folder, frames
        source = folder / f"{width}x{height}.mp4"
        make_clip(source, width, height, frames)
        self._info = probe(source)
        self._spec = WriterSpec(preset, width, height, Fraction(1), Fraction(RATE), 1000.0)
        # What an encoder gets, without the network: the light of the source as it is.
        picture = noise(width, height)
        target = Target(preset.color, preset.format, preset.dither)
        nits = to_nits(to_signal(picture), picture.color.primaries, LightMapping())
        self._coded = Frame(to_planes(nits, target), target.format, target.color)

    def decode(self) -> OwnTime:
        """The reader alone."""
        with Reader(self._info, SDR, 0, self._frames) as frames:
            return time_each(frames, self._frames)

    def encode(self) -> OwnTime:
        """The writer alone, from the first frame to the closed file."""
        out = Writer(self._folder / "encoded", self._spec)
        started = time.perf_counter()
        for frame in repeat(self._coded, self._frames):
            out.write(frame)
        out.close()
        return OwnTime((time.perf_counter() - started) / self._frames)

    def convert(self, engine: TracedEngine, timeline: Timeline, frames: int | None = None) -> OwnTime:
        """Reader, engine and writer at once, as a conversion runs them, on the first `frames`, 2 or more, or on all.

        Timed from when the engine is full, and has given as many frames as it has in work: a film has many more than
        those that fill it. What comes after, to the closed file, is divided by the frames that came after.
        """
        count = frames or self._frames
        filled = min(engine.concurrency, count - 1)
        given: list[float] = []
        out = Writer(self._folder / "converted", self._spec)
        release_team()  # of the stages alone, as a conversion does
        with (
            engine.traced(timeline),
            Reader(self._info, SDR, 0, count) as decoded,
            closing(prefetch(_timed(engine.stream(prefetch(timeline.each("decode", decoded))), given))) as made,
        ):
            for frame in made:
                with timeline.span("encode", frame.pts):
                    out.write(frame)
        with timeline.span("encode"):
            out.close()
        return OwnTime((time.perf_counter() - given[filled - 1]) / (count - filled))


def _timed(frames: Iterator[Frame], given: list[float]) -> Iterator[Frame]:
    """The same frames; `given` gets when each was there, which is before anybody takes it."""
    for frame in frames:
        given.append(time.perf_counter())
        yield frame
