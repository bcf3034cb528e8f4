"""One picture file -> linear light: (H, W, 3) float32, BT.709 primaries, median luminance 0.18, 0..1024."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from ..errors import DataError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Of linear BT.709 R, G and B."""
EXTENSIONS = (".jp2", ".exr", ".hdr")
BRIGHTEST = 1024.0
_HINT = "restore the file, or take it out of the folder and of its manifest"
_LOW, _HIGH = -12.0, 10.0
"""log2 of the light at the ends of the codes of a .jp2: light = 2^(code / 65535 * 22 - 12) - 2^-12."""


def read_light(path: Path) -> Floats:
    """Light of a .jp2 (of our log encoding), .exr or .hdr file. Raises DataError."""
    suffix = path.suffix.lower()
    if suffix == ".exr":
        light = _read_exr(path)
    elif suffix == ".hdr":
        light = _decode(path, "gbrpf32le")
    else:
        light = decode_log(_decode(path, "rgb48le"))
    if not np.isfinite(light).all():
        raise DataError(f"{path} holds values that are not finite", _HINT)
    light = np.maximum(light, 0.0).astype(np.float32)
    if suffix != ".jp2":  # ours are scaled already, by the picture that they are views of
        median = float(np.median(light @ LUMINANCE))
        light *= 0.18 / median if median > 0 else 1.0
    return np.minimum(light, np.float32(BRIGHTEST))


def decode_log(codes: Array) -> Floats:
    """Light of uint16 codes of our .jp2 files."""
    light = np.exp2(codes.astype(np.float32) / 65535 * (_HIGH - _LOW) + _LOW) - 2.0**_LOW
    return np.asarray(np.maximum(light, 0.0), np.float32)


def read_ntire(medium: Path, truth: Path, ratio: Path) -> tuple[npt.NDArray[np.uint8], Floats]:
    """A pair of the NTIRE 2021 layout: x (H, W, 3) uint8, y (H, W, 3) float32, non-linear, 1.0 = SDR white."""
    x = _decode(medium, "rgb24")
    codes = _decode(truth, "rgb48")
    try:
        scale = float(np.load(ratio, allow_pickle=False))
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(f"{ratio} cannot be read: {error}", _HINT) from None
    if not (np.isfinite(scale) and scale > 0):
        raise DataError(f"{ratio} must hold a positive number, not {scale}", _HINT)
    if x.shape != codes.shape:
        raise DataError(f"{medium} and {truth} are not of one size", _HINT)
    return x, (codes.astype(np.float64) / scale).astype(np.float32)


def _decode(path: Path, pixel_format: str) -> Array:
    """The first picture of a file through FFmpeg, whose format must be `pixel_format` (any byte order)."""
    try:
        with av.open(str(path), options={"err_detect": "explode"}) as container:
            frame = next(container.decode(video=0))
    except (av.FFmpegError, StopIteration, OSError, IndexError) as error:
        reason = getattr(error, "strerror", None) or "it holds no picture"
        raise DataError(f"{path} cannot be decoded: {reason}", _HINT) from None
    if not frame.format.name.startswith(pixel_format):
        raise DataError(f"{path} is {frame.format.name}, not {pixel_format}", _HINT)
    return np.ascontiguousarray(frame.to_ndarray())


def _read_exr(path: Path) -> Floats:
    try:
        import OpenEXR
    except ImportError:
        raise DataError(f"{path} needs OpenEXR to be read", "pip install 'hdrunet-video[train]'") from None
    try:
        with OpenEXR.File(str(path)) as file:
            channels = file.channels()
            if "RGB" in channels or "RGBA" in channels:
                pixels = channels["RGB" if "RGB" in channels else "RGBA"].pixels[..., :3]
            else:
                pixels = np.stack([channels[name].pixels for name in "RGB"], axis=-1)
    except KeyError:
        raise DataError(f"{path} has no channels R, G and B", _HINT) from None
    except Exception as error:  # the library raises whatever its C++ throws
        raise DataError(f"{path} cannot be decoded: {str(error).splitlines()[0]}", _HINT) from None
    return np.asarray(pixels, np.float32)
