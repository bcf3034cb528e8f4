"""What the processor of this machine can do."""

from __future__ import annotations

from functools import cache
from pathlib import Path


def cpu_has_bf16() -> bool:
    """True where the CPU multiplies bfloat16: AVX-512 BF16 or AMX, or BF16 of ARM. False where it cannot be told."""
    return bool(bf16_flags())


def bf16_flags() -> frozenset[str]:
    """What it has of these, as in cpu_flags."""
    return cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"}


@cache
def cpu_flags() -> frozenset[str]:
    """What Linux says that the CPU has, in its words; nothing where it cannot be told."""
    try:
        return frozenset(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return frozenset()
