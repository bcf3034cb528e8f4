"""What lies where the result belongs: files of others, of earlier runs and of stopped ones, and the source."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hdrunet_video import assemble
from hdrunet_video.cli import main
from tests.media import frame_times, sha256

Capture = pytest.CaptureFixture[str]


def run(*arguments: str | Path) -> int:
    return main([*map(str, arguments), "--model", "identity"])


def test_existing_outputs(clip: Path, tmp_path: Path, capsys: Capture) -> None:
    target = tmp_path / "out.mov"
    target.write_text("precious")
    assert run(clip, target) == 73
    assert "-y overwrites" in capsys.readouterr().err
    assert run(clip, target, "-n") == 0
    assert "left alone" in capsys.readouterr().err
    assert target.read_text() == "precious"
    assert run(clip, target, "-y", "-n") == 2
    assert run(clip, target, "-y", "-q") == 0
    assert len(frame_times(target)) == 10
    assert run(clip, tmp_path / "out.%06d.exr", "-q", "--frames", ":2") == 0
    assert run(clip, tmp_path / "out.%06d.exr", "-q", "--frames", ":2") == 73


class Terminal:
    """A person who gives one answer."""

    def __init__(self, answer: str) -> None:
        self._answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._answer


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("yes\n", 0), ("n\n", 73), ("\n", 73), ("", 73)])
def test_a_person_is_asked(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, answer: str, code: int
) -> None:
    target = tmp_path / "out.mov"
    target.write_text("precious")
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(os, "isatty", lambda descriptor: descriptor == 2)
    assert run(clip, target, "-q") == code
    assert "Overwrite? [y/N]" in capsys.readouterr().err
    assert (target.read_bytes() == b"precious") == (code != 0)


def test_a_yes_reaches_the_join(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, plan = tmp_path / "out.mov", ("--plan", tmp_path / "plan")
    target.write_text("precious")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", Terminal("y\n"))
        patch.setattr(os, "isatty", lambda descriptor: descriptor == 2)
        assert run(clip, target, *plan, "-q") == 0
    for verb in (("--segments", "all"), ("--join",)):
        assert main([*map(str, plan), *verb, "-q"]) == 0
    assert len(frame_times(target)) == 10


@pytest.mark.parametrize("flags", [(), ("-n",)])
def test_frames_that_a_stopped_run_has_left_are_no_output_that_exists(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    target = tmp_path / "out.%06d.exr"
    place, placed = assemble._place, []

    def stopped_at_the_third(path: Path, *arguments: Any) -> None:
        if len(placed) == 2:
            raise KeyboardInterrupt
        placed.append(path)
        place(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(assemble, "_place", stopped_at_the_third)
        assert run(clip, target, "-q") == 130
    assert len(list(tmp_path.glob("*.exr"))) == 2
    for other in (("--frames", ":3"), ("--peak", "600"), ("--plan", tmp_path / "plan")):
        assert run(clip, target, "-q", *other) == 73
    assert run(clip, target, "-q", *flags) == 0
    assert len(list(tmp_path.iterdir())) == 10
    assert run(clip, target, "-q") == 73


def test_frames_of_a_longer_run_are_not_deleted_but_named(clip: Path, tmp_path: Path, capsys: Capture) -> None:
    target = tmp_path / "out.%06d.exr"
    (tmp_path / "out.000001 copy.exr").touch()  # is no frame
    assert run(clip, target, "-q", "--frames", ":1") == 0
    for frames, left in ((":6", ""), (":4", "out.000004.exr to out.000005.exr (2 files)"), ("1:6", "out.000000.exr")):
        assert run(clip, target, "-y", "--frames", frames) == 0
        warned = capsys.readouterr().err
        assert ("that this run did not make" in warned) == bool(left)
        assert left in warned
    assert len(list(tmp_path.iterdir())) == 7


def test_an_old_result_stays_until_the_new_one_is_whole(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.mov"
    target.write_text("precious")

    def fail(*_: object) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("hdrunet_video.assemble.join", fail)
    assert run(clip, target, "-y", "-q") == 130
    assert target.read_text() == "precious"


def test_the_source_is_never_written(clip: Path, tmp_path: Path, capsys: Capture) -> None:
    source, link, twin = tmp_path / "in.mp4", tmp_path / "link.mp4", tmp_path / "twin.mp4"
    source.write_bytes(clip.read_bytes())
    link.symlink_to(source)
    twin.hardlink_to(source)
    for target in (source, link, twin):
        for flags in (("-y",), (), ("-n",)):
            assert run(source, target, *flags) == 2
            assert "is the input itself" in capsys.readouterr().err
    assert sha256(source) == sha256(clip)
