"""Code that is faster than other code, but that a machine may not run, or may run wrongly: tried before it is used."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import torch

from .device import is_out_of_memory
from .errors import UsageError

_FAULTS = (
    *("illegal memory access", "illegal instruction", "misaligned address", "launch failure", "device-side assert"),
    *("invalid program counter", "address space", "launch timed out", "hardware stack error"),
)
"""In what CUDA says of kernels that went wrong: nothing of this process runs on the device after that."""


_trying = threading.RLock()


def tried[T](
    make: Callable[[], T],
    fault: Callable[[T], str | None],
    device: torch.device,
    log: logging.Logger,
    otherwise: str,
    instead: str = "--device cpu",
    level: int = logging.WARNING,
) -> T | None:
    """What `make` makes where `fault` finds none in it. Else None and a line in `log`: what happens `otherwise`, and
    the reason. Raises UsageError where kernels went wrong in such a way that CUDA runs nothing any more, so that it
    would be the same at the next start; its hint is to give `instead`. That there is no memory passes: other
    code would need no less, and which code it is must not depend on what else the device does.

    One thread after the other: Triton lets a second thread launch what the first has not loaded yet."""
    try:
        with _trying:
            made = make()
            reason = fault(made)
        if reason is None:
            return made
    except Exception as problem:  # whatever else it is, other code may do
        if is_out_of_memory(problem):
            raise
        log.debug("%s", otherwise, exc_info=problem)
        reason = _said(problem)
        if is_fault(problem):
            raise UsageError(f"the kernels do not work on {device}: {reason}", f"give {instead}") from problem
    log.log(level, "%s: %s", otherwise, reason)
    return None


def is_fault(problem: BaseException) -> bool:
    """True for kernels that went wrong in such a way that CUDA runs nothing of this process any more."""
    return any(each in _said(problem) for each in _FAULTS)


def _said(problem: BaseException) -> str:
    """One line. Triton's compiler gives one error for each function that it is in, whose first line is a place in the
    source; the reason is the last line of the innermost."""
    of_triton = "triton" in type(problem).__module__
    if of_triton and problem.__cause__ is not None:
        return _said(problem.__cause__)
    lines = str(problem).strip().splitlines()
    if not lines:
        return type(problem).__name__
    return f"{type(problem).__name__}: {lines[-1].strip()}" if of_triton else lines[0]
