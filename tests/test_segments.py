"""Segments: cut, joined, and the joined film is the one of a single pass."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ffmpeg
from tests.media import BT709, convert, frame_times, packet_hashes, sha256, video_frames


@pytest.fixture(scope="module")
def film(clips: Path) -> Path:
    """Eleven frames, so that segments of 3 leave a short one, with sound."""
    path = clips / "segments.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=80x64:rate=24:duration=0.45"),
        *("-f", "lavfi", "-i", "sine=frequency=440:duration=0.45"),
        *("-pix_fmt", "yuv420p", "-c:v", "libx264", "-bf", "2", *BT709, "-c:a", "aac", path),
    )
    return path


INTRA = [("prores-hq", "mov"), ("prores-4444", "mov"), ("png16", "mov"), ("ffv1", "mkv")]


@pytest.mark.parametrize(("preset", "extension"), INTRA)
def test_intra_codecs_do_not_show_their_segments(film: Path, tmp_path: Path, preset: str, extension: str) -> None:
    for frames in (1, 3, 100):
        convert(film, tmp_path / f"{frames}.{extension}", "-p", preset, "--segment-frames", str(frames))
    assert len(packet_hashes(tmp_path / f"100.{extension}", "v:0")) == 11
    hashes = {sha256(path) for path in tmp_path.iterdir()}
    assert len(hashes) == 1


def test_exr_frames_do_not_depend_on_segments(film: Path, tmp_path: Path) -> None:
    made = []
    for frames in (2, 100):
        folder = tmp_path / str(frames)
        folder.mkdir()
        convert(film, folder / "f.%04d.exr", "--segment-frames", str(frames))
        made.append({path.name: sha256(path) for path in folder.iterdir()})
    assert made[0] == made[1]
    assert len(made[0]) == 11


@pytest.mark.parametrize(("preset", "extension"), [("hdr10", "mp4"), ("hdr10", "mkv"), ("av1", "mp4"), ("av1", "mkv")])
@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_inter_codecs_join_to_a_whole_film(
    film: Path, tmp_path: Path, preset: str, extension: str, frames: int
) -> None:
    """Every length that an encoder's reordering could stumble over, also for the last segment."""
    target = tmp_path / f"out.{extension}"
    convert(film, target, "-p", preset, "--segment-frames", str(frames))
    shown = video_frames(target)
    assert len(shown) == 11
    assert {number for number, frame in enumerate(shown) if frame["key_frame"]} >= set(range(0, 11, frames))
    tolerance = 0.0011 if extension == "mkv" else 0
    wanted = frame_times(film)
    assert all(abs(a - b) <= tolerance for a, b in zip(frame_times(target), wanted, strict=True))
    decode = ["ffmpeg", "-v", "error", "-xerror", "-i", str(target), "-f", "null", "-"]
    result = subprocess.run(decode, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("size", ["48x32", "64x64", "64x128"])
def test_small_hevc_is_the_same_every_time(tmp_path: Path, size: str) -> None:
    """x265 reads and writes beyond its buffers there unless it is told to leave parts out."""
    source = tmp_path / "in.mp4"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=24:duration=0.5", *BT709, "-pix_fmt", "yuv420p", source)
    for number in range(4):
        convert(source, tmp_path / f"out{number}.mp4")
    assert len({sha256(path) for path in tmp_path.glob("out*.mp4")}) == 1
