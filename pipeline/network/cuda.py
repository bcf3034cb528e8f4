"""The network on an NVIDIA GPU: the kernels of `cuda_forward`, and a CUDA graph for each size.

Features are float16; sums and the output are float32, and what the first and last convolutions multiply is two halves
of it, which float16's matrix units take at twice the rate of TF32.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from .cuda_buffers import Buffers
from .cuda_forward import Forward, Way
from .hdrunet import HDRUNet, pad_to_multiple

Launches = Callable[[], None]
Capture = Callable[[Launches], Launches]

MOST_GRAPHS = 16
"""Sizes with a graph: tiles of a picture have at most nine."""
_MOST_FAILURES = 3
"""Captures that fail before there are no more: what another library does on the device meanwhile can end one."""
_ENGINE_BYTES_PER_PIXEL = 64
"""What the engine has of a frame beside the network's buffers; 57 were measured on a CPU at 1080p and 4K."""
_capturing = Lock()
"""torch has one capture at a time in a process."""
_cuda: Any = torch.cuda  # whose classes have no types
_log = logging.getLogger(__name__)


class Fused:
    """(1, 3, H, W) signal of any size -> (1, 3, H, W), float32, on the device.

    All sizes share one block of memory, which grows; a size has a graph from its second picture on. From any
    thread and stream, one after the other. Out of memory leaves it as it was, but for memory that it held.
    """

    precision = "fp16"

    def __init__(self, forward: Forward, device: torch.device, capture: Capture | None = None) -> None:
        """capture: makes a replay of launches. By default a CUDA graph, and none on a CPU."""
        self._forward, self._device = forward, device
        self._on_cuda = device.type == "cuda"
        # One stream for all captures, of those of high priority, which are no other's: of its 32 of a kind torch gives
        # one again when all are given, and what another network's frame did on it meanwhile would be captured.
        if capture is None and self._on_cuda:
            capture = partial(_captured, _cuda.Stream(device, priority=-1))
        self._capture = capture
        self._failures = 0
        self._lock = Lock()
        self._memory: Tensor | None = None
        self._graphs: OrderedDict[tuple[int, int], Launches | None] = OrderedDict()
        """Of each size that was seen, and None where it was seen once; the one used last is at the end."""
        self._last: Any = _cuda.Event() if self._on_cuda else None

    @property
    def way(self) -> Way:
        """How convolutions are computed."""
        return self._forward.way

    @property
    def backend(self) -> str:
        """Whose code it is."""
        return "ours, convolutions cudnn" if self.way == "cudnn" else "ours"

    @property
    def bytes_per_pixel(self) -> int:
        """Memory of a frame from planes to planes, in bytes, by counting."""
        return self._forward.workspace_bytes(1024, 1024) // 1024**2 + _ENGINE_BYTES_PER_PIXEL

    @torch.no_grad()
    def __call__(self, signal: Tensor) -> Tensor:
        """The output is the caller's own."""
        height, width = signal.shape[-2:]
        with self._lock, self._device_context():
            stream = _cuda.current_stream(self._device) if self._on_cuda else None
            if stream is not None:
                stream.wait_event(self._last)
            padded = pad_to_multiple(signal, HDRUNet.MULTIPLE)
            given = self._buffers(padded.shape[-2], padded.shape[-1])
            try:
                given["image"].copy_(padded)
                self._run(given)
                return given["output"][..., :height, :width].clone()
            finally:  # also where there is no memory for the clone: what was launched is at work
                if stream is not None:
                    assert self._memory is not None
                    self._memory.record_stream(stream)
                    self._last.record(stream)

    def release(self) -> None:
        """Gives back the memory, for a picture in smaller tiles."""
        with self._lock:
            self._graphs.clear()
            self._memory = None

    def _device_context(self) -> AbstractContextManager[Any]:
        return torch.cuda.device(self._device) if self._on_cuda else nullcontext()

    def _buffers(self, height: int, width: int) -> Buffers:
        size = self._forward.workspace_bytes(height, width)
        if self._memory is None or self._memory.numel() < size:
            self._graphs.clear()  # they write to the old one
            self._memory = None
            with torch.inference_mode(False):  # or it could be written to in inference mode only
                self._memory = torch.empty(size, dtype=torch.uint8, device=self._device)
        return self._forward.buffers(self._memory, height, width)

    def _run(self, given: Buffers) -> None:
        height, width = given["image"].shape[-2:]
        size = (height, width)
        seen = size in self._graphs
        graph = self._graphs.pop(size, None)
        if graph is None and seen and self._capture is not None:
            try:
                if self.way == "cudnn":  # each thread has cuDNN's plans of its own, which are not to be made meanwhile
                    self._forward(given)
                graph = self._capture(lambda: self._forward(given))
            except RuntimeError as error:
                self._failures += 1
                _log.debug("a capture on %s failed", self._device, exc_info=error)
                if self._failures == _MOST_FAILURES:
                    self._capture = None
                    reason = (str(error) or type(error).__name__).splitlines()[0]
                    _log.warning("no CUDA graphs on %s, launching kernels one by one: %s", self._device, reason)
        self._graphs[size] = graph
        if len(self._graphs) > MOST_GRAPHS:
            self._graphs.popitem(last=False)
        if graph is None:
            self._forward(given)
        else:
            graph()


def _captured(stream: Any, launches: Launches) -> Launches:
    """A CUDA graph of launches that have run before, so that nothing is compiled or loaded meanwhile.

    stream: what they are captured on, because the current one may be the default, which cannot be captured.
    """
    graph = _cuda.CUDAGraph()
    # Not torch.cuda.graph, which waits for the whole device and empties the caches of all, for memory that is not
    # taken here, and where it fails leaves the thread on its stream.
    with _capturing, _cuda.stream(stream):
        # Other threads upload, download and allocate meanwhile: what they do must not end the capture.
        with torch.inference_mode(False):  # torch before 2.11 makes a tensor here that the next graph writes to
            graph.capture_begin(capture_error_mode="thread_local")
        try:
            launches()
        except BaseException:
            with suppress(RuntimeError):  # which says less
                graph.capture_end()
            raise
        graph.capture_end()
    return graph.replay  # type: ignore[no-any-return]
