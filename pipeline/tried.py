"""Code that is faster than other code, but that a machine may not run, or may run wrongly: tried before it is used."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from .errors import UsageError

_FAULTS = (
    *("illegal memory access", "illegal instruction", "misaligned address", "launch failure", "device-side assert"),
    *("invalid program counter", "address space"),
)
"""In what CUDA says of kernels that went wrong: nothing of this process runs on the device after that."""


def tried[T](
    make: Callable[[], T],
    fault: Callable[[T], str | None],
    device: torch.device,
    log: logging.Logger,
    otherwise: str,
    instead: str = "--device cpu",
) -> T | None:
    """What `make` makes where `fault` finds none in it. Else None and a warning in `log`: what happens `otherwise`, and
    the reason. Raises UsageError where kernels went wrong in such a way that CUDA runs nothing any more, so that it
    would be the same at the next start; its hint is to give `instead`. torch.OutOfMemoryError passes: other code would
    need no less, and which code it is must not depend on what else the device does."""
    try:
        made = make()
        reason = fault(made)
        if reason is None:
            return made
    except torch.OutOfMemoryError:
        raise
    except Exception as problem:  # whatever it is, other code may do
        reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        if any(each in reason for each in _FAULTS):
            raise UsageError(f"the kernels do not work on {device}: {reason}", f"give {instead}") from problem
    log.warning("%s: %s", otherwise, reason)
    return None
