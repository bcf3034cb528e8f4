"""Killed, cut, damaged, full disk: the same command goes on, and the file is the one of an undisturbed run."""

from __future__ import annotations

import errno
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hdrunet_video.cli import main
from hdrunet_video.job import Job, make_plan
from hdrunet_video.network.hdrunet import HDRUNet, HDRUNetConfig
from hdrunet_video.network.weights import save_network
from hdrunet_video.run import run
from hdrunet_video.segments import SegmentStore
from hdrunet_video.timeline import Segment
from tests.conftest import ffmpeg, needs_openvino
from tests.media import BT709, convert, forge, sha256

TARGETS = {"hdr10": "out.mp4", "prores-hq": "out.mov", "ffv1": "out.mkv", "exr": "out.%06d.exr"}


@pytest.fixture(scope="module")
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
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.fixture(scope="module")
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


def receipts(work: Path) -> list[Path]:
    return sorted(work.glob("seg_*.json"))


def wait_for(happens: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def unjoined(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a run to out.mkv that was stopped when its ten segments were done."""
    folder = tmp_path_factory.mktemp("unjoined")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hdrunet_video.run.join", stop)
        assert main([*command(film, folder / "out.mkv")[3:]]) == 130
    assert len(receipts(folder / ".out.mkv.work")) == 10
    return folder / ".out.mkv.work"


def stop(*_: object) -> list[str]:
    raise KeyboardInterrupt


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


def test_all_finished_segments_are_reused(
    film: Path, stopped: Path, undisturbed: Callable[[str], dict[str, str]]
) -> None:
    assert redone(stopped, film) == (30, set())
    assert made(stopped) == undisturbed("ffv1")


def flip(segment: Path) -> None:
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)


def truncate(segment: Path) -> None:
    segment.write_bytes(segment.read_bytes()[:-1])


def swap(segment: Path) -> None:
    """Another segment of the same film, with its receipt."""
    other = segment.with_name("seg_000007.mkv")
    shutil.copy(other, segment)
    shutil.copy(other.with_suffix(".json"), segment.with_suffix(".json"))


def flip_digit(receipt: Path) -> None:
    text = receipt.read_text()
    changed = re.sub(r'("max_nits": \d*)(\d)', lambda found: found[1] + str(9 - int(found[2])), text)
    assert changed != text
    receipt.write_text(changed)


def replace_by_video(segment: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=128x96:rate=24", "-frames:v", "3", "-c:v", "ffv1", segment)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped bit": flip,
    "last byte missing": truncate,
    "no segment": Path.unlink,
    "empty segment": lambda segment: segment.write_bytes(b""),
    "another segment and its receipt": swap,
    "a foreign video": replace_by_video,
    "no receipt": lambda segment: segment.with_suffix(".json").unlink(),
    "receipt of another plan": lambda segment: forge(segment.with_suffix(".json"), plan_id="0" * 64),
    "receipt with fewer frames": lambda segment: forge(segment.with_suffix(".json"), frames=2),
    "receipt of another segment": lambda segment: forge(segment.with_suffix(".json"), index=5),
    "flipped digit in the receipt": lambda segment: flip_digit(segment.with_suffix(".json")),
    "receipt that is a list": lambda segment: segment.with_suffix(".json").write_text("[1, 2]"),
    "receipt that is not JSON": lambda segment: segment.with_suffix(".json").write_bytes(b"\xff\x00{"),
    "a folder instead": lambda segment: (segment.unlink(), segment.mkdir(), (segment / "x").write_text("x")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_only_the_damaged_segment_is_redone(
    film: Path, stopped: Path, undisturbed: Callable[[str], dict[str, str]], damage: str
) -> None:
    DAMAGE[damage](stopped.with_name(".out.mkv.work") / "seg_000004.mkv")
    assert redone(stopped, film) == (27, {4})
    assert made(stopped) == undisturbed("ffv1")


def test_a_sequence_misses_a_frame(
    film: Path, tmp_path: Path, undisturbed: Callable[[str], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.%06d.exr"
    with monkeypatch.context() as patch:
        patch.setattr("hdrunet_video.run._place", stop)
        assert main([*command(film, target)[3:]]) == 130
    work = tmp_path / ".out.%06d.exr.work"
    (work / "seg_000004" / "out.000013.exr").unlink()
    (work / "seg_000006" / "foreign.exr").write_text("not ours")
    assert redone(target, film) == (24, {4, 6})
    assert made(target) == undisturbed("exr")
    assert leftovers(tmp_path) == []


def test_damage_while_it_runs_is_found_at_the_join(
    film: Path, tmp_path: Path, undisturbed: Callable[[str], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    original, done = SegmentStore.finish, []

    def finish(self: SegmentStore, segment: Segment, *rest: Any) -> None:
        original(self, segment, *rest)
        done.append(segment.index)
        if len(done) == 10:
            flip(self.folder / "seg_000002.mkv")

    monkeypatch.setattr(SegmentStore, "finish", finish)
    convert(film, tmp_path / "out.mkv", "--segment-frames", "3")
    assert done == [*range(10), 2]
    assert made(tmp_path / "out.mkv") == undisturbed("ffv1")


@pytest.mark.parametrize(
    "options",
    [
        {"peak": 600.0},
        {"white": 100.0},
        {"display_gamma": 2.4},
        {"settings": ("video.options.slices=4",)},
        {"settings": ("color.dither=false",)},
        {"segment_frames": 5},
        {"frames": (1, 30)},
        {"range": "full"},
        {"matrix": "bt601"},
        {"primaries": "smpte170m"},
        {"chroma_location": "topleft"},
        {"deinterlace": "frame"},
        {"model": "hdrunet"},
        {"precision": "fp32"},
        pytest.param({"backend": "openvino"}, marks=needs_openvino),
        {"tile": (16, 16)},
        {"keep_going": True},
    ],
    ids=str,
)
def test_other_settings_reuse_nothing(film: Path, stopped: Path, options: dict[str, Any]) -> None:
    same = Job(film, stopped, model="identity", segment_frames=3)
    assert SegmentStore(make_plan(same)).missing() == []
    plan = make_plan(replace(same, **options))
    assert SegmentStore(plan).missing() == list(plan.segments)


def test_another_source_of_the_same_name_reuses_nothing(tmp_path: Path, stopped: Path, film: Path) -> None:
    kept = film.read_bytes()
    try:
        ffmpeg("-i", film, "-vf", "negate", "-pix_fmt", "yuv420p", "-c:a", "copy", *BT709, tmp_path / "other.mp4")
        film.write_bytes((tmp_path / "other.mp4").read_bytes())
        clean = tmp_path / "clean"
        clean.mkdir()
        convert(film, clean / "out.mkv", "--segment-frames", "3")
        assert redone(stopped, film) == (0, set(range(10)))
        assert made(stopped) == made(clean / "out.mkv")
    finally:
        film.write_bytes(kept)


def test_other_weights_reuse_nothing(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(0, 0, 0))
    for seed in range(2):
        torch.manual_seed(seed)
        save_network(HDRUNet(config), tmp_path / f"{seed}.safetensors")
    weights = tmp_path / "weights.safetensors"
    clean, target = tmp_path / "clean.mkv", tmp_path / "out.mkv"
    options = ("--weights", str(weights), "--segment-frames", "3", "--frames", ":6")
    shutil.copy(tmp_path / "1.safetensors", weights)
    convert(film, clean, *options, model="hdrunet")
    shutil.copy(tmp_path / "0.safetensors", weights)
    with monkeypatch.context() as patch:
        patch.setattr("hdrunet_video.run.join", stop)
        assert main([str(film), str(target), *options, "-q"]) == 130
    shutil.copy(tmp_path / "1.safetensors", weights)
    convert(film, target, *options, model="hdrunet")
    assert sha256(target) == sha256(clean)


def test_files_of_others_in_the_work_folder_stay(film: Path, tmp_path: Path) -> None:
    work = tmp_path / ".out.mkv.work"
    (work / "notes").mkdir(parents=True)
    (work / "notes" / "todo.txt").write_text("mine")
    (work / "seg_up.blend").write_text("mine")
    convert(film, tmp_path / "out.mkv", "--frames", ":6", "--segment-frames", "3")
    assert sorted(path.name for path in work.iterdir()) == ["notes", "seg_up.blend"]
    assert (work / "notes" / "todo.txt").read_text() == "mine"


def test_two_runs_at_once(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

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
