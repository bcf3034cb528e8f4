"""Sources that are damaged, disguised, unsuitable or not there yet."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hdrunet_video.cli import main
from hdrunet_video.errors import InputError
from hdrunet_video.job import Job, make_plan
from hdrunet_video.run import run
from tests.bad_input import SOURCE, X264, check_failure
from tests.conftest import ffmpeg, ffprobe


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("This is not a film, whatever its name says.\n" * 40)


def noise(path: Path) -> None:
    path.write_bytes(torch.randint(0, 256, (50_000,), generator=torch.Generator().manual_seed(1)).byte().numpy())


def cut(path: Path, keep: float, *arguments: str, duration: str = "0.5") -> None:
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size=64x48:rate=24:duration={duration}", *X264, *arguments, path)
    os.truncate(path, int(path.stat().st_size * keep))


def sound_only(path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", path)


def sound_with_cover(path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:size=64x64:duration=0.04", "-frames:v", "1", "cover.png")
    cover = ("-i", "cover.png", "-c:v", "png", "-disposition:v", "attached_pic")
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", *cover, path)


def ffconcat(path: Path) -> None:
    path.write_text("ffconcat version 1.0\nfile good.mp4\n")


def playlist(path: Path) -> None:
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ngood.mp4\n#EXT-X-ENDLIST\n")


def no_frames(path: Path) -> None:
    ffmpeg(*SOURCE, *X264, "-frames:v", "0", path)


def unknown_codec(path: Path) -> None:
    path.write_bytes(Path("good.mp4").read_bytes().replace(b"avc1", b"zzzz"))


# FFmpeg itself stops a little above 16000x16000: what lies below is ours to refuse.
def y4m_bomb(path: Path) -> None:
    path.write_bytes(b"YUV4MPEG2 W16000 H16000 F24:1 C420jpeg\nFRAME\n" + bytes(1000))


def png_bomb(path: Path) -> None:
    ffmpeg(*SOURCE, "-c:v", "png", "-frames:v", "1", path)
    size = (64).to_bytes(4, "big") + (48).to_bytes(4, "big")
    path.write_bytes(path.read_bytes().replace(size, (16000).to_bytes(4, "big") * 2))


def tagged_hdr(path: Path) -> None:
    ffmpeg(*SOURCE, *X264, "-color_trc", "smpte2084", path)


def tagged_xyz(path: Path) -> None:
    ffmpeg(*SOURCE, *X264, "-color_primaries", "smpte428", path)


def ten_bits(path: Path) -> None:
    ffmpeg(*SOURCE, "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", path)


def one_bit(path: Path) -> None:
    ffmpeg(*SOURCE, "-c:v", "rawvideo", "-pix_fmt", "rgb565le", path)


def gray_and_alpha_of_16_bits(path: Path) -> None:
    ffmpeg(*SOURCE, "-c:v", "png", "-pix_fmt", "ya16be", path)


def floats(path: Path) -> None:
    ffmpeg(*SOURCE, "-c:v", "exr", "-pix_fmt", "gbrpf32le", path)


def two_sizes(path: Path) -> None:
    for size in ("64x48", "96x64"):
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={size}:duration=0.2", "-c:v", "libx264", "-f", "h264", size)
    path.write_bytes(Path("64x48").read_bytes() + Path("96x64").read_bytes())


def fifo(path: Path) -> None:
    os.mkfifo(path)


Maker = Callable[[Path], None]
SOURCES: list[tuple[str, Maker, str]] = [
    ("in.mp4", empty, "is empty"),
    ("in.mp4", text, "is not a video file"),
    ("in.mp4", noise, "is not a video file"),
    ("front.mp4", lambda path: cut(path, 0.6, "-movflags", "faststart", duration="2"), "cut off"),
    ("back.mp4", lambda path: cut(path, 0.6), "cut off"),
    ("long.mp4", lambda path: cut(path, 0.97, "-movflags", "faststart", duration="4"), "cut off"),
    ("in.mkv", lambda path: cut(path, 0.6, duration="2"), "cut off"),
    ("long.mkv", lambda path: cut(path, 0.97, duration="4"), "cut off"),
    ("long.webm", lambda path: cut(path, 0.97, "-c:v", "libvpx", duration="4"), "cut off"),
    ("in.avi", lambda path: cut(path, 0.6), "cut off"),
    ("in.m4a", sound_only, "no video stream"),
    ("in.mp3", sound_with_cover, "is not a video file"),
    ("in.m4a", sound_with_cover, "no video stream"),
    ("in.mp4", ffconcat, "is not a video file"),
    ("in.mp4", playlist, "is not a video file"),
    ("in.mkv", no_frames, "in.mkv"),
    ("in.mp4", unknown_codec, "in.mp4"),
    ("in.y4m", y4m_bomb, "in.y4m"),
    ("in.mov", png_bomb, "in.mov"),
    ("in.mp4", tagged_hdr, "already HDR"),
    ("in.mp4", tagged_xyz, "primaries 10 (XYZ), which are not supported"),
    ("in.mkv", ten_bits, "10 bits"),
    ("in.nut", one_bit, "rgb565le"),
    ("in.mov", gray_and_alpha_of_16_bits, "ya16be, which is not supported"),
    ("in.mkv", floats, "gbrpf32le, which is not supported"),
    ("in.264", two_sizes, "changes from 64x48 to 96x64"),
    ("in.mp4", Path.mkdir, "is a folder"),
    ("in.mp4", fifo, "not a regular file"),
]


@pytest.mark.parametrize(("name", "make", "says"), SOURCES, ids=lambda value: getattr(value, "__name__", value))
def test_a_bad_source(name: str, make: Maker, says: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(here / name)
    if make is two_sizes:
        # Found only while frames are read: finished segments may stay, to go on from.
        assert main([name, "out.mov", "--model", "identity"]) == 65
        error = capsys.readouterr().err
        assert says in error
        assert "  hint: " in error
        assert "Traceback" not in error
        assert not (here / "out.mov").exists()
        return
    check_failure([name, "out.mov"], 65, says, here, capsys)


@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_a_source_that_is_still_being_written_is_refused(here: Path, moment: str) -> None:
    plan = make_plan(Job(here / "good.mp4", here / "out.mov", model="identity"))

    def grow() -> bool:
        with (here / "good.mp4").open("ab") as file:
            file.write(b"more")
        return False

    if moment == "before":
        grow()
    with pytest.raises(InputError, match="changed while it was read"):
        run(plan, cancelled=grow)
    assert not (here / "out.mov").exists()


def test_keep_going_takes_what_there_is_of_a_cut_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut(here / "cut.mp4", 0.8, "-movflags", "faststart", duration="2")
    assert main(["cut.mp4", "out.mov", "--keep-going", "--model", "identity", "-q"]) == 0
    assert "damaged or missing" in capsys.readouterr().err
    stream = ffprobe(here / "out.mov", "-show_streams", "-count_frames")["streams"][0]
    assert 20 < int(stream["nb_read_frames"]) <= 48


def test_several_bad_sources_do_not_stop_the_good_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty.mp4").touch()
    arguments = ["empty.mp4", "good.mp4", "nowhere.mp4", "-o", "done", "--frames", "0:2", "--model", "identity"]
    assert main(arguments) == 65
    assert [path.name for path in (here / "done").iterdir()] == ["good.mov"]
    assert capsys.readouterr().err.count("hdrunet-video: error: ") == 2
