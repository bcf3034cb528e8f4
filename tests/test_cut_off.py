"""Every file that lost its end is noticed, however little is missing; whole ones are not suspected."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hdrunet_video.cut_off import missing_bytes
from tests.conftest import ffmpeg

KINDS = {
    "faststart.mp4": ("-movflags", "faststart"),
    "plain.mov": (),
    "fragments.mp4": ("-movflags", "frag_keyframe"),
    "film.mkv": (),
    "film.avi": (),
}
DEMUXERS = {
    ".mp4": "mov,mp4,m4a,3gp,3g2,mj2",
    ".mov": "mov,mp4,m4a,3gp,3g2,mj2",
    ".mkv": "matroska,webm",
    ".avi": "avi",
}


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, clips: Path) -> Path:
    path = clips / f"cut_off_{request.param}"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:duration=0.5", "-c:v", "mpeg4", *KINDS[request.param], path)
    return path


def test_a_whole_file_misses_nothing(whole: Path) -> None:
    assert missing_bytes(whole, DEMUXERS[whole.suffix]) == 0


@pytest.mark.parametrize("lost", [1, 100, 2000])
def test_lost_bytes_are_counted(whole: Path, lost: int, tmp_path: Path) -> None:
    path = tmp_path / whole.name
    path.write_bytes(whole.read_bytes())
    os.truncate(path, path.stat().st_size - lost)
    if "fragments" in whole.name and lost < 2000:
        return  # of an index that nothing needs
    assert missing_bytes(path, DEMUXERS[whole.suffix]) > 0


def test_bytes_after_the_end_are_nobodys_business(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / whole.name
    path.write_bytes(whole.read_bytes() + b"\xff\xfe\xfdjunk of a camera")
    assert missing_bytes(path, DEMUXERS[whole.suffix]) == 0


def test_a_matroska_of_unknown_size_is_not_suspected(tmp_path: Path) -> None:
    path = tmp_path / "live.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:duration=0.5", "-c:v", "mpeg4", "-live", "1", path)
    assert missing_bytes(path, "matroska,webm") == 0


@pytest.mark.parametrize("size", [b"\x01\xff\xff\xff\xff\xff\xff\xfe", b"\x10\xff\xff\xff"])
def test_a_size_beyond_any_file_is_only_a_number(size: bytes, tmp_path: Path) -> None:
    path = tmp_path / "film"
    path.write_bytes(b"\x1a\x45\xdf\xa3" + size + bytes(100))
    assert missing_bytes(path, "matroska,webm") > 100_000
    path.write_bytes(b"\0\0\0\x01mdat" + b"\xff" * 8 + bytes(100))
    assert missing_bytes(path, "mov,mp4") > 1 << 60
