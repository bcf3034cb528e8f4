"""Frame properties: what a frame's numbers mean, and what is to be said of the frame made of it.

VapourSynth's numbers are those of H.273, but `_Range` is 1 for full and 0 for limited, and `_ChromaLocation` counts
from 0 for left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hdrunet_video.color.spec import ChromaLocation, ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer
from hdrunet_video.errors import InputError
from hdrunet_video.frame import LightLevels
from hdrunet_video.source_color import check_tags_are_sdr, source_color

from .request import Request

Properties = Mapping[str, int]
"""Integers as they are; True for properties of other types, which are only there."""
Written = dict[str, int | float | list[float]]

_MASTERING = (
    *("MasteringDisplayPrimariesX", "MasteringDisplayPrimariesY"),
    *("MasteringDisplayWhitePointX", "MasteringDisplayWhitePointY"),
    *("MasteringDisplayMinLuminance", "MasteringDisplayMaxLuminance"),
)
STALE = [
    *("_Matrix", "_Range", "_Transfer", "_Primaries", "_ChromaLocation", "ICCProfile"),
    *_MASTERING,
    *("ContentLightLevelMax", "ContentLightLevelAverage", "DolbyVisionRPU", "HDR10Plus"),
    *("HDRUNetMaxCLL", "HDRUNetFALL"),
]
"""True of the source only; what holds for the result too is written anew."""

# Display P3 with D65 white in the order R, G, B: what the command line writes.
_DISPLAY_X, _DISPLAY_Y = [0.680, 0.265, 0.150], [0.320, 0.690, 0.060]


@dataclass(frozen=True)
class _Tagged:
    """A frame's tags, as source_color asks for them."""

    height: int
    format: PixelFormat
    color: ColorSpec
    mastering_display: bool
    dolby_vision: bool
    path: str = "it"
    codec: str = ""


def read(properties: Properties, request: Request) -> ColorSpec:
    """Complete colour of a frame: what was given, else its properties, else the rules for untagged video.

    Raises InputError for a frame that is HDR or interlaced.
    """
    format = request.clip.format
    assert format is not None
    if properties.get("_FieldBased"):
        raise InputError(
            f"it is interlaced (_FieldBased {properties['_FieldBased']})",
            "Call a deinterlacer such as core.bwdif.Bwdif(clip, field=3) first, or core.std.SetFieldBased(clip, 0) if "
            "it is progressive",
        )
    tags = ColorSpec(
        matrix=_tag(Matrix, properties, "_Matrix", Matrix.UNSPECIFIED),
        primaries=_tag(Primaries, properties, "_Primaries", Primaries.UNSPECIFIED),
        transfer=_tag(Transfer, properties, "_Transfer", Transfer.UNSPECIFIED),
        range=_range(properties, format),
        chroma_location=_tag(ChromaLocation, properties, "_ChromaLocation", ChromaLocation.UNSPECIFIED, 1),
    )
    tagged = _Tagged(
        request.clip.height, format, tags, "MasteringDisplayMaxLuminance" in properties, "DolbyVisionRPU" in properties
    )
    if not request.assume_sdr:
        try:
            check_tags_are_sdr(tagged)
        except InputError as error:
            raise InputError(str(error), _sdr_hint(tags.transfer)) from None
    color, _ = source_color(tagged, request.matrix, request.primaries, request.range, request.chroma_location)
    return color


def written(request: Request, source: ColorSpec, light: LightLevels | None) -> Written:
    """Properties of the frame that was made."""
    color = request.color
    is_signal = color.transfer is Transfer.BT709
    properties: Written = {
        "_Matrix": color.matrix,
        "_Range": int(color.range is Range.FULL),
        "_Transfer": color.transfer,
        "_Primaries": source.primaries if is_signal else color.primaries,
    }
    if request.format.chroma_shift != (0, 0):
        properties["_ChromaLocation"] = color.chroma_location - 1
    if light is not None and not is_signal:
        properties |= {"HDRUNetMaxCLL": light.max_nits, "HDRUNetFALL": light.average_nits}
    if color.transfer is Transfer.PQ:
        white = (0.3127, 0.3290)
        properties |= dict(zip(_MASTERING, (_DISPLAY_X, _DISPLAY_Y, *white, 0.0001, request.mapping.peak), strict=True))
        # These two are of a whole film, which a filter never sees: the most that can be, and 0 for unknown
        # (CTA-861.3). A frame's own would make tone mapping further down flicker.
        properties |= {"ContentLightLevelMax": math.ceil(request.mapping.peak), "ContentLightLevelAverage": 0}
    return properties


def _range(properties: Properties, format: PixelFormat) -> Range:
    """Untagged grey is limited, as core.resize has it: elsewhere it is full, as FFmpeg has it."""
    untagged = Range.LIMITED if format.model == "gray" and not format.is_float else Range.UNSPECIFIED
    return {0: Range.LIMITED, 1: Range.FULL}.get(properties.get("_Range", -1), untagged)


def _tag[T: (Matrix, Primaries, Transfer, ChromaLocation)](
    kind: type[T], properties: Properties, name: str, default: T, shift: int = 0
) -> T:
    if name not in properties:
        return default
    try:
        return kind(properties[name] + shift)
    except ValueError:  # reserved: it says as little as none, which is how the command line takes it
        return default


def _sdr_hint(transfer: Transfer) -> str:
    wrong = "if the tag is wrong, call core.std.SetFrameProps(clip, _Transfer=1) first or give assume_sdr=1"
    if transfer is Transfer.LINEAR:
        return f'Call core.resize.Bicubic(clip, transfer_in_s="linear", transfer_s="709") first; {wrong}'
    return f"Call a tone mapper such as core.placebo.Tonemap first to make it SDR; {wrong}"
