"""The command: signals, many inputs, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hdrunet_video import assemble
from hdrunet_video.cli import main
from tests.conftest import ffmpeg
from tests.media import BT709, frame_times, video_stream

Capture = pytest.CaptureFixture[str]


def run(*arguments: str | Path) -> int:
    return main([*map(str, arguments), "--model", "identity"])


@pytest.fixture(scope="module")
def slow(clips: Path) -> Path:
    """Four frames that the network needs seconds for, each."""
    path = clips / "slow.mp4"
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=24", "-frames:v", "4")
    ffmpeg(*lavfi, "-c:v", "libx264", "-pix_fmt", "yuv420p", *BT709, path)
    return path


@pytest.mark.parametrize(("number", "code", "as_json"), [(signal.SIGINT, 130, False), (signal.SIGTERM, 143, True)])
def test_a_signal_ends_it_within_two_seconds(
    slow: Path, tmp_path: Path, number: signal.Signals, code: int, as_json: bool
) -> None:
    arguments = [str(slow), str(tmp_path / "out.mov"), "--segment-frames", "1", *(["--json"] if as_json else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "hdrunet_video", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    work, until = tmp_path / ".out.mov.work", time.monotonic() + 90
    while not list(work.glob(".seg_000000.*.part*")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    sent = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - sent < 2
    assert process.returncode == code
    if as_json:
        assert json.loads(out.splitlines()[-1]) == {"event": "stopped", "signal": number}
        assert err == ""
    else:
        assert "the same command goes on from there" in err
    assert "Traceback" not in err
    assert not list(work.glob(".*.part*"))
    assert not (tmp_path / "out.mov").exists()


def test_what_a_signal_left_is_used(slow: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.mp4"
    ffmpeg("-i", slow, "-vf", "scale=256:144", "-c:v", "libx264", "-pix_fmt", "yuv420p", *BT709, small)
    command = [sys.executable, "-m", "hdrunet_video", str(small), str(tmp_path / "out.mov"), "--segment-frames", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    first = tmp_path / ".out.mov.work" / "seg_000000.json"
    while not first.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    result = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120)
    done = json.loads(result.stdout.splitlines()[-1])
    assert (done["event"], done["frames"]) == ("done", 4)
    assert done["resumed"] >= 1
    assert not first.parent.exists()


def test_many_inputs_and_a_bad_one_among_them(clip: Path, tmp_path: Path, capsys: Capture) -> None:
    bad, folder = tmp_path / "bad.mp4", tmp_path / "graded"
    bad.write_text("no video")
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    assert run(clip, bad, other, "-o", folder, "-q") == 65
    assert sorted(path.name for path in folder.iterdir()) == [f"{clip.stem}.mov", "other.mov"]
    assert len(frame_times(folder / "other.mov")) == 10
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert "bad.mp4" in said


def test_many_inputs_with_a_preset(clip: Path, tmp_path: Path) -> None:
    assert run(clip, "-o", tmp_path, "-q", "-p", "ffv1") == 0
    assert video_stream(tmp_path / f"{clip.stem}.mkv")["codec_name"] == "ffv1"
    assert run(clip, "-o", tmp_path, "-q", "-p", "exr", "--frames", ":2") == 0
    assert (tmp_path / f"{clip.stem}.000001.exr").exists()


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("100%.%06d.exr", "100%.000001.exr"),
        ("50%d %s.%04d.exr", "50%d %s.0001.exr"),
        ("%03d.%02d.exr", "%03d.01.exr"),
        ("%06d of 100%.exr", "000001 of 100%.exr"),
    ],
)
def test_frames_are_numbered_in_one_place_of_their_names(clip: Path, tmp_path: Path, name: str, second: str) -> None:
    assert run(clip, tmp_path / name, "-q", "--frames", ":2") == 0
    written = sorted(path.name for path in tmp_path.iterdir())
    assert len(written) == 2
    assert written[1] == second
    # Of OpenEXR; ffprobe would take these names for patterns.
    assert (tmp_path / second).read_bytes().startswith(b"\x76\x2f\x31\x01")


def test_a_film_with_a_percent_sign_becomes_frames(clip: Path, tmp_path: Path) -> None:
    film = tmp_path / "50% off.mp4"
    film.write_bytes(clip.read_bytes())
    assert run(film, "-o", tmp_path / "out", "-q", "-p", "exr", "--frames", ":1") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["50% off.000000.exr"]


def test_two_inputs_of_one_name_are_refused(clip: Path, tmp_path: Path, capsys: Capture) -> None:
    twin = tmp_path / f"{clip.stem}.mkv"
    twin.write_bytes(clip.read_bytes())
    assert run(clip, twin, "-o", tmp_path / "graded") == 2
    said = capsys.readouterr().err
    assert str(clip) in said
    assert str(twin) in said
    assert not (tmp_path / "graded").exists()


def test_a_bug_is_called_one(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def broken(*_: object) -> list[str]:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("hdrunet_video.assemble.join", broken)
    assert run(clip, tmp_path / "out.mov", "-q") == 1
    said = capsys.readouterr().err
    assert "bug: ZeroDivisionError: ours" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out.mov").exists()


def test_presets_are_listed_and_shown(capsys: Capture) -> None:
    from hdrunet_video.presets import preset_names

    assert main(["--list-presets"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == preset_names()
    assert main(["--list-presets", "--json"]) == 0
    assert [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()] == preset_names()
    assert main(["--show-preset", "hdr10"]) == 0
    assert 'codec = "libx265"' in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("hdrunet-video ")


def test_a_bug_in_one_film_does_not_cost_the_others(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    join = assemble.join

    def broken(plan: Any, *arguments: Any) -> list[str]:
        if plan.info.path == clip:
            raise ZeroDivisionError("ours")
        return join(plan, *arguments)

    monkeypatch.setattr(assemble, "join", broken)
    assert run(clip, other, "-o", tmp_path / "out", "-q") == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert (tmp_path / "out" / "other.mov").exists()


def test_frames_after_the_end(clip: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(clip, tmp_path / "out.mov", "--frames", "10:") == 2
    assert "--frames 10: begins after the end" in capsys.readouterr().err


def test_a_dry_run_into_a_folder_that_is_not_there(clip: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(clip, "-o", tmp_path / "out", "--dry-run") == 0
    assert str(tmp_path / "out" / f"{clip.stem}.mov") in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert run(clip, "-o", tmp_path / "no" / "out", "--dry-run") == 73
