"""The colour path on an NVIDIA GPU, tried before it is used: what the kernels make of a small picture is compared with
what PyTorch's operators make of it."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ..frame import Frame
from ..tried import tried
from .cuda import Kernels
from .path import ColorPath, Operators
from .spec import ColorSpec, PixelFormat, Primaries

_SAMPLE = (35, 51)
"""Rows and columns of the picture: odd, and of several programs."""
_SIGNAL_TOLERANCE = 1e-5
_CODE_TOLERANCE = 0.05
"""Of a 10-bit code: how far planes may be from those of the operators, rounding aside."""
_log = logging.getLogger(__name__)


def fused(operators: Operators, device: torch.device) -> ColorPath:
    """The kernels that do what `operators` do, where they are right on the device; where not, the operators, and a
    warning in the log. Of `to_signal` that is found out as the first frame of a kind comes."""

    def make() -> Kernels:
        return Kernels(operators.mapping, operators.target, operators.active, device)

    def fault(kernels: Kernels) -> str | None:
        return _fault_of_planes(kernels, operators, device)

    otherwise = f"the kernels for the light mapping cannot be used on {device}, going on with PyTorch's operators"
    kernels = tried(make, fault, device, _log, otherwise)
    return operators if kernels is None else _Tried(kernels, operators, device)


class _Tried:
    """The kernels, but for frames of a kind for which they are not right the operators."""

    def __init__(self, kernels: Kernels, operators: Operators, device: torch.device) -> None:
        self._kernels, self._operators, self._device = kernels, operators, device
        self._of_kind: dict[tuple[PixelFormat, ColorSpec], ColorPath] = {}

    def to_signal(self, frame: Frame) -> Tensor:
        """See ColorPath."""
        kind = (frame.format, frame.color)
        if kind not in self._of_kind:
            self._of_kind[kind] = self._chosen(*kind)
        return self._of_kind[kind].to_signal(frame)

    def to_planes(self, signal: Tensor, primaries: Primaries, source: Tensor | None = None) -> tuple[Tensor, ...]:
        """See ColorPath."""
        return self._kernels.to_planes(signal, primaries, source)

    def _chosen(self, format: PixelFormat, color: ColorSpec) -> ColorPath:
        frame = _sample_frame(format, color, self._device)
        expected = self._operators.to_signal(frame)  # raises what is the frame's fault

        def fault(kernels: Kernels) -> str | None:
            error = float((kernels.to_signal(frame) - expected).abs().max())
            return None if error <= _SIGNAL_TOLERANCE else f"their signal is off by {error:.2g}"

        otherwise = f"the kernel for {format.name} cannot be used on {self._device}, going on with PyTorch's operators"
        return tried(lambda: self._kernels, fault, self._device, _log, otherwise) or self._operators


def _fault_of_planes(kernels: Kernels, operators: Operators, device: torch.device) -> str | None:
    generator = torch.Generator().manual_seed(0)
    shape = (1, 3, *_SAMPLE)
    signal = (torch.rand(shape, generator=generator) * 1.8 - 0.2).to(device)
    signal[..., :8, :] = torch.linspace(0, 1.2, _SAMPLE[1], device=device)
    source = torch.rand(shape, generator=generator).to(device)
    given = signal, Primaries.BT709, source
    made, expected = (path.to_planes(*given) for path in (kernels, operators))
    if not torch.allclose(made[-1], expected[-1], rtol=1e-4, atol=1e-6):
        return f"their light levels are {made[-1].tolist()}, not {expected[-1].tolist()}"
    format = operators.target.format
    unit = 2.0 ** (format.depth - 10)
    for plane, wanted in zip(made[:-1], expected[:-1], strict=True):
        off = (plane.to(torch.float64) - wanted.to(torch.float64)).abs()
        largest, mean = float(off.max()), float(off.mean())
        if format.is_float:
            right = largest <= 1e-4 * float(wanted.abs().max())
        else:
            right = mean <= _CODE_TOLERANCE * unit and largest <= 1 + _CODE_TOLERANCE * unit
        if not right:  # also where it is not a number
            return f"their planes are off by {largest:.2g}, on average by {mean:.2g}"
    return None


def _sample_frame(format: PixelFormat, color: ColorSpec, device: torch.device) -> Frame:
    """All codes by chance, and of floats some beyond the range."""
    generator, planes = torch.Generator().manual_seed(0), []
    for shape in format.plane_shapes(_SAMPLE[1], _SAMPLE[0]):
        if format.is_float:
            plane = torch.rand(shape, generator=generator).mul_(1.4).sub_(0.2)
            plane = plane.to(torch.float16 if format.depth == 16 else torch.float32)
        else:
            plane = torch.randint(0, 1 << format.depth, shape, generator=generator)
            plane = plane.to(torch.uint8 if format.depth == 8 else torch.uint16)
        planes.append(plane.to(device))
    return Frame(tuple(planes), format, color)
