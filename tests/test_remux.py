"""What is carried over: sound, subtitles, chapters, attachments, metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdrunet_video.cli import main
from tests.conftest import ffmpeg, ffprobe
from tests.media import (
    BT709,
    QUICK,
    convert,
    frame_times,
    packet_hashes,
    packet_times,
    streams,
    video_stream,
)

SRT = "1\n00:00:00,100 --> 00:00:00,500\nGood evening\n\n2\n00:00:01,000 --> 00:00:01,600\nGood night\n"
CHAPTERS = """;FFMETADATA1
title=The Night
artist=Somebody
[CHAPTER]
TIMEBASE=1/1000
START=0
END=800
title=Evening
[CHAPTER]
TIMEBASE=1/1000
START=800
END=2000
title=Night
"""


def film(folder: Path, name: str, *sound: str) -> Path:
    """Two seconds with two languages, subtitles, chapters, a title and, in Matroska, a font."""
    path, texts, facts, font = folder / name, folder / "in.srt", folder / "in.txt", folder / "in.ttf"
    texts.write_text(SRT)
    facts.write_text(CHAPTERS)
    font.write_bytes(b"\0\1\0\0not a font" * 9)
    subtitles = "srt" if path.suffix == ".mkv" else "mov_text"
    attachment = ("-attach", font, "-metadata:s:t", "mimetype=application/x-truetype-font") if "mkv" in name else ()
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=80x64:rate=24:duration=2"),
        *("-f", "lavfi", "-i", "sine=frequency=440:duration=2", "-f", "lavfi", "-i", "sine=frequency=880:duration=2"),
        *("-i", texts, "-i", facts, "-map", "0", "-map", "1", "-map", "2", "-map", "3", "-map_metadata", "4"),
        *("-map_chapters", "4", *attachment, "-c:v", "libx264", "-bf", "2", "-pix_fmt", "yuv420p", *BT709),
        *(sound or ("-c:a", "aac")),
        *("-c:s", subtitles, "-metadata:s:a:0", "language=deu", "-metadata:s:a:1", "language=fra"),
        *("-metadata:s:s:0", "language=eng", "-metadata:s:a:1", "title=Kommentar"),
        *("-disposition:a:0", "0", "-disposition:a:1", "default", "-disposition:s:0", "forced"),
        *("-t", "2", path),
    )
    return path


PAIRS = [("in.mp4", "out.mp4"), ("in.mp4", "out.mov"), ("in.mkv", "out.mkv")]


@pytest.mark.parametrize(("name", "target_name"), PAIRS)
def test_everything_is_kept(tmp_path: Path, name: str, target_name: str) -> None:
    source, target = film(tmp_path, name), tmp_path / target_name
    convert(source, target, *QUICK)
    for stream in ("a:0", "a:1", "s:0"):
        assert packet_hashes(target, stream) == packet_hashes(source, stream)
    sound = streams(target, "audio")
    assert [each["tags"]["language"] for each in sound] == ["ger" if target.suffix == ".mov" else "deu", "fra"]
    assert [each["disposition"]["default"] for each in sound] == [0, 1]
    before = streams(source, "audio")
    assert [each["tags"].get("title") for each in sound] == [each["tags"].get("title") for each in before]
    (subtitles,) = streams(target, "subtitle")
    assert subtitles["tags"]["language"] == "eng"
    assert subtitles["disposition"]["forced"] == (0 if target.suffix == ".mov" else 1)  # QuickTime has no such mark
    assert subtitles["codec_name"] == ("subrip" if target.suffix == ".mkv" else "mov_text")
    assert packet_times(target, "s:0") == packet_times(source, "s:0")
    assert packet_times(target, "a:1") == pytest.approx(packet_times(source, "a:1"), abs=0.0006)
    chapters = ffprobe(target, "-show_chapters")["chapters"]
    found = [(float(each["start_time"]), float(each["end_time"]), each["tags"]["title"]) for each in chapters]
    assert found == [(0, 0.8, "Evening"), (0.8, 2, "Night")]
    tags = {key.lower(): value for key, value in ffprobe(target, "-show_format")["format"]["tags"].items()}
    assert (tags["title"], tags["artist"]) == ("The Night", "Somebody")
    if name == "in.mkv":
        (font,) = streams(target, "attachment")
        assert font["tags"]["filename"] == "in.ttf"
        assert font["tags"]["mimetype"] == "application/x-truetype-font"
        assert b"not a font" in target.read_bytes()


def test_what_does_not_fit_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(film(tmp_path, "in.mkv"), tmp_path / "out.mp4", *QUICK)
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert "subtitle stream #3 (srt) is left out: .mp4 cannot hold it" in warnings[0]
    assert "attachment" in warnings[1]
    assert len(streams(tmp_path / "out.mp4", "audio")) == 2
    assert streams(tmp_path / "out.mp4", "subtitle") == []
    convert(film(tmp_path, "in.mp4"), tmp_path / "out.mkv", *QUICK)
    assert "(mov_text) is left out: .mkv cannot hold it" in capsys.readouterr().err
    command = [str(tmp_path / name) for name in ("in.mp4", "look.mkv")]
    assert main([*command, "--model", "identity", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.count("  carried") == 2
    assert "(mov_text) is left out: .mkv cannot hold it" in said


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "flac", "libopus", "ac3"])
def test_sound_of_all_kinds(tmp_path: Path, codec: str) -> None:
    source = film(tmp_path, "in.mkv", "-c:a", codec)
    for name, holds in (("out.mkv", True), ("out.mov", codec in ("pcm_s16le", "pcm_s24le", "ac3"))):
        convert(source, tmp_path / name, *QUICK, "--frames", ":4")
        kept = streams(tmp_path / name, "audio")
        assert [each["codec_name"] for each in kept] == ([codec.removeprefix("lib")] * 2 if holds else [])


def test_an_excerpt(tmp_path: Path) -> None:
    """One second from the middle: frames, sound, subtitles and chapters of that second, from time 0 on."""
    source, target = film(tmp_path, "in.mkv", "-c:a", "pcm_s16le"), tmp_path / "out.mkv"
    convert(source, target, *QUICK, "--frames", "12:36")
    times = frame_times(target)
    assert (len(times), times[0]) == (24, 0)
    sound = packet_times(target, "a:0")
    assert 0 <= sound[0] < 0.05
    assert 0.9 < sound[-1] < 1.0
    # The same packets as in the source, half a second earlier.
    all_hashes, all_times = packet_hashes(source, "a:0"), packet_times(source, "a:0")
    kept = [one for one, time in zip(all_hashes, all_times, strict=True) if 0.5 <= time < 1.5]
    assert packet_hashes(target, "a:0") == kept
    assert packet_times(target, "s:0") == [0.5]
    chapters = ffprobe(target, "-show_chapters")["chapters"]
    found = [(float(each["start_time"]), float(each["end_time"]), each["tags"]["title"]) for each in chapters]
    assert found == [(0, 0.3, "Evening"), (0.3, 1, "Night")]
    assert float(ffprobe(target, "-show_format")["format"]["duration"]) == pytest.approx(1, abs=0.07)


def test_a_subtitle_is_still_there_where_an_excerpt_begins(tmp_path: Path) -> None:
    source, target = film(tmp_path, "in.mkv"), tmp_path / "out.mkv"
    convert(source, target, *QUICK, "--frames", "6:36")
    found = ffprobe(target, "-show_packets", "-select_streams", "s")["packets"]
    shown = [(float(each["pts_time"]), float(each["duration_time"])) for each in found]
    assert shown == [(0, 0.25), (0.75, 0.5)], "both shortened: the first had begun, the second had not ended"


def test_a_date_that_quicktime_has_twice_is_kept(tmp_path: Path) -> None:
    source, target = tmp_path / "in.mov", tmp_path / "out.mov"
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=80x64:rate=25:duration=0.2", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    ffmpeg(*lavfi, "-movflags", "use_metadata_tags", "-metadata", "creation_time=2020-01-02T03:04:05Z", source)
    convert(source, target, *QUICK)
    assert ffprobe(target, "-show_format")["format"]["tags"]["creation_time"] == "2020-01-02T03:04:05.000000Z"


def test_stereo_that_does_not_say_which_is_left(tmp_path: Path) -> None:
    source, target = tmp_path / "in.avi", tmp_path / "out.mp4"
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=80x64:rate=25:duration=0.2")
    ffmpeg(
        *lavfi, "-f", "lavfi", "-i", "sine=duration=0.2", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-ac", "2", source
    )
    convert(source, target, *QUICK)
    assert [each["channel_layout"] for each in streams(target, "audio")] == ["stereo"]
    assert packet_hashes(target, "a:0") == packet_hashes(source, "a:0")


def test_cover_art_is_not_the_film(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, cover = tmp_path / "in.mp4", tmp_path / "cover.png"
    ffmpeg("-f", "lavfi", "-i", "color=red:size=300x300", "-frames:v", "1", cover)
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=80x64:rate=24:duration=0.2")
    disposition = ("-map", "1", "-map", "0", "-c:v:0", "png", "-disposition:v:0", "attached_pic", "-c:v:1", "libx264")
    ffmpeg(*lavfi, "-i", cover, *disposition, "-pix_fmt:v:1", "yuv420p", source)
    convert(source, tmp_path / "out.mov")
    assert (video_stream(tmp_path / "out.mov")["width"], len(frame_times(tmp_path / "out.mov"))) == (80, 5)
    assert "(png) is left out: cover art is not carried over" in capsys.readouterr().err
