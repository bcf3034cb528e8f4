"""Faster code is tried before it is used."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import torch

from hdrunet_video.errors import UsageError
from hdrunet_video.tried import tried

CPU, LOG = torch.device("cpu"), logging.getLogger("tried")


class CompilationError(Exception):
    """As Triton's: a place in the source, an excerpt, the reason."""

    __module__ = "triton.compiler.errors"


def within(cause: Exception) -> Exception:
    """Of the function that calls the one with the mistake."""
    outer = CompilationError("at 161:8:\n    total = inner()\n            ^")
    outer.__cause__ = cause
    return outer


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (RuntimeError("shapes do not match\nException raised from here"), "shapes do not match"),
        (RuntimeError(), "RuntimeError"),
        (CompilationError("at 161:8:\n    total = 1\n    ^\nno such name"), "CompilationError: no such name"),
        (within(CompilationError("at 9:4:\n    x\n    ^\nno such name")), "CompilationError: no such name"),
        (within(TypeError("no such operand")), "no such operand"),
    ],
)
def test_the_reason_is_one_line(problem: Exception, said: str, caplog: pytest.LogCaptureFixture) -> None:
    def make() -> None:
        raise problem

    assert tried(make, lambda made: None, CPU, LOG, "going on without") is None
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"going on without: {said}"
    ]


@pytest.mark.parametrize("fault", ["an illegal memory access was encountered", "the launch timed out and was ended"])
def test_a_gpu_that_runs_nothing_any_more_is_said(fault: str) -> None:
    def make() -> None:
        raise RuntimeError(f"CUDA error: {fault}")

    with pytest.raises(UsageError, match="the kernels do not work on cpu"):
        tried(make, lambda made: None, CPU, LOG, "going on without")


def test_one_thread_tries_at_a_time() -> None:
    """Triton lets a second thread launch a kernel that the first has not loaded yet."""
    at_work, most, meeting = 0, 0, threading.Barrier(2, timeout=0.2)

    def make() -> bool:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        with suppress(threading.BrokenBarrierError):
            meeting.wait()
        at_work -= 1
        return True

    with ThreadPoolExecutor(2) as pool:
        trials = [pool.submit(tried, make, lambda made: None, CPU, LOG, "going on without") for _ in range(2)]
        assert all(trial.result() for trial in trials)
    assert most == 1


@pytest.mark.parametrize(
    "problem",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_no_memory_is_no_reason_for_other_code(problem: Exception, caplog: pytest.LogCaptureFixture) -> None:
    def make() -> None:
        raise problem

    with pytest.raises(type(problem)):
        tried(make, lambda made: None, CPU, LOG, "going on without")
    assert not caplog.records
