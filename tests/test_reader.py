"""The reader: the same bytes as another decoder's, whichever part of the film is asked for."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from av.container import InputContainer
from av.video.stream import VideoStream

from hdrunet_video.color.spec import ColorSpec, Matrix, Primaries, Range, Transfer
from hdrunet_video.errors import InputError
from hdrunet_video.frame import Frame
from hdrunet_video.media import video_stream
from hdrunet_video.probe import VideoInfo, probe
from hdrunet_video.reader import Reader
from tests.conftest import ffmpeg, ffprobe
from tests.media import without_times

SDR = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED)


def decoded(path: Path, pixel_format: str, *filters: str) -> bytes:
    """All frames of a file from Debian's ffmpeg, planes one after the other."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), *filters, "-fps_mode", "passthrough"]
    command += ["-pix_fmt", pixel_format, "-f", "rawvideo", "-"]
    return subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout


def read(info: VideoInfo, start: int = 0, stop: int | None = None, **options: Any) -> list[Frame]:
    with Reader(info, SDR, start, len(info.pts) if stop is None else stop, **options) as reader:
        return list(copied(reader))


def copied(frames: Reader) -> Iterator[Frame]:
    """Frames that outlive the decoder's buffers."""
    for frame in frames:
        yield replace(frame, planes=tuple(plane.clone() for plane in frame.planes))


def coded(frame: Frame) -> bytes:
    """A frame as rawvideo: planar Y'CbCr, or packed R, G, B."""
    if frame.format.model == "rgb":
        return torch.stack(frame.planes, -1).numpy().tobytes()
    return b"".join(plane.contiguous().numpy().tobytes() for plane in frame.planes)


def all_bytes(frames: list[Frame]) -> bytes:
    return b"".join(map(coded, frames))


def make(path: Path, *arguments: str, size: str = "64x48", frames: int = 4, rate: str = "24") -> Path:
    # testsrc2 itself rounds odd sizes down.
    source = f"testsrc2=size=64x48:rate={rate},trim=end_frame={frames},scale={size.replace('x', ':')}"
    ffmpeg("-f", "lavfi", "-i", source, *arguments, path)
    return path


# What the file holds: (extension, codec, pixel format there), and a plain format with the same numbers.
FORMATS = [
    *(("nut", "rawvideo", f"yuv{chroma}p", f"yuv{chroma}p") for chroma in ("420", "422", "444", "411", "440", "410")),
    ("mp4", "libx264", "yuv420p", "yuv420p"),
    ("mp4", "libx264", "yuv444p", "yuv444p"),
    ("avi", "ffv1", "yuv411p", "yuv411p"),
    ("mkv", "ffv1", "yuv440p", "yuv440p"),
    ("mkv", "libx264", "yuvj420p", "yuvj420p"),
    ("mov", "mjpeg", "yuvj422p", "yuvj422p"),
    ("avi", "mjpeg", "yuvj444p", "yuvj444p"),
    ("mkv", "ffv1", "yuva420p", "yuv420p"),
    ("nut", "rawvideo", "nv12", "yuv420p"),
    ("nut", "rawvideo", "nv21", "yuv420p"),
    ("avi", "rawvideo", "yuyv422", "yuv422p"),
    ("mov", "rawvideo", "uyvy422", "yuv422p"),
    ("nut", "rawvideo", "gray", "gray"),
    ("mkv", "ffv1", "gray", "gray"),
    ("mkv", "ffv1", "ya8", "gray"),
    ("mov", "png", "ya8", "gray"),
    ("apng", "apng", "ya8", "gray"),
    ("nut", "rawvideo", "ya8", "gray"),
    ("mov", "png", "rgb24", "rgb24"),
    ("mov", "png", "rgba", "rgb24"),
    ("avi", "rawvideo", "bgr24", "rgb24"),
    ("mov", "qtrle", "rgb24", "rgb24"),
    ("mov", "qtrle", "argb", "rgb24"),
    *(("nut", "rawvideo", name, "rgb24") for name in ("rgb24", "bgr24", "rgba", "bgra", "argb", "abgr")),
    *(("nut", "rawvideo", name, "rgb24") for name in ("rgb0", "bgr0", "0rgb", "0bgr", "gbrp", "gbrap")),
    ("mkv", "libx264rgb", "bgr24", "rgb24"),
    ("mkv", "ffv1", "bgr0", "rgb24"),
    ("gif", "gif", "bgr8", "rgb24"),
    ("nut", "rawvideo", "pal8", "rgb24"),
    ("mov", "png", "pal8", "rgb24"),
    ("mkv", "ffv1", "yuv420p10le", "yuv420p10le"),
    ("mkv", "libx264", "yuv422p10le", "yuv422p10le"),
    ("nut", "rawvideo", "yuv444p12be", "yuv444p12le"),
    ("mov", "png", "rgb48be", "rgb48le"),
    ("nut", "rawvideo", "gray10le", "gray10le"),
]


