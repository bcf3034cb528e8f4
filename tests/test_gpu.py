"""The tests of gpu.txt on a GPU. From all other tests, and from the commands that they run, it is hidden: what they
expect is the bytes of a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TEST_CUDA

ROOT = Path(__file__).parent.parent
DRIVER = Path("/proc/driver/nvidia/gpus")


@pytest.mark.skipif(not DRIVER.exists() or TEST_CUDA in os.environ, reason="needs an NVIDIA GPU")
def test_on_a_gpu() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment.pop("CUDA_VISIBLE_DEVICES")
    command = [sys.executable, "-m", "pytest", "-n", "0", "-o", "addopts=", "-q", "--import-mode=importlib"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "@tests/gpu.txt"],
        cwd=ROOT,
        env=environment | {TEST_CUDA: "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_what_is_listed_is_there_and_has_all_that_needs_a_gpu() -> None:
    listed = (ROOT / "tests" / "gpu.txt").read_text().split()
    marked = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "pytest.mark.cuda" in path.read_text() and path != Path(__file__)
    ]
    assert all((ROOT / name).is_file() for name in listed)
    assert set(marked) <= set(listed)
