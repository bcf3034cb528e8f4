"""VapourSynth's video formats as the project's PixelFormat."""

from __future__ import annotations

from dataclasses import dataclass

from hdrunet_video.color.spec import PixelFormat

_MODELS = {1: "gray", 2: "rgb", 3: "yuv"}
_FLOAT = 1
RGB48 = 2 << 28 | 16 << 16
RGBS = 2 << 28 | _FLOAT << 24 | 32 << 16
RGBH = 2 << 28 | _FLOAT << 24 | 16 << 16


@dataclass(frozen=True)
class Clip:
    """What is known of a clip before its first frame."""

    width: int
    """0 where it changes."""
    height: int
    format: PixelFormat | None
    """None where it changes."""


def clip_of(
    width: int, height: int, family: int, sample_type: int, bits: int, subsampling_w: int, subsampling_h: int
) -> Clip:
    """The numbers of a VSVideoInfo."""
    return Clip(
        width, height, format_of(family << 28 | sample_type << 24 | bits << 16 | subsampling_w << 8 | subsampling_h)
    )


def format_of(number: int) -> PixelFormat | None:
    """The format that VapourSynth gives a number (VSPresetVideoFormat and the like), named as there; else None."""
    family, sample_type, bits = number >> 28, number >> 24 & 15, number >> 16 & 255
    shift = (number >> 8 & 255, number & 255)
    is_float = sample_type == _FLOAT
    if family not in _MODELS or sample_type > _FLOAT or bits not in ((16, 32) if is_float else range(8, 33)):
        return None
    if max(shift) > 4 or (shift != (0, 0) and _MODELS[family] != "yuv"):
        return None
    return PixelFormat(_name(_MODELS[family], bits, shift, is_float), _MODELS[family], bits, shift, is_float)


_SUBSAMPLINGS = {(0, 0): "444", (1, 0): "422", (1, 1): "420", (0, 1): "440", (2, 0): "411", (2, 2): "410"}


def _name(model: str, bits: int, shift: tuple[int, int], is_float: bool) -> str:
    letter = "S" if bits == 32 else "H"
    if model == "gray":
        return f"GRAY{letter if is_float else bits}"
    if model == "rgb":
        return f"RGB{letter if is_float else 3 * bits}"
    subsampling = _SUBSAMPLINGS.get(shift, f"ss{shift[0]}{shift[1]}")
    return f"YUV{subsampling}P{letter if is_float else bits}"
