"""Disks that are full or read-only: the exit code of what failed first, one sentence, and no word of a bug."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import av
import av.error
import pytest

from hdrunet_video.cli import main
from hdrunet_video.receipts import write_whole
from tests.bad_input import check_failure

Capture = pytest.CaptureFixture[str]


def full(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_only(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize(
    "arguments", [("out.mov",), ("-o", "graded"), ("out.mov", "--plan", "plan")], ids=lambda words: words[-1]
)
def test_no_room_for_a_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr(Path, "mkdir", full)
    check_failure(["good.mp4", *arguments], 75, "is full", here, capsys)


def test_no_room_for_a_bundle(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("hdrunet_video.farm.openjd.write_whole", full)
    assert main(["good.mp4", "out.mov", "--submit", "openjd", "bundle", "--model", "identity", "-q"]) == 75
    assert "the disk of bundle is full" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "fails"),
    [
        (("--make-sample", "x.mp4"), "x.mp4"),
        (("good.mp4", "out.mov", "--model", "identity"), "seg_000000"),
        (("good.mp4", "out.mov", "--model", "identity"), "joined"),
    ],
    ids=["sample", "segment", "join"],
)
def test_a_disk_that_has_become_read_only(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, arguments: tuple[str, ...], fails: str
) -> None:
    """Not even the half-written file can be deleted then."""
    opened = av.open

    def opens(path: object, *more: Any, **named: Any) -> Any:
        if fails in str(path):
            monkeypatch.setattr(os, "unlink", read_only)
            av.error.err_check(-errno.EROFS, str(path))
        return opened(path, *more, **named)

    monkeypatch.setattr(av, "open", opens)
    assert main([*arguments, "-q"]) == 73
    said = capsys.readouterr().err
    assert "Read-only file system" in said
    assert "bug" not in said


def test_a_receipt_on_a_read_only_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(os, "unlink", read_only)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "receipt.json", "{}")
