"""A film, what an undisturbed run makes of it, and runs of it that were stopped."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdrunet_video.cli import main
from hdrunet_video.job import Job, make_plan
from hdrunet_video.run import run
from hdrunet_video.segments import SegmentStore
from hdrunet_video.timeline import Segment
from tests.conftest import ffmpeg
from tests.media import BT709, convert, sha256

TARGETS = {"hdr10": "out.mp4", "prores-hq": "out.mov", "ffv1": "out.mkv", "exr": "out.%06d.exr"}


@pytest.fixture(scope="session")
def film(clips: Path) -> Path:
    """Thirty frames of 128x96 with sound."""
    path = clips / "resume.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=128x96:rate=24:duration=1.25"),
        *("-f", "lavfi", "-i", "sine=frequency=440:duration=1.25"),
        *("-pix_fmt", "yuv420p", "-c:v", "libx264", *BT709, "-c:a", "aac", path),
    )
    return path


def command(film: Path, target: Path, *extra: str) -> list[str]:
    """Our command line for a film of ten segments, or as many more as `extra` says."""
    options = ["--model", "identity", "--segment-frames", "3", "-q", "-y"]
    return [sys.executable, "-m", "hdrunet_video", str(film), str(target), *options, *extra]


def made(target: Path) -> dict[str, str]:
    """Sizes and hashes of the files that a run has made, by name."""
    pattern = target.name.replace("%06d", "*")
    return {
        path.name: f"{path.stat().st_size} {sha256(path)}"
        for path in sorted(target.parent.glob(pattern))
        if path.is_file()
    }


def leftovers(folder: Path) -> list[str]:
    """Names of hidden files in a folder: what is being written, or was left behind."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def receipts(work: Path) -> list[Path]:
    """The receipts of the segments that are finished."""
    return sorted(work.glob("seg_*.json"))


@pytest.fixture(scope="session")
def undisturbed(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """What a preset's run gives that nobody disturbs."""
    folder, known = tmp_path_factory.mktemp("undisturbed"), {}

    def run(preset: str) -> dict[str, str]:
        if preset not in known:
            target = folder / TARGETS[preset]
            convert(film, target, "-p", preset, "--segment-frames", "3")
            known[preset] = made(target)
        return dict(known[preset])

    return run


def stop(*_: object) -> list[str]:
    """In the place of a step: the run is stopped there, as by Ctrl-C."""
    raise KeyboardInterrupt


@pytest.fixture(scope="session")
def unjoined(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a run to out.mkv that was stopped when its ten segments were done."""
    folder = tmp_path_factory.mktemp("unjoined")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hdrunet_video.assemble.join", stop)
        assert main([*command(film, folder / "out.mkv")[3:]]) == 130
    assert len(receipts(folder / ".out.mkv.work")) == 10
    return folder / ".out.mkv.work"


@pytest.fixture
def stopped(unjoined: Path, tmp_path: Path) -> Path:
    """An output whose segments are done; its work folder is a copy of the test's own."""
    shutil.copytree(unjoined, tmp_path / unjoined.name)
    return tmp_path / "out.mkv"


def redone(target: Path, film: Path) -> tuple[int, set[int]]:
    """(frames that a further run takes from earlier ones, numbers of the segments that it writes)."""
    written: set[int] = set()
    original = SegmentStore.finish

    def watched(self: SegmentStore, segment: Segment, *rest: Any) -> None:
        written.add(segment.index)
        original(self, segment, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SegmentStore, "finish", watched)
        report = run(make_plan(Job(film, target, model="identity", segment_frames=3)))
    assert leftovers(target.parent) == []
    return report.resumed, written
