"""Which of the libraries that setup.py builds from native/ is for this processor."""

from __future__ import annotations

import ctypes
import platform
import sys
from importlib.util import find_spec

import torch

from ..errors import HdrunetError
from ..processor import cpu_flags

NAMES = ("avx512", "avx2")
"""Of sets of instructions that there are libraries for, the best first."""
BF16 = "avx512_bf16"
"""Of those that multiply bfloat16."""
_PLATFORM = "linux", "x86_64"
_NOTHING = "Nothing is to be done about it."
_COMPILER = "Install a C++17 compiler (Debian: apt-get install g++), then this package again: half to 0.8 of the time."


def library(instructions: str | None = None) -> ctypes.CDLL:
    """That for a set of instructions, by default the best which torch uses here (ATEN_CPU_CAPABILITY limits it).

    Raises HdrunetError where there is none, with what can be done about it; OSError where it is damaged.
    """
    name = instructions or _of_this_processor()
    found = find_spec(f"_hdrunet_kernels_{name}")
    if found is None or found.origin is None:
        raise HdrunetError(f"those for {name} were not built", _COMPILER)
    return ctypes.CDLL(found.origin)


def bf16_is_ours() -> bool:
    """Whether products of bfloat16 are for our kernels here. With AMX, which they do not use, they are for oneDNN's."""
    flags = cpu_flags()
    widest = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return widest and BF16 in flags and "amx_bf16" not in flags and (sys.platform, platform.machine()) == _PLATFORM


def _of_this_processor() -> str:
    here = sys.platform, platform.machine()
    if here != _PLATFORM:
        raise HdrunetError(f"there are none for {' '.join(here)}", _NOTHING)
    capability = torch.backends.cpu.get_cpu_capability()
    for name in NAMES:
        if capability.lower().startswith(name):  # a later torch may tell finer sets apart
            return name
    raise HdrunetError(f"there are none for the instructions that torch uses here ({capability})", _NOTHING)
