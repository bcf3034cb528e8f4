"""What lies in the way of a join: results of others, folders that are gone, full disks."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from hdrunet_video import job as job_module
from hdrunet_video.farm import joined as joined_module
from tests.conftest import loaded
from tests.farm.conftest import OPTIONS, Capture, hidden, plan, run
from tests.media import sha256


def test_a_result_that_exists_is_not_replaced_unasked(job: Path, local: Path, capsys: Capture) -> None:
    (job / "out.mov").write_text("mine")
    assert run("--plan", job / "plan", "--join") == 73
    assert (job / "out.mov").read_text() == "mine"
    assert run("--plan", job / "plan", "--join", "-y") == 0
    assert sha256(job / "out.mov") == sha256(local)


def test_a_frame_that_exists_is_not_replaced_unasked(film: Path, tmp_path: Path) -> None:
    target, frame = tmp_path / "o[1].%06d.exr", tmp_path / "o[1].000004.exr"
    folder = plan(film, target, "--frames", ":6")
    assert run("--plan", folder, "--segments", "0") == 0
    frame.write_text("mine")
    assert run("--plan", folder, "--join") == 73
    assert frame.read_text() == "mine"
    assert run("--plan", folder, "--join", "-y") == 0
    assert frame.read_bytes().startswith(b"\x76\x2f\x31\x01")


def test_a_film_that_comes_while_it_is_planned_is_not_replaced_unasked(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, make_plan = tmp_path / "out.mov", job_module.make_plan

    def slow(*arguments: Any) -> Any:
        target.write_text("somebody's")
        return make_plan(*arguments)

    monkeypatch.setattr(job_module, "make_plan", slow)
    folder = plan(film, target, "--frames", ":6")
    monkeypatch.undo()
    assert run("--plan", folder, "--segments", "0") == 0
    assert run("--plan", folder, "--join") == 73
    assert target.read_text() == "somebody's"


def test_the_command_of_a_plan_goes_on_when_its_join_was_stopped(film: Path, tmp_path: Path) -> None:
    command = (film, tmp_path / "o.%06d.exr", "--plan", tmp_path / "plan", *OPTIONS, "--frames", ":6")
    assert run(*command) == 0
    assert run("--plan", tmp_path / "plan", "--segments", "0") == 0
    assert run("--plan", tmp_path / "plan", "--join") == 0
    (tmp_path / "o.000005.exr").unlink()  # as if the join had been stopped
    assert run(*command) == 0
    assert run("--plan", tmp_path / "plan", "--join") == 0
    assert (tmp_path / "o.000005.exr").exists()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_frame_that_somebody_has_changed_is_not_replaced_unasked(
    film: Path, tmp_path: Path, capsys: Capture, elsewhere: bool
) -> None:
    folder = plan(film, tmp_path / "o.%06d.exr", "--frames", ":6")
    assert run("--plan", folder, "--segments", "0") == 0
    assert run("--plan", folder, "--join") == 0
    place = tmp_path / "elsewhere" if elsewhere else tmp_path
    place.mkdir(exist_ok=True)
    command = (film, place / "o.%06d.exr", "--plan", folder, "--join")
    painted, whole = place / "o.000004.exr", (tmp_path / "o.000004.exr").read_bytes()
    painted.write_bytes(b"painted")  # in place, which is no reason to do the segment again
    assert run(*command) == 73
    assert "o.000004.exr is not what was joined: somebody has changed it" in capsys.readouterr().err
    assert painted.read_bytes() == b"painted"
    assert run(*command, "-y") == 0
    assert painted.read_bytes() == whole
    painted.unlink()  # as if the join had been stopped
    assert run(*command) == 0
    assert painted.read_bytes() == whole


def test_neither_joining_nor_verifying_waits_for_torch(job: Path) -> None:
    for verb in ("--join", "--verify"):
        statement = f"from hdrunet_video.cli import main; assert main(['--plan', 'plan', '{verb}']) == 0"
        assert "torch" not in loaded(statement, job)


def test_a_result_that_somebody_has_changed_is_not_replaced_unasked(job: Path, local: Path, capsys: Capture) -> None:
    assert run("--plan", job / "plan", "--join") == 0
    (job / "out.mov").write_text("mine")
    assert run("--plan", job / "plan", "--join") == 73
    assert "is not what was joined" in capsys.readouterr().err
    assert (job / "out.mov").read_text() == "mine"
    assert run("--plan", job / "plan", "--join", "-y") == 0
    assert sha256(job / "out.mov") == sha256(local)


def test_a_join_that_ends_while_another_begins(job: Path, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its result appears after the other has asked for it, and before it looks whether something is in its way."""
    from hdrunet_video.farm import tasks
    from hdrunet_video.progress import Silent

    original, asked = joined_module.joined_sha256, []

    def joined(*arguments: Any) -> str | None:
        known = original(*arguments)
        asked.append(known)
        if len(asked) == 1:
            tasks.join_plan(tasks.Request(job / "plan"), Silent())
        return known

    monkeypatch.setattr(joined_module, "joined_sha256", joined)
    assert run("--plan", job / "plan", "--join") == 0
    assert sha256(job / "out.mov") == sha256(local)


def test_the_folder_of_the_result_is_gone(job: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(job / "in.mp4", tmp_path / "gone" / "out.mov", "--plan", job / "plan", "--join") == 73
    said = capsys.readouterr().err
    assert f"the folder {tmp_path / 'gone'} does not exist" in said
    assert "mkdir" in said


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 75), (errno.EROFS, 73)])
@pytest.mark.parametrize("name", ["out.mov", "o.%06d.exr"])
def test_the_folder_of_the_plan_cannot_be_written(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, name: str, number: int, code: int
) -> None:
    """Then the join cannot note what it has made."""

    def fails(path: Path, _: str) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "film").mkdir()
    folder = plan(film, tmp_path / "film" / name, "--frames", ":6")
    assert run("--plan", folder, "--segments", "0") == 0
    target = tmp_path / "elsewhere" / name
    target.parent.mkdir()
    monkeypatch.setattr("hdrunet_video.farm.joined.write_whole", fails)
    assert run(film, target, "--plan", folder, "--join") == code
    assert str(folder) in capsys.readouterr().err
    assert list(target.parent.iterdir()) == []


def test_a_folder_where_the_result_is_to_lie(job: Path, capsys: Capture) -> None:
    (job / "out.mov").mkdir()
    assert run("--plan", job / "plan", "--join", "-y") == 73
    assert "out.mov is a folder" in capsys.readouterr().err


def test_a_disk_that_is_full(job: Path, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (job / "plan" / "seg_000001.json").unlink()
    for module in ("writer", "receipts", "assemble"):
        with monkeypatch.context() as patch:
            patch.setattr(f"hdrunet_video.{module}.sync", full)
            verb = ("--join",) if module == "assemble" else ("--segments", "1")
            assert run("--plan", job / "plan", *verb) == 75
        assert hidden(job) == []
        assert not (job / "out.mov").exists()
        if module == "receipts":
            assert run("--plan", job / "plan", "--segments", "1") == 0
    assert run("--plan", job / "plan", "--join") == 0
    assert sha256(job / "out.mov") == sha256(local)
