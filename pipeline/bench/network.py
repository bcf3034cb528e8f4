"""The contest: ways to compute the network alone, on one picture in turns."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

from ..device import is_out_of_memory
from ..errors import HdrunetError
from ..network.hdrunet import HDRUNet
from ..network.tiles import Network
from .contestants import REFERENCE, Contestant, random_network
from .cost import Cost, cost
from .machine import Machine, free_memory
from .results import Row
from .timing import Measured, interleave

_BYTES_PER_PIXEL = {"fp32": 2200, "fp16": 1200, "bf16": 1200}
"""What it takes at its peak; see engine.py. Ours says itself what it takes."""
_LEAST = 100
"""Bytes a pixel: each of them takes more."""
_TOO_LARGE = "left out: its features and those of the others would not fit in the memory"
_SLOWNESS = 10
"""How many times as slow as a matrix product of as many operations an unknown contestant is expected to be."""


@dataclass
class Contest:
    """Contestants on pictures of growing size; what is too slow or too large for the machine is left out by name."""

    machine: Machine
    device: torch.device
    contestants: list[Contestant]
    network: HDRUNet = field(default_factory=random_network)
    _known: dict[str, float] = field(default_factory=dict)
    """Seconds a pixel, from the sizes so far, and of making the contestant ready."""
    _ready: dict[str, float] = field(default_factory=dict)
    _bytes: dict[str, int] = field(default_factory=dict)
    """Bytes a pixel that what was built says it takes."""

    @torch.inference_mode()
    def run(self, width: int, height: int, seconds: float) -> list[Row]:
        """One row a contestant; `seconds` are kept to but for one round."""
        until, pixels = time.monotonic() + seconds, width * height
        if pixels * _LEAST > free_memory(self.device):
            rows = (self._row(each, cost(self.network, width, height), None) for each in self.contestants)
            return [replace(row, width=width, height=height, note=_TOO_LARGE) for row in rows]
        generator = torch.Generator().manual_seed(1)
        signal = torch.rand((1, 3, height, width), generator=generator).to(self.device)
        runs: dict[str, Network] = {}
        notes: dict[str, str] = {}
        outputs: dict[str, Tensor] = {}
        for each in self.contestants:
            held = [other for other in self.contestants if other.keeps and other.name in runs]
            notes[each.name] = self._refusal(each, held, width, height, until - time.monotonic())
            if notes[each.name]:
                continue
            started = time.monotonic()
            try:
                run = each.build(self.network, tuple(signal.shape), self.device)
                self._bytes[each.name] = getattr(run, "bytes_per_pixel", _BYTES_PER_PIXEL[each.precision])
                notes[each.name] = self._too_large([each, *held], pixels)
                if notes[each.name]:
                    continue
                outputs[each.name] = run(signal).float().cpu()
                runs[each.name] = run
            except Exception as error:
                notes[each.name] = _why(error)
            self._ready[each.name] = time.monotonic() - started
        measured = interleave(
            {name: partial(run, signal) for name, run in runs.items()},
            self.device,
            until - time.monotonic(),
            failed=lambda name, error: notes.update({name: _why(error)}),
        )
        for name, taken in measured.items():
            self._known[name] = taken.median / (width * height)
        whole = cost(self.network, width, height)
        differences = {name: _difference(output, outputs.get(REFERENCE)) for name, output in outputs.items()}
        return [
            replace(
                self._row(each, whole, measured.get(each.name)),
                width=width,
                height=height,
                difference=differences.get(each.name),
                note=notes[each.name],
            )
            for each in self.contestants
        ]

    def _row(self, each: Contestant, whole: Cost, taken: Measured | None) -> Row:
        row = Row("network", each.name, 0, 0, each.precision, flop=whole.flop, bytes=whole.bytes(each.precision))
        if taken is None:
            return row
        return replace(
            row,
            seconds=taken.seconds,
            peak_bytes=taken.peak_bytes,
            joules=taken.joules,
            setup_seconds=self._ready[each.name],
        )

    def with_limits(self, row: Row, machine: Machine) -> Row:
        """A row of this contest with its roofline on `machine`, whose limits may have been measured after it."""
        flops = machine.flops.get(row.precision)
        if not flops:
            return row
        whole = cost(self.network, row.width, row.height)
        return replace(row, roofline_seconds=whole.seconds(row.precision, flops, machine.bandwidth))

    def _refusal(self, each: Contestant, held: list[Contestant], width: int, height: int, seconds: float) -> str:
        """Why a contestant is left out at a size, beside those that hold memory; empty where it is not."""
        if each.package and find_spec(each.package) is None:
            return f"not installed: {each.package}"
        pixels = width * height
        # What ours takes is known only when it is built.
        if (each.name in self._bytes or not each.ours) and (reason := self._too_large([each, *held], pixels)):
            return reason
        per_pixel = self._known.get(each.name, self._known.get(REFERENCE, 0.0))
        if not per_pixel:
            fp32 = self.machine.flops["fp32"]
            per_pixel = _SLOWNESS * cost(self.network, width, height).flop / fp32 / pixels
        needed = 3 * per_pixel * pixels + self._ready.get(each.name, each.setup_seconds)
        if each.name != REFERENCE and needed > seconds:
            return f"left out: it would need {needed:.0f} s and {max(seconds, 0):.0f} s of --budget are left"
        return ""

    def _too_large(self, each: list[Contestant], pixels: int) -> str:
        taken = sum(self._bytes.get(one.name, _BYTES_PER_PIXEL[one.precision]) for one in each)
        return _TOO_LARGE if pixels * taken > free_memory(self.device) else ""


def _difference(output: Tensor, reference: Tensor | None) -> float | None:
    return None if reference is None else float((output - reference).abs().max())


def _why(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"not installed: {error.name}"
    if is_out_of_memory(error):
        return "out of memory"
    if isinstance(error, HdrunetError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"failed: {type(error).__name__}: {lines[0] if lines else ''}"[:160]
