"""Other weights, sources and versions are refused with 65; damage is named, and repaired by doing a segment again."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import torch

from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.weights import save_network
from tests.farm.conftest import OPTIONS, Capture, hidden, plan, receipts, run
from tests.media import flip, sha256


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two small networks."""
    config = HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(0, 0, 0))
    paths = [tmp_path_factory.mktemp("weights") / f"{seed}.safetensors" for seed in range(2)]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        save_network(HDRUNet(config), path)
    return paths


def test_other_weights_are_refused(film: Path, tmp_path: Path, weights: list[Path], capsys: Capture) -> None:
    own, folder = tmp_path / "own.safetensors", tmp_path / "plan"
    shutil.copy(weights[0], own)
    network = ("--weights", own, "--segment-frames", "15")
    assert run(film, tmp_path / "out.mov", "--plan", folder, *network) == 0
    shutil.copy(weights[1], own)
    assert run("--plan", folder, "--segments", "0") == 65
    assert "other weights" in capsys.readouterr().err
    assert run("--plan", folder, "--segments", "0-1", "--weights", weights[0]) == 0
    assert run("--plan", folder, "--join") == 65
    shutil.copy(weights[0], own)
    assert run("--plan", folder, "--join") == 0
    assert run(film, tmp_path / "local.mov", *network) == 0
    assert sha256(tmp_path / "out.mov") == sha256(tmp_path / "local.mov")


