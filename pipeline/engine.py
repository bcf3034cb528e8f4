"""The engine: SDR frames in, HDR frames out, on whatever device there is.

    coded --to_signal--> signal --network--> signal --to_planes--> coded

All of it runs on the device; nothing after the network has less than float32. A frame depends on itself only.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from .at_once import compute_at_once
from .backend import check_backend
from .color.convert import Target
from .color.cuda_trial import fused
from .color.light import LightMapping
from .color.path import ColorPath, Operators
from .color.tone import Active
from .device import device_errors, forbid_tf32, is_out_of_memory, resolve_device, resolve_precision
from .errors import UsageError
from .frame import Frame, LightLevels
from .in_flight import CudaRuntime, FramesInFlight, Planes
from .network.forward import Precision, place
from .network.tiles import Network, Size
from .tiling import Tiling

__all__ = ["Engine", "Network"]

_log = logging.getLogger(__name__)

_BYTES_PER_PIXEL = {"fp32": 2200, "fp16": 1200, "bf16": 2200}
"""Peak of a frame from planes to planes. fp32: 1840 to 1980 were measured on a CPU (torch 2.15, 256x144 to
1280x720). fp16: half the network's share of it, not measured. A network that knows better has an attribute
`bytes_per_pixel`."""


class Engine:
    """Makes HDR frames of SDR frames with one network and one light mapping.

    network: an HDRUNet, or any callable (1, 3, H, W) signal -> (1, 3, H, W) signal, which is left as it is.
    What has an attribute `halo` can be tiled (HDRUNet.halo says what it means).
    in_flight, at_once: frames that `stream` has in work at the same time, on CUDA and on the CPU. They share a CPU's
    threads and need that many times the memory. The results do not depend on them.
    active: the picture without its bars, for the average light level.
    Raises UsageError for a device, precision, backend or tile that cannot be.
    """

    def __init__(
        self,
        network: Network,
        mapping: LightMapping,
        target: Target,
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
        tile: str | Size = "auto",
        in_flight: int = 3,
        at_once: int = 1,
        active: Active | None = None,
    ) -> None:
        self.mapping, self.target = mapping, target
        self.device = resolve_device(device)
        """Where frames are computed."""
        check_backend(backend, self.device.type)
        asked = resolve_precision(precision, self.device)
        self._config = getattr(network, "config", type(network).__qualname__)
        if min(in_flight, at_once) < 1:
            raise UsageError(f"{min(in_flight, at_once)} frames in flight are not possible", "give at least 1")
        self.in_flight, self.at_once = in_flight, at_once
        self._lock = threading.Lock()
        self._warned = False
        self._active = active
        self.color_path: ColorPath = Operators(mapping, target)
        """What makes signals of coded frames, and coded frames of signals."""
        self._shared: FramesInFlight | None = None
        self._runtime: CudaRuntime | None = None
        with device_errors():
            if self.device.type == "cuda":
                forbid_tf32()  # before the network's check, too
            self._exact = self._fast = place(network, self.device, asked, backend)
            self.precision: Precision = getattr(self._fast, "precision", "fp32")
            """`fp16`, `fp32` or `bf16`, which the network is computed in: always fp32 where it is not an HDRUNet, or
            where nothing that computes it in the one asked for is right."""
            if self.precision == "fp16":  # which overflows
                self._exact = place(network, self.device, "fp32")
            if self.device.type == "cuda":
                self.color_path = fused(self.color_path, self.device)
                self._runtime = CudaRuntime(self.device)
        needed = getattr(self._fast, "bytes_per_pixel", _BYTES_PER_PIXEL[self.precision])
        self.tiling = Tiling(tile, getattr(network, "halo", None), self.device, needed)
        """Which tiles frames are computed in."""

    @property
    def concurrency(self) -> int:
        """`in_flight` on CUDA, `at_once` on the CPU."""
        return self.in_flight if self.device.type == "cuda" else self.at_once

    @concurrency.setter
    def concurrency(self, frames: int) -> None:
        if self.device.type == "cuda":
            self.in_flight = frames
        else:
            self.at_once = frames

    def __call__(self, frame: Frame, out: tuple[Tensor, ...] | None = None) -> Frame:
        """The HDR frame of one SDR frame; from several threads, of which in_flight share a CUDA device at once.

        out: planes on the host that the result is written to, of its shapes and types (float16 takes float32
        rounded); they need not be contiguous. Raises as stream does, and the next frame is not harmed.
        """
        if self._runtime is not None:
            with self._lock:
                if self._shared is None:
                    self._shared = FramesInFlight(self._compute, self._finish, self._runtime, self.in_flight)
            return self._shared.one(frame, out)
        with device_errors():
            *planes, report = self._compute(frame, True)
            if out is None:
                # Clones, because planes made in inference mode could not be written to by others.
                return self._finished(frame, (*(plane.clone() for plane in planes), report))
            for target, plane in zip(out, planes, strict=True):
                target.copy_(plane)
            return self._finished(frame, (*out, report))

    def stream(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """HDR frames of SDR frames, in order: planes on the host, `light` measured, pts kept.

        Frames in flight, or at once, are taken before the first is given. Where a frame fails, all before it are
        given first. Raises RetryError where memory does not do or the device was lost; a smaller tile, or a
        frame that was computed again, is a warning in the log.
        """
        if self._runtime is not None:
            in_flight = FramesInFlight(self._compute, self._finish, self._runtime, self.in_flight)
            yield from in_flight.stream(frames)
            return
        if self.at_once > 1:
            yield from compute_at_once(self, frames, self.at_once)
            return
        for frame in frames:
            yield self(frame)

    def release(self) -> None:
        """Give back the memory that the network keeps for the next frames."""
        if (release := getattr(self._fast, "release", None)) is not None:
            release()

    @property
    def backend(self) -> str:
        """Whose code computes the network: `ours`, `onednn`, `pytorch`, or, where it was asked for and is right,
        `openvino`. On CUDA also whose convolves and converts colour, where it is another's: `ours, convolutions cudnn`,
        `ours, colour pytorch`."""
        network: str = getattr(self._fast, "backend", "pytorch")
        color = self.color_path.backend
        return network if self.device.type == "cpu" or network.startswith(color) else f"{network}, colour {color}"

    @property
    def computed_by(self) -> str:
        """Which code computes which network, weights aside."""
        code = getattr(self._fast, "__qualname__", type(self._fast).__qualname__)
        return f"{code} of {self.backend} {self._config}"

    @torch.inference_mode()
    def _compute(self, frame: Frame, exact: bool) -> Planes:
        """Planes and, as the last tensor, a report: maximum and average nits, and 1.0 if all is finite."""
        repeat = exact and self._exact is not self._fast
        tile = self.tiling.of(frame.width, frame.height)
        while True:
            try:
                return self._attempt(frame, self._exact if exact else self._fast, tile)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Here, not above: the error held on to the tensors of the attempt.
            tile = self.tiling.shrink(frame, tile, repeat)
            self.release()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _attempt(self, frame: Frame, network: Network, tile: Size | None) -> Planes:
        source = self.color_path.to_signal(frame)
        signal = source if self.mapping.strength == 0.0 else self.tiling.run(network, source, tile)
        blended = source if self.mapping.blends else None
        del source
        signal = signal.to(torch.float32).contiguous()
        return self.color_path.to_planes(signal, frame.color.primaries, blended, self._active)

    def _finish(self, source: Frame, computed: Planes, exact: bool) -> Frame | None:
        if self.precision == "fp16" and not exact and not bool(computed[-1][2]):
            if not self._warned:
                _log.warning("%r is not finite in %s: computed again in fp32", source, self.precision)
            self._warned = True
            return None
        return self._finished(source, computed)

    def _finished(self, source: Frame, computed: Planes) -> Frame:
        *planes, report = computed
        brightest, average, _ = report.tolist()
        light = LightLevels(brightest, average)
        color = self.target.color
        if self.target.is_signal:
            color = replace(color, primaries=source.color.primaries)
        return Frame(tuple(planes), self.target.format, color, source.pts, light)
