"""The colour path on an NVIDIA GPU, tried before it is used: what the kernels make of a small picture is compared with
what PyTorch's operators make of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from ..frame import Frame
from ..tried import tried
from .convert import Target
from .cuda import Kernels
from .light import LightMapping, pq_from_nits
from .path import ColorPath, Operators
from .spec import ColorSpec, PixelFormat, Primaries, Transfer
from .tone import Active
from .transfer import pq_inverse_eotf

_SAMPLE = (67, 71)
"""Rows and columns of the picture: odd, of several programs in each plane, and more than a tile of noise."""
_ACTIVE = (6, 63, 9, 70)
_SIGNAL_TOLERANCE = 1e-5
_CODES = 1023
_TOLERANCE = 0.05
"""Of a 10-bit code of PQ: how far planes and light levels may be from those of the operators, rounding aside."""
_log = logging.getLogger(__name__)


def fused(operators: Operators, device: torch.device) -> ColorPath:
    """The kernels that do what `operators` do, where they are right on the device; where not, the operators, and a
    warning in the log. Of `to_signal` that is found out as the first frame of a kind comes."""

    def make() -> Kernels:
        return Kernels(operators.mapping, operators.target, device)

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

    @property
    def backend(self) -> str:
        """`pytorch` as soon as one kind of frame needs it."""
        return self._operators.backend if self._operators in self._of_kind.values() else self._kernels.backend

    def to_signal(self, frame: Frame) -> Tensor:
        """See ColorPath."""
        kind = (frame.format, frame.color)
        if kind not in self._of_kind:
            self._of_kind[kind] = self._chosen(*kind)
        return self._of_kind[kind].to_signal(frame)

    def to_planes(
        self, signal: Tensor, primaries: Primaries, source: Tensor | None = None, active: Active | None = None
    ) -> tuple[Tensor, ...]:
        """See ColorPath."""
        return self._kernels.to_planes(signal, primaries, source, active)

    def _chosen(self, format: PixelFormat, color: ColorSpec) -> ColorPath:
        frame = _sample_frame(format, color, self._device)
        expected = self._operators.to_signal(frame)  # raises what is the frame's fault

        def fault(kernels: Kernels) -> str | None:
            error = float((kernels.to_signal(frame) - expected).abs().max())
            return None if error <= _SIGNAL_TOLERANCE else f"their signal is off by {error:.2g}"

        otherwise = f"the kernel for {format.name} cannot be used on {self._device}, going on with PyTorch's operators"
        return tried(lambda: self._kernels, fault, self._device, _log, otherwise) or self._operators


def _fault_of_planes(kernels: Kernels, operators: Operators, device: torch.device) -> str | None:
    target, (signal, source) = operators.target, (each.to(device) for each in _sample_signals(operators.mapping))
    given = signal, Primaries.BT709, source if operators.mapping.blends else None, _ACTIVE
    made, expected = (path.to_planes(*given) for path in (kernels, operators))
    rounding = 0.0 if target.format.is_float else 2.0 ** (10 - target.format.depth)
    for plane, wanted in zip(made[:-1], expected[:-1], strict=True):
        off = (_codes(plane, target) - _codes(wanted, target)).abs()
        largest, mean = float(off.max()), float(off.mean())
        if not (largest <= rounding + _TOLERANCE and mean <= _TOLERANCE):  # not a number is neither
            return f"their planes are off by {largest:.2g} of a 10-bit code, on average by {mean:.2g}"
    (*levels, finite), (*wanted_levels, wanted_finite) = made[-1].tolist(), expected[-1].tolist()
    off_levels = [abs(pq_from_nits(a) - pq_from_nits(b)) * _CODES for a, b in zip(levels, wanted_levels, strict=True)]
    if not max(off_levels) <= _TOLERANCE or finite != wanted_finite:
        return f"their light levels are {made[-1].tolist()}, not {expected[-1].tolist()}"
    return None


def _codes(plane: Tensor, target: Target) -> Tensor:
    """A plane in 10-bit codes, float64; of linear light those of PQ."""
    if not target.format.is_float:
        return plane.to(torch.float64) / 2.0 ** (target.format.depth - 10)
    if target.color.transfer is Transfer.LINEAR:
        plane = pq_inverse_eotf(plane * target.white)
    return plane.to(torch.float64) * _CODES


def _sample_signals(mapping: LightMapping) -> Iterator[Tensor]:
    """What a network makes and what it was made of, (1, 3, H, W): noise from below 0 to above white, and ramps of grey
    and of a colour up to more than the light that the roll-off ends at."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0.0, 1.3 * (mapping.source_peak / mapping.white) ** (1 / mapping.display_gamma), _SAMPLE[1])
    for _ in range(2):
        signal = torch.rand((1, 3, *_SAMPLE), generator=generator) * 1.8 - 0.2
        signal[..., :8, :] = ramp
        signal[..., 8:16, :] = ramp * torch.tensor([1.0, 0.7, 0.4]).view(3, 1, 1)
        yield signal


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
