"""Opens media, and only that: regular files on a disk, in formats that name no other file, of a bounded size."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from .cgroup import cores, cpu_quota
from .errors import InputError

MAX_PIXELS = 1 << 27
"""Larger pictures are refused: a header of a few bytes must not allocate gigabytes. 16384x8192 is the largest."""

_MOST_THREADS = 16
"""FFmpeg takes no more by itself."""
OPEN_OPTIONS = {
    "protocol_whitelist": "file",
    # Formats that name other files (concat, hls, dash, sdp, image2) are left out: a file called film.mp4 must not
    # make FFmpeg read its neighbours.
    "format_whitelist": "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,mxf,flv,asf,ogg,gif,apng,nut,ivf,obu,h264,hevc,"
    "m4v,yuv4mpegpipe,dv,rm,wtv,gxf,mv,nsv,bink,smk,avs,cavsvideo,vc1,mjpeg",
}


def check_is_a_file(source: str | os.PathLike[str]) -> Path:
    """The path of a regular file, or InputError: URLs, folders, devices and empty files are refused by name."""
    text = os.fspath(source)
    # pathlib makes one slash of two.
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) and not os.path.exists(text):
        raise InputError(f"{text} is a URL; only local files are read", "Download it first.")
    path = Path(text)
    try:
        facts = path.stat()
    except FileNotFoundError:
        raise InputError(f"{text} does not exist", "Check the spelling and the folder.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{text} cannot be opened: {reason}", "Check the path and its permissions.") from None
    if stat.S_ISDIR(facts.st_mode):
        raise InputError(f"{text} is a folder, not a video", f"Name the files: {text}/*.mp4 -o FOLDER")
    if not stat.S_ISREG(facts.st_mode):
        raise InputError(f"{text} is not a regular file", "Devices and pipes cannot be read twice; copy it to a file.")
    if facts.st_size == 0:
        raise InputError(f"{text} is empty", "Copy or download it again.")
    return path


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a file for demuxing with everything but plain media refused; FFmpeg's errors become InputError."""
    try:
        # `file:` keeps a name such as a:b.mp4 from being read as a protocol.
        container = av.open(f"file:{path.absolute()}", options=dict(OPEN_OPTIONS))
    except PermissionError:
        raise InputError(f"{path} may not be read", "Check its permissions.") from None
    except (av.error.FFmpegError, ValueError):
        raise InputError(
            f"{path} is not a video file that can be read, or it is cut off",
            "Playlists, scripts and images are refused; `ffprobe` on the file says more.",
        ) from None
    with container:
        yield container


def video_stream(container: InputContainer, path: Path, frame_threads: bool = True) -> VideoStream:
    """The picture, ready to decode, with a bound on its size; cover art does not count.

    With frame threads, an error near the end of the file can take the good frames in flight along.
    """
    stream = container.streams.best("video")
    cover = av.stream.Disposition.attached_pic
    if not isinstance(stream, VideoStream) or stream.disposition & cover or stream.codec_context is None:
        raise InputError(f"{path} has no video stream", "Only sound or cover art was found.")
    if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
        size = f"{stream.codec_context.width}x{stream.codec_context.height}"
        raise InputError(f"{path} claims pictures of {size}, which is too large", "The largest is 16384x8192.")
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    stream.thread_type = "AUTO" if frame_threads else "SLICE"
    if cpu_quota() is not None:  # FFmpeg knows of cores alone, and takes a thread more than there are
        stream.codec_context.thread_count = min(cores() + 1, _MOST_THREADS)
    return stream
