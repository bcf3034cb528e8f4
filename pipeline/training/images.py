"""Picture files as arrays (H, W, 3), R G B, and PNG files of them. PyAV decodes, except OpenEXR (the extra [exr]).

No file is converted on the way: what is not R G B of the expected depth is refused.
"""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from ..errors import DataError, OutputError, UsageError

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Of linear BT.709 R, G and B."""
EXTENSIONS = (".jp2", ".exr", ".hdr")
"""What read_light takes."""
BRIGHTEST = 1024.0
_LOW, _HIGH = -12.0, 10.0
"""log2 of the light at the ends of the codes of a .jp2: light = 2^(code / 65535 * 22 - 12) - 2^-12."""
_HINT = "Write or fetch it again, or take it out of the folder and of its manifest."


def read_8bit(path: Path) -> Bytes:
    """An 8-bit picture, (H, W, 3): PNG and whatever else holds R G B without loss. Raises DataError."""
    frame = _decode(path)
    if frame.format.name not in ("rgb24", "rgba", "gray"):
        raise DataError(
            f"{path} is {frame.format.name}, not an 8-bit RGB picture",
            "Write SDR pictures as 8-bit RGB PNG: other files are decoded differently by different programs.",
        )
    codes = frame.to_ndarray()
    return np.repeat(codes[..., None], 3, axis=2) if codes.ndim == 2 else np.ascontiguousarray(codes[..., :3])


def read_16bit(path: Path) -> npt.NDArray[np.uint16]:
    """A 16-bit RGB picture, (H, W, 3): PNG, JPEG 2000. Raises DataError."""
    frame = _decode(path)
    if frame.format.name not in ("rgb48be", "rgb48le"):
        raise DataError(f"{path} is {frame.format.name}, not a 16-bit RGB picture", "Convert it to 16-bit RGB.")
    return np.asarray(frame.to_ndarray(), np.uint16)


def read_linear(path: Path) -> Floats:
    """Linear light as it is, (H, W, 3), float32, >= 0, of .exr or .hdr (Radiance). Raises DataError, UsageError."""
    if path.suffix.lower() == ".exr":
        light = _read_exr(path)
    else:
        frame = _decode(path)
        if frame.format.name != "gbrpf32le":
            raise DataError(f"{path} is {frame.format.name}, not a picture of linear light", "Give .exr or .hdr.")
        light = np.asarray(frame.to_ndarray(), np.float32)
    return _checked(path, np.maximum(light, 0.0, dtype=np.float32))


def read_light(path: Path) -> Floats:
    """Light to train on, (H, W, 3), float32, 0..1024: .jp2 in our log encoding, or .exr and .hdr, which are scaled to
    a median luminance of 0.18 (BT.709). Raises DataError, UsageError."""
    if path.suffix.lower() == ".jp2":  # ours are scaled already, by the picture that they are views of
        codes = read_16bit(path).astype(np.float32)
        light = np.maximum(np.exp2(codes / 65535 * (_HIGH - _LOW) + _LOW) - 2.0**_LOW, 0.0)
    else:
        light = read_linear(path)
        median = float(np.median(light @ LUMINANCE))
        light *= 0.18 / median if median > 0 else 1.0
    return np.asarray(np.minimum(light, BRIGHTEST), np.float32)


def read_array(path: Path) -> Floats:
    """The values of a .npy file, (H, W, 3), or one number. Raises DataError."""
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {_reason(error)}", "Write it again with numpy.save.") from None
    if values.ndim not in (0, 3) or (values.ndim == 3 and values.shape[2] != 3) or values.dtype.kind not in "fiu":
        raise DataError(f"{path} holds {values.dtype} {values.shape}, not (height, width, 3)", "Write R G B last.")
    return _checked(path, values.astype(np.float32))


def read_aligned(path: Path, ratio: Path) -> Floats:
    """The signal of a 16-bit picture whose codes are `ratio` (one number in a .npy file) times the signal: the truth of
    NTIRE 2021, (H, W, 3), float32, 1.0 = SDR white. Raises DataError."""
    scale = read_array(ratio)
    if scale.ndim or not scale > 0:
        raise DataError(f"{ratio}: the alignratio is not one number above 0", "It is 65535 / max(HDR).")
    return np.asarray(read_16bit(path).astype(np.float32) / np.float32(scale))


def read_ntire(medium: Path, truth: Path, ratio: Path) -> tuple[Bytes, Floats]:
    """A pair of NTIRE 2021: x (H, W, 3) uint8, and y as read_aligned gives it. Raises DataError."""
    x, y = read_8bit(medium), read_aligned(truth, ratio)
    if x.shape != y.shape:
        raise DataError(f"{medium} and {truth} are not of one size", _HINT)
    return x, y


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises DataError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {_reason(error)}", "It has to be a JSON file.") from None


def write_png(path: Path, codes: Bytes) -> None:
    """Write (H, W, 3) as 8-bit RGB PNG, complete or not at all. Raises OutputError."""
    context = av.CodecContext.create("png", "w")
    assert isinstance(context, VideoCodecContext)
    context.height, context.width = codes.shape[:2]
    context.pix_fmt, context.time_base = "rgb24", Fraction(1, 25)
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(codes), format="rgb24")
    content = b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))
    write_file(path, content)


def write_file(path: Path, content: bytes) -> None:
    """Write a file, complete or not at all. Raises OutputError."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error.strerror}", "Make room, or name another folder.") from None


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {path} cannot be made: {error.strerror}", "Name another.") from None


def _decode(path: Path) -> VideoFrame:
    try:
        with av.open(f"file:{path.absolute()}", options={"err_detect": "explode"}) as container:
            return next(container.decode(video=0))
    except (av.error.FFmpegError, OSError, ValueError, IndexError, StopIteration) as error:
        raise DataError(f"{path} cannot be read as a picture: {_reason(error)}", _HINT) from None


def _read_exr(path: Path) -> Floats:
    try:
        import OpenEXR
    except ImportError:
        raise UsageError(f"{path} needs OpenEXR", "pip install 'hdrunet-video[exr]'") from None
    try:
        with OpenEXR.File(str(path)) as file:
            channels = file.channels()
            if "RGB" in channels or "RGBA" in channels:
                name = "RGB" if "RGB" in channels else "RGBA"
                return np.asarray(channels[name].pixels[..., :3], np.float32)
            return np.stack([np.asarray(channels[name].pixels, np.float32) for name in "RGB"], axis=-1)
    except KeyError as error:
        raise DataError(f"{path} has no channel {error.args[0]}", "It needs channels R, G and B.") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path} cannot be read as OpenEXR: {_reason(error)}", _HINT) from None


def _checked(path: Path, values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise DataError(f"{path} holds values that are not finite", _HINT)
    return values


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
