"""What the source's integers mean: its tags, what the user said, and, where both are silent, the usual convention.

Also the door for video that is not 8-bit SDR.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from .color.spec import ChromaLocation, ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer
from .errors import InputError


class Source(Protocol):
    """What has tags: a file's VideoInfo, or a frame that came without a file."""

    @property
    def path(self) -> object:
        """What messages call it."""

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec; empty where there is none."""

    @property
    def height(self) -> int:
        """Lines."""

    @property
    def format(self) -> PixelFormat:
        """Its planes."""

    @property
    def color(self) -> ColorSpec:
        """Its tags, UNSPECIFIED where it says nothing."""

    @property
    def mastering_display(self) -> bool:
        """True where it carries the metadata of an HDR mastering display."""

    @property
    def dolby_vision(self) -> bool:
        """True where it carries Dolby Vision."""


MATRICES: Mapping[str, Matrix] = {
    "bt709": Matrix.BT709,
    "bt601": Matrix.SMPTE170M,
    "bt470bg": Matrix.BT470BG,
    "smpte170m": Matrix.SMPTE170M,
    "smpte240m": Matrix.SMPTE240M,
    "fcc": Matrix.FCC,
    "bt2020nc": Matrix.BT2020_NCL,
}
PRIMARIES: Mapping[str, Primaries] = {
    "bt709": Primaries.BT709,
    "bt470bg": Primaries.BT470BG,
    "smpte170m": Primaries.SMPTE170M,
    "smpte240m": Primaries.SMPTE240M,
    "display-p3": Primaries.DISPLAY_P3,
    "bt2020": Primaries.BT2020,
}
RANGES: Mapping[str, Range] = {"limited": Range.LIMITED, "full": Range.FULL}
CHROMA_LOCATIONS: Mapping[str, ChromaLocation] = {
    "left": ChromaLocation.LEFT,
    "center": ChromaLocation.CENTER,
    "topleft": ChromaLocation.TOP_LEFT,
    "top": ChromaLocation.TOP,
    "bottomleft": ChromaLocation.BOTTOM_LEFT,
    "bottom": ChromaLocation.BOTTOM,
}
_SDR_TRANSFERS = frozenset(
    {Transfer.UNSPECIFIED, Transfer.BT709, Transfer.GAMMA22, Transfer.GAMMA28, Transfer.SMPTE170M}
    | {Transfer.SMPTE240M, Transfer.IEC61966_2_4, Transfer.BT1361, Transfer.SRGB, Transfer.BT2020_10}
    | {Transfer.BT2020_12}
)
_MATRIX_PRIMARIES = {
    Matrix.BT709: Primaries.BT709,
    Matrix.FCC: Primaries.BT470M,
    Matrix.BT470BG: Primaries.BT470BG,
    Matrix.SMPTE170M: Primaries.SMPTE170M,
    Matrix.SMPTE240M: Primaries.SMPTE240M,
    Matrix.BT2020_NCL: Primaries.BT2020,
}
_PRIMARIES_MATRIX = {
    Primaries.BT709: Matrix.BT709,
    Primaries.BT470M: Matrix.FCC,
    Primaries.BT470BG: Matrix.BT470BG,
    Primaries.SMPTE170M: Matrix.SMPTE170M,
    Primaries.SMPTE240M: Matrix.SMPTE240M,
    Primaries.BT2020: Matrix.BT2020_NCL,
}
_CENTERED = frozenset({"mjpeg", "mpeg1video", "gif"})


def check_is_sdr(info: Source, assume_sdr: bool) -> None:
    """Raise InputError for HDR, Dolby Vision or more than 8 bits, unless the user has vouched for it."""
    if assume_sdr:
        return
    check_tags_are_sdr(info)
    if info.format.depth > 8:
        raise InputError(
            f"{info.path} has {info.format.depth} bits a component ({info.format.name}); HDRUNet was made for 8",
            "--assume-sdr takes it as SDR with more bits.",
        )


def check_tags_are_sdr(info: Source) -> None:
    """Raise InputError for HDR and Dolby Vision, whatever the depth."""
    hint = "HDRUNet expects 8-bit SDR. If the tag is wrong, add --assume-sdr."
    transfer = info.color.transfer
    if transfer in (Transfer.PQ, Transfer.HLG):
        raise InputError(f"{info.path} is already HDR (transfer {transfer.value}, {transfer.name})", hint)
    if info.dolby_vision:
        raise InputError(f"{info.path} is already HDR (Dolby Vision)", hint)
    if info.mastering_display and transfer is Transfer.UNSPECIFIED:
        raise InputError(f"{info.path} carries HDR mastering metadata", hint)
    if transfer not in _SDR_TRANSFERS:
        raise InputError(f"{info.path} has transfer {transfer.value} ({transfer.name}), which is not SDR video", hint)


def source_color(
    info: Source, matrix: str = "", primaries: str = "", range: str = "", chroma_location: str = ""
) -> tuple[ColorSpec, list[str]]:
    """(complete colour of the source, sentences on what was assumed). Empty arguments follow the tags.

    Untagged video of more than 576 lines is BT.709, of 487 to 576 lines BT.601 as in 625-line systems, below as in
    525-line systems. The transfer is always that of SDR video: it only decided whether the file is taken.
    """
    if info.format.model == "yuv":
        return _ycbcr_color(info, matrix, primaries, range, chroma_location)
    # FFmpeg's gray is full range unless tagged, like RGB.
    known = _primaries(info, primaries)
    spec = ColorSpec(
        Matrix.RGB if info.format.model == "rgb" else Matrix.BT709,
        Primaries.BT709 if known is Primaries.UNSPECIFIED else known,
        Transfer.BT709,
        RANGES.get(range) or info.color.range or Range.FULL,
    )
    return spec, []


def _primaries(info: Source, given: str) -> Primaries:
    """What was given, else what is tagged, which may be nothing. Raises InputError for what is no source's."""
    primaries = PRIMARIES.get(given, info.color.primaries)
    if primaries is Primaries.XYZ:
        raise InputError(
            f"{info.path} has primaries {primaries.value} ({primaries.name}), which are not supported",
            "If the tag is wrong, say which they are: --primaries bt709",
        )
    return primaries


