"""The tests of gpu.txt on a GPU. From all other tests, and from the commands that they run, it is hidden: what they
expect is the bytes of a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import HIDDEN, NVIDIA_DRIVER, TEST_CUDA

ROOT = Path(__file__).parent.parent
FILES = (ROOT / "tests" / "gpu.txt").read_text().split()


@pytest.mark.skipif(not NVIDIA_DRIVER or TEST_CUDA in os.environ, reason="needs an NVIDIA GPU")
def test_on_a_gpu() -> None:
    """Triton compiles most of this time."""
    ours = {TEST_CUDA, HIDDEN, "CUDA_VISIBLE_DEVICES", "TRITON_INTERPRET"}
    environment = {name: value for name, value in os.environ.items() if name not in ours} | {TEST_CUDA: "1"}
    if os.environ[HIDDEN] != "all":
        environment["CUDA_VISIBLE_DEVICES"] = os.environ[HIDDEN]
    options = ["-n", "auto", "--maxprocesses", "8", "--dist", "worksteal", "-W", "default", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-v", "--import-mode=importlib", *options, *FILES]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    if "PASSED tests/network/test_cuda_gpu.py" not in done.stdout:
        pytest.skip("there is a driver, and no GPU that torch can use")


def test_what_is_listed_is_there_and_has_all_that_needs_a_gpu() -> None:
    marked = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "pytest.mark.cuda" in path.read_text() and path != Path(__file__)
    ]
    assert all((ROOT / name).is_file() for name in FILES)
    assert set(marked) <= set(FILES)


def test_what_is_listed_needs_no_more_than_bare_machines_have() -> None:
    """.ci/bench-gpu says what that is."""
    code = """
import sys
sys.modules |= dict.fromkeys(("av", "cv2", "onnxruntime", "openvino", "tensorboard", "vapoursynth"))
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
    options = ["-o", "addopts=", "-q", "--import-mode=importlib", "-p", "no:cacheprovider", "--collect-only"]
    done = subprocess.run([sys.executable, "-c", code, *options, *FILES], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
