"""What a run says while it works: JSON for programs, lines for logs, nothing when told so."""

from __future__ import annotations

import errno
import json
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from hdrunet_video import identity, progress
from hdrunet_video.cli import main
from hdrunet_video.errors import InputError, RetryError
from hdrunet_video.job import Job, make_plan
from hdrunet_video.run import run as convert
from hdrunet_video.segments import claimed

Capture = pytest.CaptureFixture[str]


def run(*arguments: str | Path) -> int:
    return main([*map(str, arguments), "--model", "identity"])


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_tells_the_whole_story(clip: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(clip, tmp_path / "out.mov", "--json", "--segment-frames", "3") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    said = events(captured.out)
    (start,) = (event for event in said if event["event"] == "start")
    assert (start["output"], start["frames"], start["done"]) == ("out.mov", 10, 0)
    counts = [event["frame"] for event in said if event["event"] == "progress"]
    assert counts == sorted(counts)
    assert counts[-1] == 10
    assert all(event["total"] == 10 and event["fps"] > 0 for event in said if event["event"] == "progress")
    stages = [event["stage"] for event in said if event["event"] == "stage"]
    assert stages.index("converting") < stages.index("joining")
    done = said[-1]
    assert (done["event"], done["frames"], done["resumed"], done["bad_frames"]) == ("done", 10, 0, 0)
    assert done["output"] == str(tmp_path / "out.mov")
    assert 0 < done["average_nits"] < done["max_nits"] <= 203.1


def test_json_after_a_stop_counts_what_was_done(
    clip: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> list[str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hdrunet_video.assemble.join", stop)
        assert run(clip, tmp_path / "out.mov", "-q", "--segment-frames", "3") == 130
    (tmp_path / ".out.mov.work" / "seg_000001.json").unlink()
    capsys.readouterr()
    assert run(clip, tmp_path / "out.mov", "--json", "--segment-frames", "3") == 0
    said = events(capsys.readouterr().out)
    (start,) = (event for event in said if event["event"] == "start")
    assert (start["frames"], start["done"]) == (10, 7)
    assert [event["frame"] for event in said if event["event"] == "progress"][-1] == 10
    assert (said[-1]["event"], said[-1]["resumed"]) == ("done", 7)


def test_json_of_an_error(tmp_path: Path, capsys: Capture) -> None:
    assert run(tmp_path / "none.mp4", tmp_path / "out.mov", "--json") == 65
    captured = capsys.readouterr()
    (error,) = events(captured.out)
    assert (error["event"], error["exit_code"]) == ("error", 65)
    assert "none.mp4" in error["message"]
    assert error["hint"]
    assert captured.err == ""


def test_quiet_says_nothing(clip: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(clip, tmp_path / "out.mov", "-q") == 0
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_lines(clip: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(clip, tmp_path / "out.mov") == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "\r" not in captured.err
    assert "out.mov: 10 of 10 frames" in captured.err
    assert "10 frames in" in captured.err.splitlines()[-1]


def test_a_terminal_gets_a_bar(capsys: Capture) -> None:
    bar = progress.Bar()
    bar.begin("out.mov", 10, 4)
    bar.stage("converting")
    bar.advance(6)
    bar.warn("careful")
    bar.end()
    said = capsys.readouterr().err
    assert "out.mov:  40%" in said
    assert "10/10" in said
    assert "\nwarning: careful\n" in said or "warning: careful\n" in said
    bar.advance(1)  # after the end it is silent, whoever still reports
    assert capsys.readouterr().err == ""


def test_seldom_and_always_at_the_end(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = progress.Lines()
    lines.begin("out.mov", 100, 20)
    for _ in range(80):
        now[0] += 0.5
        lines.advance(1)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "out.mov: 40 of 100 frames, 2.00 fps, 30 s left",
        "out.mov: 60 of 100 frames, 2.00 fps, 20 s left",
        "out.mov: 80 of 100 frames, 2.00 fps, 10 s left",
        "out.mov: 100 of 100 frames, 2.00 fps, 0 s left",
    ]


@pytest.mark.parametrize(
    ("language", "progress", "status"),
    [
        ("openjd", r"openjd_progress: (\d+)", r"openjd_status: .+"),
        ("deadline", r"Progress: (\d+)%", r".+"),
        ("alf", r"ALF_PROGRESS (\d+)%", r".+"),
    ],
)
def test_in_the_words_of_a_scheduler(
    clip: Path, tmp_path: Path, capsys: Capture, language: str, progress: str, status: str
) -> None:
    assert run(clip, tmp_path / "out.mov", "--progress", language, "--segment-frames", "3") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    percents = [int(found[1]) for line in lines if (found := re.fullmatch(progress, line))]
    assert (percents[0], percents[-1]) == (0, 100)
    assert percents == sorted(percents)
    assert all(re.fullmatch(progress, line) or re.fullmatch(status, line) for line in lines)
    assert "out.mov: 10 frames" in lines[-1]


def test_a_scheduler_is_told_of_failures(tmp_path: Path, capsys: Capture) -> None:
    assert run(tmp_path / "none.mp4", tmp_path / "out.mov", "--progress", "openjd") == 65
    assert "openjd_fail: hdrunet-video: error: " in capsys.readouterr().out


def test_json_by_its_other_name(clip: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(clip, tmp_path / "out.mov", "--progress", "json") == 0
    assert events(capsys.readouterr().out)[-1]["event"] == "done"


class Watched(progress.Silent):
    """Frames that were written before each stage."""

    def __init__(self) -> None:
        self.frames, self.stages, self.reading = 0, list[tuple[str, int]](), threading.Event()

    def advance(self, frames: int) -> None:
        self.frames += frames

    def stage(self, text: str) -> None:
        self.stages.append((text, self.frames))
        if text == "reading the source":
            self.reading.set()


def test_frames_do_not_wait_until_the_source_is_read(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hash is first needed where a segment is finished."""
    watched, real = Watched(), identity.file_sha256

    def slow(path: Path, *closed: threading.Event) -> str:
        assert watched.reading.wait(60), "no frame was made meanwhile"
        return real(path, *closed)

    monkeypatch.setattr(identity, "file_sha256", slow)
    assert convert(make_plan(Job(clip, tmp_path / "out.mov", model="identity")), watched).frames == 10
    reading = watched.stages.index(("reading the source", 10))
    assert [stage for stage, _ in watched.stages[reading:]] == ["reading the source", "converting", "joining"]


def test_a_source_that_cannot_be_read_to_its_end_leaves_nothing(
    clip: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(identity, "file_sha256", fails)
    assert run(clip, tmp_path / "out.mov", "-q") == 75
    assert f"{clip} can no longer be read: Input/output error" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_source_is_not_read_on_when_its_run_has_ended(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, real = threading.Event(), identity.file_sha256
    plan = make_plan(Job(clip, tmp_path / "out.mov", model="identity"))

    def slow(path: Path, *closed: threading.Event) -> str:
        assert ended.wait(60)
        return real(path, *closed)

    def stops(*_: object) -> None:
        raise RetryError("the disk is full")

    monkeypatch.setattr(identity, "file_sha256", slow)
    monkeypatch.setattr("hdrunet_video.writer.Writer.write", stops)
    with pytest.raises(RetryError, match="full"):
        convert(plan)
    ended.set()
    with pytest.raises(RetryError, match="can no longer be read: nobody asks"):
        plan.identification.result()


def test_an_output_that_another_run_writes_is_refused_without_reading_the_source(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "file_sha256", lambda *_: pytest.fail("it was read"))
    plan = make_plan(Job(clip, tmp_path / "out.mov", model="identity"))
    with claimed(plan), pytest.raises(RetryError, match="another run"):
        convert(plan)
    assert "identification" not in vars(plan)


def test_a_source_that_changes_while_frames_are_made_is_not_called_damaged(
    clip: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(clip.read_bytes())

    def damaged(*_: object) -> None:
        with source.open("ab") as file:
            file.write(b"more")
        raise InputError("it is damaged", "--keep-going")

    monkeypatch.setattr("hdrunet_video.writer.Writer.write", damaged)
    assert run(source, tmp_path / "out.mov", "-q") == 65
    assert "changed while it was read" in capsys.readouterr().err
