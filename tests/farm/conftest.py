"""A film for farms, what a local run makes of it, its plan, and how tests give the commands of a farm."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hdrunet_video.cli import main
from tests.conftest import ffmpeg
from tests.media import BT709, convert

OPTIONS = ("--model", "identity", "--segment-frames", "6")

Capture = pytest.CaptureFixture[str]


def run(*arguments: str | Path) -> int:
    """The exit code of our command line in this process, which says nothing but errors."""
    return main([*map(str, arguments), "-q"])


def plan(source: Path, target: Path, *more: str | Path) -> Path:
    """A folder beside `target` with the plan of it."""
    folder = target.parent / "plan"
    assert run(source, target, "--plan", folder, *OPTIONS, *more) == 0
    return folder


def receipts(folder: Path) -> dict[int, dict[str, Any]]:
    """The receipts in a plan's folder, by segment."""
    found = (json.loads(path.read_text()) for path in sorted(folder.glob("seg_*.json")))
    return {receipt["index"]: receipt for receipt in found}


def hidden(folder: Path) -> list[str]:
    """Names of hidden files anywhere in a folder: what is being written, or was left behind."""
    return [path.name for path in folder.rglob(".*")]


@pytest.fixture(scope="session")
def film(clips: Path) -> Path:
    """Thirty frames of 96x64 with B-frames and sound: five segments of six."""
    path = clips / "farm.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=24:duration=1.25"),
        *("-f", "lavfi", "-i", "sine=frequency=440:duration=1.25"),
        *("-pix_fmt", "yuv420p", "-c:v", "libx264", "-bf", "2", "-g", "12", *BT709, "-c:a", "aac", path),
    )
    return path


@pytest.fixture(scope="session")
def local(film: Path, clips: Path) -> Path:
    """The film as an undisturbed local run makes it."""
    target = clips / "farm-local.mov"
    convert(film, target, "--segment-frames", "6")
    return target


@pytest.fixture(scope="session")
def finished(film: Path, clips: Path) -> Path:
    """A folder with in.mp4, its plan in `plan`, all segments done, nothing joined. For copies only."""
    folder = clips / "finished"
    folder.mkdir()
    shutil.copy2(film, folder / "in.mp4")
    assert main([str(folder / "in.mp4"), str(folder / "out.mov"), "--plan", str(folder / "plan"), "-q", *OPTIONS]) == 0
    assert main(["--plan", str(folder / "plan"), "--segments", "all", "-q"]) == 0
    return folder


@pytest.fixture
def job(finished: Path, tmp_path: Path) -> Path:
    """A copy of `finished` of the test's own, at another place."""
    shutil.copytree(finished, tmp_path / "job")
    return tmp_path / "job"
