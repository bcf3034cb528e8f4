"""Tiles equal the whole, and are taken where memory is short."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn

from hdrunet_video.baselines import MODELS
from hdrunet_video.errors import RetryError, UsageError
from hdrunet_video.network.weights import load_network
from tests.engines import LINEAR_TARGET, Hungry, engine_of, sdr_frame, small_network


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
    monkeypatch.setattr("hdrunet_video.tiling.total_memory", lambda device: 3 << 30)
    engine = engine_of(small_network((2, 8, 2)))
    assert engine.tiling.of(1920, 1080) is None
    tile = engine.tiling.of(3840, 2160)
    assert tile is not None
    assert tile == engine.tiling.of(3840, 2160)
    assert engine_of(small_network(), tile="off").tiling.of(3840, 2160) is None
    assert engine_of(lambda signal: signal).tiling.of(3840, 2160) is None
    assert engine_of(small_network(), tile=(500, 300)).tiling.of(500, 300) is None
    assert engine_of(small_network(), tile=(500, 300)).tiling.of(501, 300) == (500, 300)


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
    assert engine.tiling.tile == (64, 100)
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


def test_no_tiles_for_what_sees_the_whole_picture() -> None:
    for network in (small_network(modulation="channel"), nn.Identity()):
        with pytest.raises(UsageError, match="whole picture"):
            engine_of(network, tile=(64, 64))
        assert engine_of(network)(sdr_frame()).width == 24


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        engine_of(Hungry(0, RuntimeError("a bug")))(sdr_frame())


class Hoarder:
    """A network that holds memory: it has none for more than 200 pixels until it is told to let go."""

    halo, bytes_per_pixel = (4, 4), 1000

    def __init__(self) -> None:
        self.released = 0

    def __call__(self, signal: Tensor) -> Tensor:
        if not self.released:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return signal

    def release(self) -> None:
        self.released += 1


def test_the_engine_asks_a_network_for_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Hoarder()
    engine = engine_of(network)
    monkeypatch.setattr("hdrunet_video.tiling.total_memory", lambda _: 2 * 1000 * 100 * 100)
    assert engine.tiling.of(100, 100) is None
    assert engine.tiling.of(104, 100) is not None
    assert engine(sdr_frame(100, 100)).planes[0].shape == (100, 100)
    assert network.released == 1


@pytest.mark.parametrize("said", ["CUDA out of memory. Tried to allocate 2 GiB", "CUDA error: device is busy"])
def test_a_device_that_cannot_be_used_now_is_no_bug(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Farms try again then."""

    def busy(*_: object) -> None:
        raise torch.OutOfMemoryError(said) if "memory" in said else RuntimeError(said)

    monkeypatch.setattr("hdrunet_video.engine.place", busy)
    with pytest.raises(RetryError) as caught:
        engine_of(small_network())
    assert caught.value.exit_code == 75
