"""The two ends of the colour path: a coded SDR frame as signal, and light as the planes of an HDR frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..frame import Frame
from .chroma import downsample_chroma, phases, upsample_chroma
from .dither import dither_offset
from .planes import dequantize, luma_weights, quantize, rgb_from_ycbcr, ycbcr_from_rgb
from .spec import ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer
from .transfer import hlg_inverse_ootf, hlg_oetf, pq_inverse_eotf


@dataclass(frozen=True)
class Target:
    """What is to be made of light: the tags and the numbers of the output."""

    color: ColorSpec
    """Tags of the output: primaries BT.2020 and transfer PQ, HLG or LINEAR; BT709 stands for the network's own
    signal, which has the primaries of its source."""
    format: PixelFormat
    """Component model, depth and subsampling of the output; float where the transfer is LINEAR or BT709."""
    dither: bool = False
    """True adds blue noise before the rounding; of no use where a lossy encoder follows."""
    white: float = 203.0
    """Luminance in cd/m2 that LINEAR writes as 1.0."""

    def __post_init__(self) -> None:
        if self.color.primaries is not Primaries.BT2020 and not self.is_signal:
            raise ValueError(f"light has BT.2020 primaries, not {self.color.primaries.name}")
        if self.color.transfer not in (Transfer.PQ, Transfer.HLG, Transfer.LINEAR, Transfer.BT709):
            raise ValueError(f"light cannot be written as {self.color.transfer.name}")
        unbounded = self.color.transfer is Transfer.LINEAR or self.is_signal
        if unbounded and (self.format.model != "rgb" or not self.format.is_float):
            raise ValueError(f"{self.format.name} cannot hold {self.color.transfer.name}")
        needed = {"rgb": True, "yuv": False}.get(self.format.model)
        if needed is not (self.color.matrix is Matrix.RGB):
            raise ValueError(f"{self.format.name} cannot hold matrix {self.color.matrix.name}")
        if not self.format.is_float and self.color.range is Range.UNSPECIFIED:
            raise ValueError("the range of the output is not specified")
        if self.format.model == "yuv":
            luma_weights(self.color.matrix)
            if phases(self.format.chroma_shift, self.color.chroma_location) != (0.0, 0.0):
                raise ValueError(f"{self.format.name} is made with top-left chroma, not as the tags say")

    @property
    def is_signal(self) -> bool:
        """True where the network's output is what is wanted, without a light mapping."""
        return self.color.transfer is Transfer.BT709


def to_signal(frame: Frame) -> Tensor:
    """Non-linear R'G'B' of any SDR frame.

    Returns (1, 3, H, W), float32, 0..1 (clipped, and NaN is 0), on the device of the frame, with the primaries
    and the transfer of frame.color. Grey becomes three equal channels. Y'CbCr planes tagged Matrix.RGB hold G,
    B and R.
    """
    if frame.format.model != "yuv" or frame.color.matrix is Matrix.RGB:
        channels = [_plane_signal(plane, frame) for plane in frame.planes]
        if frame.format.model == "gray":
            channels *= 3
        elif frame.format.model == "yuv":
            if frame.format.chroma_shift != (0, 0):
                raise ValueError(f"{frame.format.name} cannot hold G, B and R")
            channels = [channels[2], channels[0], channels[1]]
        return torch.stack(channels).unsqueeze_(0).clamp_(0.0, 1.0)
    luma = _plane_signal(frame.planes[0], frame)
    chroma = torch.stack([_plane_signal(plane, frame, chroma=True) for plane in frame.planes[1:]])
    size = (frame.height, frame.width)
    chroma = upsample_chroma(chroma, size, frame.format.chroma_shift, frame.color.chroma_location)
    return rgb_from_ycbcr(luma, chroma, frame.color.matrix).clamp_(0.0, 1.0)


def _plane_signal(plane: Tensor, frame: Frame, chroma: bool = False) -> Tensor:
    """(H, W) float32; a component that is not finite would reach as far as the network sees."""
    if frame.format.is_float:
        return torch.nan_to_num(plane.to(torch.float32), nan=0.0, posinf=1.0, neginf=-1.0 if chroma else 0.0)
    return dequantize(plane, frame.format.depth, frame.color.range, chroma)


def to_planes(nits: Tensor, target: Target) -> tuple[Tensor, ...]:
    """Planes of an HDR frame, in the order of Frame.planes and of the sizes of PixelFormat.plane_shapes.

    nits: (1, 3, H, W), float32, cd/m2, BT.2020, 0..10000; 0..1000 for HLG. Returns uint16 planes, or float32
    ones where target.format is float, for LINEAR in units of target.white.
    """
    if target.color.transfer is Transfer.LINEAR:
        return (nits[0] / target.white).unbind()
    signal = pq_inverse_eotf(nits) if target.color.transfer is Transfer.PQ else _hlg_signal(nits)
    if target.format.model == "rgb":
        return tuple(_quantize(plane, index, target) for index, plane in enumerate(signal[0]))
    luma, chroma = ycbcr_from_rgb(signal, target.color.matrix)
    chroma = downsample_chroma(chroma, target.format.chroma_shift)
    return tuple(_quantize(plane, index, target) for index, plane in enumerate((luma, *chroma)))


def _hlg_signal(nits: Tensor) -> Tensor:
    """HLG R'G'B' (1, 3, H, W), 0..1, for a display of 1000 cd/m2."""
    scene = hlg_inverse_ootf(nits)
    # Saturated colours can need a signal above 1, which many receivers clip: dim them, and keep their hue.
    scene /= scene.amax(dim=1, keepdim=True).clamp_(min=1.0)
    return hlg_oetf(scene)


def _quantize(plane: Tensor, index: int, target: Target) -> Tensor:
    if target.format.is_float:
        return plane
    dither = dither_offset(*plane.shape, index, plane.device) if target.dither else None
    is_chroma = target.format.model == "yuv" and index > 0
    return quantize(plane, target.format.depth, target.color.range, is_chroma, dither)
