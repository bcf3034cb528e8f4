"""Engines with small networks, and the frames to give them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from hdrunet_video.color.convert import Target
from hdrunet_video.color.light import LightMapping
from hdrunet_video.color.spec import (
    ChromaLocation,
    ColorSpec,
    Matrix,
    PixelFormat,
    Primaries,
    Range,
    Transfer,
    pixel_format,
)
from hdrunet_video.engine import Engine
from hdrunet_video.frame import Frame
from hdrunet_video.in_flight import CudaRuntime
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet

SDR = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaLocation.LEFT)
PQ = ColorSpec(Matrix.BT2020_NCL, Primaries.BT2020, Transfer.PQ, Range.LIMITED, ChromaLocation.TOP_LEFT)
LINEAR = ColorSpec(Matrix.RGB, Primaries.BT2020, Transfer.LINEAR, Range.FULL)


def known(name: str) -> PixelFormat:
    found = pixel_format(name)
    assert found is not None
    return found


YUV, RGB = known("yuv420p"), known("gbrp")
PQ_TARGET = Target(PQ, known("yuv420p10le"))
LINEAR_TARGET = Target(LINEAR, known("gbrpf32le"))
MAPPING = LightMapping()
Network = Callable[[Tensor], Tensor]


def sdr_frame(width: int = 24, height: int = 16, pts: int = 0, pixels: PixelFormat = YUV) -> Frame:
    generator = torch.Generator().manual_seed(pts)
    planes = (
        torch.randint(16, 236, shape, dtype=torch.uint8, generator=generator)
        for shape in pixels.plane_shapes(width, height)
    )
    color = SDR if pixels is YUV else ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.BT709, Range.FULL)
    return Frame(tuple(planes), pixels, color, pts)


def engine_of(network: Network, target: Target = PQ_TARGET, **options: Any) -> Engine:
    return Engine(network, MAPPING, target, device="cpu", **options)


def small_network(blocks: tuple[int, int, int] = (0, 1, 0), **fields: Any) -> HDRUNet:
    torch.manual_seed(0)
    config = HDRUNetConfig(channels=8, condition_channels=8, sft_channels=4, blocks=blocks, **fields)
    return HDRUNet(config)


class Hungry:
    """A network that has memory for `most` pixels only."""

    halo: tuple[int, int] | None = (8, 4)

    def __init__(self, most: int, error: Exception | None = None) -> None:
        self.most = most
        self.error = error or torch.OutOfMemoryError("CUDA out of memory.")
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, signal: Tensor) -> Tensor:
        height, width = signal.shape[-2:]
        self.sizes.append((width, height))
        if width * height > self.most:
            raise self.error
        return signal.clone()


class EagerRuntime(CudaRuntime):
    """A CUDA device that is the CPU: everything is done at once."""

    def __init__(self) -> None: ...

    def on(self, lane: str) -> Any:
        return nullcontext()

    def event(self) -> Any: ...

    def record(self, event: Any, lane: str) -> None: ...

    def wait(self, lane: str, event: Any) -> None: ...

    def synchronize(self, event: Any) -> None: ...

    def drain(self) -> None: ...

    def pinned(self, like: Tensor) -> Tensor:
        return torch.empty_like(like)

    on_device = pinned


def as_on_cuda(engine: Engine) -> Engine:
    """The same engine with frames in flight, in the lanes that it has on CUDA."""
    engine._runtime = EagerRuntime()
    return engine
