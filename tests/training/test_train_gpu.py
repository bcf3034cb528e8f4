""".ci/train-gpu, with the CPU in the GPU's place and a network of four channels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from hdrunet_video import load_network
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.training.precision import TOLERANCES, forward_errors

SCRIPT = Path(__file__).parents[2] / ".ci" / "train-gpu"
TINY = (
    *("network.channels=4", "network.condition_channels=4", "network.sft_channels=4", "network.blocks=[1,1,1]"),
    *("data.patch=16", "data.batch=2", "data.workers=0", "data.validation_views=1", "data.validation_size=32"),
    *("optimizer.ema=0", "schedule.warmup=0", "compute.precision=fp32", "compute.threads=1", "run.validate_every=2"),
)


def script(
    views: Path, folder: Path, *settings: str, minutes: str = "60", **environment: str
) -> subprocess.CompletedProcess[str]:
    flags = [word for each in (*TINY, *settings) for word in ("--set", each)]
    own = {"RUN": str(folder / "run"), "OUT": str(folder / "out"), "PYTHON": sys.executable, "DEVICE": "cpu"}
    return subprocess.run(
        [SCRIPT, views, minutes, *flags],
        env={**os.environ, "WHEELS": str(folder / "none"), **own, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_from_nothing_to_a_result_and_on(views: Path, tmp_path: Path) -> None:
    done = script(views, tmp_path, "run.iterations=2")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result == json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["finished"] is True
    assert result["held_out"].keys() == {"identity", "bundled", "trained"}
    assert result["held_out"]["identity"]["psnr_mu"]["mean"] > 10
    assert result["forward_errors"].keys() == {"fp32", "fp16", "bf16"}
    assert load_network(tmp_path / "out" / "best.safetensors").config.channels == 4
    assert "Held-out scenes" in (tmp_path / "out" / "report.md").read_text()


def test_a_manifest_may_have_no_panoramas(views: Path, tmp_path: Path) -> None:
    folder = tmp_path / "views"
    shutil.copytree(views, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({"items": manifest["items"]}))
    done = script(folder, tmp_path, "run.iterations=1")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_trained(views: Path, tmp_path: Path) -> None:
    done = script(views, tmp_path, DEVICE="cuda")
    assert done.returncode == 1
    assert "finds no GPU" in done.stderr
    assert not (tmp_path / "run" / "run").exists()


@pytest.mark.slow
def test_a_call_that_is_over_leaves_a_run_to_go_on_with(views: Path, tmp_path: Path) -> None:
    done = script(views, tmp_path, CALL_MINUTES="0.7")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["finished"] is False
    assert "--resume goes on" in done.stderr
    again = script(views, tmp_path, minutes="0.1")
    assert again.returncode == 0, again.stderr
    assert "goes on from iteration" in again.stderr
    assert json.loads(again.stdout)["finished"] is True


@pytest.mark.slow
def test_a_mistake_ends_it(views: Path, tmp_path: Path) -> None:
    done = script(views, tmp_path, "data.batches=2")
    assert done.returncode == 65
    assert "did you mean 'batch'" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_wheels_and_the_package_are_installed_beside_the_run(views: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "carried-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried.py", "")
        wheel.writestr("carried-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carried\nVersion: 1.0\n")
        wheel.writestr("carried-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("carried-1.0.dist-info/RECORD", "")
    done = script(views, tmp_path, "run.iterations=1", WHEELS=str(wheels))
    assert done.returncode == 0, done.stderr
    site = tmp_path / "run" / "site"
    assert (site / "carried.py").is_file()
    assert (site / "hdrunet_video" / "training" / "ours.toml").is_file()


def test_half_precision_is_near_and_a_wrong_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    small = HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(1, 1, 1))
    errors = forward_errors(torch.device("cpu"), small)
    assert all(0 <= errors[name] <= most for name, most in TOLERANCES.items())
    assert errors["fp32"] < errors["fp16"] < errors["bf16"]

    def wrong(network: HDRUNet) -> HDRUNet:
        network.to_rgb.weight.mul_(1.1)
        return network

    monkeypatch.setattr(HDRUNet, "halve", wrong)
    assert forward_errors(torch.device("cpu"), small)["fp16"] > TOLERANCES["fp16"]
