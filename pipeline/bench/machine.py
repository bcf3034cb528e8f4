"""The machine: what it is, and how fast it multiplies and copies at best."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import hdrunet_video

from ..cgroup import memory_left
from ..device import forbid_tf32, total_memory
from ..hardware import hardware_name
from ..processor import cpu_has_bf16
from .timing import Meter

_SHARE_OF_MEMORY = 0.8
_ROUNDS = 5
_SECONDS = 1.0
"""Of one limit: a machine without instructions for a precision takes that long for one product."""
_LIBRARIES = ("av", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "ncnn", "torch-tensorrt", "triton")


@dataclass(frozen=True)
class Machine:
    """Where and when something was measured."""

    date: str
    """UTC, to the minute."""
    device: str
    """Name of the graphics card that computes, or of the processor and its instructions."""
    kind: str
    """`cpu` or `cuda`."""
    threads: int
    """Of torch on the CPU."""
    memory_bytes: int
    """Of the device, in all."""
    load: float
    """Processes that wanted the CPU before we began, average of a minute; what is measured beside them is slower."""
    torch: str
    """Version."""
    package: str
    """Version of this package."""
    system: str
    """The operating system, and Python."""
    processors: int
    """Logical processors of the machine, used or not."""
    libraries: dict[str, str]
    """Versions of others that may have a part in what was measured, by their names on PyPI."""
    flops: dict[str, float]
    """Operations a second of a large matrix product, by precision (fp32 without TF32), of those that are used here."""
    bandwidth: float
    """Bytes a second of a large copy on the device, read and written bytes together."""

    def best(self, later: Machine) -> Machine:
        """This machine with the higher limits of two examinations: other programs only make them lower."""
        flops = {precision: max(value, later.flops[precision]) for precision, value in self.flops.items()}
        return replace(self, flops=flops, bandwidth=max(self.bandwidth, later.bandwidth))


def examine(device: torch.device) -> Machine:
    """Measure the machine's limits; takes some seconds."""
    forbid_tf32()
    precisions = {"fp32": torch.float32}
    if device.type == "cuda":
        precisions["fp16"] = torch.float16
    elif cpu_has_bf16():
        precisions["bf16"] = torch.bfloat16
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        device=hardware_name(device),
        kind=device.type,
        threads=torch.get_num_threads(),
        memory_bytes=total_memory(device),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0,
        torch=torch.__version__,
        package=hdrunet_video.__version__,
        system=f"{platform.platform()}, Python {platform.python_version()}",
        processors=os.cpu_count() or 1,
        libraries={name: found for name in _LIBRARIES if (found := _version(name))},
        flops={key: matmul_flops(device, dtype) for key, dtype in precisions.items()},
        bandwidth=copy_bandwidth(device),
    )


def matmul_flops(device: torch.device, dtype: torch.dtype, side: int = 0) -> float:
    """Operations a second of the fastest of some products of two square matrices of random numbers."""
    side = side or (8192 if device.type == "cuda" else 1536 if torch.get_num_threads() < 8 else 4096)
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    with torch.inference_mode():
        return 2 * side**3 / _fastest(device, lambda: left @ right)


def copy_bandwidth(device: torch.device, size: int = 0) -> float:
    """Bytes a second of the fastest of some copies; a byte that is copied counts as two."""
    size = size or (1 << 30 if device.type == "cuda" else 1 << 28)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return 2 * size / _fastest(device, lambda: target.copy_(source))


def free_memory(device: torch.device) -> float:
    """Bytes that can be used at present without driving others out."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)) * _SHARE_OF_MEMORY
    free = total_memory(device)
    with suppress(OSError, ValueError, IndexError):  # Linux says what is free
        text = Path("/proc/meminfo").read_text().split("MemAvailable:")[1]
        free = min(free, int(text.split()[0]) << 10)
    left = memory_left()
    if left is not None:
        free = min(free, left)
    return free * _SHARE_OF_MEMORY


def _fastest(device: torch.device, call: Callable[[], object]) -> float:
    meter, until = Meter(device), time.monotonic() + _SECONDS
    best = meter.run(call, warm_up=True).seconds[0]
    for turn in range(_ROUNDS):
        if turn and time.monotonic() > until:
            break
        best = min(best, meter.run(call, repeats=2).seconds[0])
    return best


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
