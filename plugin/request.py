"""What a script asks of the filter, checked and complete. Nothing here needs torch: `vspipe --info` comes by."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hdrunet_video.backend import BACKENDS, check_backend
from hdrunet_video.baselines import MODELS as BASELINES
from hdrunet_video.color.light import LightMapping, checked_mapping
from hdrunet_video.color.spec import ChromaLocation, ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer
from hdrunet_video.errors import InputError, UsageError
from hdrunet_video.source_color import CHROMA_LOCATIONS, MATRICES, PRIMARIES, RANGES

from .formats import RGB48, RGBH, RGBS, Clip, format_of

Arguments = Mapping[str, Sequence[Any]]
"""Values of each argument that was given, by name."""

OUTPUTS = {"pq": Transfer.PQ, "hlg": Transfer.HLG, "linear": Transfer.LINEAR, "signal": Transfer.BT709}
MODELS = ("hdrunet", *BASELINES)
# What core.resize calls the same.
_ALIASES = {
    "matrix_in": {"709": "bt709", "470bg": "bt470bg", "170m": "smpte170m", "240m": "smpte240m", "2020ncl": "bt2020nc"},
    "primaries_in": {"709": "bt709", "470bg": "bt470bg", "170m": "smpte170m", "240m": "smpte240m", "2020": "bt2020"},
}


@dataclass(frozen=True)
class Request:
    """Everything that does not change from frame to frame."""

    clip: Clip
    model: str
    weights: str
    format_number: int
    """VapourSynth's number of `format`."""
    format: PixelFormat
    """Of the result."""
    color: ColorSpec
    """Of the result; `signal` has the primaries of each frame instead."""
    mapping: LightMapping
    dither: bool
    device: str
    precision: str
    backend: str
    tile: str | tuple[int, int]
    num_streams: int | None
    """None is left to the tuning."""
    matrix: str
    primaries: str
    range: str
    chroma_location: str
    assume_sdr: bool


def make_request(clip: Clip, arguments: Arguments) -> Request:
    """Check what was given. Raises UsageError or InputError."""
    given = {name: values[0] for name, values in arguments.items() if values}
    source = _checked_clip(clip)
    output = _choice(given, "output", "pq", OUTPUTS)
    transfer = OUTPUTS[output]
    number = int(given.get("format", _default_format(source, output)))
    format = _checked_format(number, output, clip)
    _check_names(given, source)
    for name in ("peak", "white", "display_gamma"):
        if name in given and output == "signal":
            raise UsageError(f'{name} has no effect on output="signal", which has no light', f"Leave out {name}")
    if given.get("dither") and format.is_float:
        raise UsageError(f"{format.name} is not rounded, so there is nothing to dither", "Leave out dither")
    model = _choice(given, "model", "hdrunet", MODELS)
    device, precision = _device(given)
    if given.get("num_streams", 1) < 1:
        raise UsageError(f"num_streams {given['num_streams']} is not possible", "Give at least 1, or leave it out")
    return Request(
        clip=clip,
        model=model,
        weights=_weights(given, model),
        format_number=number,
        format=format,
        color=_result_color(format, transfer),
        mapping=checked_mapping(
            given.get("white", 203.0),
            given.get("display_gamma", 2.24),
            given.get("peak"),
            transfer,
            given.get("strength", 1.0),
        ),
        dither=bool(given.get("dither", format.chroma_shift != (1, 1))) and not format.is_float,
        device=device,
        precision=precision,
        backend=_backend(given, device),
        tile=_tile(arguments.get("tile")),
        num_streams=given.get("num_streams"),
        matrix=_choice(given, "matrix_in", "", MATRICES),
        primaries=_choice(given, "primaries_in", "", PRIMARIES),
        range=_choice(given, "range_in", "", RANGES),
        chroma_location=_choice(given, "chroma_location_in", "", CHROMA_LOCATIONS),
        assume_sdr=bool(given.get("assume_sdr", 0)),
    )


def _checked_clip(clip: Clip) -> PixelFormat:
    if clip.format is None or not clip.width or not clip.height:
        raise InputError(
            "the format or the size of this clip changes from frame to frame",
            "Make it constant first: core.resize.Bicubic(clip, width=1920, height=1080, format=vs.YUV420P8), "
            'or format=vs.RGB24 with matrix_in_s="709"',
        )
    if clip.format.depth > 16 and not clip.format.is_float:
        raise InputError(
            f"{clip.format.name} has integers of more than 16 bits",
            "Have what makes it make at most 16 bits, or floats: core.resize does not take it either",
        )
    return clip.format


def _default_format(source: PixelFormat, output: str) -> int:
    if source.is_float:
        return RGBH if source.depth == 16 else RGBS
    return RGBS if output in ("linear", "signal") else RGB48