@pytest.mark.parametrize("verb", ["task", "local"])
def test_weights_that_change_while_they_are_loaded(
    film: Path, tmp_path: Path, weights: list[Path], verb: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A receipt must not name weights that did not make the frames."""
    from hdrunet_video import engines

    own, load = tmp_path / "own.safetensors", engines.load_model
    shutil.copy(weights[0], own)
    network = ("--weights", own, "--segment-frames", "15")
    assert run(film, tmp_path / "out.mov", "--plan", tmp_path / "plan", *network) == 0

    def changing(*arguments: str) -> Any:
        loaded = load(*arguments)
        shutil.copy(weights[1], own)
        return loaded

    monkeypatch.setattr(engines, "load_model", changing)
    command = (
        ("--plan", tmp_path / "plan", "--segments", "0") if verb == "task" else (film, tmp_path / "l.mov", *network)
    )
    assert run(*command) == 65
    assert f"{own} changed while" in capsys.readouterr().err
    assert receipts(tmp_path / "plan") == {}
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("verb", [("--segments", "0"), ("--join",)])
@pytest.mark.parametrize(("number", "code"), [(errno.ESTALE, 75), (errno.EIO, 75), (errno.EACCES, 65)])
def test_a_source_that_cannot_be_read(
    job: Path, verb: tuple[str, ...], number: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fails(_: Path) -> str:
        raise OSError(number, os.strerror(number))

    os.utime(job / "in.mp4")  # so that its bytes are asked for
    monkeypatch.setattr("hdrunet_video.farm.plan_file.file_sha256", fails)
    assert run("--plan", job / "plan", *verb) == code
    assert os.strerror(number) in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["task", "local"])
def test_a_source_that_goes_away_while_it_is_read(
    job: Path, tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from hdrunet_video.work import Work

    original = Work.seal

    def seal(self: Work, *arguments: Any) -> None:
        (job / "in.mp4").unlink(missing_ok=True)
        original(self, *arguments)

    monkeypatch.setattr(Work, "seal", seal)
    (job / "plan" / "seg_000001.json").unlink()
    command = (
        ("--plan", job / "plan", "--segments", "1") if verb == "task" else (job / "in.mp4", job / "l.mov", *OPTIONS)
    )
    assert run(*command) == 75
    assert f"{job / 'in.mp4'} can no longer be read" in capsys.readouterr().err
    assert not (job / "plan" / "seg_000001.json").exists()
    assert [name for name in hidden(job) if ".part" in name] == []


def test_another_source_is_refused(job: Path, capsys: Capture) -> None:
    source = job / "in.mp4"
    content = bytearray(source.read_bytes())
    content[len(content) // 2] ^= 1
    source.write_bytes(content)
    (job / "plan" / "seg_000001.json").unlink()
    for verb in (("--segments", "1"), ("--segments", "0"), ("--join",)):
        assert run("--plan", job / "plan", *verb) == 65
        assert "not the file that was planned" in capsys.readouterr().err
    assert not (job / "plan" / "seg_000001.json").exists()


def test_another_source_of_the_same_size_and_time_is_refused_at_the_join(job: Path) -> None:
    source = job / "in.mp4"
    status, content = source.stat(), bytearray(source.read_bytes())
    content[-1] ^= 1
    source.write_bytes(content)
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run("--plan", job / "plan", "--join") == 65
    assert not (job / "out.mov").exists()


@pytest.mark.parametrize("name", ["torch", "av", "hdrunet-video"])
def test_another_version_is_refused(job: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, name: str) -> None:
    from hdrunet_video import identity

    other = {**identity.package_versions("prores", "auto"), name: "99.0"}
    monkeypatch.setattr("hdrunet_video.farm.plan_file.package_versions", lambda *_: other)
    assert run("--plan", job / "plan", "--segments", "0") == 65
    said = capsys.readouterr().err
    assert f"with {name} " in said
    assert "here 99.0" in said
    assert run("--plan", job / "plan", "--join") == 65


@pytest.mark.parametrize("here", ["99.0", None])
def test_another_openexr_is_refused_where_it_writes(
    film: Path, job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, here: str | None
) -> None:
    folder = plan(film, tmp_path / "o.%06d.exr")

    def found(name: str) -> str:
        if name == "OpenEXR" and here is None:
            raise PackageNotFoundError(name)
        return here if name == "OpenEXR" and here else version(name)

    monkeypatch.setattr("hdrunet_video.identity.version", found)
    assert run("--plan", folder, "--segments", "0") == 65
    assert f"here {here or 'not installed'}" in capsys.readouterr().err
    assert run("--plan", job / "plan", "--segments", "0") == 0


def test_another_ffmpeg_is_refused(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (job / "plan" / "seg_000001.json").unlink()
    monkeypatch.setattr("hdrunet_video.identity._ffmpeg_version", lambda: [(1, 2, 3)])
    assert run("--plan", job / "plan", "--segments", "1") == 65
    assert run("--plan", job / "plan", "--join") == 75


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "edited"])
def test_a_damaged_plan_is_refused(job: Path, damage: str, capsys: Capture) -> None:
    path = job / "plan" / "plan.json"
    text = path.read_text()
    changed = {
        "flipped": text.replace('"white": 203', '"white": 204'),
        "cut": text[:-20],
        "empty": "",
        "edited": json.dumps({**json.loads(text), "target": "../other.mov"}),
    }
    path.write_text(changed[damage])
    for verb in (("--segments", "0"), ("--join",), ("--verify",)):
        assert run("--plan", job / "plan", *verb) == 65
        assert "damaged, was edited" in capsys.readouterr().err


def test_no_plan_yet(tmp_path: Path, capsys: Capture) -> None:
    assert run("--plan", tmp_path, "--segments", "0") == 75
    assert "no plan" in capsys.readouterr().err


DAMAGE: dict[str, tuple[Callable[[Path], object], int]] = {
    "flipped byte": (flip, 65),
    "cut segment": (lambda path: path.write_bytes(path.read_bytes()[:-1]), 65),
    "missing receipt": (lambda path: path.with_suffix(".json").unlink(), 75),
    "missing segment": (Path.unlink, 75),
    "torn receipt": (lambda path: path.with_suffix(".json").write_text('{"plan_id": "'), 75),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused_named_and_repaired(job: Path, local: Path, damage: str, capsys: Capture) -> None:
    act, code = DAMAGE[damage]
    act(job / "plan" / "seg_000003.mov")
    assert run("--plan", job / "plan", "--join") == code
    assert "--segments 3 does" in capsys.readouterr().err
    assert not (job / "out.mov").exists()
    assert run("--plan", job / "plan", "--segments", "all") == 0
    assert run("--plan", job / "plan", "--join") == 0
    assert sha256(job / "out.mov") == sha256(local)


def test_random_damage_never_gives_another_film(job: Path, local: Path) -> None:
    moments = random.Random(7)
    for _ in range(8):
        victim = moments.choice(sorted((job / "plan").glob("seg_*")))
        moments.choice([flip, Path.unlink, lambda path: path.write_bytes(b"")])(victim)
        code = run("--plan", job / "plan", "--join", "-y")
        assert code in (65, 75)
        assert run("--plan", job / "plan", "--segments", "all") == 0
    assert run("--plan", job / "plan", "--join") == 0
    assert sha256(job / "out.mov") == sha256(local)


def test_the_plan_itself_in_place_of_its_folder(job: Path, capsys: Capture) -> None:
    assert run("--plan", job / "plan" / "plan.json", "--segments", "0") == 2
    assert "plan.json is not a folder" in capsys.readouterr().err
