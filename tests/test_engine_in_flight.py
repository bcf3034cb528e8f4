"""The engine with several frames in flight, on CUDA and as on CUDA: the same frames as one by one."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from hdrunet_video.engine import Engine
from hdrunet_video.network.weights import load_network
from tests.engines import MAPPING, PQ_TARGET, Hungry, as_on_cuda, engine_of, sdr_frame, small_network


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
    assert isinstance(engine.tiling.tile, tuple)


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


def test_a_repeat_without_memory_leaves_other_frames_their_tiles(caplog: pytest.LogCaptureFixture) -> None:
    class Overflowing(Hungry):
        def __call__(self, signal: Tensor) -> Tensor:
            output = super().__call__(signal)
            if len(self.sizes) == 2:
                output[0, 1, 2, 3] = float("inf")
            return output

    fast, exact = Overflowing(200 * 100), Hungry(90 * 90)
    engine = as_on_cuda(engine_of(fast, tile="off"))
    engine._exact, engine.precision = exact, "fp16"
    frames = [sdr_frame(200, 100, pts) for pts in range(4)]
    results = list(engine.stream(frames))
    assert fast.sizes == [(200, 100)] * 4
    assert engine.tiling.tile == "off"
    for result, expected in zip(results, engine_of(Hungry(200 * 100)).stream(frames), strict=True):
        assert all(map(torch.equal, result.planes, expected.planes))
    assert [record.getMessage() for record in caplog.records] == [
        f"{frames[1]!r} is not finite in fp16: computed again in fp32",
        *(
            f"out of memory on cpu: computing {frames[1]!r} again with tiles of {size}"
            for size in ("100x100", "64x100")
        ),
    ]


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