def _ycbcr_color(
    info: Source, matrix: str, primaries: str, range: str, chroma_location: str
) -> tuple[ColorSpec, list[str]]:
    assumed = []
    tags = replace(
        info.color,
        matrix=MATRICES.get(matrix, info.color.matrix),
        primaries=_primaries(info, primaries),
        range=RANGES.get(range, info.color.range),
        chroma_location=CHROMA_LOCATIONS.get(chroma_location, info.color.chroma_location),
    )
    if matrix == "bt601" and 486 < info.height <= 576:
        tags = replace(tags, matrix=Matrix.BT470BG)
    if tags.matrix is Matrix.UNSPECIFIED:
        guess = _PRIMARIES_MATRIX.get(tags.primaries) or _matrix_by_height(info.height)
        assumed.append(f"matrix {guess.name}: not tagged, assumed from {_reason(tags.primaries, info.height)}")
        tags = replace(tags, matrix=guess)
    if tags.matrix not in _MATRIX_PRIMARIES:
        raise InputError(
            f"{info.path} has matrix {tags.matrix.value} ({tags.matrix.name}), which is not supported",
            "If the tag is wrong, say which it is: --matrix bt709",
        )
    if tags.primaries is Primaries.UNSPECIFIED:
        tags = replace(tags, primaries=_MATRIX_PRIMARIES[tags.matrix])
        assumed.append(f"primaries {tags.primaries.name}: not tagged, assumed from the matrix")
    if tags.range is Range.UNSPECIFIED:
        full = info.format.name.startswith("yuvj")
        tags = replace(tags, range=Range.FULL if full else Range.LIMITED)
        if not full:
            assumed.append("range LIMITED: not tagged, assumed as for all video")
    if tags.chroma_location is ChromaLocation.UNSPECIFIED:
        centered = info.codec in _CENTERED or info.format.name.startswith("yuvj")
        tags = replace(tags, chroma_location=ChromaLocation.CENTER if centered else ChromaLocation.LEFT)
    return replace(tags, transfer=Transfer.BT709), assumed


def _matrix_by_height(height: int) -> Matrix:
    if height > 576:
        return Matrix.BT709
    return Matrix.BT470BG if height > 486 else Matrix.SMPTE170M


def _reason(primaries: Primaries, height: int) -> str:
    return "the primaries" if primaries in _PRIMARIES_MATRIX else f"the height of {height} lines"
