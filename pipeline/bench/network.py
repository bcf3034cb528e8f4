"""The network alone, as it was, as it is and as others run it, on one picture in turns."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from typing import get_args

import torch
from torch import Tensor

from ..device import is_out_of_memory, resolve_precision
from ..errors import HdrunetError, UsageError
from ..network.forward import Precision, place
from ..network.hdrunet import HDRUNet, pad_to_multiple
from ..network.openvino import Compiled
from ..network.tiles import Network
from . import runtimes
from .cost import ITEM_BYTES, Cost, cost
from .machine import Machine, free_memory
from .results import Row
from .timing import Measured, interleave

REFERENCE = "eager fp32"
"""The plain network: the others are compared with it, in time and in numbers."""
_BYTES_PER_PIXEL = {"fp32": 2200, "fp16": 1200, "bf16": 1200}
"""What it takes at its peak; see engine.py. Ours says itself what it takes."""
_LEAST = 100
"""Bytes a pixel: each of them takes more."""
_TOO_LARGE = "left out: its features and those of the others would not fit in the memory"
_SLOWNESS = 10
"""How many times as slow as a matrix product of as many operations an unknown contestant is expected to be."""


@dataclass(frozen=True)
class Contestant:
    """A way to compute the network."""

    name: str
    precision: str
    build: Callable[[HDRUNet, tuple[int, ...], torch.device], Network]
    """Network, (1, 3, H, W), device -> what runs. ImportError: not installed."""
    setup_seconds: float = 1.0
    """What export and compilation are expected to take, to see if the time will do."""
    keeps: bool = False
    """True where it holds the memory of its features from one call to the next."""
    package: str = ""
    """What has to be installed for it."""
    ours: bool = False
    """True where what is built does not depend on the picture, and may say how many `bytes_per_pixel` it takes."""


def random_network() -> HDRUNet:
    """The default network with random weights, the same at each call. Features of trained weights may be zero in
    places, which graphics cards compute with less power and so faster."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return HDRUNet().eval().requires_grad_(False)


def contestants(device: torch.device) -> list[Contestant]:
    """All that can be measured on a device, the original first."""
    cuda = device.type == "cuda"
    fast: Precision = "fp16" if cuda else "fp32"
    return [
        Contestant(REFERENCE, "fp32", _eager),
        *(
            Contestant(f"ours {precision}", precision, _ours(precision), keeps=cuda, ours=True)
            for precision in _precisions(device)
        ),
        Contestant(f"eager {fast} channels_last", fast, _channels_last),
        Contestant("torch.compile", fast, _compiled, 60.0),
        *(
            Contestant(f"OpenVINO {each}", each, _openvino(each), 4.0, keeps=True, package="openvino")
            for each in _precisions(torch.device("cpu"))
        ),
        *(
            Contestant(name, precision, _foreign(build), setup, keeps=True, package=package)
            for name, precision, build, setup, package in _FOREIGN
        ),
    ]


_FOREIGN: list[tuple[str, str, runtimes.Builder, float, str]] = [
    ("ONNX Runtime", "fp32", runtimes.onnx_runtime, 8.0, "onnxruntime"),
    ("ncnn", "fp32", runtimes.ncnn, 20.0, "ncnn"),
    ("TensorRT", "fp16", runtimes.tensorrt, 60.0, "torch_tensorrt"),
]


def chosen(device: torch.device, names: list[str]) -> list[Contestant]:
    """Those named, or all; the original is always among them. Raises UsageError for a name that there is not."""
    there = contestants(device)
    for name in names:
        if name not in [each.name for each in there]:
            known = ", ".join(each.name for each in there)
            raise UsageError(f"there is no contestant {name!r} on {device}", f"--contestants takes {known}")
    return [each for each in there if not names or each.name in (REFERENCE, *names)]


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


def _precisions(device: torch.device) -> list[Precision]:
    """Those that `place` knows and the device is let have."""
    found: list[Precision] = []
    for name in get_args(Precision):
        try:
            if name in ITEM_BYTES and resolve_precision(name, device) == name:
                found.append(name)
        except UsageError:
            continue
    return found


def _ours(precision: Precision) -> Callable[[HDRUNet, tuple[int, ...], torch.device], Network]:
    return lambda network, shape, device: place(network, device, precision)


def _eager(network: HDRUNet, shape: tuple[int, ...], device: torch.device) -> Network:
    return copy.deepcopy(network).to(device)


def _channels_last(network: HDRUNet, shape: tuple[int, ...], device: torch.device) -> Network:
    own = copy.deepcopy(network).to(device)
    if device.type == "cuda":
        own = own.half()
    own = own.to(memory_format=torch.channels_last)
    return lambda signal: own(signal.contiguous(memory_format=torch.channels_last))


def _compiled(network: HDRUNet, shape: tuple[int, ...], device: torch.device) -> Network:
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    made: Network = torch.compile(_channels_last(network, shape, device), dynamic=False)
    return made


def _openvino(precision: Precision) -> Callable[[HDRUNet, tuple[int, ...], torch.device], Network]:
    """As `--backend openvino` computes it, whatever the check says of it."""

    def builder(network: HDRUNet, shape: tuple[int, ...], device: torch.device) -> Network:
        runtimes.only_cpu(device)
        assert precision != "fp16"
        return Compiled(network, precision)

    return builder


def _foreign(build: runtimes.Builder) -> Callable[[HDRUNet, tuple[int, ...], torch.device], Network]:
    def builder(network: HDRUNet, shape: tuple[int, ...], device: torch.device) -> Network:
        height, width = shape[-2:]
        padded = pad_to_multiple(torch.empty(shape, device="meta"), HDRUNet.MULTIPLE).shape
        with torch.inference_mode(False), torch.no_grad():
            run = build(runtimes.portable(network), tuple(padded), device)
        return lambda signal: run(pad_to_multiple(signal, HDRUNet.MULTIPLE))[..., :height, :width]

    return builder
