"""Installing and removing the package in fresh environments, as pip does it."""

from __future__ import annotations

import os
import platform
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
HAS_KERNELS = (sys.platform, platform.machine()) == ("linux", "x86_64")
USE = """
import vapoursynth as vs
from vapoursynth import core
clip = core.std.BlankClip(format=vs.RGB24, width=16, height=16, length=1)
print(core.hdrunet.Reconstruct(clip, model="identity").get_frame(0).props["_Transfer"])
print(core.hdrunet.plugin_path)
"""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A new environment with a VapourSynth of its own; torch and the like are borrowed from this one."""
    folder = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    run(folder, "-m", "pip", "install", "-q", "vapoursynth")
    (packages(folder) / "zz_borrowed.pth").write_text(f"{site.getsitepackages()[0]}\n")
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What git knows, so that nothing else is needed and nothing is written here."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, names):
        target = tmp_path / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    return tmp_path / "checkout"


def packages(environment: Path) -> Path:
    return next((environment / "lib").glob("python3*")) / "site-packages"


def run(environment: Path, *arguments: str | Path, **variables: str) -> str:
    command = [environment / "bin" / "python", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=environment, env=os.environ | variables, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("how", [(), ("-e",)], ids=["normal", "editable"])
def test_install_and_uninstall(environment: Path, checkout: Path, how: tuple[str, ...]) -> None:
    before = {path for path in packages(environment).rglob("*") if path.suffix != ".pyc"}
    run(environment, "-m", "pip", "install", "-q", "--no-deps", *how, checkout)
    transfer, library = run(environment, "-c", USE).splitlines()
    assert transfer == "16"
    assert Path(library).is_relative_to(packages(environment) / "vapoursynth" / "plugins" / "hdrunet")
    said = run(environment, "-m", "hdrunet_video", "--doctor")
    assert "core.hdrunet of" in said
    if HAS_KERNELS:
        assert {path.stem for path in packages(environment).glob("_hdrunet_kernels_*.so")} == {
            "_hdrunet_kernels_amx_bf16",
            "_hdrunet_kernels_avx2",
            "_hdrunet_kernels_avx512",
            "_hdrunet_kernels_avx512_bf16",
        }
        assert "there for this processor" in said
    run(environment, "-m", "pip", "uninstall", "-q", "-y", "hdrunet-video")
    after = {path for path in packages(environment).rglob("*") if path.suffix != ".pyc"}
    assert {path for path in after - before if path.is_file()} == set()


def test_without_a_compiler(environment: Path, checkout: Path) -> None:
    missing = {"CC": "no-such-cc", "CXX": "no-such-c++"}
    command = [environment / "bin" / "python", "-m", "pip", "install", "-v", "--no-deps", checkout]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | missing, check=True)
    said = done.stdout + done.stderr  # pip passes on what a build says to standard error
    assert "THE VAPOURSYNTH FILTER WAS NOT BUILT" in said
    if HAS_KERNELS:
        assert "THE CPU KERNELS FOR AVX2 WERE NOT BUILT" in said
    assert "apt-get install g++" in said
    assert "hdrunet-video 0." in run(environment, "-m", "hdrunet_video", "--version")
    assert "core.hdrunet was not built" in run(environment, "-m", "hdrunet_video", "--doctor")


def test_split_environments(environment: Path, checkout: Path, tmp_path: Path) -> None:
    """VapourSynth outside, ours inside: --doctor says which variable joins them, and it does."""
    shutil.rmtree(packages(environment) / "vapoursynth")
    outer = tmp_path / "outer"
    run(environment, "-m", "pip", "install", "-q", "--target", outer, "vapoursynth")
    run(environment, "-m", "pip", "install", "-q", "--no-deps", checkout)
    said = run(environment, "-m", "hdrunet_video", "--doctor", PYTHONPATH=str(outer))
    hint = next(line for line in said.splitlines() if "VAPOURSYNTH_EXTRA_PLUGIN_PATH" in line)
    variable, _, value = hint.strip().removeprefix("export ").partition("=")
    found = run(environment, "-c", USE, PYTHONPATH=str(outer), **{variable: value})
    assert found.startswith("16\n")
