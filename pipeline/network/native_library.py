"""Which of the libraries that setup.py builds from native/ is for this processor."""

from __future__ import annotations

import ctypes
import platform
import sys
from importlib.util import find_spec

import torch

from ..errors import HdrunetError

NAMES = ("avx512", "avx2")
"""Of sets of instructions that there are libraries for, the best first."""
_PLATFORM = "linux", "x86_64"
_NOTHING = "Nothing is to be done about it."
_COMPILER = "Install a C++17 compiler (Debian: apt-get install g++), then this package again: 0.6 of the time in fp32."


def library(instructions: str | None = None) -> ctypes.CDLL:
    """That for a set of instructions, by default the best which torch uses here (ATEN_CPU_CAPABILITY limits it).

    Raises HdrunetError where there is none, with what can be done about it; OSError where it is damaged.
    """
    name = instructions or _of_this_processor()
    found = find_spec(f"_hdrunet_kernels_{name}")
    if found is None or found.origin is None:
        raise HdrunetError(f"those for {name} were not built", _COMPILER)
    return ctypes.CDLL(found.origin)


def _of_this_processor() -> str:
    here = sys.platform, platform.machine()
    if here != _PLATFORM:
        raise HdrunetError(f"there are none for {' '.join(here)}", _NOTHING)
    capability = torch.backends.cpu.get_cpu_capability()
    for name in NAMES:
        if capability.lower().startswith(name):  # a later torch may tell finer sets apart
            return name
    raise HdrunetError(f"there are none for the instructions that torch uses here ({capability})", _NOTHING)
