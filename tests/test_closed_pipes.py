"""Output that nobody reads any more, or that has no room: the work goes on, and the exit code is that of the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.media import convert, frame_times, sha256


def unheard(*arguments: str | Path, stream: str) -> subprocess.Popen[bytes]:
    """Our command line with a pipe for one of its streams whose reader is gone before the first word."""
    reading, writing = os.pipe()
    os.close(reading)
    others = {name: subprocess.DEVNULL for name in ("stdout", "stderr") if name != stream}
    command = [sys.executable, "-m", "hdrunet_video", *map(str, arguments)]
    process = subprocess.Popen(command, **{stream: writing}, **others)  # type: ignore[call-overload]
    os.close(writing)
    return process  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("stream", "flags"), [("stdout", ("--json",)), ("stdout", ("--progress", "openjd")), ("stderr", ())], ids=str
)
def test_a_film_is_finished(clip: Path, tmp_path: Path, stream: str, flags: tuple[str, ...]) -> None:
    options = ("--model", "identity", "--segment-frames", "4")
    convert(clip, tmp_path / "heard.mov", "--segment-frames", "4")
    assert unheard(clip, tmp_path / "unheard.mov", *options, *flags, stream=stream).wait(120) == 0
    assert sha256(tmp_path / "unheard.mov") == sha256(tmp_path / "heard.mov")


@pytest.mark.parametrize(
    ("stream", "flags"), [("stdout", ("--json",)), ("stdout", ("--progress", "deadline")), ("stderr", ())], ids=str
)
def test_a_log_that_is_full(clip: Path, tmp_path: Path, stream: str, flags: tuple[str, ...]) -> None:
    command = f'"$0" -m hdrunet_video "$@" {"1" if stream == "stdout" else "2"}>/dev/full'
    arguments = (clip, tmp_path / "out.mov", "--model", "identity", *flags)
    assert subprocess.run(["sh", "-c", command, sys.executable, *arguments], timeout=120).returncode == 0
    assert len(frame_times(tmp_path / "out.mov")) == 10


@pytest.mark.parametrize("flags", [("--show-preset", "hdr10"), ("--list-presets",), ("--version",)])
def test_what_is_only_told_needs_its_disk(flags: tuple[str, ...]) -> None:
    command = '"$0" -m hdrunet_video "$@" >/dev/full'
    done = subprocess.run(["sh", "-c", command, sys.executable, *flags], stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 75
    assert "does not fit on the disk" in done.stderr


def test_errors_keep_their_exit_code(tmp_path: Path) -> None:
    assert unheard(tmp_path / "none.mp4", tmp_path / "out.mov", stream="stderr").wait(120) == 65


def test_a_list_for_head() -> None:
    assert unheard("--list-presets", stream="stdout").wait(120) == 0


def test_a_signal_keeps_its_exit_code(tmp_path: Path) -> None:
    code = (
        "import os, time; from hdrunet_video import cli\n"
        "from hdrunet_video.farm import verbs\n"
        f"verbs.act = lambda *_: (os.kill(os.getpid(), {int(signal.SIGTERM)}), time.sleep(60))\n"
        "raise SystemExit(cli.main(['--plan', 'p', '--segments', '0']))"
    )
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        result = subprocess.run([sys.executable, "-c", code], stderr=pipe, cwd=tmp_path, timeout=120)
    assert result.returncode == 143
