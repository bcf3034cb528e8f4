"""The name of what computes: receipts carry it, because other hardware may round differently."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch

from .processor import bf16_flags


@cache
def hardware_name(device: torch.device) -> str:
    """The GPU's name, or the processor's with the instructions that torch uses there and those for bfloat16: machines
    may hide them, and what is computed in others has other bits."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return " ".join([_processor(), torch.backends.cpu.get_cpu_capability(), *sorted(bf16_flags())])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