def _checked_format(number: int, output: str, clip: Clip) -> PixelFormat:
    format = format_of(number)
    if format is None:
        raise UsageError(f"format {number} is not one of VapourSynth's", "For example format=vs.YUV420P10")
    unbounded = output in ("linear", "signal")
    if unbounded and (format.model != "rgb" or not format.is_float):
        raise UsageError(
            f'{format.name} cannot hold output="{output}", which is unbounded', "Give format=vs.RGBS or vs.RGBH"
        )
    if format.model == "gray":
        raise UsageError(f"HDR has colour, which {format.name} cannot hold", "Give format=vs.RGB48 or vs.YUV420P10")
    if not format.is_float and not 10 <= format.depth <= 16:
        few = "too few" if format.depth < 10 else "more than 16"
        raise UsageError(
            f"{format.name} has {few} bits for HDR",
            f"Give format=vs.{'RGB48' if format.model == 'rgb' else 'YUV420P10'} for example",
        )
    if max(format.chroma_shift) > 1:
        raise UsageError(
            f"{format.name} has too little chroma", "Give format=vs.YUV420P10, vs.YUV422P10 or vs.YUV444P10"
        )
    across, down = (1 << shift for shift in format.chroma_shift)
    if clip.width % across or clip.height % down:
        raise UsageError(
            f"a picture of {clip.width}x{clip.height} cannot be {format.name}, whose sides are even",
            "Give format=vs.YUV444P10, or call core.std.Crop first",
        )
    return format


def _result_color(format: PixelFormat, transfer: Transfer) -> ColorSpec:
    rgb = format.model == "rgb"
    return ColorSpec(
        matrix=Matrix.RGB if rgb else Matrix.BT2020_NCL,
        primaries=Primaries.BT2020,
        transfer=transfer,
        range=Range.FULL if rgb else Range.LIMITED,
        chroma_location=ChromaLocation.TOP_LEFT if format.chroma_shift[1] else ChromaLocation.LEFT,
    )


def _check_names(given: Mapping[str, Any], source: PixelFormat) -> None:
    """Arguments about the source that its format has no use for are mistakes."""
    useless = []
    if source.model != "yuv":
        useless += ["matrix_in", "chroma_location_in"]
    if source.is_float:
        useless += ["range_in"]
    for name in useless:
        if given.get(name):
            raise UsageError(f"{name} has no meaning for {source.name}", f"Leave out {name}")


def _choice(given: Mapping[str, Any], name: str, default: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    value = str(given.get(name, default))
    value = _ALIASES.get(name, {}).get(value, value)
    if value != default and value not in known:
        raise UsageError(f'unknown {name} "{value}"', f"There are {', '.join(known)}")
    return value


def _weights(given: Mapping[str, Any], model: str) -> str:
    weights = str(given.get("weights", ""))
    if weights and model != "hdrunet":
        raise UsageError(f'model="{model}" has no weights', "Leave out weights")
    if weights and not os.path.isfile(weights):
        raise UsageError(f"there is no file of weights at {weights}", "Leave out weights to take the bundled ones")
    # Opened at the first frame, when vspipe has left the script's folder.
    return os.path.abspath(weights) if weights else ""


def _device(given: Mapping[str, Any]) -> tuple[str, str]:
    """(device, precision). The devices are counted without torch, which takes seconds to import."""
    device = str(given.get("device", "auto"))
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f'"{device}" is not a device', "Give auto, cpu, cuda or cuda:N")
    if device.startswith("cuda") and int(device.partition(":")[2] or 0) >= (count := _cuda_devices()):
        raise UsageError(f"there is no device {device} here ({count} CUDA devices)", 'Give device="auto" or "cpu"')
    precision = _choice(given, "precision", "auto", ("auto", "fp16", "fp32", "bf16"))
    if precision == "fp16" and device == "cpu":
        raise UsageError("fp16 is slower and less exact than fp32 on a CPU", "Leave out precision")
    if precision == "bf16" and device.startswith("cuda"):
        raise UsageError("bf16 is no faster and less exact than fp16 on a GPU", "Leave out precision")
    return device, precision


def _backend(given: Mapping[str, Any], device: str) -> str:
    backend = _choice(given, "backend", "auto", BACKENDS)
    check_backend(backend, device)
    return backend


def _cuda_devices() -> int:
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        driver.cuInit(0)
        driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return 0
    return count.value


def _tile(values: Sequence[int] | None) -> str | tuple[int, int]:
    if not values:
        return "auto"
    if len(values) > 2:
        raise UsageError(f"tile has {len(values)} numbers", "Give tile=[width, height], or tile=0 for none")
    width, height = values[0], values[-1]
    if width == height == 0:
        return "off"
    if min(width, height) < 4:
        raise UsageError(f"a tile of {width}x{height} is too small", "Give at least 4x4, or tile=0 for none")
    return width, height
