"""Paths that the system refuses: folders that may not be searched, names that are too long, folders and bytes where
files of text belong."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bad_input import check_failure

Capture = pytest.CaptureFixture[str]
LONG = "x" * 248 + ".mov"
TOO_LONG = "x" * 260 + ".mov"


def without_privileges() -> None:
    """For a child process: permissions count for root as well."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH leave the bounding set: PR_CAPBSET_DROP
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("good.mp4", "private/out.mov"), 73),
        (("good.mp4", "-o", "private"), 73),
        (("good.mp4", "-o", "private/graded"), 73),
        (("--make-sample", "private/x.mp4"), 73),
        (("good.mp4", "out.mov", "-p", "private/x.toml"), 65),
        (("--show-preset", "private/x.toml"), 65),
        (("good.mp4", "out.mov", "--submit", "openjd", "private/bundle"), 73),
        (("good.mp4", "out.mov", "--plan", "private"), 73),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_folder_that_may_not_be_searched(here: Path, arguments: tuple[str, ...], code: int) -> None:
    private = here / "private"
    private.mkdir(0)
    result = subprocess.run(
        [sys.executable, "-m", "hdrunet_video", *arguments, "--model", "identity"],
        capture_output=True,
        text=True,
        preexec_fn=without_privileges,
        timeout=120,
    )
    private.chmod(0o700)
    assert (result.returncode, result.stderr.count("error: "), result.stderr.count("hint: ")) == (code, 1, 1)
    assert "private" in result.stderr
    assert list(private.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("good.mp4", LONG),  # its work folder's name is too long
        ("good.mp4", LONG, "--dry-run"),
        ("good.mp4", LONG, "--plan", "x" * 260),
        ("good.mp4", TOO_LONG),
        ("good.mp4", "-o", TOO_LONG),
        ("--make-sample", LONG),
        ("--make-sample", TOO_LONG),
        ("good.mp4", "out.mov", "--submit", "openjd", TOO_LONG),
    ],
    ids=lambda words: " ".join(words).replace("x" * 200, "x"),
)
def test_a_name_that_is_too_long(here: Path, capsys: Capture, arguments: tuple[str, ...]) -> None:
    check_failure(list(arguments), 73, "too long", here, capsys)


def test_a_sample_that_is_a_folder(here: Path, capsys: Capture) -> None:
    check_failure(["--make-sample", "."], 73, ". is a folder", here, capsys)


@pytest.mark.parametrize(
    ("name", "says"), [("bytes.toml", "bytes.toml is not TOML"), ("none.toml", "none.toml does not exist")]
)
def test_a_preset_that_cannot_be_shown(here: Path, capsys: Capture, name: str, says: str) -> None:
    (here / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    check_failure(["--show-preset", name], 65, says, here, capsys)
