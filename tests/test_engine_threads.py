"""The engine asked for single frames, by several threads, into planes that the caller owns."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from hdrunet_video.color.convert import Target
from hdrunet_video.color.light import LightMapping
from hdrunet_video.color.spec import ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer
from hdrunet_video.engine import Engine
from hdrunet_video.frame import Frame
from tests.engines import as_on_cuda, engine_of, sdr_frame, small_network

SDR = ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.BT709, Range.FULL)
RGB24, RGB48 = PixelFormat("RGB24", "rgb", 8), PixelFormat("RGB48", "rgb", 16)
RGBS = PixelFormat("RGBS", "rgb", 32, is_float=True)
PQ = Target(ColorSpec(Matrix.RGB, Primaries.BT2020, Transfer.PQ, Range.FULL), RGB48)
SIGNAL = Target(SDR, RGBS)


class Gate:
    """Doubles the signal, and knows how many frames were in it at once; frames of width 13 fail."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, signal: Tensor) -> Tensor:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        threading.Event().wait(0.002)
        with self.lock:
            self.now -= 1
        if signal.shape[-1] == 13:
            raise ValueError("thirteen")
        return signal * 2


def frame(pts: int, width: int = 12) -> Frame:
    generator = torch.Generator().manual_seed(pts)
    planes = torch.randint(0, 256, (3, 8, width), dtype=torch.uint8, generator=generator)
    return Frame(tuple(planes), RGB24, SDR, pts)


def engine_on(cuda: bool, target: Target = PQ, network: Any = None) -> Engine:
    engine = Engine(network or Gate(), LightMapping(), target, device="cpu", in_flight=2)
    if cuda:
        as_on_cuda(engine)
    return engine


@pytest.mark.parametrize("cuda", [False, True])
def test_planes_of_the_caller(cuda: bool) -> None:
    engine = engine_on(cuda)
    expected = engine_on(False)(frame(1))
    # One plane within a larger one, as VapourSynth's are.
    out = tuple(torch.zeros((8, 32), dtype=torch.uint16)[:, :12] for _ in range(3))
    made = engine(frame(1), out)
    assert made.light == expected.light
    assert all(map(torch.equal, out, expected.planes))
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(made.planes, out, strict=True))
    assert not any(bool(plane.untyped_storage()[-1]) for plane in out)


@pytest.mark.parametrize("cuda", [False, True])
def test_threads_get_their_own_frames_and_one_that_fails_harms_no_other(cuda: bool) -> None:
    network = Gate()
    engine = engine_on(cuda, network=network)
    expected = [engine_on(False)(frame(pts)) for pts in range(20)]

    def ask(pts: int) -> Frame | None:
        if pts % 5 == 4:
            with pytest.raises(ValueError, match="thirteen"):
                engine(frame(pts, 13))
            return None
        return engine(frame(pts))

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(ask, range(20)))
    for one, other in zip(made, expected, strict=True):
        assert one is None or (one.pts == other.pts and all(map(torch.equal, one.planes, other.planes)))
    if cuda:
        assert network.most == 1  # launched one by one: the memory of one frame serves all


def test_the_networks_own_signal() -> None:
    source = frame(3)
    source = Frame(source.planes, RGB24, ColorSpec(Matrix.RGB, Primaries.DISPLAY_P3, Transfer.BT709, Range.FULL))
    made = engine_on(False, SIGNAL)(source)
    assert made.color.primaries is Primaries.DISPLAY_P3
    for plane, coded in zip(made.planes, source.planes, strict=True):
        torch.testing.assert_close(plane, coded.float() / 255 * 2)
    half = tuple(torch.empty((8, 12), dtype=torch.float16) for _ in range(3))
    engine_on(False, SIGNAL)(source, half)
    assert all(torch.equal(a, b.half()) for a, b in zip(half, made.planes, strict=True))


def test_several_threads_at_once() -> None:
    engine = engine_of(small_network())
    frames = [sdr_frame(pts=pts) for pts in range(12)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(engine, frames))
    for frame, result in zip(frames, results, strict=True):
        assert result.pts == frame.pts
        assert all(map(torch.equal, result.planes, engine(frame).planes))
