"""The times of what is carried over, and timecode: also where a source's own times are of no use."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.packet import Packet

from hdrunet_video.cli import main
from tests.conftest import ffmpeg, ffprobe
from tests.media import BT709, QUICK, convert, frame_times, packet_hashes, packet_times, streams, video_stream


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


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
def test_pictures_before_zero_are_shown(name: str, tmp_path: Path) -> None:
    film, source, target = tmp_path / "film.mp4", tmp_path / "in.mkv", tmp_path / name
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=0.6", "-c:v", "libx264", *BT709, film)
    ffmpeg("-i", film, "-c", "copy", "-output_ts_offset", "-0.2", "-avoid_negative_ts", "disabled", source)
    convert(source, target)
    counted = ffprobe(target, "-count_frames", "-show_streams", "-select_streams", "v")["streams"][0]
    assert int(counted["nb_read_frames"]) == 15
    assert frame_times(target)[0] >= 0


def test_sound_that_an_edit_list_hides_does_not_come_back(tmp_path: Path) -> None:
    whole, source, target = tmp_path / "whole.mp4", tmp_path / "in.mp4", tmp_path / "out.mkv"
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=2", "-f", "lavfi", "-i", "sine=duration=2")
    ffmpeg(*lavfi, "-c:v", "libx264", "-g", "200", *BT709, "-c:a", "aac", whole)
    ffmpeg("-ss", "1.5", "-i", whole, "-c", "copy", source)
    assert min(packet_times(source, "a:0")) < -1
    convert(source, target)
    assert len(frame_times(target)) == 12
    times = packet_times(target, "a:0")
    assert -0.1 <= times[0] <= 0, "what its decoder wants to have seen before"
    assert times[-1] > 0.4


def test_a_last_frame_that_stays_long_does(tmp_path: Path) -> None:
    """The last one in the order of HEVC's coding is another."""
    film, source, target = tmp_path / "film.mov", tmp_path / "in.mov", tmp_path / "out.mp4"
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=0.48", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    ffmpeg(*lavfi, film)
    with av.open(film) as made, av.open(source, "w") as out:
        (video,) = made.streams.video
        copy = out.add_stream_from_template(video)
        *others, last = (packet for packet in made.demux(video) if packet.size)
        last.duration = round(3 / last.time_base)
        for packet in (*others, last):
            packet.stream = copy
            out.mux(packet)
    convert(source, target)
    assert float(video_stream(target)["duration"]) == pytest.approx(3.44)


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
