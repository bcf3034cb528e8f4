"""Where the network runs: devices, precisions and memory by name, and what their errors mean."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch

from .cgroup import cpu_quota, memory_limit
from .errors import RetryError, UsageError
from .processor import cpu_has_bf16


def resolve_device(name: str = "auto") -> torch.device:
    """The device of `auto` (the first of CUDA, else the CPU), `cpu`, `cuda` or `cuda:N`; else UsageError."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = [f"cuda:{index}" for index in range(count)]
    if name == "auto":
        name = "cuda" if there else "cpu"
    if name == "cuda":
        name = "cuda:0"
    if name == "cpu" or name in there:
        return torch.device(name)
    known = re.fullmatch(r"cuda:\d+", name)
    problem = f"there is no device {name} here" if known else f"{name!r} is not a device"
    raise UsageError(problem, f"--device takes auto, {', '.join(['cpu', *there])} on this machine")


def resolve_precision(name: str, device: torch.device) -> Literal["fp32", "fp16", "bf16"]:
    """The precision of the network: `auto` is fp16 on CUDA and fp32 on the CPU; else UsageError."""
    if name == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if name == "fp32":
        return "fp32"
    if name == "fp16":
        if device.type != "cuda":
            raise UsageError("fp16 is slower and less exact than fp32 on a CPU", "leave --precision out")
        return "fp16"
    if name == "bf16":
        if device.type != "cpu":
            raise UsageError("bf16 is no faster and less exact than fp16 on a GPU", "leave --precision out")
        if not cpu_has_bf16():
            raise UsageError("this CPU has no instructions for bf16", "leave --precision out")
        return "bf16"
    raise UsageError(f"{name!r} is not a precision", "--precision takes auto, fp16, fp32 or bf16")


def forbid_tf32() -> None:
    """Float32 convolutions with all their bits. For the whole process, because torch keeps one setting for
    all threads: to set it back after use could reach into another engine's frame."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    # Later versions of torch have finer settings, which win. In this order both kinds say the same.
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    owners: tuple[Any, ...] = (getattr(cudnn, "conv", None), getattr(cudnn, "rnn", None), matmul)
    for owner in owners:
        if hasattr(owner, "fp32_precision"):
            owner.fp32_precision = "ieee"


def limit_threads() -> None:
    """Lower torch's number of threads to the CPU quota of a container or batch job, rounded up.

    For a program's start, before its threads start: torch takes as many as there are cores, and where they use the
    quota up, all of them stand still for the rest of every period. Nothing where there is no quota, or where
    OMP_NUM_THREADS or MKL_NUM_THREADS says how many there are to be.
    """
    if os.environ.get("OMP_NUM_THREADS") or os.environ.get("MKL_NUM_THREADS"):
        return
    quota = cpu_quota()
    if quota is not None and math.ceil(quota) < torch.get_num_threads():
        torch.set_num_threads(math.ceil(quota))


@cache
def total_memory(device: torch.device) -> int:
    """Bytes that the device has in all, used or not, so that the answer is the same at every start.

    Of the CPU's memory, what this process's container or batch job may have as it is first asked: tiles depend on it,
    and a film's frames must not.
    """
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on Windows
        installed = 8 << 30
    limit = memory_limit()
    return installed if limit is None else min(installed, limit)


def is_out_of_memory(error: BaseException) -> bool:
    """True for a failed allocation, on the device or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # oneDNN has made the primitive's descriptor by then, so that all it lacks is memory; it does not say so.
    texts = (
        "out of memory",
        "can't allocate memory",
        "not enough memory",
        "ALLOC_FAILED",
        "ALLOCATION_FAILED",
        "bad_alloc",
        "create a primitive",
        "unable to find an engine",  # cuDNN, for each of whose engines memory was lacking
    )
    known = isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
    return known and "primitive descriptor" not in str(error)


@contextmanager
def device_errors() -> Iterator[None]:
    """Turns what CUDA reports into errors that say what to do; other errors pass."""
    try:
        yield
    except RuntimeError as error:
        text = str(error).splitlines()[0] if str(error) else ""
        if is_out_of_memory(error):
            raise RetryError(
                "there is no memory left for the buffers of a frame",
                "end other programs or keep fewer frames in flight; the same command goes on from here",
            ) from error
        if "no kernel image" in text:
            message = f"this build of torch does not support the device: {text}"
            raise UsageError(message, "give --device cpu") from error
        if any(each in text for each in ("CUDA error", "Triton Error [CUDA]", "cuDNN error", "CUDNN_STATUS")):
            raise RetryError(f"the device was lost: {text}", "the same command goes on from here") from error
        raise
