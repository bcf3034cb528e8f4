"""The kernels compile, and fit into the shared memory, for GPUs that are not here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

triton = pytest.importorskip("triton", reason="Triton is not there for this platform")
needs_threads = pytest.mark.skipif(
    not hasattr(triton, "AsyncCompileMode"), reason="Triton before 3.5 compiles one after the other"
)


STRIPS = {"encoder.0.conv1": 252, "encoder.0.conv2": 288, "up_half": 304, "up_full": 348}
SPILLED = {
    ("90", "strips"): {**STRIPS, "stem": 16, "keep": 184, "decode_full": 176},
    ("90", "tiles"): {"stem": 16},
    ("90", "cudnn"): {"stem": 16},
    ("89", "tiles"): {"stem": 160, "encode_full": 52, "up_full": 20},
    ("89", "cudnn"): {"stem": 160, "up_full": 28},
}
"""Bytes of a thread that are known to find no register, by Triton 3.6 or 3.8, in strips those of three rows."""


COMMON = """
import threading
from concurrent.futures import as_completed
from contextlib import nullcontext
import torch, triton
from triton.runtime import _async_compile, driver
from hdrunet_video.network.cuda_forward import Forward
from hdrunet_video.network.cuda_trial import _compile
from tests.network.cuda_cases import network_of
from tests.network.cuda_compile import Absent

compiled, threads, cpu = triton.compiler.compile, [], torch.device("cpu")
driver.set_active(Absent(90))
torch.cuda.device = nullcontext
torch.set_num_threads(3)
network = network_of()
"""
AT_ONCE = """
def counted(source, **options):
    threads.append(threading.current_thread())
    return compiled(source, **options)
triton.compiler.compile = counted
forward = Forward(network, "strips")
_compile(forward, cpu)
print(len(threads), len(set(threads)), threading.main_thread() in threads)
for size in ((64, 96), (68, 108), (1080, 1920)):
    memory = torch.empty(forward.workspace_bytes(*size), dtype=torch.uint8)
    forward.compile(forward.buffers(memory, *size))
print(len(threads))
"""
ONE_FAILS = """
class BeforeThreeEight(triton.AsyncCompileMode):
    def __exit__(self, *_):
        for future in as_completed(self.raw_futures):
            self.future_kernels[future._key].result()
        _async_compile.active_mode.set(None)
def failing(source, **options):
    strips = source.fn.arg_names.index("STRIPS") if "STRIPS" in source.fn.arg_names else None
    if source.constants.get((strips,)):
        raise RuntimeError("PassManager::run failed")
    return compiled(source, **options)
triton.AsyncCompileMode, triton.compiler.compile = BeforeThreeEight, failing
try:
    _compile(Forward(network, "strips"), cpu)
except RuntimeError as error:
    print(error)
for way in ("tiles", "cudnn"):
    _compile(Forward(network, way), cpu)
    print(way)
"""


def needs(capability: str, way: str) -> list[dict[str, Any]]:
    """What each launch needs on chip."""
    return [json.loads(line) for line in run(["-m", "tests.network.cuda_compile", capability, way]).splitlines()]


def run(program: list[str]) -> str:
    """What a program prints that has Triton's compiler in place of its interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, *program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=900).stdout


# Of two programs on a multiprocessor: an H100's has 228 KiB, the RTX 30 to 50 series' 100, of which each takes one.
ROOM = {"90": 113, "89": 49}


@pytest.mark.slow
@pytest.mark.parametrize(("capability", "way"), SPILLED)
def test_kernels_compile_for_gpus_that_are_not_here(capability: str, way: str) -> None:
    needed = needs(capability, way)
    assert len(needed) == 15
    assert any(each["strips"] for each in needed) is (way == "strips")
    for each in needed:
        assert each["shared"] <= ROOM[capability] << 10, each
        assert each["spilled"] <= SPILLED[capability, way].get(each["name"], 0), each
        assert not each["serialised"], each


@needs_threads
def test_kernels_are_compiled_by_all_threads_and_once() -> None:
    count, threads, main, then = run(["-c", COMMON + AT_ONCE]).split()
    assert int(count) > 10
    assert (threads, main, then) == ("3", "False", count), "for no size is anything compiled again"


@needs_threads
def test_a_way_that_does_not_compile_does_not_stop_the_other() -> None:
    assert run(["-c", COMMON + ONE_FAILS]).splitlines() == ["PassManager::run failed", "tiles", "cudnn"]


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["75", "89", "90"])
def test_kernels_of_the_colour_path_compile_for_gpus_that_are_not_here(capability: str) -> None:
    needed = needs(capability, "colour")
    assert {each["name"] for each in needed} == {"to_signal", "to_planes", "finish"}
    for each in needed:
        assert each["shared"] <= 48 << 10, each
        assert each["spilled"] == 0, each
