"""The threads of torch that our kernels compute on, and the memory that each of them works in."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import torch
from torch import Tensor

from ..errors import HdrunetError
from . import native_structs as structs
from .native_structs import POINTER

_LINE = 16
"""Floats of a line of the cache."""
_NEEDED = ("GOMP_parallel", "omp_get_thread_num")


class Team:
    """OpenMP's threads, as many as torch has, from any number of Python threads.

    Scratch is kept from one call to the next, for each Python thread: OpenMP gives each of them threads of its own. Of
    the paper's network it is 602 KiB a thread, in bfloat16 493 to 552; above 32 MiB in all it would come from the
    system, page by page, at each call.
    """

    def __init__(self) -> None:
        """Raises HdrunetError where torch has no OpenMP, or not one that is known."""
        process = ctypes.CDLL(None)
        parallel, number = (getattr(process, name, None) for name in _NEEDED)
        # Of two OpenMPs in a process, one would number threads that it does not know all by 0.
        if parallel is None or number is None or _library_of(process, parallel) != _library_of(process, number):
            raise HdrunetError("torch computes with no OpenMP that they know", "PyTorch's own packages have one.")
        self._parallel, self._number = (ctypes.cast(each, POINTER) for each in (parallel, number))
        self._own = _Kept()

    def having(self, floats: int) -> structs.Team:
        """The threads for one call of a kernel from this Python thread, with so much scratch for each at least."""
        threads = torch.get_num_threads()
        floats = -(-floats // _LINE) * _LINE  # that of each thread begins with a line of the cache, as all do in torch
        if self._own.pitch < floats or self._own.threads < threads:
            self._own.pitch, self._own.threads = max(self._own.pitch, floats), max(self._own.threads, threads)
            self._own.scratch = torch.empty(self._own.threads, self._own.pitch, dtype=torch.float32)
        return structs.Team(threads, self._parallel, self._number, self._own.scratch.data_ptr(), self._own.pitch)


class _Kept(threading.local):
    """Scratch of a Python thread."""

    pitch, threads = 0, 0
    scratch: Tensor


class _Info(ctypes.Structure):
    """Dl_info of <dlfcn.h>."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", POINTER),
        ("symbol", ctypes.c_char_p),
        ("address", POINTER),
    )


def _library_of(process: ctypes.CDLL, function: Any) -> int | None:
    """Where the library that has it begins in memory."""
    info = _Info()
    found = process.dladdr(ctypes.cast(function, POINTER), ctypes.byref(info))
    base: int | None = info.base
    return base if found else None
