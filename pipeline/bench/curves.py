"""How time grows with the picture, and memory with the film: a straight line, and a flat one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path

import torch

from hdrunet_video.presets import Preset

from ..color.convert import Target
from ..color.light import LightMapping
from ..engine import Engine
from ..frame import Frame
from ..host import give_freed_memory_back, release_team
from ..network.hdrunet import HDRUNet
from ..network.tiles import Size, smaller_tile
from ..prefetch import prefetch
from ..tune import noise
from .contestants import random_network
from .machine import Machine, free_memory
from .results import Row
from .timeline import Timeline
from .timing import OwnTime, interleave, read_peak, reset_peak, time_each
from .traced import TracedEngine

SIZES: tuple[Size, ...] = (
    *((480, 270), (960, 540), (1280, 720), (1920, 1080)),
    *((2560, 1440), (3840, 2160), (5120, 2880), (7680, 4320)),
)
LENGTHS = (8, 32, 128, 512)
_FILM: Size = (256, 144)
_FRAMES = {"cpu": 1, "cuda": 24}
"""Frames of one measurement of a size."""
_BYTES_PER_PIXEL = 100
"""Of a picture outside of the network."""


@dataclass
class Curves:
    """Both curves on one machine. Films lie in `folder`."""

    machine: Machine
    device: torch.device
    preset: Preset
    folder: Path
    network: HDRUNet | None = None
    """None: the default network with random weights."""
    sizes: tuple[Size, ...] = field(default_factory=lambda: SIZES)
    lengths: tuple[int, ...] = field(default_factory=lambda: LENGTHS)
    most_rounds: int = 9
    tiled_from: int = 1280 * 720
    """Pixels of a picture that is computed in tiles to compare: the halo of a small one is as large as itself."""

    def over_pixels(self, seconds: float) -> list[Row]:
        """A row a size: the engine's time of a frame, in tiles where the engine takes tiles. The largest picture that
        is computed whole is computed in tiles as well, in turns. Sizes that would not end within `seconds` or not fit
        in the free memory are left out."""
        until = time.monotonic() + seconds
        network = self.network or random_network()
        whole, rows = self._engine(network), list[Row]()
        a_pixel, largest = 1e6 / self.machine.flops["fp32"], self.sizes[0]
        for width, height in sorted(self.sizes, key=lambda size: size[0] * size[1]):
            tile, pixels = whole.tiling.of(width, height), width * height
            reason = self._refusal(whole, width, height, 2 * a_pixel * pixels, until - time.monotonic())
            if reason:
                rows.append(Row("sizes", "left out", width, height, note=reason))
                continue
            name = "whole" if tile is None else f"tiles {tile[0]}x{tile[1]}"
            # What is left is shared with the larger ones; a round at least is measured in any case.
            rows += self._times({name: whole}, width, height, (until - time.monotonic()) / 4)
            a_pixel = rows[-1].median / pixels
            largest = (width, height) if tile is None else largest
        parts = smaller_tile(*largest, None) if largest[0] * largest[1] >= self.tiled_from else None
        if parts is not None and 4 * a_pixel * largest[0] * largest[1] < until - time.monotonic():
            split = self._engine(network, parts)
            engines = {"whole, in turns": whole, f"tiles {parts[0]}x{parts[1]}, in turns": split}
            rows += self._times(engines, *largest, until - time.monotonic())
        return rows

    def over_frames(self, seconds: float) -> list[Row]:
        """A row a length: the most memory that a film took. With PyAV decoder and encoder are in it."""
        until = time.monotonic() + seconds
        engine = self._engine(self.network or random_network())
        convert, what = self._film(engine)
        convert(self.lengths[0])
        rows: list[Row] = []
        taken = 0.0
        for length in self.lengths:
            if rows and taken * length > until - time.monotonic():
                rows.append(Row("frames", "left out", *_FILM, frames=length, note="the time would not do"))
                continue
            give_freed_memory_back()
            reset_peak(self.device)
            started = time.perf_counter()
            convert(length)
            taken = (time.perf_counter() - started) / length
            peak = read_peak(self.device)
            rows.append(Row("frames", what, *_FILM, seconds=(taken,), frames=length, peak_bytes=peak))
        return rows

    def _engine(self, network: Callable[[torch.Tensor], torch.Tensor], tile: str | Size = "auto") -> TracedEngine:
        target = Target(self.preset.color, self.preset.format, self.preset.dither)
        return TracedEngine(network, LightMapping(), target, device=str(self.device), tile=tile)

    def _refusal(self, engine: Engine, width: int, height: int, needed: float, left: float) -> str:
        # In tiles the picture itself is held as well.
        if engine.tiling.bytes_of(width, height) + width * height * _BYTES_PER_PIXEL > free_memory(self.device):
            return "it would not fit in the free memory"
        if needed > left:
            return f"it would need {needed:.0f} s and {max(left, 0):.0f} s of --budget are left"
        return ""

    def _times(self, engines: Mapping[str, Engine], width: int, height: int, seconds: float) -> list[Row]:
        frame, count = noise(width, height), _FRAMES[self.device.type]

        def compute(engine: Engine) -> OwnTime:
            return time_each(engine.stream(repeat(frame, count)), count)

        for each in engines.values():
            each.release()  # what an earlier size has left would hide what this one takes
        calls = {name: partial(compute, each) for name, each in engines.items()}
        measured = interleave(calls, self.device, seconds, self.most_rounds)
        return [
            Row(
                part="sizes",
                name=name,
                width=width,
                height=height,
                precision=engines[name].precision,
                backend=engines[name].backend,
                seconds=taken.seconds,
                peak_bytes=taken.peak_bytes,
            )
            for name, taken in measured.items()
        ]

    def _film(self, engine: TracedEngine) -> tuple[Callable[[int], object], str]:
        """What converts a film of a length, and what that is called."""
        try:
            from .film import Film
        except ModuleNotFoundError:
            frame = noise(*_FILM)
            return lambda length: _drain(engine, repeat(frame, length)), "engine (not installed: av)"
        film = Film(self.folder, *_FILM, max(self.lengths), self.preset)
        return lambda length: film.convert(engine, Timeline(), length), "decode, engine, encode"


def _drain(engine: Engine, frames: Iterable[Frame]) -> None:
    release_team()
    for _ in prefetch(engine.stream(prefetch(frames))):
        pass
