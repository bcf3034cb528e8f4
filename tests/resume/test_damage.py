"""Damaged segments and receipts: what is not proved is done again, and nothing else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdrunet_video.cli import main
from hdrunet_video.segments import SegmentStore
from hdrunet_video.timeline import Segment
from tests.conftest import ffmpeg
from tests.media import convert, flip, forge
from tests.resume.conftest import command, leftovers, made, redone, stop


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
        patch.setattr("hdrunet_video.assemble._place", stop)
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