@pytest.mark.parametrize(("extension", "codec", "stored", "plain"), FORMATS)
def test_planes_are_those_of_the_file(extension: str, codec: str, stored: str, plain: str, tmp_path: Path) -> None:
    # Odd sizes: subsampled chroma rounds up, and lines carry padding. libx264 takes them in 4:4:4 and RGB alone.
    size = "64x48" if codec == "libx264" and "444" not in stored else "37x23"
    palette = ["-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse"] if stored == "pal8" else []
    path = make(tmp_path / f"film.{extension}", *palette, "-c:v", codec, "-pix_fmt", stored, size=size)
    info = probe(path)
    assert f"{info.width}x{info.height}" == size
    frames = read(info)
    assert len(frames) == 4
    assert all_bytes(frames) == decoded(path, plain)


X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2", "-preset", "veryfast")
GAPS = ("-vf", "select='not(eq(n,3)+eq(n,4)+eq(n,9))'", "-fps_mode", "passthrough")
FILMS: dict[str, tuple[str, ...]] = {
    "b-frames.mp4": (*X264, "-g", "5"),
    "open-gop.mp4": (*X264, "-x264-params", "open-gop=1:keyint=6:scenecut=0:b-adapt=0"),
    "open-gop.ts": (*X264, "-x264-params", "open-gop=1:keyint=6:scenecut=0:b-adapt=0"),
    "elementary.264": (*X264, "-g", "5"),
    "gaps.mp4": (*X264, "-g", "5", *GAPS),
    "gaps.mkv": (*X264, "-g", "5", *GAPS),
    "late.mkv": (*X264, "-g", "5", "-output_ts_offset", "1.5"),
    "late.mp4": (*X264, "-g", "5", "-output_ts_offset", "1.5"),
    "hidden.webm": ("-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "8", "-g", "6"),
    "hidden9.webm": ("-c:v", "libvpx-vp9", "-auto-alt-ref", "1", "-lag-in-frames", "8", "-g", "6"),
    "program.mpg": ("-c:v", "mpeg2video", "-bf", "2", "-g", "5", "-r", "25"),
    "b-frames.avi": (*X264, "-g", "5"),
    "open-gop.avi": (*X264, "-x264-params", "open-gop=1:keyint=6:scenecut=0:b-adapt=0"),
    "packed.avi": ("-c:v", "mpeg4", "-bf", "2", "-g", "5"),
    "loop.gif": (),
    "flash.flv": ("-c:v", "flv1", "-g", "5"),
}


@pytest.fixture(scope="module", params=[*FILMS, "edit-list.mp4", "sparse.ts"])
def film(request: pytest.FixtureRequest, clips: Path) -> VideoInfo:
    name = request.param
    if name == "edit-list.mp4":
        # Cutting without recoding, in the middle of a group of pictures, leaves frames that an edit list hides.
        whole = make(clips / "whole.mp4", *X264, "-g", "5", frames=14)
        ffmpeg("-ss", "0.3", "-i", whole, "-c", "copy", clips / name)
    elif name == "sparse.ts":
        without_times(make(clips / name, *X264, "-g", "5", frames=14), 0, 5, 10)
    else:
        make(clips / name, *FILMS[name], frames=14)
    return probe(clips / name)


def test_every_frame_is_that_of_another_decoder(film: VideoInfo) -> None:
    plain = "rgb24" if film.format.model == "rgb" else film.format.name
    frames = read(film)
    assert [frame.pts for frame in frames] == list(film.pts)
    assert all_bytes(frames) == decoded(film.path, plain)


def test_any_range_is_that_slice_of_the_whole(film: VideoInfo) -> None:
    whole, count = read(film), len(film.pts)
    assert count > 5
    # Backwards, so that nothing can lean on where the range before it stopped.
    for start in reversed(range(count)):
        for stop in {start + 1, min(start + 4, count), count}:
            part = read(film, start, stop)
            assert [frame.pts for frame in part] == [frame.pts for frame in whole[start:stop]]
            assert all_bytes(part) == all_bytes(whole[start:stop]), f"{start}:{stop}"


@pytest.fixture(scope="module")
def interlaced(clips: Path) -> VideoInfo:
    weave = ("-vf", "interlace", "-flags", "+ildct+ilme", "-g", "4")
    return probe(make(clips / "interlaced.mpg", *weave, "-c:v", "mpeg2video", "-bf", "2", frames=16, rate="50"))


@pytest.mark.parametrize(("mode", "per_frame"), [("frame", 1), ("field", 2)])
def test_deinterlacing_is_bwdif_of_the_whole_film(interlaced: VideoInfo, mode: str, per_frame: int) -> None:
    assert interlaced.interlaced
    frames = read(interlaced, deinterlace=mode)
    assert len(frames) == per_frame * len(interlaced.pts)
    assert all_bytes(frames) == decoded(interlaced.path, "yuv420p", "-vf", f"bwdif=send_{mode}:auto:all")
    assert all_bytes(frames) != all_bytes(read(interlaced)) * per_frame


@pytest.mark.parametrize(("mode", "per_frame"), [("frame", 1), ("field", 2)])
def test_a_deinterlaced_frame_is_the_same_in_every_segment(interlaced: VideoInfo, mode: str, per_frame: int) -> None:
    whole, count = read(interlaced, deinterlace=mode), len(interlaced.pts)
    for start, stop in [(0, 3), (3, 6), (6, count), (count - 1, count), (1, 2)]:
        part = read(interlaced, start, stop, deinterlace=mode)
        assert all_bytes(part) == all_bytes(whole[start * per_frame : stop * per_frame])


def test_a_film_of_one_frame_can_be_deinterlaced(tmp_path: Path) -> None:
    info = probe(make(tmp_path / "one.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", frames=1))
    assert len(read(info, deinterlace="frame")) == 1
    assert len(read(info, deinterlace="field")) == 2


@pytest.mark.parametrize("second", [("96x64", "yuv420p"), ("64x48", "yuv444p")])
def test_a_picture_that_changes_is_refused(second: tuple[str, str], tmp_path: Path) -> None:
    parts = [("64x48", "yuv420p"), second]
    for number, (size, pixels) in enumerate(parts):
        make(tmp_path / f"{number}.264", "-c:v", "libx264", "-bf", "0", "-pix_fmt", pixels, size=size)
    path = tmp_path / "both.264"
    path.write_bytes(b"".join((tmp_path / f"{number}.264").read_bytes() for number in range(2)))
    with pytest.raises(InputError, match=r"changes from .* at frame 4") as caught:
        read(probe(path))
    assert "--frames :4" in caught.value.hint
    assert len(read(probe(path), 0, 4)) == 4


def packets(path: Path) -> list[tuple[int, int]]:
    """(offset, size) of each video packet in the file."""
    entries = ffprobe(path, "-select_streams", "v", "-show_entries", "packet=pos,size")["packets"]
    return [(int(packet["pos"]), int(packet["size"])) for packet in entries]


def with_many_threads(container: InputContainer, path: Path, frame_threads: bool = True) -> VideoStream:
    stream = video_stream(container, path, frame_threads)
    stream.codec_context.thread_count = 16
    return stream


@pytest.fixture(params=["png", "libx264", "png on many cores"])
def wounded(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VideoInfo:
    """Twelve frames of which number 5 cannot be decoded (png), or can only be guessed at (h264)."""
    codec, _, many = str(request.param).partition(" ")
    if many:
        # All frames are in flight when the file ends, so the error comes while the decoder is emptied.
        monkeypatch.setattr("hdrunet_video.nvidia.video_stream", with_many_threads)
    path = make(tmp_path / "wounded.mov", "-c:v", codec, "-g", "1", "-bf", "0", frames=12)
    offset, size = packets(path)[5]
    data = bytearray(path.read_bytes())
    # Past the headers: a packet that begins like a picture and then is none.
    data[offset + size // 3 : offset + size] = bytes(byte ^ 0x5A for byte in data[offset + size // 3 : offset + size])
    path.write_bytes(data)
    return probe(path)


def test_a_damaged_frame_is_refused(wounded: VideoInfo) -> None:
    with pytest.raises(InputError, match=r"frame 5 of .*wounded.mov \(0.21 s\) is (missing|damaged)") as caught:
        read(wounded)
    assert "--keep-going" in caught.value.hint
    assert len(read(wounded, 6)) == 6


def test_keep_going_counts_a_damaged_frame_and_keeps_all_others(
    wounded: VideoInfo, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Reader(wounded, SDR, 0, 12, keep_going=True) as reader, caplog.at_level(logging.WARNING):
        frames = list(copied(reader))
    assert reader.bad_frames == {5}
    assert "frame 5" in caplog.text
    assert [frame.pts for frame in frames] == list(wounded.pts)
    encoder = wounded.codec.replace("h264", "libx264")
    expected = read(probe(make(tmp_path / "intact.mov", "-c:v", encoder, "-g", "1", "-bf", "0", frames=12)))
    assert all_bytes(frames[:5] + frames[6:]) == all_bytes(expected[:5] + expected[6:])
    if wounded.codec == "png":
        assert coded(frames[5]) == coded(frames[4])


def test_a_missing_first_frame_is_replaced_by_the_next(tmp_path: Path) -> None:
    path = make(tmp_path / "headless.mov", "-c:v", "png", frames=4)
    offset, size = packets(path)[0]
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = bytes(size)
    path.write_bytes(data)
    frames = read(probe(path), keep_going=True)
    assert len(frames) == 4
    assert coded(frames[0]) == coded(frames[1]) != coded(frames[3])


MEASURE = """
import resource, sys
from hdrunet_video.color.spec import ColorSpec, Matrix, Primaries, Range, Transfer
from hdrunet_video.probe import probe
from hdrunet_video.reader import Reader
spec = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED)
for path in sys.argv[1:]:
    info = probe(path)
    with Reader(info, spec, 0, len(info.pts)) as reader:
        count = sum(frame.planes[0].shape[0] > 0 for frame in reader)
    print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_long_film_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    codec = ("-c:v", "mpeg4", "-g", "12")
    paths = [
        make(tmp_path / f"{frames}.mp4", *codec, size="640x360", frames=frames, rate="60") for frames in (20, 40, 400)
    ]
    run = subprocess.run([sys.executable, "-c", MEASURE, *map(str, paths)], capture_output=True, text=True, check=True)
    (_, _), (_, short), (count, long) = (map(int, line.split()) for line in run.stdout.splitlines())
    assert count == 400
    # 360 more frames of 345600 bytes are 122 MB.
    assert long - short < 30_000
