"""Colour tags and pixel formats: the only place where H.273 numbers and FFmpeg's format names are written.

Every enum member holds its code point of Rec. ITU-T H.273 (tables 2 to 5), except `Range` and `ChromaLocation`, which
hold FFmpeg's numbers (AVColorRange, AVChromaLocation = H.273 chroma_sample_loc_type + 1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum


class Matrix(IntEnum):
    """MatrixCoefficients, H.273 table 4."""

    RGB = 0
    BT709 = 1
    UNSPECIFIED = 2
    FCC = 4
    BT470BG = 5
    SMPTE170M = 6
    SMPTE240M = 7
    YCGCO = 8
    BT2020_NCL = 9
    BT2020_CL = 10
    ICTCP = 14


class Primaries(IntEnum):
    """ColourPrimaries, H.273 table 2."""

    BT709 = 1
    UNSPECIFIED = 2
    BT470M = 4
    BT470BG = 5
    SMPTE170M = 6
    SMPTE240M = 7
    FILM = 8
    BT2020 = 9
    XYZ = 10
    DCI_P3 = 11
    DISPLAY_P3 = 12
    EBU3213 = 22


class Transfer(IntEnum):
    """TransferCharacteristics, H.273 table 3."""

    BT709 = 1
    UNSPECIFIED = 2
    GAMMA22 = 4
    GAMMA28 = 5
    SMPTE170M = 6
    SMPTE240M = 7
    LINEAR = 8
    LOG_100 = 9
    LOG_316 = 10
    IEC61966_2_4 = 11
    BT1361 = 12
    SRGB = 13
    BT2020_10 = 14
    BT2020_12 = 15
    PQ = 16
    SMPTE428 = 17
    HLG = 18


class Range(IntEnum):
    """AVColorRange: limited is 16..235 of 8 bits (VideoFullRangeFlag 0), full is 0..255."""

    UNSPECIFIED = 0
    LIMITED = 1
    FULL = 2


class ChromaLocation(IntEnum):
    """AVChromaLocation: where a 4:2:0 chroma sample lies among its four luma samples."""

    UNSPECIFIED = 0
    LEFT = 1
    CENTER = 2
    TOP_LEFT = 3
    TOP = 4
    BOTTOM_LEFT = 5
    BOTTOM = 6


@dataclass(frozen=True)
class ColorSpec:
    """What the coded integers of a picture mean. Nothing is unspecified once a ColorSpec has left the plan."""

    matrix: Matrix
    primaries: Primaries
    transfer: Transfer
    range: Range
    chroma_location: ChromaLocation = ChromaLocation.LEFT


@dataclass(frozen=True)
class PixelFormat:
    """FFmpeg's name of a pixel format, taken apart. Planes are always kept one component each."""

    name: str
    """FFmpeg's name, for example `yuv420p10le`."""
    model: str
    """`yuv` (planes Y, Cb, Cr), `rgb` (planes R, G, B) or `gray` (plane Y)."""
    depth: int
    """Bits of a component; of a float 32, or 16 for half precision."""
    chroma_shift: tuple[int, int] = (0, 0)
    """log2 of the horizontal and the vertical chroma subsampling: (1, 1) is 4:2:0."""
    is_float: bool = False
    """True where components are float32 (float16 if `depth` is 16) instead of unsigned integers: 0..1, chroma
    -0.5..0.5, whatever the range says."""

    def plane_shapes(self, width: int, height: int) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of each plane; chroma of odd sizes rounds up, as in FFmpeg."""
        if self.model == "gray":
            return ((height, width),)
        across, down = self.chroma_shift
        chroma = (-(-height // (1 << down)), -(-width // (1 << across)))
        return ((height, width), chroma, chroma)


_YUV_SHIFTS = {"420": (1, 1), "422": (1, 0), "444": (0, 0), "440": (0, 1), "411": (2, 0), "410": (2, 2)}
_PACKED = {
    "nv12": ("yuv", 8, (1, 1)),
    "nv21": ("yuv", 8, (1, 1)),
    "nv16": ("yuv", 8, (1, 0)),
    "nv24": ("yuv", 8, (0, 0)),
    "yuyv422": ("yuv", 8, (1, 0)),
    "uyvy422": ("yuv", 8, (1, 0)),
    "pal8": ("rgb", 8, (0, 0)),
    **dict.fromkeys(("rgb24", "bgr24", "rgba", "bgra", "argb", "abgr"), ("rgb", 8, (0, 0))),
    **dict.fromkeys(("rgb0", "bgr0", "0rgb", "0bgr"), ("rgb", 8, (0, 0))),
    **dict.fromkeys(("rgb48le", "rgb48be", "rgba64le", "rgba64be"), ("rgb", 16, (0, 0))),
    **{f"p01{bits}le": ("yuv", 10 if bits == "0" else 12 if bits == "2" else 16, (1, 1)) for bits in "026"},
}


def pixel_format(name: str) -> PixelFormat | None:
    """The PixelFormat of FFmpeg's `name`, or None where this project does not read or write that format."""
    if name in _PACKED:
        model, depth, shift = _PACKED[name]
        return PixelFormat(name, model, depth, shift)
    if name in ("gbrpf32le", "gbrapf32le"):
        return PixelFormat(name, "rgb", 32, is_float=True)
    if match := re.fullmatch(r"yuv[ja]?(\d{3})p(?:(\d+)(?:le|be))?", name):
        if match[1] not in _YUV_SHIFTS:
            return None
        return PixelFormat(name, "yuv", int(match[2] or 8), _YUV_SHIFTS[match[1]])
    if match := re.fullmatch(r"gbra?p(?:(\d+)(?:le|be))?", name):
        return PixelFormat(name, "rgb", int(match[1] or 8))
    if match := re.fullmatch(r"gray(?:(\d+)(?:le|be))?|ya8", name):
        return PixelFormat(name, "gray", int(match[1] or 8))
    return None
