"""Every stage alone and all of them at once, as a conversion runs them, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from pathlib import Path

import torch
from torch import Tensor

from hdrunet_video.presets import Preset

from ..color.convert import Target
from ..color.light import LightMapping
from ..color.spec import PixelFormat
from ..engine import Engine
from ..errors import RetryError
from ..frame import Frame
from ..network.forward import place
from ..network.hdrunet import HDRUNet
from ..network.tiles import run_in_tiles
from ..tune import noise, tune
from .contestants import random_network
from .cost import cost
from .machine import Machine, free_memory
from .results import Row
from .timeline import Timeline
from .timing import Measured, Meter, OwnTime, interleave, time_each
from .traced import TracedEngine

_FEWEST = 6
"""Frames of a film that is measured."""
_FILLS = 3
"""Times that a film fills the engine at least: the first does not count."""
_ROUNDS = 5
"""That the time is to do for, the one to warm up with it."""
_LEFT_OUT = "left out: what is left of --budget would not do"
_BYTES_PER_PIXEL = 100
"""Of a picture outside of the network, which may be in tiles."""
_NAMES = ("decode", "upload", "colour", "network", "light", "download", "engine", "encode", "end to end")


@dataclass(frozen=True)
class Lengths:
    """Frames that are measured together."""

    alone: int
    """Through the engine."""
    film: int
    """Through all."""
    left_out: tuple[str, ...]
    """Stages that the time would not do for."""


@dataclass
class Stages:
    """A conversion of `width` x `height` by `preset` that can be taken apart. Files lie in `folder`."""

    machine: Machine
    device: torch.device
    preset: Preset
    folder: Path
    width: int
    height: int
    network: HDRUNet | None = None
    """None: the bundled weights, so that encoders get real pictures, where safetensors is installed."""
    tune: bool = False
    """Measure again how many frames at once are fastest; False takes what was remembered."""
    most_frames: int = 96
    """Of a film that is made, read and written."""
    most_rounds: int = 15
    timeline: Timeline | None = None
    """Of the last run from end to end."""

    @cached_property
    def _flop(self) -> int:
        return cost(self.network or random_network(), self.width, self.height).flop

    @torch.inference_mode()
    def run(self, seconds: float) -> list[Row]:
        """One row a stage, then one of all together; `seconds` are kept to but for one round, and what would
        not end within them is left out."""
        until = time.monotonic() + seconds
        if self.width * self.height * _BYTES_PER_PIXEL > free_memory(self.device):
            raise RetryError("its pictures would not fit in the free memory", "leave this size out")
        network = self.network or _bundled()
        target = Target(self.preset.color, self.preset.format, self.preset.dither)
        engine = TracedEngine(network, LightMapping(), target, device=str(self.device))
        tune(engine, self.width, self.height, redo=self.tune)
        calls = dict(self._on_the_device(engine, network))
        lengths = self._lengths(calls["network"], engine, until - time.monotonic())
        source = noise(self.width, self.height)
        calls["engine"] = lambda: time_each(engine.stream(repeat(source, lengths.alone)), lengths.alone)
        notes = dict.fromkeys(lengths.left_out, _LEFT_OUT)
        try:
            calls |= self._with_files(engine, lengths.film)
        except ModuleNotFoundError as error:
            notes |= dict.fromkeys(("decode", "encode", "end to end"), f"not installed: {error.name}")
        calls = {name: calls[name] for name in _NAMES if name in calls and name not in notes}
        measured = interleave(calls, self.device, until - time.monotonic(), self.most_rounds)
        frames = dict.fromkeys(("decode", "encode", "end to end"), lengths.film) | {"engine": lengths.alone}
        rows = [self._row(name, measured.get(name), notes, engine, frames.get(name, 1)) for name in _NAMES]
        return [row for row in rows if row.seconds or row.note]

    def _lengths(self, network: Callable[[], object], engine: Engine, seconds: float) -> Lengths:
        """How many frames the time will do for."""
        flops = self.machine.flops.get(engine.precision) or self.machine.flops["fp32"]
        expected = self._flop / flops
        until = time.monotonic() + seconds
        for _ in range(2):  # the first of all makes ready what later ones find
            if 3 * expected < seconds:
                expected = Meter(self.device).run(network, warm_up=self.device.type == "cuda").seconds[0]
        seconds = until - time.monotonic()
        fewest, in_a_round = max(_FEWEST, _FILLS * engine.concurrency), int(seconds / (_ROUNDS * expected))
        if self.device.type == "cuda":
            alone = film = max(fewest, min(self.most_frames, in_a_round // 2))
        else:
            alone = 2 * engine.concurrency
            film = max(fewest, min(self.most_frames, in_a_round - alone - 1))
        # To warm up, and one round.
        if 2 * expected * (alone + 1) > seconds:
            return Lengths(alone, film, ("network", "engine", "end to end"))
        return Lengths(alone, film, ("end to end",) if 2 * expected * (film + alone + 1) > seconds else ())

    def _on_the_device(self, engine: Engine, network: HDRUNet) -> Iterator[tuple[str, Callable[[], object]]]:
        """What a frame goes through, one after the other."""
        frame = noise(self.width, self.height)
        own = place(network, self.device, engine.precision)
        tile, halo = engine.tiling.of(self.width, self.height), network.halo
        there = Frame(tuple(plane.to(self.device) for plane in frame.planes), frame.format, frame.color)
        signal = engine.color_path.to_signal(there)
        made = engine.color_path.to_planes(signal, frame.color.primaries)
        if self.device.type == "cuda":
            coded = [plane.pin_memory() for plane in frame.planes]
            received = [torch.empty(plane.shape, dtype=plane.dtype, pin_memory=True) for plane in made]
            yield "upload", lambda: _copy(there.planes, coded)
            yield "download", lambda: _copy(received, made)
        again = (lambda call: call) if self.device.type == "cuda" else _second
        yield "colour", again(lambda: engine.color_path.to_signal(there))
        yield "network", lambda: own(signal) if tile is None or halo is None else run_in_tiles(own, signal, tile, halo)
        yield "light", again(lambda: engine.color_path.to_planes(signal, frame.color.primaries))

    def _with_files(self, engine: TracedEngine, frames: int) -> dict[str, Callable[[], object]]:
        """What needs PyAV: reading, writing, and all at once."""
        from .film import Film

        film = Film(self.folder, self.width, self.height, frames, self.preset)

        def all_at_once() -> OwnTime:
            self.timeline = Timeline()
            return film.convert(engine, self.timeline)

        return {"decode": film.decode, "encode": film.encode, "end to end": all_at_once}

    def _row(self, name: str, taken: Measured | None, notes: dict[str, str], engine: Engine, frames: int) -> Row:
        coded, made = (_values(each, self.width, self.height) for each in (noise(4, 4).format, self.preset.format))
        signal = 12 * self.width * self.height
        moved = {"upload": coded, "colour": coded + signal, "light": signal + 2 * made, "download": 2 * made}
        with_network = name in ("network", "engine", "end to end")
        note = notes.get(name, "")
        if name == "end to end" and self.timeline is not None:
            note = ", ".join(f"{lane} {share:.0%}" for lane, share in self.timeline.busy().items())
        if name == "engine" and taken:
            note = f"{engine.concurrency} at once"
        return Row(
            part="end to end" if name == "end to end" else "stage",
            name=name,
            width=self.width,
            height=self.height,
            precision=engine.precision if with_network else "",
            backend=engine.backend if with_network else "",
            seconds=taken.seconds if taken else (),
            flop=self._flop if with_network else 0,
            bytes=moved.get(name, 0),
            peak_bytes=taken.peak_bytes if taken else None,
            joules=taken.joules / frames if taken and taken.joules is not None else None,
            frames=frames,
            at_once=engine.concurrency if name in ("engine", "end to end") else 1,
            note=note,
        )


def _bundled() -> HDRUNet:
    try:
        from ..network.weights import load_network
    except ModuleNotFoundError:
        return random_network()
    return load_network()


def _second(call: Callable[[], object]) -> Callable[[], OwnTime]:
    """Times the second of two calls: in a conversion threads are awake and memory is there when a frame comes."""

    def timed() -> OwnTime:
        call()
        started = time.perf_counter()
        call()
        return OwnTime(time.perf_counter() - started)

    return timed


def _copy(targets: Iterable[Tensor], sources: Iterable[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source, non_blocking=True)


def _values(format: PixelFormat, width: int, height: int) -> int:
    return sum(rows * columns for rows, columns in format.plane_shapes(width, height))
