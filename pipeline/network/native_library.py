"""Which of the libraries that setup.py builds from native/ is for this processor."""

from __future__ import annotations

import ctypes
import platform
import sys
from importlib.util import find_spec

import torch

from ..errors import HdrunetError
from ..processor import cpu_flags
from .native_structs import INTERFACE

FP32, BF16 = ("avx512", "avx2"), ("amx_bf16", "avx512_bf16")
"""Sets of instructions that there are libraries for, the best first: of those that multiply float32, and bfloat16."""
_PLATFORM = "linux", "x86_64"
_NOTHING = "Nothing is to be done about it."
_COMPILER = (
    "Install GCC 11, clang 12 or later (Debian: apt-get install g++), then this package again: half to 0.8 of the time."
)


def library(instructions: str) -> ctypes.CDLL:
    """That for a set of instructions. Raises HdrunetError where there is none or the system will not have it, with what
    can be done about it; OSError or AttributeError where it is damaged or another version's."""
    found = find_spec(f"_hdrunet_kernels_{instructions}")
    if found is None or found.origin is None:
        raise HdrunetError(f"those for {instructions} were not built", _COMPILER)
    loaded = ctypes.CDLL(found.origin)
    if loaded.hdrunet_interface() != INTERFACE:
        raise AttributeError("another version of the package built them")
    if loaded.hdrunet_prepare() != 0:
        raise HdrunetError(f"the system does not let this process use {instructions}", _NOTHING)
    return loaded


def instructions_for_bf16() -> list[str]:
    """The sets of instructions for products of bfloat16 on this processor, the best first; none where they are for
    oneDNN."""
    if (sys.platform, platform.machine()) != _PLATFORM or not _torch_uses(FP32[0]):
        return []
    return [name for name in BF16 if name in cpu_flags()]


def instructions_for_fp32() -> str:
    """The best set of instructions that torch uses here (ATEN_CPU_CAPABILITY limits it). Raises HdrunetError where
    there are no kernels for it."""
    here = sys.platform, platform.machine()
    if here != _PLATFORM:
        raise HdrunetError(f"there are none for {' '.join(here)}", _NOTHING)
    for name in FP32:
        if _torch_uses(name):
            return name
    capability = torch.backends.cpu.get_cpu_capability()
    raise HdrunetError(f"there are none for the instructions that torch uses here ({capability})", _NOTHING)


def _torch_uses(instructions: str) -> bool:
    # A later torch may tell finer sets apart.
    return torch.backends.cpu.get_cpu_capability().lower().startswith(instructions)
