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

from ...errors import InputError, OutputError, UsageError

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def read_8bit(path: Path) -> Bytes:
    """An 8-bit picture, (H, W, 3): PNG and whatever else holds R G B without loss. Raises InputError."""
    frame = _decode(path)
    if frame.format.name not in ("rgb24", "rgba", "gray"):
        raise InputError(
            f"{path} is {frame.format.name}, not an 8-bit RGB picture",
            "Write SDR pictures as 8-bit RGB PNG: other files are decoded differently by different programs.",
        )
    codes = frame.to_ndarray()
    return np.repeat(codes[..., None], 3, axis=2) if codes.ndim == 2 else np.ascontiguousarray(codes[..., :3])


def read_16bit(path: Path) -> npt.NDArray[np.uint16]:
    """A 16-bit RGB picture, (H, W, 3): PNG. Raises InputError."""
    frame = _decode(path)
    if frame.format.name not in ("rgb48be", "rgb48le"):
        raise InputError(f"{path} is {frame.format.name}, not a 16-bit RGB picture", "Convert it to 16-bit RGB.")
    return np.asarray(frame.to_ndarray(), np.uint16)


def read_light(path: Path) -> Floats:
    """Linear light as it is, (H, W, 3), float32, >= 0, of .exr or .hdr (Radiance). Raises InputError."""
    if path.suffix.lower() == ".exr":
        light = _read_exr(path)
    else:
        frame = _decode(path)
        if frame.format.name != "gbrpf32le":
            raise InputError(f"{path} is {frame.format.name}, not a picture of linear light", "Give .exr or .hdr.")
        light = np.asarray(frame.to_ndarray(), np.float32)
    return _checked(path, np.maximum(light, 0.0, dtype=np.float32))


def read_array(path: Path) -> Floats:
    """The floating values of a .npy file, (H, W, 3), or one number. Raises InputError."""
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {_reason(error)}", "Write it again with numpy.save.") from None
    if values.ndim not in (0, 3) or (values.ndim == 3 and values.shape[2] != 3) or values.dtype.kind not in "fiu":
        raise InputError(f"{path} holds {values.dtype} {values.shape}, not (height, width, 3)", "Write R G B last.")
    return _checked(path, values.astype(np.float32))


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises InputError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {_reason(error)}", "It has to be a JSON file.") from None


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
        raise InputError(f"{path} cannot be read as a picture: {_reason(error)}", "Write or fetch it again.") from None


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
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read as OpenEXR: {_reason(error)}", "It needs channels R, G, B.") from None


def _checked(path: Path, values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise InputError(f"{path} holds values that are not finite", "Write or fetch it again.")
    return values


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
