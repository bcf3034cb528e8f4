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
from ..host import give_freed_memory_back
from ..network.check import codes
from ..network.hdrunet import HDRUNet
from ..network.tiles import Network
from .contestants import REFERENCE, Contestant, random_network
from .cost import cost
from .machine import Machine, free_memory
from .results import Row
from .timing import Measured, in_use, interleave

_BYTES_PER_PIXEL = {"fp32": 2200, "fp16": 1200, "bf16": 1200}
"""What it takes at its peak; see engine.py. Ours says itself what it takes."""
_LEAST = 100
"""Bytes a pixel: each of them takes more."""
_TOO_LARGE = "left out: its features and those of the others would not fit in the memory"
_SLOWNESS = 10
"""How many times as slow as a matrix product of as many operations the original is expected to be."""


@dataclass(frozen=True)
class _Entered:
    """A contestant that is ready for a picture."""

    run: Network
    output: Tensor
    """Of the picture, on the CPU."""
    held_bytes: int
    """Weights, and what it keeps for the next picture."""


class _TooLargeError(Exception):
    """A contestant that is left out."""


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
            rows = [self._row(each, width, height, None, None) for each in self.contestants]
            return [replace(row, note=_TOO_LARGE) for row in rows]
        generator = torch.Generator().manual_seed(1)
        signal = torch.rand((1, 3, height, width), generator=generator).to(self.device)
        entered: dict[str, _Entered] = {}
        notes: dict[str, str] = {}
        for each in self.contestants:
            others = [other for other in self.contestants if other.name in entered]
            notes[each.name] = self._refusal(each, others, width, height, until - time.monotonic())
            if notes[each.name]:
                continue
            started = time.monotonic()
            try:
                entered[each.name] = self._enter(each, others, signal)
            except Exception as error:
                notes[each.name] = _why(error)
            self._ready[each.name] = time.monotonic() - started
        measured = interleave(
            {name: partial(each.run, signal) for name, each in entered.items()},
            self.device,
            until - time.monotonic(),
            failed=lambda name, error: notes.update({name: _why(error)}),
            held={name: each.held_bytes for name, each in entered.items()},
        )
        for name, taken in measured.items():
            self._known[name] = taken.median / pixels
        reference = entered.get(REFERENCE)
        rows = []
        for each in self.contestants:
            row = self._row(each, width, height, entered.get(each.name), measured.get(each.name))
            difference = _difference(entered.get(each.name), reference) if row.seconds else None
            rows.append(replace(row, difference=difference, note=notes[each.name]))
        return rows

    def _enter(self, each: Contestant, others: list[Contestant], signal: Tensor) -> _Entered:
        """Build a contestant and call it once. Raises _TooLargeError where it would not fit beside the others."""
        give_freed_memory_back()
        before = in_use(self.device)
        run = each.build(self.network, tuple(signal.shape), self.device)
        self._bytes[each.name] = getattr(run, "bytes_per_pixel", _BYTES_PER_PIXEL[each.precision])
        pixels = signal.shape[-2] * signal.shape[-1]
        if reason := self._too_large(each, others, pixels):
            raise _TooLargeError(reason)
        started = time.monotonic()
        output = run(signal).float().cpu()
        if each.name == REFERENCE:  # for want of better, what others are expected to take
            self._known.setdefault(each.name, (time.monotonic() - started) / pixels)
        give_freed_memory_back()
        after = in_use(self.device)
        held = 0 if before is None or after is None else after - before
        return _Entered(run, output, max(held - (output.nbytes if self.device.type == "cpu" else 0), 0))

    def _row(self, each: Contestant, width: int, height: int, entered: _Entered | None, taken: Measured | None) -> Row:
        """What computes the network may have fallen back to other code and another precision than asked for."""
        precision = getattr(entered.run, "precision", each.precision) if entered else each.precision
        whole = cost(self.network, width, height)
        row = Row("network", each.name, width, height, precision, flop=whole.flop, bytes=whole.bytes(precision))
        if entered is None or taken is None:
            return row
        return replace(
            row,
            backend=getattr(entered.run, "backend", "") if each.ours else "",
            seconds=taken.seconds,
            peak_bytes=taken.peak_bytes,
            joules=taken.joules,
            setup_seconds=self._ready[each.name],
        )

    def _refusal(self, each: Contestant, others: list[Contestant], width: int, height: int, seconds: float) -> str:
        """Why a contestant is left out at a size, beside those that take part; empty where it is not."""
        if each.package and find_spec(each.package) is None:
            return f"not installed: {each.package}"
        pixels = width * height
        # What ours takes is known only when it is built.
        if (each.name in self._bytes or not each.ours) and (reason := self._too_large(each, others, pixels)):
            return reason
        needed = 3 * self._expected(each, width, height) + self._ready.get(each.name, each.setup_seconds)
        left = seconds - 2 * sum(self._expected(other, width, height) for other in others)
        if each.name != REFERENCE and needed > left:
            return f"left out: it would need {needed:.0f} s and {max(left, 0):.0f} s of --budget are left"
        return ""

    def _expected(self, each: Contestant, width: int, height: int) -> float:
        """Seconds of a picture."""
        if each.name in self._known:
            return self._known[each.name] * width * height
        if REFERENCE in self._known:
            return self._known[REFERENCE] * width * height / each.speed
        return _SLOWNESS * cost(self.network, width, height).flop / self.machine.flops["fp32"]

    def _too_large(self, each: Contestant, others: list[Contestant], pixels: int) -> str:
        """Empty where it fits beside what those hold."""
        held = [each, *(other for other in others if other.keeps)]
        taken = sum(self._bytes.get(one.name, _BYTES_PER_PIXEL[one.precision]) for one in held)
        return _TOO_LARGE if pixels * taken > free_memory(self.device) else ""


def _difference(one: _Entered | None, reference: _Entered | None) -> float | None:
    return (
        None if one is None or reference is None else float((codes(one.output) - codes(reference.output)).abs().max())
    )


def _why(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"not installed: {error.name}"
    if is_out_of_memory(error):
        return "out of memory"
    if isinstance(error, (HdrunetError, _TooLargeError)):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"failed: {type(error).__name__}: {lines[0] if lines else ''}"[:160]
