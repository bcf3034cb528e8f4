"""`--verify` finds what is not as planned, without the source and without the segments."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hdrunet_video.cli import main
from tests.conftest import ffmpeg
from tests.farm.conftest import OPTIONS, Capture, run
from tests.media import convert, flip, forge


@pytest.fixture
def joined(job: Path) -> Path:
    """A job that is done, with all but the result, the plan and the receipts deleted."""
    assert run("--plan", job / "plan", "--join") == 0
    (job / "in.mp4").unlink()
    for segment in (job / "plan").glob("seg_*.mov"):
        segment.unlink()
    return job


def test_a_good_result(joined: Path, capsys: Capture) -> None:
    assert main(["--plan", str(joined / "plan"), "--verify"]) == 0
    assert "30 frames are those of the plan" in capsys.readouterr().err


def test_a_local_result_is_as_good(joined: Path, local: Path, film: Path) -> None:
    assert run(film, local, "--plan", joined / "plan", "--verify") == 0


def test_every_byte_counts(joined: Path, capsys: Capture) -> None:
    target = joined / "out.mov"
    size, original = target.stat().st_size, target.read_bytes()
    found = set()
    for position in (*range(5, size, size // 24), size - 1):
        target.write_bytes(original)
        flip(target, position)
        assert run("--plan", joined / "plan", "--verify") == 65, position
        found.add(capsys.readouterr().err.split(":")[2].split()[0])
    assert len(found) > 1, "frames and other bytes were both hit"


def test_the_damaged_frame_is_named(joined: Path, capsys: Capture) -> None:
    target, segment = joined / "out.mov", joined / "plan" / "seg_000003.json"
    hashes = json.loads(segment.read_text())["frame_sha256"]
    forge(segment, frame_sha256=(*hashes[:2], "0" * 64, *hashes[3:]))
    assert run("--plan", joined / "plan", "--verify") == 65
    assert f"coded frame 2 of segment 3 of {target}" in capsys.readouterr().err


def test_another_film_of_the_same_length(joined: Path, film: Path, capsys: Capture) -> None:
    target = joined / "out.mov"
    target.unlink()
    convert(film, target, "--segment-frames", "6", "--white", "100")
    assert run("--plan", joined / "plan", "--verify") == 65
    assert "coded frame 0 of segment 0" in capsys.readouterr().err


@pytest.mark.parametrize(("frames", "says"), [("0:29", "ends before"), ("0:12", "ends before")])
def test_a_film_that_is_too_short(joined: Path, film: Path, frames: str, says: str, capsys: Capture) -> None:
    convert(film, joined / "out.mov", "--segment-frames", "6", "--frames", frames, "-y")
    assert run("--plan", joined / "plan", "--verify") == 65
    assert says in capsys.readouterr().err


def test_a_film_that_is_too_long(film: Path, tmp_path: Path, capsys: Capture) -> None:
    target, folder = tmp_path / "out.mov", tmp_path / "plan"
    assert run(film, target, "--plan", folder, *OPTIONS, "--frames", ":12") == 0
    assert run("--plan", folder, "--segments", "all") == 0
    convert(film, target, "--segment-frames", "6")
    assert run("--plan", folder, "--verify") == 65
    assert "more frames than the plan" in capsys.readouterr().err


def test_frames_at_other_times(joined: Path, capsys: Capture) -> None:
    target = joined / "out.mov"
    other = joined / "slow.mov"
    ffmpeg("-itsscale", "2", "-i", target, "-c", "copy", "-map", "0:v", other)
    shutil.move(other, target)
    assert run("--plan", joined / "plan", "--verify") == 65
    assert "at the times of the plan" in capsys.readouterr().err


def test_nothing_to_verify_yet(joined: Path, capsys: Capture) -> None:
    (joined / "out.mov").rename(joined / "elsewhere.mov")
    assert run("--plan", joined / "plan", "--verify") == 75
    assert "does not exist yet" in capsys.readouterr().err
    (joined / "plan" / "seg_000001.json").unlink()
    assert run("--plan", joined / "plan", "--verify") == 75
    assert "segments 1 have no receipt" in capsys.readouterr().err


def test_a_plan_of_another_version(joined: Path, capsys: Capture) -> None:
    """Versions need not be the same to verify, but its settings must be known."""
    from hdrunet_video.farm.plan_file import _digest

    path = joined / "plan" / "plan.json"
    document = json.loads(path.read_text())
    del document["sha256"]
    document["versions"]["hdrunet-video"] = "9.0"
    document["job"]["sharpness"] = 1
    path.write_text(json.dumps({**document, "sha256": _digest(document)}))
    assert run("--plan", joined / "plan", "--verify") == 65
    assert "hdrunet-video 9.0" in capsys.readouterr().err


def test_something_that_is_no_film(joined: Path) -> None:
    (joined / "out.mov").write_text("not a film")
    assert run("--plan", joined / "plan", "--verify") == 65


def test_numbers_that_outgrow_their_digits(film: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plan"
    assert run(film, tmp_path / "o.%01d.exr", "--plan", folder, *OPTIONS, "--frames", "6:14") == 0
    assert run("--plan", folder, "--segments", "all") == 0
    assert run("--plan", folder, "--join") == 0
    assert run("--plan", folder, "--verify") == 0


def test_a_frame_of_a_sequence_is_missing_or_damaged(film: Path, tmp_path: Path, capsys: Capture) -> None:
    target, folder = tmp_path / "100%.%06d.exr", tmp_path / "plan"
    assert run(film, target, "--plan", folder, *OPTIONS, "--frames", "3:11") == 0
    assert run("--plan", folder, "--segments", "all") == 0
    assert run("--plan", folder, "--join") == 0
    assert run("--plan", folder, "--verify") == 0
    frame = tmp_path / "100%.000009.exr"
    content = frame.read_bytes()
    frame.unlink()
    assert run("--plan", folder, "--verify") == 65
    assert "100%.000009.exr is missing" in capsys.readouterr().err
    frame.write_bytes(content[:-1])
    assert run("--plan", folder, "--verify") == 65
    assert "coded frame 0 of segment 1" in capsys.readouterr().err
