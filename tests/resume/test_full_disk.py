"""A full disk: exit code 75, nothing half-written, and with room again the same command goes on."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hdrunet_video.cli import main
from tests.media import convert
from tests.resume.conftest import TARGETS, command, leftovers, made, receipts, redone


def limited(size: int) -> Callable[[], None]:
    """For a child process: no file may grow beyond `size` bytes, as on a full disk."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize("preset", TARGETS)
def test_disk_full(film: Path, tmp_path: Path, undisturbed: Callable[[str], dict[str, str]], preset: str) -> None:
    """At a size that segments keep below and the joined file does not; of a sequence, in a frame."""
    target, expected = tmp_path / TARGETS[preset], undisturbed(preset)
    size = min(int(each.split()[0]) for each in expected.values()) - 1
    result = subprocess.run(
        command(film, target, "-p", preset),
        preexec_fn=limited(size),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stdout) == (75, "")
    assert "is full" in result.stderr
    assert "hint: " in result.stderr
    assert "Traceback" not in result.stderr
    assert made(target) == {}
    work = tmp_path / f".{target.name}.work"
    assert not [path for path in work.rglob("*") if ".part" in path.name]
    kept = len(receipts(work))
    assert kept == (0 if preset == "exr" else 10)
    convert(film, target, "-p", preset, "--segment-frames", "3")
    assert made(target) == expected
    assert leftovers(tmp_path) == []


def test_disk_full_in_the_middle_of_the_film(
    film: Path, tmp_path: Path, undisturbed: Callable[[str], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import hdrunet_video.writer as writer

    synced: list[Path] = []

    def full(path: Path) -> None:
        synced.append(path)
        if len(synced) > 12:  # a segment, its receipt and the folder: the fifth segment is the first that fails
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(writer, "sync", full)
        patch.setattr("hdrunet_video.receipts.sync", full)
        assert main(command(film, tmp_path / "out.mov")[3:]) == 75
    assert not (tmp_path / "out.mov").exists()
    assert len(receipts(tmp_path / ".out.mov.work")) == 4
    assert redone(tmp_path / "out.mov", film) == (12, set(range(4, 10)))
    assert made(tmp_path / "out.mov") == undisturbed("prores-hq")
