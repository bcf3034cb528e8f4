"""Killed at any moment: the same command goes on, and the file is the one of an undisturbed run."""

from __future__ import annotations

import fcntl
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from hdrunet_video.cli import main
from tests.media import convert
from tests.resume.conftest import TARGETS, command, leftovers, made, receipts


@pytest.mark.parametrize("preset", TARGETS)
def test_killed_at_random_moments(
    film: Path, tmp_path: Path, undisturbed: Callable[[str], dict[str, str]], preset: str
) -> None:
    target, moments = tmp_path / TARGETS[preset], random.Random(preset)
    work = tmp_path / f".{target.name}.work"
    finished: dict[str, int] = {}
    killed = False
    for _ in range(2):
        process = subprocess.Popen(command(film, target, "-p", preset), stderr=subprocess.DEVNULL)
        # Not in the seconds that torch takes to load: this is about what is being written.
        wait_for(lambda: process.poll() is not None or len(receipts(work)) > len(finished))  # noqa: B023
        time.sleep(moments.uniform(0, 0.08))
        process.kill()
        killed |= process.wait() == -signal.SIGKILL
        there = made(target)
        assert there.items() <= undisturbed(preset).items(), "a file that exists is complete"
        if there or not work.exists():
            break  # it was quicker than we
        now = {path.name: path.stat().st_mtime_ns for path in receipts(work)}
        assert finished.items() <= now.items(), "a finished segment was done again"
        finished = now
    assert killed, "it was quicker than we: nothing was tested"
    convert(film, target, "-p", preset, "--segment-frames", "3", "-y")
    assert made(target) == undisturbed(preset)
    assert leftovers(tmp_path) == []


def wait_for(happens: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def test_files_of_others_in_the_work_folder_stay(film: Path, tmp_path: Path) -> None:
    work = tmp_path / ".out.mkv.work"
    (work / "notes").mkdir(parents=True)
    (work / "notes" / "todo.txt").write_text("mine")
    (work / "seg_up.blend").write_text("mine")
    convert(film, tmp_path / "out.mkv", "--frames", ":6", "--segment-frames", "3")
    assert sorted(path.name for path in work.iterdir()) == ["notes", "seg_up.blend"]
    assert (work / "notes" / "todo.txt").read_text() == "mine"


def test_two_runs_at_once(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = tmp_path / ".out.mkv.work"
    work.mkdir()
    part = work / ".seg_000000.elsewhere.1.part.mkv"
    part.write_text("being written")
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main([str(film), str(tmp_path / "out.mkv"), "--model", "identity", "-q"]) == 75
        assert "another run is writing" in capsys.readouterr().err
        assert part.exists()
    convert(film, tmp_path / "out.mkv", "--frames", ":3")
    assert not work.exists()


def test_three_runs_at_once(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ends and takes its lock away before the second has locked it; the third has a new one."""
    work = tmp_path / ".out.mkv.work"
    work.mkdir()
    part = work / ".seg_000000.elsewhere.1.part.mkv"
    part.write_text("being written")
    original, third = fcntl.flock, []

    def flock(file: IO[str], how: int) -> None:
        if not third:
            (work / "lock").unlink()
            third.append((work / "lock").open("w"))
            original(third[0], fcntl.LOCK_EX)
        original(file, how)

    monkeypatch.setattr("fcntl.flock", flock)
    code = main([str(film), str(tmp_path / "out.mkv"), "--model", "identity", "-q"])
    third[0].close()
    assert code == 75
    assert part.exists()
