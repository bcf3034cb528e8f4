"""The colour path on an NVIDIA GPU: one kernel makes a signal of a frame, two make a frame's planes of a signal."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..frame import Frame
from .chroma import phases
from .convert import Target
from .dither import TILE_SIZE, dither_offset
from .light import LightMapping, pq_from_nits
from .planes import chroma_weights, code_limits, code_scale, luma_weights
from .primaries import to_bt2020
from .spec import ColorSpec, Matrix, PixelFormat, Primaries, Transfer
from .tone import SURELY_BELOW, Active, active_or_all, blend

_BLOCK = 512
"""Pixels of a program."""
_OPTIONS = {"BLOCK": _BLOCK, "num_warps": 8, "num_stages": 1, "enable_fp_fusion": True}
_TRANSFERS = {Transfer.PQ: "pq", Transfer.HLG: "hlg", Transfer.LINEAR: "linear"}
_Planes = tuple[Tensor | None, ...]
"""None where there is nothing to write."""


class Kernels:
    """The launches. See ColorPath; planes lie on the device. A frame that the operators refuse must not be given."""

    backend = "ours"

    def __init__(self, mapping: LightMapping, target: Target, device: torch.device) -> None:
        from . import cuda_planes, cuda_signal

        self._signal_kernel: Any = cuda_signal.to_signal
        self._planes_kernel: Any = cuda_planes.to_planes
        self._finish_kernel: Any = cuda_planes.finish
        self._mapping, self._target, self._device = mapping, target, device
        self._light, self._coding = _light(mapping, target), _coding(target)
        self._matrices: dict[Primaries, Tensor] = {}
        self._noise: Tensor | None = None
        if target.dither and not target.format.is_float:
            self._noise = torch.stack([dither_offset(TILE_SIZE, TILE_SIZE, index, device) for index in range(3)])

    def to_signal(self, frame: Frame) -> Tensor:
        """See ColorPath."""
        first, second, third = (plane.contiguous() for plane in _in_order(frame))
        signal = self._empty(1, 3, frame.height, frame.width)
        with self._device_context():
            self._signal_kernel[(_programs(frame.height, frame.width),)](
                first=first,
                second=second,
                third=third,
                signal=signal,
                height=frame.height,
                width=frame.width,
                chroma_height=third.shape[0],
                chroma_width=third.shape[1],
                **_source(frame.format, frame.color),
                **_OPTIONS,
            )
        return signal

    def to_planes(
        self, signal: Tensor, primaries: Primaries, source: Tensor | None = None, active: Active | None = None
    ) -> tuple[Tensor, ...]:
        """See ColorPath."""
        height, width = signal.shape[-2:]
        top, bottom, left, right = active_or_all(active, height, width)
        planes, (first, second, third), halving = self._results(height, width)
        parts = self._empty(3, _programs(height, width))
        with self._device_context():
            self._planes_kernel[(parts.shape[1],)](
                signal=signal,
                source=source,
                first=first,
                second=second,
                third=third,
                noise=self._noise,
                parts=parts,
                matrix=self._matrix(primaries),
                height=height,
                width=width,
                top=top,
                bottom=bottom,
                left=left,
                right=right,
                **self._light,
                **self._coding,
                **_OPTIONS,
            )
            report = self._finish(parts, (bottom - top) * (right - left), halving, height, width)
        if not self._target.is_signal:
            return *planes, report
        signal = signal if source is None else blend(source, signal, self._mapping)
        return *signal[0].unbind(), report

    def _finish(self, parts: Tensor, count: int, halving: _Planes, height: int, width: int) -> Tensor:
        """The report of the parts, where the active picture has `count` pixels; and chroma planes, halved, of those
        that have the size of luma."""
        second, third, halved_second, halved_third = halving
        report, (across, down) = self._empty(3, dtype=torch.float64), self._target.format.chroma_shift
        blocks = 0 if halved_second is None else _programs(*halved_second.shape)
        self._finish_kernel[(1 + blocks,)](
            parts=parts,
            report=report,
            programs=parts.shape[1],
            count=count,
            second=second,
            third=third,
            halved_second=halved_second,
            halved_third=halved_third,
            noise=self._noise,
            height=height,
            width=width,
            scale=self._coding["chroma_scale"],
            offset=self._coding["chroma_offset"],
            lowest=self._coding["lowest"],
            highest=self._coding["highest"],
            ROWS=1 << down,
            COLUMNS=1 << across,
            **_OPTIONS,
        )
        return report

    def _results(self, height: int, width: int) -> tuple[tuple[Tensor, ...], _Planes, _Planes]:
        """The planes of the target; the three that are written first; and what is halved then: two, and to where."""
        if self._target.is_signal:
            return (), (None,) * 3, (None,) * 4
        format = self._target.format
        kind = torch.float32 if format.is_float else torch.uint8 if format.depth == 8 else torch.uint16
        planes = tuple(self._empty(*shape, dtype=kind) for shape in format.plane_shapes(width, height))
        if not any(format.chroma_shift):
            return planes, planes, (None,) * 4
        # Not views of one tensor: Triton makes another program for what is not aligned to 16 bytes.
        chroma = self._empty(height, width), self._empty(height, width)
        return planes, (planes[0], *chroma), (*chroma, *planes[1:])

    def _matrix(self, primaries: Primaries) -> Tensor:
        """(3, 3) from linear R, G, B to nits."""
        if primaries not in self._matrices:
            nits = torch.tensor(to_bt2020(primaries) * self._mapping.white, dtype=torch.float32)
            self._matrices[primaries] = nits.to(self._device)
        return self._matrices[primaries]

    def _empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=self._device)

    def _device_context(self) -> AbstractContextManager[Any]:
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()


def _in_order(frame: Frame) -> tuple[Tensor, ...]:
    """Planes Y, Cb, Cr, or R, G, B."""
    if frame.format.model == "gray":
        return frame.planes * 3
    if frame.format.model == "yuv" and frame.color.matrix is Matrix.RGB:
        green, blue, red = frame.planes
        return red, green, blue
    return frame.planes


def _programs(height: int, width: int) -> int:
    return -(-height * width // _BLOCK)


@cache
def _source(format: PixelFormat, color: ColorSpec) -> dict[str, float | bool]:
    """What the kernel `to_signal` is told of a kind of frame."""
    yuv = format.model == "yuv" and color.matrix is not Matrix.RGB
    red, green_of_blue, green_of_red, blue = chroma_weights(color.matrix) if yuv else (0.0,) * 4
    (columns, rows), (across, down) = format.chroma_shift, phases(format.chroma_shift, color.chroma_location)
    return {
        **_scales(format, color, yuv),
        **{"red": red, "green_of_blue": green_of_blue, "green_of_red": green_of_red, "blue": blue},
        **{"down": down, "across": across},
        **{"YUV": yuv, "ROWS": 1 << rows, "COLUMNS": 1 << columns},
    }


def _light(mapping: LightMapping, target: Target) -> dict[str, float | bool | str]:
    """What the kernel `to_planes` is told of the light."""
    return {
        "display_gamma": mapping.display_gamma,
        "strength": mapping.strength,
        "peak": mapping.peak,
        "source_peak": mapping.source_peak,
        "high": pq_from_nits(mapping.source_peak),
        "goal": pq_from_nits(mapping.peak),
        "knee": mapping.knee_nits * SURELY_BELOW,
        "white": target.white,
        "TRANSFER": _TRANSFERS.get(target.color.transfer, "linear"),
        "ROLL_OFF": mapping.source_peak > mapping.peak,
    }


def _coding(target: Target) -> dict[str, float | bool]:
    """What `to_planes` and `finish` are told of the planes."""
    format, color = target.format, target.color
    yuv = format.model == "yuv"
    red, blue = luma_weights(color.matrix) if yuv else (0.0, 0.0)
    lowest, highest = (0, 0) if format.is_float else code_limits(format.depth, color.range)
    return {
        **_scales(format, color, yuv),
        **{"lowest": float(lowest), "highest": float(highest), "red": red, "blue": blue, "YUV": yuv},
    }


def _scales(format: PixelFormat, color: ColorSpec, yuv: bool) -> dict[str, float]:
    """Codes per unit, and the code of 0, of the first component and of the other two."""
    (scale, offset), (chroma_scale, chroma_offset) = (
        (1.0, 0.0) if format.is_float else code_scale(format.depth, color.range, chroma) for chroma in (False, yuv)
    )
    return {"scale": scale, "offset": offset, "chroma_scale": chroma_scale, "chroma_offset": chroma_offset}
