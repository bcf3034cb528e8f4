"""Ways to compute the network: as it was, as it is and as others run it."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import torch

from ..device import resolve_precision
from ..errors import UsageError
from ..network.cpu import DTYPES, FusedNetwork, own_layers
from ..network.forward import Precision, place
from ..network.hdrunet import HDRUNet, pad_to_multiple
from ..network.onednn_layers import OneDnn
from ..network.openvino import Compiled
from ..network.tiles import Network
from . import runtimes
from .cost import ITEM_BYTES

REFERENCE = "eager fp32"
"""The plain network: the others are compared with it, in time and in numbers."""


@dataclass(frozen=True)
class Contestant:
    """A way to compute the network."""

    name: str
    precision: str
    build: Callable[[HDRUNet, tuple[int, ...], torch.device], Network]
    """Network, (1, 3, H, W), device -> what runs. ImportError: not installed."""
    setup_seconds: float = 1.0
    """What export and compilation are expected to take, to see if the time will do."""
    speed: float = 1.0
    """How many times as fast as the original it is expected to be, to see if the time will do."""
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
            Contestant(f"ours {precision}", precision, _ours(precision), speed=1.4, keeps=True, ours=True)
            for precision in _precisions(device)
        ),
        *(
            Contestant(f"oneDNN {each}", each, _onednn(dtype), keeps=True, ours=True)
            for each, dtype in DTYPES.items()
            if not cuda and any(own_layers(each))
        ),
        Contestant(f"eager {fast} channels_last", fast, _channels_last),
        Contestant("torch.compile", fast, _compiled("default"), 40.0),
        *(
            [Contestant("torch.compile max-autotune", fast, _compiled("max-autotune"), 120.0, keeps=True)]
            if cuda
            else []
        ),
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
    ("ncnn", "fp32", runtimes.ncnn, 15.0, "ncnn"),
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


def _onednn(dtype: torch.dtype) -> Callable[[HDRUNet, tuple[int, ...], torch.device], Network]:
    return lambda network, shape, device: FusedNetwork(network, OneDnn(dtype))


def _eager(network: HDRUNet, shape: tuple[int, ...], device: torch.device) -> Network:
    return copy.deepcopy(network).to(device)


def _channels_last(network: HDRUNet, shape: tuple[int, ...], device: torch.device) -> Network:
    own = copy.deepcopy(network).to(device)
    if device.type == "cuda":
        own = own.half()
    own = own.to(memory_format=torch.channels_last)
    return lambda signal: own(signal.contiguous(memory_format=torch.channels_last))


def _compiled(mode: str) -> Callable[[HDRUNet, tuple[int, ...], torch.device], Network]:
    def builder(network: HDRUNet, shape: tuple[int, ...], device: torch.device) -> Network:
        from torch._dynamo import config as dynamo_config

        if device.type == "cpu":  # processes that compile would take part in what is measured
            os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        # Each size compiles the same lines once more, and above a limit dynamo goes on without the compiler.
        dynamo_config.recompile_limit = 64
        made: Network = torch.compile(_channels_last(network, shape, device), dynamic=False, mode=mode)
        return made

    return builder


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
