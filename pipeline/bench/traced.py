"""An engine and a CUDA device that note in a timeline when they are at work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..engine import Engine
from ..frame import Frame
from ..in_flight import CudaRuntime, Lane
from .timeline import Timeline

_cuda: Any = torch.cuda  # whose events have no types


class TracedEngine(Engine):
    """An engine that notes when it is at work: on the CPU a span a frame, on CUDA one for each use of a lane."""

    timeline: Timeline | None = None

    def __call__(self, frame: Frame, out: tuple[Tensor, ...] | None = None) -> Frame:
        """As Engine's."""
        if self.timeline is None or self._runtime is not None:
            return super().__call__(frame, out)
        thread = threading.current_thread().name
        with self.timeline.span(f"compute {thread}" if thread.startswith("frame_") else "compute", frame.pts):
            return super().__call__(frame, out)

    @contextmanager
    def traced(self, timeline: Timeline) -> Iterator[None]:
        """Note in `timeline` what is done inside."""
        runtime, self.timeline = self._runtime, timeline
        if runtime is not None:
            self._runtime = TracedRuntime(runtime, timeline)
        try:
            yield
        finally:
            self.timeline, self._runtime = None, runtime


class TracedRuntime(CudaRuntime):
    """A CUDA device whose lanes say when they were at work, by events of their own."""

    def __init__(self, runtime: CudaRuntime, timeline: Timeline) -> None:
        """On the lanes of `runtime`: memory that torch keeps is kept for them."""
        vars(self).update(vars(runtime))
        self._timeline = timeline
        self._marks: list[tuple[Lane, Any, Any]] = []
        self._zero = _cuda.Event(enable_timing=True)
        torch.cuda.synchronize(self._device)
        self._zero.record()
        self._zero.synchronize()
        self._zero_seconds = timeline.now()

    @contextmanager
    def on(self, lane: Lane) -> Iterator[None]:
        """As CudaRuntime.on, between two events."""
        start, stop = _cuda.Event(enable_timing=True), _cuda.Event(enable_timing=True)
        with super().on(lane):
            start.record()
            try:
                yield
            finally:
                stop.record()
                self._marks.append((lane, start, stop))

    def drain(self) -> None:
        """As CudaRuntime.drain; the spans are told then, because only now all events have happened."""
        super().drain()
        for lane, start, stop in self._marks:
            begin, end = (self._zero_seconds + self._zero.elapsed_time(event) / 1e3 for event in (start, stop))
            self._timeline.add(lane, begin, end)
        self._marks.clear()
