"""What is carried over: sound, subtitles, chapters, attachments, metadata, timecode."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.packet import Packet

from hdrunet_video.cli import main
from tests.conftest import ffmpeg, ffprobe
from tests.media import BT709, convert, frame_times, packet_hashes, video_stream

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


def streams(path: Path, kind: str) -> list[dict[str, Any]]:
    found = ffprobe(path, "-show_streams")["streams"]
    return [each for each in found if each["codec_type"] == kind]


QUICK = ("--set", "video.options.preset=ultrafast", "-p", "hdr10")
PAIRS = [("in.mp4", "out.mp4"), ("in.mp4", "out.mov"), ("in.mkv", "out.mkv")]


@pytest.mark.parametrize("target_name", ["out.mov", "out.mkv"])
@pytest.mark.parametrize("name", ["in.ts", "in.mpg"])
def test_a_clock_is_left_behind_by_picture_and_sound_alike(name: str, target_name: str, tmp_path: Path) -> None:
    source, target = tmp_path / name, tmp_path / target_name
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1", "-f", "lavfi", "-i", "sine=duration=1")
    ffmpeg(*lavfi, "-c:v", "mpeg2video", "-c:a", "mp2", "-ar", "48000", "-output_ts_offset", "26532.123456", source)
    convert(source, target)
    before, after = packet_times(source, "a:0"), packet_times(target, "a:0")
    assert after[0] == 0
    assert len(after) == len(before)
    tolerance = 1 / 48000 if target_name == "out.mov" else 0.001
    late = float(video_stream(source)["start_time"]) - before[0]
    assert float(frame_times(target)[0]) - after[0] == pytest.approx(late, abs=tolerance)
    assert float(ffprobe(target, "-show_format")["format"]["duration"]) < 1.2


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_a_subtitle_that_nobody_has_ended_ends_with_the_film(name: str, tmp_path: Path) -> None:
    """As in some files of DVDs: there it lasts for 49 days, which .mp4 cannot say."""
    film, source, target = tmp_path / "film.mp4", tmp_path / "in.mkv", tmp_path / name
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=2", "-c:v", "libx264", *BT709, film)
    with av.open(film) as made, av.open(source, "w") as out:
        (video,) = made.streams.video
        copy, subtitles = out.add_stream_from_template(video), out.add_stream("dvdsub")
        out.start_encoding()
        for packet in made.demux(video):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
        packet = Packet(b"\0\x10\0\4" + bytes(12))
        packet.stream, packet.time_base, packet.pts, packet.dts = subtitles, Fraction(1, 1000), 500, 500
        packet.duration = 2**32 - 1
        out.mux(packet)
    convert(source, target, *QUICK)
    (found,) = ffprobe(target, "-show_packets", "-select_streams", "s")["packets"]
    assert float(found["pts_time"]) == 0.5
    # From .mp4 FFmpeg reads less of a last one that begins late.
    assert 1 <= float(found["duration_time"]) <= 1.501


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


def packet_times(path: Path, stream: str) -> list[float]:
    packets = ffprobe(path, "-show_packets", "-select_streams", stream)["packets"]
    return [float(packet["pts_time"]) for packet in packets if int(packet["size"]) > 2]


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


@pytest.mark.parametrize(
    ("rate", "start", "first", "expected"),
    [
        ("24", "01:00:00:00", 0, "01:00:00:00"),
        ("24", "01:00:00:20", 10, "01:00:01:06"),
        ("30000/1001", "00:00:59;25", 10, "00:01:00;07"),
    ],
)
def test_timecode(tmp_path: Path, rate: str, start: str, first: int, expected: str) -> None:
    source, target = tmp_path / "in.mov", tmp_path / "out.mov"
    lavfi = ("-f", "lavfi", "-i", f"testsrc2=size=80x64:rate={rate}:duration=1")
    ffmpeg(*lavfi, "-c:v", "libx264", "-pix_fmt", "yuv420p", *BT709, "-timecode", start, source)
    assert video_stream(source)["tags"]["timecode"] == start
    convert(source, target, "--frames", f"{first}:{first + 4}")
    assert video_stream(target)["tags"]["timecode"] == expected
    (track,) = streams(target, "data")
    assert track["codec_tag_string"] == "tmcd"


@pytest.mark.parametrize(("first", "expected"), [(0, "01:00:00:40"), (10, "01:00:01:10")])
def test_timecode_of_frames_made_of_fields(tmp_path: Path, first: int, expected: str) -> None:
    source, target = tmp_path / "in.mov", tmp_path / "out.mov"
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=80x64:rate=25:duration=0.6")
    ffmpeg(
        *lavfi,
        "-vf",
        "setfield=tff",
        "-c:v",
        "mpeg2video",
        "-flags",
        "+ilme+ildct",
        *BT709,
        "-timecode",
        "01:00:00:20",
        source,
    )
    convert(source, target, "--frames", f"{first}:{first + 4}", "--deinterlace", "field")
    assert video_stream(target)["tags"]["timecode"] == expected


def test_timecode_of_a_film_with_a_variable_rate(tmp_path: Path) -> None:
    source, target = tmp_path / "in.mov", tmp_path / "out.mov"
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=80x64:rate=25:duration=0.4", "-vf", "select=not(eq(n\\,5))")
    ffmpeg(
        *lavfi, "-fps_mode", "vfr", "-c:v", "libx264", "-pix_fmt", "yuv420p", *BT709, "-timecode", "01:00:00:20", source
    )
    convert(source, target)
    assert video_stream(target)["tags"]["timecode"] == "01:00:00:20"
    assert frame_times(target) == frame_times(source)


def test_stereo_that_does_not_say_which_is_left(tmp_path: Path) -> None:
    source, target = tmp_path / "in.avi", tmp_path / "out.mp4"
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=80x64:rate=25:duration=0.2")
    ffmpeg(
        *lavfi, "-f", "lavfi", "-i", "sine=duration=0.2", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-ac", "2", source
    )
    convert(source, target, *QUICK)
    assert [each["channel_layout"] for each in streams(target, "audio")] == ["stereo"]
    assert packet_hashes(target, "a:0") == packet_hashes(source, "a:0")


SIGNS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Text
"""


