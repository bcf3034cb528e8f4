"""Where the network runs: devices and precisions by name, and frames in flight on a CUDA device.

While one frame is computed, the next is uploaded and the previous one downloaded, each on a stream of its
own. Only the coded integers cross the bus, through page-locked buffers that are made once and used again.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

import torch
from torch import Tensor

from .errors import RetryError, UsageError
from .frame import Frame

Lane = Literal["upload", "compute", "download"]
Planes = tuple[Tensor, ...]
_cuda: Any = torch.cuda  # whose classes have no types


def resolve_device(name: str = "auto") -> torch.device:
    """The device of `auto` (the first of CUDA, else the CPU), `cpu`, `cuda` or `cuda:N`; else UsageError."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = [f"cuda:{index}" for index in range(count)]
    if name == "auto":
        name = "cuda" if there else "cpu"
    if name == "cuda":
        name = "cuda:0"
    if name == "cpu" or name in there:
        return torch.device(name)
    known = re.fullmatch(r"cuda:\d+", name)
    problem = f"there is no device {name} here" if known else f"{name!r} is not a device"
    raise UsageError(problem, f"--device takes auto, {', '.join(['cpu', *there])} on this machine")


def resolve_precision(name: str, device: torch.device) -> Literal["fp32", "fp16"]:
    """The precision of the network: `auto` is fp16 on CUDA and fp32 on the CPU; else UsageError."""
    if name == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if name == "fp32":
        return "fp32"
    if name == "fp16":
        if device.type != "cuda":
            raise UsageError("fp16 is slower and less exact than fp32 on a CPU", "leave --precision out")
        return "fp16"
    raise UsageError(f"{name!r} is not a precision", "--precision takes auto, fp16 or fp32")


def forbid_tf32() -> None:
    """Float32 convolutions with all their bits. For the whole process, because torch keeps one setting for
    all threads: to set it back after use could reach into another engine's frame."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def total_memory(device: torch.device) -> int:
    """Bytes that the device has in all, used or not, so that the answer is the same at every start."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on Windows
        installed = 8 << 30
    with suppress(OSError, ValueError):  # a container's limit; the file says "max" where there is none
        installed = min(installed, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return installed


def is_out_of_memory(error: BaseException) -> bool:
    """True for a failed allocation, on the device or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    texts = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


@contextmanager
def device_errors() -> Iterator[None]:
    """Turns what CUDA reports into errors that say what to do; other errors pass."""
    try:
        yield
    except RuntimeError as error:
        text = str(error).splitlines()[0] if str(error) else ""
        if is_out_of_memory(error):
            raise RetryError(
                "there is no memory left for the buffers of a frame",
                "end other programs or keep fewer frames in flight; the same command goes on from here",
            ) from error
        if "no kernel image" in text:
            message = f"this build of torch does not support the device: {text}"
            raise UsageError(message, "give --device cpu") from error
        if "CUDA error" in text or "cuDNN error" in text or "CUDNN_STATUS" in text:
            raise RetryError(f"the device was lost: {text}", "the same command goes on from here") from error
        raise


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
        """To or from the device on the current lane, without waiting; between host tensors at once."""
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
