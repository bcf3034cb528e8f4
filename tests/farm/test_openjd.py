"""`--submit openjd DIR`: the bundle is valid, runs, is stopped and goes on, with Open Job Description's own program."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hdrunet_video.cli import main
from tests.farm.conftest import OPTIONS
from tests.media import sha256

OPENJD = str(Path(sys.executable).with_name("openjd"))
pytestmark = pytest.mark.skipif(not Path(OPENJD).exists(), reason="needs openjd-cli, of the extra [test]")


def bundle(film: Path, target: Path, *more: str) -> Path:
    folder = target.parent / "bundle"
    assert main([str(film), str(target), "--submit", "openjd", str(folder), "-q", *OPTIONS, *more]) == 0
    return folder


def openjd(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [OPENJD, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return openjd("run", folder / "template.json", *arguments)


def template(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "template.json").read_text()))


def test_a_task_for_each_segment_on_a_gpu(film: Path, tmp_path: Path) -> None:
    folder = bundle(film, tmp_path / "out.mov")
    assert openjd("check", folder / "template.json").returncode == 0
    summary = json.loads(openjd("summary", folder / "template.json", "--output", "json").stdout)
    assert [(step["name"], step["total_tasks"]) for step in summary["steps"]] == [("Segments", 5), ("Join", 1)]
    segments, join = template(folder)["steps"]
    assert segments["hostRequirements"]["amounts"] == [{"name": "amount.worker.gpu", "min": 1}]
    assert "hostRequirements" not in join
    assert join["dependencies"] == [{"dependsOn": "Segments"}]
    assert segments["parameterSpace"]["taskParameterDefinitions"][0]["range"] == "0-4"
    assert str(tmp_path) not in (folder / "template.json").read_text()


def test_a_bundle_of_another_program_is_left_alone(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "template.json").write_text("theirs")
    command = [str(film), str(tmp_path / "out.mov"), "--submit", "openjd", str(folder), "-q", *OPTIONS]
    assert main([*command, "-y"]) == 73
    assert "template.json is not of this program" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["template.json"]
    assert (folder / "template.json").read_text() == "theirs"


def test_it_runs_and_gives_the_bytes_of_a_local_run(film: Path, local: Path, tmp_path: Path) -> None:
    target = tmp_path / "it's out.mov"
    folder = bundle(film, target, "--per-task", "3", "--device", "cpu")
    assert "hostRequirements" not in template(folder)["steps"][0]
    result = run(folder)
    assert result.returncode == 0, result.stdout
    assert "openjd_progress: 100" in result.stdout
    assert "openjd_status: converting" in result.stdout
    assert sha256(target) == sha256(local)


def test_stopped_it_leaves_nothing_half_and_goes_on(film: Path, local: Path, tmp_path: Path) -> None:
    """The source is elsewhere by then, as on another worker."""
    folder = bundle(film, tmp_path / "out.mov", "--per-task", "5")
    moved, target = tmp_path / "moved.mp4", tmp_path / "moved.mov"
    shutil.copy(film, moved)
    paths = ("-p", f"Source={moved}", "-p", f"Target={target}")
    command = [OPENJD, "run", str(folder / "template.json"), *paths]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "openjd_status: loading" in line)
        time.sleep(0.5)
        stopped = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    assert process.returncode != 0
    assert time.monotonic() - stopped < 15, "the grace period was not needed"
    assert not [path for path in (folder / "plan").iterdir() if ".part" in path.name]
    result = run(folder, *paths)
    assert result.returncode == 0, result.stdout
    assert sha256(target) == sha256(local)


def test_a_refusal_is_told(film: Path, tmp_path: Path) -> None:
    folder = bundle(film, tmp_path / "out.mov")
    other = tmp_path / "other.mp4"
    other.write_bytes(film.read_bytes() + b"more")
    result = run(folder, "--step", "Segments", "--maximum-tasks", "1", "-p", f"Source={other}")
    assert result.returncode != 0
    assert f"openjd_fail: hdrunet-video: error: {other} is not the file that was planned" in result.stdout
    assert "exited with code: 65" in result.stdout


def test_what_deadline_cloud_reads(film: Path, tmp_path: Path) -> None:
    folder = bundle(film, tmp_path / "out.mov")
    values = json.loads((folder / "parameter_values.json").read_text())["parameterValues"]
    assert {each["name"]: each["value"] for each in values} == {
        "Plan": str(folder / "plan"),
        "Source": str(film),
        "Target": str(tmp_path / "out.mov"),
    }
    assets = json.loads((folder / "asset_references.json").read_text())["assetReferences"]
    assert assets["inputs"] == {"filenames": [str(film)], "directories": [str(folder / "plan")]}
    assert assets["outputs"]["directories"] == sorted([str(folder / "plan"), str(tmp_path)])


@pytest.mark.parametrize(
    "flags", [("--submit", "openjd"), ("--submit", "condor"), ("--submit", "openjd", "a", "--join")]
)
def test_submissions_that_cannot_be(film: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    assert main([str(film), str(tmp_path / "out.mov"), "-q", *flags]) == 2