def test_signs_that_are_shown_together_stay_together(tmp_path: Path) -> None:
    """Typesetting makes hundreds of events of one picture."""
    source, target, signs = tmp_path / "in.mkv", tmp_path / "out.mkv", tmp_path / "in.ass"
    event = "Dialogue: 0,0:00:00.{0:02},0:00:01.00,Default,sign {1}\n"
    signs.write_text(SIGNS + "".join(event.format(frame * 4, sign) for frame in range(5) for sign in range(100)))
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=80x64:rate=25:duration=0.2")
    ffmpeg(*lavfi, "-i", signs, "-c:v", "libx264", "-pix_fmt", "yuv420p", *BT709, "-c:s", "ass", source)
    convert(source, target)
    assert packet_times(target, "s:0") == packet_times(source, "s:0")
    assert set(packet_times(target, "s:0")) == {0, 0.04, 0.08, 0.12, 0.16}


def broadcast(folder: Path, name: str = "in.ts", seconds: float = 0.6) -> Path:
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=80x64:rate=25", "-f", "lavfi", "-i", "sine")
    ffmpeg(*lavfi, "-t", str(seconds), "-c:v", "mpeg2video", *BT709, "-c:a", "mp2", "-ar", "48000", folder / name)
    return folder / name


@pytest.mark.parametrize("name", ["out.mov", "out.mp4", "out.mkv"])
def test_sound_that_repeats_a_time(tmp_path: Path, name: str) -> None:
    source, before, seen = broadcast(tmp_path), b"", 0
    data = bytearray(source.read_bytes())
    for start in range(0, len(data), 188):
        if int.from_bytes(data[start + 1 : start + 3]) & 0x5FFF == 0x4101:  # a packet of the sound begins
            time = start + 13 + (1 + data[start + 4] if data[start + 3] & 0x20 else 0)
            seen += 1
            if seen == 4:
                data[time : time + 5] = before
            before = bytes(data[time : time + 5])
    source.write_bytes(data)
    convert(source, tmp_path / name, *QUICK)
    assert packet_hashes(tmp_path / name, "a:0") == packet_hashes(source, "a:0")


def test_sound_that_goes_back_is_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = broadcast(tmp_path, "part.mpg").read_bytes()
    longer = broadcast(tmp_path, "part.mpg", seconds=2.5).read_bytes()
    source = tmp_path / "in.mpg"
    source.write_bytes(longer + part)
    assert main([str(source), str(tmp_path / "out.mov"), "--model", "identity", "--dry-run"]) == 65
    assert "the sound of" in capsys.readouterr().err
    assert not (tmp_path / "out.mov").exists()


def test_cover_art_is_not_the_film(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, cover = tmp_path / "in.mp4", tmp_path / "cover.png"
    ffmpeg("-f", "lavfi", "-i", "color=red:size=300x300", "-frames:v", "1", cover)
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=80x64:rate=24:duration=0.2")
    disposition = ("-map", "1", "-map", "0", "-c:v:0", "png", "-disposition:v:0", "attached_pic", "-c:v:1", "libx264")
    ffmpeg(*lavfi, "-i", cover, *disposition, "-pix_fmt:v:1", "yuv420p", source)
    convert(source, tmp_path / "out.mov")
    assert (video_stream(tmp_path / "out.mov")["width"], len(frame_times(tmp_path / "out.mov"))) == (80, 5)
    assert "(png) is left out: one is converted" in capsys.readouterr().err
