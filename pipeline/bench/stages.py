"""Every stage alone and all of them at once, as a conversion runs them, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import repeat
from pathlib import Path

import torch
from torch import Tensor

from hdrunet_video.presets import Preset

from ..color.convert import Target, to_planes, to_signal
from ..color.light import LightMapping
from ..color.spec import PixelFormat
from ..color.tone import measure, to_nits
from ..engine import Engine
from ..errors import RetryError
from ..frame import Frame
from ..host import release_team
from ..network.forward import place
from ..network.hdrunet import HDRUNet
from ..network.tiles import run_in_tiles
from ..prefetch import prefetch
from ..tune import noise, tune
from .contestants import random_network
from .cost import cost
from .machine import Machine, free_memory
from .results import Row
from .timeline import Timeline
from .timing import Measured, Meter, OwnTime, interleave
from .traced import TracedEngine

_FEWEST = 6
"""Frames of a film that is measured: the first and the last have less to overlap with."""
_USE = 0.25
"""Share of the matrix product's speed that is expected, to see if the time will do."""
_BYTES_PER_PIXEL = 100
"""Of a picture outside of the network, which may be in tiles."""
_NAMES = ("decode", "upload", "colour", "network", "light", "download", "engine", "encode", "end to end")


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
        calls = dict(self._on_the_device(engine, network))
        count = self._affordable(calls["network"], engine.precision, seconds)
        notes = self._too_long(count)
        source = noise(self.width, self.height)
        if count >= _FEWEST:
            tune(engine, self.width, self.height, redo=self.tune)
        alone = count if self.device.type == "cuda" else engine.at_once
        calls["engine"] = lambda: _each(engine.stream(repeat(source, alone)), alone)
        count = max(count, _FEWEST)
        try:
            calls |= self._with_files(engine, count)
        except ModuleNotFoundError as error:
            notes |= dict.fromkeys(("decode", "encode", "end to end"), f"not installed: {error.name}")
        calls = {name: calls[name] for name in _NAMES if name in calls and name not in notes}
        measured = interleave(calls, self.device, until - time.monotonic(), self.most_rounds)
        frames = {"engine": alone, "decode": count, "encode": count, "end to end": count}
        at_once = engine.in_flight if self.device.type == "cuda" else engine.at_once
        rows = [
            self._row(name, measured.get(name), notes, engine.precision, frames.get(name, 1), at_once)
            for name in _NAMES
        ]
        return [row for row in rows if row.seconds or row.note]

    def _affordable(self, network: Callable[[], object], precision: str, seconds: float) -> int:
        """Frames of a film for which the time will do: to warm up and to measure, with and without the rest."""
        flops = self.machine.flops.get(precision) or self.machine.flops["fp32"]
        expected = self._flop / flops / _USE
        if 4 * expected < seconds:
            expected = Meter(self.device).run(network, warm_up=self.device.type == "cuda").seconds[0]
        return min(self.most_frames, int(seconds / (4 * expected)))

    def _too_long(self, count: int) -> dict[str, str]:
        left_out = "left out: what is left of --budget would not do"
        names = ("network", "engine", "end to end") if count < 1 else ("end to end",) if count < _FEWEST else ()
        return dict.fromkeys(names, left_out)

    def _on_the_device(self, engine: Engine, network: HDRUNet) -> Iterator[tuple[str, Callable[[], object]]]:
        """What a frame goes through, one after the other."""
        frame = noise(self.width, self.height)
        own = place(network, self.device, engine.precision)
        tile, halo = engine.tile_for(self.width, self.height), network.halo
        there = Frame(tuple(plane.to(self.device) for plane in frame.planes), frame.format, frame.color)
        signal = to_signal(there)
        made = to_planes(to_nits(signal, frame.color.primaries, engine.mapping), engine.target)
        if self.device.type == "cuda":
            coded = [plane.pin_memory() for plane in frame.planes]
            received = [torch.empty(plane.shape, dtype=plane.dtype, pin_memory=True) for plane in made]
            yield "upload", lambda: _copy(there.planes, coded)
            yield "download", lambda: _copy(received, made)
        again = (lambda call: call) if self.device.type == "cuda" else _second
        yield "colour", again(lambda: to_signal(there))
        yield "network", lambda: own(signal) if tile is None or halo is None else run_in_tiles(own, signal, tile, halo)

        def light() -> object:
            nits = to_nits(signal, frame.color.primaries, engine.mapping)
            return measure(nits), to_planes(nits, engine.target)

        yield "light", again(light)

    def _with_files(self, engine: TracedEngine, count: int) -> dict[str, Callable[[], object]]:
        """What needs PyAV: reading, writing, and all at once."""
        from ..nvidia import check_encoder, is_nvenc
        from ..probe import probe
        from ..reader import Reader
        from ..writer import Writer, WriterSpec
        from .clip import RATE, SDR, make_clip

        if is_nvenc(self.preset.codec):
            check_encoder(self.preset.codec, self.preset.pixel_format, self.preset.options, self.width, self.height)
        source = self.folder / f"{self.width}x{self.height}.mp4"
        make_clip(source, self.width, self.height, count)
        info = probe(source)
        spec = WriterSpec(self.preset, self.width, self.height, Fraction(1), Fraction(RATE), 1000.0)
        made = self._coded()

        def decode() -> OwnTime:
            with Reader(info, SDR, 0, count) as frames:
                return _each(frames, count)

        def encode() -> OwnTime:
            out = Writer(self.folder / "encoded", spec)
            started = time.perf_counter()
            for frame in repeat(made, count):
                out.write(frame)
            out.close()
            return OwnTime((time.perf_counter() - started) / count)

        def all_at_once() -> OwnTime:
            self.timeline = timeline = Timeline()
            out = Writer(self.folder / "converted", spec)
            release_team()  # of the stages alone, as a conversion does
            with (
                engine.traced(timeline),
                Reader(info, SDR, 0, count) as decoded,
                closing(prefetch(engine.stream(prefetch(timeline.each("decode", decoded))))) as frames,
            ):
                first = 0.0
                for frame in frames:
                    first = first or time.perf_counter()
                    with timeline.span("encode"):
                        out.write(frame)
            with timeline.span("encode"):
                out.close()
            # From the first frame that arrives: a film has many more than those that fill the pipeline.
            return OwnTime((time.perf_counter() - first) / (count - 1))

        return {"decode": decode, "encode": encode, "end to end": all_at_once}

    def _coded(self) -> Frame:
        """What an encoder gets, without the network: the light of the source as it is."""
        source = noise(self.width, self.height)
        target = Target(self.preset.color, self.preset.format, self.preset.dither)
        planes = to_planes(to_nits(to_signal(source), source.color.primaries, LightMapping()), target)
        return Frame(planes, target.format, target.color)

    def _row(
        self, name: str, taken: Measured | None, notes: dict[str, str], precision: str, frames: int, at_once: int
    ) -> Row:
        values = {"upload": _values(noise(4, 4).format, self.width, self.height)}
        values["download"] = 2 * _values(self.preset.format, self.width, self.height)
        with_network = name in ("network", "engine", "end to end")
        note = notes.get(name, "")
        if name == "end to end" and self.timeline is not None:
            note = ", ".join(f"{lane} {share:.0%}" for lane, share in self.timeline.busy().items())
        if name == "engine" and taken:
            note = f"{at_once} at once"
        return Row(
            part="end to end" if name == "end to end" else "stage",
            name=name,
            width=self.width,
            height=self.height,
            precision=precision if with_network else "",
            seconds=taken.seconds if taken else (),
            flop=self._flop if with_network else 0,
            bytes=values.get(name, 0),
            peak_bytes=taken.peak_bytes if taken else None,
            joules=taken.joules / frames if taken and taken.joules is not None else None,
            frames=frames,
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


def _each(frames: Iterable[Frame], count: int) -> OwnTime:
    started = time.perf_counter()
    for _ in frames:
        pass
    return OwnTime((time.perf_counter() - started) / count)


def _copy(targets: Iterable[Tensor], sources: Iterable[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source, non_blocking=True)


def _values(format: PixelFormat, width: int, height: int) -> int:
    return sum(rows * columns for rows, columns in format.plane_shapes(width, height))
