"""A reader of our output that goes away (`| head`, a scheduler that ended), or a log's full disk, stops no work."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast


@contextmanager
def outlived() -> Iterator[Outliving]:
    """Within, what is printed to a pipe that nobody reads, or to a full disk, goes to nowhere, without an error. Gives
    what stands for the output, which knows of the disk."""
    out, err = Outliving(sys.stdout), Outliving(sys.stderr)
    with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, err)):
        try:
            yield out
        finally:
            out.flush()
            err.flush()


class Outliving:
    """A stream for text."""

    def __init__(self, stream: TextIO | None) -> None:
        self.is_full = False
        """True once the disk had no room for something."""
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (as long as the process)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._leave(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._leave(error)

    def _leave(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise error
            self.is_full = True
        # Of the descriptor, so that what is still in the buffer has somewhere to go as well.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
