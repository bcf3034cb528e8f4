"""Frames in flight, on a runtime that notices every race between its lanes."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from hdrunet_video.color.spec import ChromaLocation, ColorSpec, Matrix, Primaries, Range, Transfer, pixel_format
from hdrunet_video.errors import RetryError
from hdrunet_video.frame import Frame
from hdrunet_video.in_flight import CudaRuntime, FramesInFlight

SDR = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaLocation.LEFT)
YUV = pixel_format("yuv420p")
Clock = dict[str, int]


class RaceError(AssertionError):
    pass


class RaceRuntime(CudaRuntime):
    """Runs on the CPU at once, and keeps a vector clock for the host and each lane: an access to a buffer must come
    after every earlier access that conflicts with it, by events and waits, not by luck. What is freed counts as
    written by the lane whose pool it goes back to."""

    def __init__(self, without: str = "") -> None:
        self.clocks: dict[str, Clock] = {name: {} for name in ("host", "upload", "compute", "download")}
        self.accesses: dict[int, list[tuple[str, int, bool]]] = {}
        self.kept: list[Any] = []
        self.lane = "host"
        self.without = without
        self.allocations = 0
        self.drained = 0
        self.races: list[RaceError] = []

    @contextmanager
    def on(self, lane: str) -> Iterator[None]:
        self.lane, before = lane, self.lane
        yield
        self.lane = before

    def event(self) -> Any:
        return {}

    def record(self, event: Any, lane: str) -> None:
        event["clock"] = dict(self.clocks[lane])

    def wait(self, lane: str, event: Any) -> None:
        if self.without != f"wait {lane}":
            self._join(lane, event["clock"])

    def synchronize(self, event: Any) -> None:
        if self.without != "synchronize":
            self._join("host", event["clock"])

    def drain(self) -> None:
        self.drained += 1
        for clock in self.clocks.values():
            self._join("host", clock)

    def pinned(self, like: Tensor) -> Tensor:
        self.allocations += 1
        return self.born(torch.empty_like(like), "host")

    def on_device(self, like: Tensor) -> Tensor:
        self.allocations += 1
        return self.born(torch.empty_like(like), self.lane)

    def copy(self, target: Tensor, source: Tensor) -> None:
        self.access(source, writes=False)
        self.access(target, writes=True)
        target.copy_(source)

    def born(self, tensor: Tensor, pool: str) -> Tensor:
        key = tensor.data_ptr()
        self.kept.append(tensor.untyped_storage())  # so that no other buffer is given the same address
        self.accesses[key] = []
        weakref.finalize(tensor, self._freed, key, pool)
        return tensor

    def _freed(self, key: int, pool: str) -> None:
        try:
            self._access(key, pool, writes=True)
        except RaceError as race:  # a finalizer cannot raise
            self.races.append(race)

    def access(self, tensor: Tensor, writes: bool) -> None:
        self._access(tensor.data_ptr(), self.lane, writes)

    def _access(self, key: int, lane: str, writes: bool) -> None:
        clock = self.clocks[lane]
        self._join(lane, self.clocks["host"])  # given to the lane by the host, here
        clock[lane] = clock.get(lane, 0) + 1
        if key not in self.accesses:  # pageable memory of the host
            return
        for other, time, wrote in self.accesses[key]:
            if (writes or wrote) and clock.get(other, 0) < time:
                raise RaceError(f"{lane} and {other}")
        self.accesses[key].append((lane, clock[lane], writes))

    def _join(self, lane: str, clock: Clock) -> None:
        own = self.clocks[lane]
        for name, time in clock.items():
            own[name] = max(own.get(name, 0), time)


class Inverter:
    """Work for FramesInFlight: 255 - x, with a frame number to fail at, and a count of frames at once."""

    def __init__(self, runtime: RaceRuntime, fail: int = -1, error: Exception | None = None) -> None:
        self.runtime, self.fail, self.error = runtime, fail, error
        self.outstanding = self.most = 0
        self.exact: list[int] = []
        self.repeat: set[int] = set()

    def compute(self, frame: Frame, exact: bool) -> tuple[Tensor, ...]:
        assert self.runtime.lane == "compute"
        if exact:
            self.exact.append(frame.pts)
        else:
            self.outstanding += 1
            self.most = max(self.most, self.outstanding)
        if frame.pts == self.fail and self.error is not None:
            raise self.error
        results = []
        for plane in frame.planes:
            self.runtime.access(plane, writes=False)
            results.append(self.runtime.born(255 - plane, "compute"))
            self.runtime.access(results[-1], writes=True)
        return tuple(results)

    def finish(self, source: Frame, computed: tuple[Tensor, ...], exact: bool) -> Frame | None:
        if source.pts in self.repeat and not exact:
            return None
        self.outstanding -= 1
        return Frame(computed, source.format, source.color, source.pts)

    def stream(self, slots: int, frames: Any) -> Iterator[Frame]:
        yield from FramesInFlight(self.compute, self.finish, self.runtime, slots).stream(frames)
        assert not self.runtime.races


def sdr_frame(pts: int, width: int = 6, height: int = 4) -> Frame:
    assert YUV is not None
    planes = (torch.full(shape, 10 + pts, dtype=torch.uint8) for shape in YUV.plane_shapes(width, height))
    return Frame(tuple(planes), YUV, SDR, pts)


def numbers(frames: list[Frame]) -> list[int]:
    """The pts of inverted frames, after a look at their contents."""
    assert all(bool((plane == 245 - frame.pts).all()) for frame in frames for plane in frame.planes)
    return [frame.pts for frame in frames]


def until_error(frames: Iterator[Frame], error: type[Exception]) -> list[Frame]:
    out = []
    with pytest.raises(error):  # noqa: PT012
        for frame in frames:
            out.append(frame)
    return out


@pytest.mark.parametrize("slots", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_in_order_and_never_more_than_the_slots(slots: int, count: int) -> None:
    work = Inverter(RaceRuntime())
    assert numbers(list(work.stream(slots, (sdr_frame(pts) for pts in range(count))))) == list(range(count))
    assert work.most == min(slots, count)
    assert work.runtime.allocations == 9 * min(slots, count)  # three planes: pinned, on the device, pinned
    assert work.runtime.drained == 1


@pytest.mark.parametrize("without", ["wait compute", "wait download", "synchronize"])
def test_every_wait_is_needed(without: str) -> None:
    with pytest.raises(RaceError):
        list(Inverter(RaceRuntime(without)).stream(2, map(sdr_frame, range(5))))


def test_results_are_held_until_they_are_downloaded() -> None:
    class Forgetful(FramesInFlight):
        def _launch(self, slot: Any, exact: bool) -> None:
            super()._launch(slot, exact)
            slot.result = ()

    work = Inverter(RaceRuntime())
    list(Forgetful(work.compute, work.finish, work.runtime, 2).stream(map(sdr_frame, range(3))))
    assert work.runtime.races


def test_size_may_change() -> None:
    sizes = [(6, 4), (6, 4), (8, 2), (2, 2), (2, 2), (6, 4), (6, 4)]
    frames = (sdr_frame(pts, *size) for pts, size in enumerate(sizes))
    out = list(Inverter(RaceRuntime()).stream(2, frames))
    assert numbers(out) == list(range(7))
    assert [(frame.width, frame.height) for frame in out] == sizes


@pytest.mark.parametrize("fail", range(6))
def test_frames_before_a_failed_one_are_given(fail: int) -> None:
    work = Inverter(RaceRuntime(), fail, ValueError("broken"))
    assert numbers(until_error(work.stream(3, map(sdr_frame, range(6))), ValueError)) == list(range(fail))


@pytest.mark.parametrize("fail", range(6))
def test_frames_before_a_failed_source_are_given(fail: int) -> None:
    def source() -> Iterator[Frame]:
        yield from map(sdr_frame, range(fail))
        raise OSError("no more")

    out = until_error(Inverter(RaceRuntime()).stream(3, source()), OSError)
    assert numbers(out) == list(range(fail))


@pytest.mark.parametrize("fail", range(6))
def test_nothing_is_given_after_a_frame_that_cannot_be_finished(fail: int) -> None:
    work = Inverter(RaceRuntime())

    def finish(source: Frame, computed: tuple[Tensor, ...], exact: bool) -> Frame | None:
        if source.pts == fail:
            raise RuntimeError("CUDA error: unspecified launch failure\nmore")
        return work.finish(source, computed, exact)

    in_flight = FramesInFlight(work.compute, finish, work.runtime, 3)
    assert numbers(until_error(in_flight.stream(map(sdr_frame, range(6))), RetryError)) == list(range(fail))


def test_repeated_frames_keep_their_place() -> None:
    work = Inverter(RaceRuntime())
    work.repeat = {0, 2, 3, 6}
    assert numbers(list(work.stream(3, map(sdr_frame, range(7))))) == list(range(7))
    assert work.exact == [0, 2, 3, 6]


def test_closing_waits_for_the_device_and_takes_no_more() -> None:
    taken: list[int] = []

    def source() -> Iterator[Frame]:
        for pts in range(100):
            taken.append(pts)
            yield sdr_frame(pts)

    work = Inverter(RaceRuntime())
    stream = work.stream(3, source())
    assert next(stream).pts == 0
    stream.close()  # type: ignore[attr-defined]
    assert taken == [0, 1, 2, 3]
    assert work.runtime.drained == 1


def test_lost_device_may_fail_again_while_draining() -> None:
    class Lost(RaceRuntime):
        def drain(self) -> None:
            raise RuntimeError("CUDA error: device lost")

    work = Inverter(Lost(), 1, RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert numbers(until_error(work.stream(2, map(sdr_frame, range(3))), RetryError)) == [0]


@pytest.mark.parametrize("given", [torch.uint8, torch.uint16, torch.float16, torch.float32])
@pytest.mark.parametrize("taken", [torch.float16, None])
def test_between_host_tensors_all_is_copied(given: torch.dtype, taken: torch.dtype | None) -> None:
    """To planes of VapourSynth, too, whose rows are longer, and whose float16 is made of float32."""
    runtime = CudaRuntime.__new__(CudaRuntime)
    source = (torch.rand(70, 900) * 200).to(given)
    target = torch.zeros(70, 960, dtype=taken or given)
    runtime.copy(target[:, :900], source)
    assert torch.equal(target[:, :900], source.to(target.dtype))
    assert not bool(target[:, 900:].any())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu() -> None:
    def compute(frame: Frame, exact: bool) -> tuple[Tensor, ...]:
        return tuple((255 - plane.to(torch.int32)).to(torch.uint8) for plane in frame.planes)

    def finish(source: Frame, computed: tuple[Tensor, ...], exact: bool) -> Frame:
        return Frame(computed, source.format, source.color, source.pts)

    in_flight = FramesInFlight(compute, finish, CudaRuntime(torch.device("cuda:0")), 3)
    frames = (sdr_frame(pts, 640, 360) for pts in range(50))
    assert numbers(list(in_flight.stream(frames))) == list(range(50))
