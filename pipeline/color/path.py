"""The colour path of a conversion, from coded planes to a signal and from a signal to coded planes: by PyTorch's
operators on any device, which is the reference of the kernels in `cuda`."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..frame import Frame
from .convert import Target, to_planes, to_signal
from .light import LightMapping
from .spec import Primaries
from .tone import Active, blend, measure, to_nits


class ColorPath(Protocol):
    """Both ends of the colour path, for one light mapping and one target."""

    @property
    def backend(self) -> str:
        """Whose code it is: `pytorch` or `ours`."""

    def to_signal(self, frame: Frame) -> Tensor:
        """As convert.to_signal."""

    def to_planes(
        self, signal: Tensor, primaries: Primaries, source: Tensor | None = None, active: Active | None = None
    ) -> tuple[Tensor, ...]:
        """Planes of an HDR frame, contiguous, and then a report.

        signal: (1, 3, H, W), float32, contiguous, R'G'B' of `primaries`, unbounded, as the network makes it. source:
        what it was made of, where that is to be blended with it. active: the picture without its bars, for the average
        light level. The planes are those of convert.to_planes, or where Target.is_signal is true the three of the
        blended signal. The report is (3,), float64: the light levels of tone.measure, and 1.0 where all of `signal` is
        finite.
        """


class Operators:
    """PyTorch's operators."""

    backend = "pytorch"

    def __init__(self, mapping: LightMapping, target: Target) -> None:
        self.mapping, self.target = mapping, target

    def to_signal(self, frame: Frame) -> Tensor:
        """See ColorPath."""
        return to_signal(frame)

    def to_planes(
        self, signal: Tensor, primaries: Primaries, source: Tensor | None = None, active: Active | None = None
    ) -> tuple[Tensor, ...]:
        """See ColorPath."""
        finite = signal.isfinite().all().to(torch.float64).reshape(1)
        if source is not None:
            signal = blend(source, signal, self.mapping)
        nits = to_nits(signal, primaries, self.mapping)
        report = torch.cat((measure(nits, active), finite))
        if self.target.is_signal:
            return *signal[0].unbind(), report
        return *(plane.contiguous() for plane in to_planes(nits, self.target)), report
