"""Facts of a file, as ffprobe states them."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from hdrunet_video.color.spec import ChromaLocation, Matrix, Primaries, Range, Transfer, pixel_format
from hdrunet_video.errors import InputError
from hdrunet_video.probe import VideoInfo, probe
from tests.conftest import ffmpeg, ffprobe
from tests.media import without_times

SOURCE = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=24:duration=0.5")
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2", "-g", "5")
GAPS = ("-vf", "select='not(eq(n,3)+eq(n,4)+eq(n,9))'", "-fps_mode", "passthrough")


def shown_times(path: Path) -> list[Fraction]:
    """Seconds at which ffprobe shows each frame."""
    found = ffprobe(path, "-select_streams", "v:0", "-show_entries", "frame=pts:stream=time_base")
    return [frame["pts"] * Fraction(found["streams"][0]["time_base"]) for frame in found["frames"]]


def times(info: VideoInfo) -> list[Fraction]:
    return [pts * info.time_base for pts in info.pts]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("constant.mp4", X264),
        ("gaps.mp4", (*X264, *GAPS)),
        ("gaps.mkv", (*X264, *GAPS)),
        ("late.mkv", (*X264, "-output_ts_offset", "1.5")),
        ("late.mp4", (*X264, "-output_ts_offset", "1.5")),
        ("transport.ts", X264),
        ("hidden.webm", ("-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "8")),
        ("loop.gif", ()),
    ],
)
def test_times_are_those_of_ffprobe(name: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    ffmpeg(*SOURCE, *arguments, tmp_path / name)
    found = times(probe(tmp_path / name))
    assert found == shown_times(tmp_path / name)
    assert len(found) >= 9


@pytest.mark.parametrize("codec", [X264, (*X264, "-bf", "0"), ("-c:v", "mpeg4", "-bf", "2")])
def test_avi_is_timed_by_its_slots(codec: tuple[str, ...], tmp_path: Path) -> None:
    """It stores no presentation times; those of FFmpeg begin with 1, and follow each other in coding order."""
    path = tmp_path / "film.avi"
    ffmpeg(*SOURCE, *codec, path)
    assert times(probe(path)) == [Fraction(number, 24) for number in range(12)]


def test_a_dropped_frame_of_avi_leaves_its_slot_empty(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    ffmpeg(*SOURCE, *X264, "-bf", "0", *GAPS, path)
    assert times(probe(path)) == [Fraction(number, 24) for number in (0, 1, 2, 5, 6, 7, 8, 10, 11)]


def test_frames_that_an_edit_list_hides_are_not_counted(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    ffmpeg(*SOURCE, *X264, whole)
    ffmpeg("-ss", "0.3", "-i", whole, "-c", "copy", path)
    found = times(probe(path))
    assert found == shown_times(path)
    assert len(found) < int(ffprobe(path, "-show_streams")["streams"][0]["nb_frames"])


def test_an_elementary_stream_is_timed_by_its_frame_rate(tmp_path: Path) -> None:
    path = tmp_path / "film.264"
    ffmpeg(*SOURCE, *X264, path)
    info = probe(path)
    assert times(info) == [Fraction(number, 24) for number in range(12)]
    assert info.duration == Fraction(1, 2)
    assert not info.seekable


def test_facts_of_a_tagged_clip(clip: Path) -> None:
    info = probe(clip)
    assert (info.width, info.height, info.format.name, info.codec) == (64, 48, "yuv420p", "h264")
    assert (info.frame_rate, info.duration) == (24, Fraction(10, 24))
    assert (info.sample_aspect_ratio, info.display_matrix, info.interlaced, info.damage) == (1, (), False, "")
    color = info.color
    assert (color.matrix, color.primaries) == (Matrix.BT709, Primaries.BT709)
    assert (color.transfer, color.range) == (Transfer.BT709, Range.LIMITED)
    assert [(stream.type, stream.codec) for stream in info.streams] == [("audio", "aac")]
    assert info.size == clip.stat().st_size


def test_odd_facts(tmp_path: Path) -> None:
    path = tmp_path / "odd.mov"
    tags = ("-colorspace", "smpte170m", "-color_primaries", "bt470bg", "-color_trc", "gamma28", "-color_range", "pc")
    bitstream = "h264_metadata=chroma_sample_loc_type=2"
    ffmpeg(*SOURCE, *X264, *tags, "-vf", "setsar=16/11", "-timecode", "01:00:00:00", "-bsf:v", bitstream, path)
    turned = tmp_path / "turned.mov"
    ffmpeg("-i", path, "-c", "copy", "-metadata:s:v", "rotate=90", turned)
    info = probe(turned)
    assert info.display_matrix[:2] in ((0, 65536), (0, -65536))
    assert info.sample_aspect_ratio == Fraction(16, 11)
    assert info.timecode == "01:00:00:00"
    color = info.color
    assert (color.matrix, color.primaries) == (Matrix.SMPTE170M, Primaries.BT470BG)
    assert (color.transfer, color.range) == (Transfer.GAMMA28, Range.FULL)
    assert color.chroma_location is ChromaLocation.TOP_LEFT


def test_interlaced_video_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "interlaced.mpg"
    ffmpeg(*SOURCE, "-vf", "interlace", "-flags", "+ildct+ilme", "-c:v", "mpeg2video", "-r", "25", path)
    assert probe(path).interlaced


def test_one_frame_without_the_flag_makes_no_film_progressive(tmp_path: Path) -> None:
    path = tmp_path / "interlaced.ts"
    ffmpeg(*SOURCE, "-vf", "interlace", "-flags", "+ildct+ilme", "-c:v", "mpeg2video", "-r", "25", path)
    content = bytearray(path.read_bytes())
    extension = content.index(b"\x00\x00\x01\xb5\x8f")  # of the first picture, ISO/IEC 13818-2, 6.2.3.1
    content[extension + 8] |= 128  # progressive_frame
    path.write_bytes(content)
    found = [frame["interlaced_frame"] for frame in ffprobe(path, "-show_frames")["frames"]]
    assert found == [0] + [1] * (len(found) - 1)
    info = probe(path)
    assert info.interlaced
    assert info.doubts == (
        f"interlaced: {len(found) - 1} of the first {len(found)} frames are flagged so, all are taken for it",
    )


def test_cover_art_is_not_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=red:size=200x200:duration=0.04", "-frames:v", "1", tmp_path / "cover.png")
    cover = (
        "-i",
        tmp_path / "cover.png",
        "-map",
        "1",
        "-map",
        "0",
        "-c:v:0",
        "png",
        "-disposition:v:0",
        "attached_pic",
    )
    ffmpeg(*SOURCE, *cover, "-c:v:1", "libx264", "-pix_fmt:v:1", "yuv420p", path)
    info = probe(path)
    assert (info.width, info.height, info.codec) == (64, 48, "h264")


@pytest.mark.parametrize("extension", ["mp4", "mkv", "avi", "ts", "webm"])
def test_whole_files_show_no_damage(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"whole.{extension}"
    codec = ("-c:v", "libvpx") if extension == "webm" else X264
    ffmpeg(*SOURCE, "-f", "lavfi", "-i", "sine=duration=0.5", *codec, path)
    assert probe(path).damage == ""


@pytest.mark.parametrize("name", ["late.mkv", "late.webm", "late.mp4", "late.mov", "late.avi"])
def test_a_late_start_is_no_damage(name: str, tmp_path: Path) -> None:
    codec = ("-c:v", "libvpx") if name.endswith("webm") else X264
    ffmpeg(*SOURCE, "-f", "lavfi", "-i", "sine=duration=0.5", *codec, "-output_ts_offset", "5", tmp_path / name)
    assert probe(tmp_path / name).damage == ""


@pytest.mark.parametrize(
    ("kept", "missing"),
    [
        ({*range(12)} - {7}, 1),
        ({*range(1, 12)}, 1),
        ({*range(11)}, 1),
        ({0, 5, 10}, 9),
        ({5}, 11),
    ],
)
def test_times_that_are_missing_are_those_between_their_neighbours(
    kept: set[int], missing: int, tmp_path: Path
) -> None:
    path = tmp_path / "film.ts"
    ffmpeg(*SOURCE, *X264, path)
    whole = shown_times(path)
    info = probe(without_times(path, *kept))
    assert times(info) == whole
    assert (info.frame_rate, info.seekable) == (24, True)
    assert info.duration == Fraction(1, 2)
    assert info.doubts == (f"times: {missing} of 12 frames have none, assumed from the frames around them",)
    timed = ffprobe(path, "-select_streams", "v", "-show_entries", "packet=pts")["packets"]
    assert sum("pts" not in packet for packet in timed) == missing


def test_a_film_without_times_begins_when_its_stream_does(tmp_path: Path) -> None:
    path = tmp_path / "film.ts"
    ffmpeg(*SOURCE, "-f", "lavfi", "-i", "sine=duration=0.5", *X264, path)
    info = probe(without_times(path))
    start = float(ffprobe(path, "-show_streams", "-select_streams", "v")["streams"][0]["start_time"])
    assert [float(time) for time in times(info)] == pytest.approx([start + number / 24 for number in range(12)])
    assert not info.seekable
    assert info.doubts


def test_an_unread_pixel_format_is_told_which_are_read(tmp_path: Path) -> None:
    path = tmp_path / "in.avi"
    ffmpeg(*SOURCE, "-c:v", "rawvideo", "-pix_fmt", "rgb555le", path)
    with pytest.raises(InputError, match="rgb555le, which is not supported") as caught:
        probe(path)
    assert all(pixel_format(name) for name in re.findall(r"\w*\d\d\d\w*|gbrp|gray|nv12", caught.value.hint))
    assert "yuv420p" in caught.value.hint
    assert "--help" not in caught.value.hint


@pytest.mark.parametrize(("format", "said"), [("rgba", True), ("rgb24", False)])
def test_transparency_is_not_lost_without_a_word(format: str, said: bool, tmp_path: Path) -> None:
    path = tmp_path / "in.mov"
    lavfi = ("-f", "lavfi", "-i", "color=red@0.5:size=64x48:duration=0.1,format=rgba")
    ffmpeg(*lavfi, "-c:v", "png", "-pix_fmt", format, path)
    assert any("transparency" in doubt for doubt in probe(path).doubts) is said
