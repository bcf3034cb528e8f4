"""What Python and the C libraries of this process are told, and kept from. Imports no torch."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OMP_PAUSE_HARD = 2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGEST_MMAP_THRESHOLD = 32 << 20
"""glibc takes no larger one."""
_CAPABILITY_VERSION_3, _CAP_SYS_NICE = 0x20080522, 23


def keep_freed_memory() -> None:
    """Keep freed memory for the next frame, up to 32 MiB a piece. For a program's start; nothing without glibc.

    As glibc starts, freed memory goes back to the system and comes again page by page, and each thread has its own:
    40,000 page faults a frame took 5 to 15 % of its time. Pieces above 32 MiB still go back: kept, they left holes
    that grew.
    """
    libc = _process()
    if libc is not None and hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


def ask_for_huge_pages() -> None:
    """Let torch ask Linux for pages of 2 MiB for its larger tensors, unless the environment says otherwise.

    For a program's start: torch looks once, when the first tensor is made. The feature maps of a frame come and go with
    it: at 3840x2160 that was 1.5 million page faults a frame, which with the misses in the table of pages took 10 % of
    the time in fp32 and 24 % in bf16 (two cores, one run of each). Nothing where
    /sys/kernel/mm/transparent_hugepage/enabled says never. (torch 2.2, c10/core/impl/alloc_cpu.cpp.)
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


@contextmanager
def loading_torch() -> Iterator[None]:
    """For a program's first import of torch, whose modules stay: Python does not search them for garbage while they
    come, nor anything that is there by then ever after. It saves a fifth of the time to the first frame."""
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def release_team() -> None:
    """End this thread's team of OpenMP threads, which torch starts again when it needs one. Nothing without libgomp.

    For a thread that from here on only waits for others: libgomp lets threads spin for each other only while all
    teams together have no more threads than there are cores, and idle ones count. Two teams on two cores took 10 %
    more time for a frame. (OpenMP 5.0, 3.2.43; LLVM's runtime would end the teams of all threads.)
    """
    openmp = _process()
    if openmp is None:
        return
    if hasattr(openmp, "omp_pause_resource_all") and not hasattr(openmp, "__kmpc_fork_call"):
        openmp.omp_pause_resource_all(_OMP_PAUSE_HARD)


def give_freed_memory_back() -> None:
    """Let the system have what keep_freed_memory has kept. Nothing without glibc."""
    libc = _process()
    if libc is not None and hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


@contextmanager
def without_real_time() -> Iterator[None]:
    """Within, neither this thread nor those that it starts can be given real-time scheduling. Linux only.

    SVT-AV1, started by root, gives SCHED_FIFO at priority 99 to its threads and, for good, to the one that starts it.
    All else on the machine then waits for them, and they for each other. Without CAP_SYS_NICE, which is each thread's
    own and which most containers have not, it does without. (Linux capabilities(7).)
    """
    libc, header, sets = _process(), (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc is None or libc.capget(header, sets) != 0:
        yield
        return
    effective = sets[0]
    sets[0] = effective & ~(1 << _CAP_SYS_NICE)
    libc.capset(header, sets)
    try:
        yield
    finally:
        sets[0] = effective
        libc.capset(header, sets)


def _process() -> ctypes.CDLL | None:
    """All that is loaded for all to see, which torch's OpenMP is."""
    return ctypes.CDLL(None) if sys.platform == "linux" else None
