"""Frames in flight on a CUDA device: while one is computed, the next is uploaded and the previous one downloaded.

Each of the three has a stream of its own. Only the coded integers cross the bus, through page-locked buffers that are
made once and used again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .device import device_errors
from .frame import Frame

Lane = Literal["upload", "compute", "download"]
Planes = tuple[Tensor, ...]
_cuda: Any = torch.cuda  # whose classes have no types


class CudaRuntime:
    """What frames in flight need of a CUDA device: three lanes that run side by side, each in its own order.

    The seam of the tests, which put a runtime here that checks every access for a race.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        lanes: tuple[Lane, ...] = ("upload", "compute", "download")
        self._streams: dict[Lane, Any] = {lane: _cuda.Stream(device) for lane in lanes}
        # The weights were copied on the stream that is current here.
        self._streams["compute"].wait_stream(torch.cuda.current_stream(device))

    def on(self, lane: Lane) -> AbstractContextManager[Any]:
        """Copies, allocations and kernels inside go to `lane`."""
        return torch.cuda.stream(self._streams[lane])

    def event(self) -> Any:
        """A new event; a host that waits for it sleeps, because encoders want the CPU."""
        return _cuda.Event(blocking=True)

    def record(self, event: Any, lane: Lane) -> None:
        """`event` happens when all that was given to `lane` so far is done."""
        event.record(self._streams[lane])

    def wait(self, lane: Lane, event: Any) -> None:
        """What is given to `lane` from now on starts after `event`; the host goes on."""
        self._streams[lane].wait_event(event)

    def synchronize(self, event: Any) -> None:
        """The host waits for `event`."""
        event.synchronize()

    def drain(self) -> None:
        """The host waits for all lanes."""
        for stream in self._streams.values():
            stream.synchronize()

    def pinned(self, like: Tensor) -> Tensor:
        """Page-locked host memory."""
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def on_device(self, like: Tensor) -> Tensor:
        """Memory of the device, from the pool of the current lane."""
        return torch.empty(like.shape, dtype=like.dtype, device=self._device)

    def copy(self, target: Tensor, source: Tensor) -> None:
        """To or from the device on the current lane, without waiting; between host tensors at once, by this thread
        alone: torch's threads would spin for the next copy where encoders want the CPU."""
        if target.device.type == source.device.type == "cpu" and target.dtype == source.dtype:
            np.copyto(target.numpy(), source.numpy())
        else:
            target.copy_(source, non_blocking=True)


@dataclass(eq=False)
class _Slot:
    """The buffers of one frame in flight. They may be written again once `downloaded` was waited for."""

    uploaded: Any
    computed: Any
    downloaded: Any
    source: Frame | None = None
    coded: Planes = ()
    """Input planes, page-locked."""
    on_device: Planes = ()
    """Input planes on the device."""
    result: Planes = ()
    """What was computed, on the device. Held until it has been downloaded: its memory is from the pool of the
    compute lane, which would give it to the next frame."""
    received: Planes = ()
    """What was computed, page-locked."""


class FramesInFlight:
    """A stream of frames through a device, `slots` of them at once, out in the order they came in.

    compute(frame with planes on the device, exact) -> tensors on the device, contiguous;
    finish(source frame, the same tensors on the host, exact) -> the frame that leaves, or None to have it
    computed again with exact=True.
    """

    def __init__(
        self,
        compute: Callable[[Frame, bool], Planes],
        finish: Callable[[Frame, Planes, bool], Frame | None],
        runtime: CudaRuntime,
        slots: int,
    ) -> None:
        self._compute, self._finish, self._runtime = compute, finish, runtime
        self._slots = [_Slot(runtime.event(), runtime.event(), runtime.event()) for _ in range(slots)]
        self._free: SimpleQueue[_Slot] = SimpleQueue()
        for slot in self._slots:
            self._free.put(slot)
        self._launching = threading.Lock()

    def one(self, source: Frame, out: Planes | None = None) -> Frame:
        """One frame, from any thread: as many at once as there are slots, others wait. Not beside stream.
        out: host tensors that the planes are written to."""
        slot = self._free.get()
        try:
            return self._collect(self._submit(slot, source), out)
        except BaseException:
            with suppress(RuntimeError):
                self._runtime.drain()
            raise
        finally:
            slot.source, slot.result = None, ()
            self._free.put(slot)

    def stream(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Frames in, frames out. Where one fails, all before it leave first, and then its error is raised."""
        source, pending, taken = iter(frames), deque[_Slot](), 0
        failure: Exception | None = None
        try:
            while failure is None:
                done = None
                try:
                    frame = next(source, None)
                except Exception as error:
                    failure = error
                    break
                if frame is None:
                    break
                if len(pending) == len(self._slots):
                    done = self._collect(pending.popleft())
                try:
                    pending.append(self._submit(self._slots[taken % len(self._slots)], frame))
                    taken += 1
                except Exception as error:
                    failure = error
                if done is not None:
                    yield done
            while pending:
                yield self._collect(pending.popleft())
            if failure is not None:
                raise failure
        finally:
            failure = None  # or its traceback and this frame would keep each other, and the planes, alive
            with suppress(RuntimeError):  # a lost device has nothing to wait for
                self._runtime.drain()

    def _submit(self, slot: _Slot, source: Frame) -> _Slot:
        runtime = self._runtime
        with device_errors():
            if not _fits(slot.coded, source.planes):
                slot.coded = tuple(runtime.pinned(plane) for plane in source.planes)
                # From the upload lane's pool: memory of another lane's could still be in use there.
                with runtime.on("upload"):
                    slot.on_device = tuple(runtime.on_device(plane) for plane in source.planes)
            self._copy(slot.coded, source.planes)
            with runtime.on("upload"):
                self._copy(slot.on_device, slot.coded)
            runtime.record(slot.uploaded, "upload")
            slot.source = source
            self._launch(slot, exact=False)
        return slot

    def _launch(self, slot: _Slot, exact: bool) -> None:
        runtime, source = self._runtime, slot.source
        assert source is not None
        with self._launching:  # frames follow each other on the lane: the memory of one serves all
            runtime.wait("compute", slot.uploaded)
            with runtime.on("compute"):
                slot.result = self._compute(replace(source, planes=slot.on_device), exact)
            runtime.record(slot.computed, "compute")
        if not _fits(slot.received, slot.result):
            slot.received = tuple(runtime.pinned(tensor) for tensor in slot.result)
        runtime.wait("download", slot.computed)
        with runtime.on("download"):
            self._copy(slot.received, slot.result)
        runtime.record(slot.downloaded, "download")

    def _collect(self, slot: _Slot, out: Planes | None = None) -> Frame:
        source = slot.source
        assert source is not None
        with device_errors():
            for exact in (False, True):
                if exact:
                    self._launch(slot, exact)
                self._runtime.synchronize(slot.downloaded)
                given = out or ()
                leaving = given + tuple(torch.empty_like(tensor) for tensor in slot.received[len(given) :])
                self._copy(leaving, slot.received)
                frame = self._finish(source, leaving, exact)
                if frame is not None:
                    break
        assert frame is not None
        slot.source, slot.result = None, ()
        return frame

    def _copy(self, targets: Planes, sources: Planes) -> None:
        for target, source in zip(targets, sources, strict=True):
            self._runtime.copy(target, source)


def _fits(buffers: Planes, tensors: Planes) -> bool:
    return [(b.shape, b.dtype) for b in buffers] == [(t.shape, t.dtype) for t in tensors]
