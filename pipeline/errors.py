"""Every error that a user can cause or cure.

    HdrunetError            1
    ├── UsageError          2    the command line contradicts itself
    ├── InputError         65    the source cannot be taken as 8-bit SDR video
    ├── PresetError        65    a preset file or a --set value is wrong
    ├── WeightsError       65    a weights file is not what it should be
    ├── PlanError          65    segments or receipts do not belong to this plan
    ├── ConfigError        65    a training configuration is wrong, or is not the one that a run began with
    ├── DataError          65    pictures to train or evaluate on are missing, damaged or not as described
    ├── OutputError        73    the result cannot be written where it was asked for
    └── RetryError         75    the machine gave up, not the job: the same command goes on

Exit codes follow sysexits.h. `str(error)` is one sentence; `error.hint` says what to type.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_ANSWER = (errno.ESTALE, errno.ETIMEDOUT, errno.EIO, errno.EBUSY)
"""What network file systems say when they, and not the command, have failed."""
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, *_NO_ROOM, *NO_ANSWER)
"""What a system says of a path that is a matter of its rights, its disk or its length, whatever code asks."""


class HdrunetError(Exception):
    """One sentence that says what is wrong and why; `hint` says what to do, `exit_code` tells a program."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(HdrunetError):
    exit_code = 2


class InputError(HdrunetError):
    exit_code = 65


class PresetError(HdrunetError):
    exit_code = 65


class WeightsError(HdrunetError):
    exit_code = 65


class PlanError(HdrunetError):
    exit_code = 65


class ConfigError(HdrunetError):
    exit_code = 65


class DataError(HdrunetError):
    exit_code = 65


class OutputError(HdrunetError):
    exit_code = 73


class RetryError(HdrunetError):
    exit_code = 75


def write_error(error: Exception, path: Path) -> HdrunetError:
    """The error that tells a user why a file could not be written."""
    number = getattr(error, "errno", None)
    if number in _NO_ROOM:
        return RetryError(
            f"the disk of {path.parent} is full",
            "Make room; the same command goes on from the finished segments.",
        )
    reason = getattr(error, "strerror", None) or str(error)
    if number in NO_ANSWER:
        return RetryError(f"the file system of {path.parent} gives up: {reason}", "Check the disk or the network.")
    return OutputError(f"{path} cannot be written: {reason}", "Check the folder's permissions and the disk.")


@contextmanager
def refusals_told() -> Iterator[None]:
    """Within, a path that the system refuses is an error of the user's, where nobody has told it better."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS or not isinstance(error.filename, str | bytes):
            raise
        path, reason = Path(os.fsdecode(error.filename)), error.strerror
        told = write_error(error, path)
        if isinstance(told, OutputError):  # or it was read
            told = OutputError(f"the system refuses {path}: {reason}", told.hint)
        raise told from error
