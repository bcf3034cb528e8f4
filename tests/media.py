"""What other people's tools say of a file: times, packets, pixels. Nothing here is ours but `convert`."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from hdrunet_video.cli import main
from tests.conftest import ffprobe

BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")


def convert(*arguments: str | Path, model: str = "identity") -> None:
    """Our command line in this process; light mapping alone unless a `model` is named."""
    assert main([*map(str, arguments), "--model", model, "-q"]) == 0


def video_stream(path: Path) -> dict[str, Any]:
    """What ffprobe says of the first video stream."""
    found: dict[str, Any] = ffprobe(path, "-show_streams", "-select_streams", "v:0")["streams"][0]
    return found


def video_frames(path: Path) -> list[dict[str, Any]]:
    """What ffprobe says of each decoded frame."""
    return list(ffprobe(path, "-show_frames", "-select_streams", "v:0")["frames"])


def frame_times(path: Path) -> list[Fraction]:
    """When each decoded frame is shown, in seconds, exactly."""
    time_base = Fraction(video_stream(path)["time_base"])
    return [frame["pts"] * time_base for frame in video_frames(path)]


def packet_hashes(path: Path, stream: str) -> list[str]:
    """MD5 of the payload of every packet of a stream (`a:0`, `s:1`, ...)."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", f"0:{stream}", "-c", "copy", "-f", "framemd5", "-"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    return [line.split(",")[5].strip() for line in output.splitlines() if line and not line.startswith("#")]


def decoded_rgb(path: Path) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """(frames, rows, columns, RGB) 16-bit codes of a file whose pixels are 16-bit RGB, unchanged."""
    stream = video_stream(path)
    format = {"gbrp16le": "gbrp16le", "rgb48be": "rgb48be"}[stream["pix_fmt"]]
    command = ["ffmpeg", "-v", "error", "-noautorotate", "-i", str(path), "-fps_mode", "passthrough"]
    command += ["-pix_fmt", format, "-f", "rawvideo", "-"]
    raw = subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout
    rows, columns = stream["height"], stream["width"]
    if format == "rgb48be":
        return np.frombuffer(raw, ">u2").reshape(-1, rows, columns, 3).astype(np.uint16)
    planes = np.frombuffer(raw, "<u2").reshape(-1, 3, rows, columns)
    return np.stack([planes[:, 2], planes[:, 0], planes[:, 1]], axis=-1)


def pq_nits(signal: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """cd/m2 of PQ signals 0..1, in float64: the formula of SMPTE ST 2084 with its printed constants."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = np.asarray(signal, np.float64) ** (1 / m2)
    light: np.ndarray[Any, np.dtype[np.float64]] = 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return light


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def forge(receipt: Path, **facts: object) -> None:
    """Change a receipt, its proof included, as no accident does."""
    from hdrunet_video.receipts import read_receipt

    found = read_receipt(receipt)
    assert found is not None
    receipt.write_text(replace(found, **facts).as_json())  # type: ignore[arg-type]


def flip(path: Path, position: int | None = None) -> None:
    """Flip one bit of a file: of the byte at `position`, or of the one in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if position is None else position] ^= 1
    path.write_bytes(content)


def without_times(path: Path, *kept: int) -> Path:
    """A transport stream whose PES packets of video hold no times but for those `kept` (ISO/IEC 13818-1, 2.4.3.7)."""
    content, number = bytearray(path.read_bytes()), -1
    for start in range(0, len(content), 188):
        packet = content[start : start + 188]
        if (packet[1] & 31, packet[2], packet[1] & 64) == (1, 0, 64):
            number += 1
            pes = start + 4 + (packet[3] & 32 and 1 + packet[4])
            if number not in kept:
                content[pes + 7] &= 63
                content[pes + 9 : pes + 9 + content[pes + 8]] = b"\xff" * content[pes + 8]
    path.write_bytes(content)
    return path


QUICK = ("--set", "video.options.preset=ultrafast", "-p", "hdr10")
"""Flags for a film whose pictures do not matter."""


def streams(path: Path, kind: str) -> list[dict[str, Any]]:
    found = ffprobe(path, "-show_streams")["streams"]
    return [each for each in found if each["codec_type"] == kind]


def packet_times(path: Path, stream: str) -> list[float]:
    packets = ffprobe(path, "-show_packets", "-select_streams", stream)["packets"]
    return [float(packet["pts_time"]) for packet in packets if int(packet["size"]) > 2]
