"""The kernels compile, and fit into the shared memory, for GPUs that are not here."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton is not there for this platform")


# An H100 has 227 KiB for two programs that compute strips; other GPUs since the RTX 30 series have 99 KiB for one.
@pytest.mark.slow
@pytest.mark.parametrize(("capability", "way"), [("90", "strips"), ("90", "tiles"), ("89", "tiles")])
def test_kernels_compile_for_gpus_that_are_not_here(capability: str, way: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.network.cuda_compile", capability, way]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=900)
    needed = [(int(shared), strips == "True") for shared, strips in map(str.split, run.stdout.splitlines())]
    assert len(needed) == 15
    assert any(strips for _, strips in needed) is (way == "strips")
    assert all(shared <= (113 if strips else 99) << 10 for shared, strips in needed)
