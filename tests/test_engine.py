"""The engine: frames in, frames out, in tiles or whole, with enough memory or not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hdrunet_video.baselines import MODELS
from hdrunet_video.color.convert import Target, to_planes, to_signal
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
from hdrunet_video.color.tone import measure, to_nits
from hdrunet_video.engine import Engine
from hdrunet_video.errors import RetryError, UsageError
from hdrunet_video.frame import Frame
from hdrunet_video.in_flight import CudaRuntime
from hdrunet_video.network.hdrunet import HDRUNet, HDRUNetConfig
from hdrunet_video.network.weights import load_network

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


def test_frame_is_what_the_parts_make() -> None:
    network, frame = small_network(), sdr_frame(25, 17, pts=1234)
    with torch.no_grad():
        nits = to_nits(network(to_signal(frame)), Primaries.BT709, MAPPING)
    result = engine_of(network)(frame)
    assert result.pts == 1234
    assert result.format is PQ_TARGET.format
    assert result.color is PQ
    assert result.light is not None
    assert [result.light.max_nits, result.light.average_nits] == pytest.approx(measure(nits).tolist(), rel=1e-4)
    for plane, expected in zip(result.planes, to_planes(nits, PQ_TARGET), strict=True):
        assert plane.dtype is torch.uint16
        assert plane.device.type == "cpu"
        assert (plane.int() - expected.int()).abs().max() <= 1
        assert not plane.is_inference()


def test_bundled_network_makes_hdr() -> None:
    engine = engine_of(load_network())
    ramp = torch.linspace(16, 235, 64).round().to(torch.uint8).expand(32, 64)
    neutral = torch.full((16, 32), 128, dtype=torch.uint8)
    result = engine(Frame((ramp, neutral, neutral), YUV, SDR))
    assert result.light is not None
    assert 203.5 < result.light.max_nits <= 1000
    assert 5 < result.light.average_nits < 203
    assert (engine.device.type, engine.precision, engine.tile) == ("cpu", "fp32", "auto")


def test_active_picture_without_its_bars() -> None:
    white = tuple(torch.full((12, 8), 255, dtype=torch.uint8) for _ in range(3))
    for plane in white:
        plane[:4] = 0
    frame = Frame(white, RGB, ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.BT709, Range.FULL))
    for active, average in ((None, 203 * 8 / 12), ((4, 12, 0, 8), 203)):
        light = engine_of(MODELS["identity"](), active=active)(frame).light
        assert light is not None
        assert light.average_nits == pytest.approx(average, rel=1e-3)
        assert light.max_nits == pytest.approx(203, rel=1e-3)


@pytest.mark.parametrize("tile", [(32, 24), (20, 200), (7, 9)])
def test_tiles_equal_the_whole(tile: tuple[int, int]) -> None:
    network, frame = small_network((1, 1, 1)), sdr_frame(71, 50)
    whole = engine_of(network, LINEAR_TARGET, tile="off")(frame)
    tiled = engine_of(network, LINEAR_TARGET, tile=tile)(frame)
    for one, other in zip(whole.planes, tiled.planes, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_full_network_in_tiles_on_a_strip() -> None:
    frame = sdr_frame(400, 8)
    whole = engine_of(load_network(), LINEAR_TARGET, tile="off")(frame)
    tiled = engine_of(load_network(), LINEAR_TARGET, tile=(200, 8))(frame)
    for one, other in zip(whole.planes, tiled.planes, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_auto_tile_depends_on_the_memory_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdrunet_video.engine.total_memory", lambda device: 3 << 30)
    engine = engine_of(small_network((2, 8, 2)))
    assert engine.tile_for(1920, 1080) is None
    tile = engine.tile_for(3840, 2160)
    assert tile is not None
    assert tile == engine.tile_for(3840, 2160)
    assert engine_of(small_network(), tile="off").tile_for(3840, 2160) is None
    assert engine_of(lambda signal: signal).tile_for(3840, 2160) is None
    assert engine_of(small_network(), tile=(500, 300)).tile_for(500, 300) is None
    assert engine_of(small_network(), tile=(500, 300)).tile_for(501, 300) == (500, 300)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_takes_smaller_tiles(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    network = Hungry(90 * 90, error)
    engine = engine_of(network, tile="off")
    plain = engine_of(MODELS["identity"](), tile="off")
    frames = [sdr_frame(200, 100, pts) for pts in range(3)]
    with caplog.at_level(logging.WARNING):
        results = list(engine.stream(frames))
    assert [result.pts for result in results] == [0, 1, 2]
    for result, frame in zip(results, frames, strict=True):
        for one, other in zip(result.planes, plain(frame).planes, strict=True):
            assert torch.equal(one, other)
    assert engine.tile == (64, 100)
    assert [record.getMessage() for record in caplog.records] == [
        f"out of memory on cpu: going on with tiles of {size}" for size in ("100x100", "64x100")
    ]


def test_out_of_memory_at_the_smallest_tile() -> None:
    network = Hungry(0)
    with pytest.raises(RetryError, match="200x100 does not fit") as caught:
        engine_of(network)(sdr_frame(200, 100))
    assert caught.value.exit_code == 75
    assert caught.value.hint
    whole = Hungry(0)
    whole.halo = None
    with pytest.raises(RetryError):
        engine_of(whole)(sdr_frame())
    assert len(whole.sizes) == 1


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        engine_of(Hungry(0, RuntimeError("a bug")))(sdr_frame())


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "fp16"}, {"precision": "fp8"}, {"tile": "large"}, {"tile": (3, 100)}, {"tile": (8,)},
        {"in_flight": 0}, {"backend": "tensorrt"},
    ],
)  # fmt: skip
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        engine_of(small_network(), **options)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_no_tiles_for_what_sees_the_whole_picture() -> None:
    for network in (small_network(modulation="channel"), nn.Identity()):
        with pytest.raises(UsageError, match="whole picture"):
            engine_of(network, tile=(64, 64))
        assert engine_of(network)(sdr_frame()).width == 24


def test_unknown_device() -> None:
    with pytest.raises(UsageError) as caught:
        Engine(small_network(), MAPPING, PQ_TARGET, device="tpu")
    assert "cpu" in caught.value.hint


def test_stream_is_lazy_ordered_and_closes() -> None:
    taken: list[int] = []

    def source() -> Iterator[Frame]:
        for pts in range(9):
            taken.append(pts)
            yield sdr_frame(pts=pts)

    engine = engine_of(small_network())
    stream = engine.stream(source())
    assert taken == []
    assert [next(stream).pts, next(stream).pts] == [0, 1]
    assert taken == [0, 1]
    stream.close()  # type: ignore[attr-defined]
    assert not torch.is_inference_mode_enabled()
    assert [frame.pts for frame in engine.stream(source())] == list(range(9))


def test_frames_of_different_sizes_and_formats() -> None:
    engine = engine_of(small_network())
    frames = [sdr_frame(24, 16), sdr_frame(1, 1), sdr_frame(7, 33, pixels=RGB), sdr_frame(24, 16)]
    assert [(out.width, out.height) for out in engine.stream(frames)] == [(24, 16), (1, 1), (7, 33), (24, 16)]


def test_several_threads_at_once() -> None:
    engine = engine_of(small_network())
    frames = [sdr_frame(pts=pts) for pts in range(12)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(engine, frames))
    for frame, result in zip(frames, results, strict=True):
        assert result.pts == frame.pts
        assert all(map(torch.equal, result.planes, engine(frame).planes))


def test_the_network_given_stays_as_it_is() -> None:
    network = small_network().train()
    engine_of(network)(sdr_frame())
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.encode_full.weight.is_contiguous()


def test_identity_in_the_container() -> None:
    signal = torch.rand(1, 3, 5, 7)
    assert MODELS["identity"]()(signal) is signal


class EagerRuntime(CudaRuntime):
    """A CUDA device that is the CPU: everything is done at once."""

    def __init__(self) -> None:
        self.drained = 0

    def on(self, lane: str) -> Any:
        return nullcontext()

    def event(self) -> Any:
        return None

    def record(self, event: Any, lane: str) -> None: ...

    def wait(self, lane: str, event: Any) -> None: ...

    def synchronize(self, event: Any) -> None: ...

    def drain(self) -> None:
        self.drained += 1

    def pinned(self, like: Tensor) -> Tensor:
        return torch.empty_like(like)

    on_device = pinned


def as_on_cuda(engine: Engine) -> Engine:
    engine._runtime = EagerRuntime()
    return engine


def test_frames_in_flight_are_the_same_frames() -> None:
    network = small_network()
    frames = [sdr_frame(20 + pts % 2, 12, pts) for pts in range(7)]
    plain = list(engine_of(network).stream(frames))
    flown = list(as_on_cuda(engine_of(network)).stream(frames))
    for one, other in zip(plain, flown, strict=True):
        assert (one.pts, one.light, one.format, one.color) == (other.pts, other.light, other.format, other.color)
        assert all(map(torch.equal, one.planes, other.planes))
        assert not any(plane.is_inference() for plane in other.planes)
    assert as_on_cuda(engine_of(network))(frames[3]).pts == 3


def test_out_of_memory_in_flight_repeats_the_frame() -> None:
    class Later(Hungry):
        def __call__(self, signal: Tensor) -> Tensor:
            self.most = 10**9 if len(self.sizes) < 2 else 90 * 90
            return super().__call__(signal)

    engine = as_on_cuda(engine_of(Later(0), in_flight=2))
    frames = [sdr_frame(200, 100, pts) for pts in range(5)]
    assert [frame.pts for frame in engine.stream(frames)] == list(range(5))
    assert isinstance(engine.tile, tuple)


def test_frames_that_fp16_cannot_hold_are_repeated(caplog: pytest.LogCaptureFixture) -> None:
    network = small_network()
    engine = as_on_cuda(engine_of(network))
    engine.precision = "fp16"
    calls: list[int] = []

    def overflowing(signal: Tensor) -> Tensor:
        calls.append(1)
        output = engine._exact(signal).clone()
        if len(calls) in (2, 3):
            output[0, 1, 2, 3] = float("inf") if len(calls) == 2 else float("nan")
        return output

    engine._fast = overflowing
    frames = [sdr_frame(pts=pts) for pts in range(6)]
    with caplog.at_level(logging.WARNING):
        results = list(engine.stream(frames))
    assert len(calls) == 6
    assert len(caplog.records) == 1
    assert "not finite in fp16" in caplog.text
    for result, expected in zip(results, engine_of(network).stream(frames), strict=True):
        assert result.pts == expected.pts
        assert all(map(torch.equal, result.planes, expected.planes))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(("precision", "codes"), [("fp32", 1), ("fp16", 4)])
def test_on_a_gpu(precision: str, codes: int) -> None:
    network = load_network()
    frames = [sdr_frame(320, 180, pts) for pts in range(8)]
    engine = Engine(network, MAPPING, PQ_TARGET, device="cuda", precision=precision)
    for result, expected in zip(engine.stream(frames), engine_of(network).stream(frames), strict=True):
        assert result.pts == expected.pts
        for one, other in zip(result.planes, expected.planes, strict=True):
            assert (one.int() - other.int()).abs().max() <= codes
