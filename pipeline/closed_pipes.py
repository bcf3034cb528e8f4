"""A reader of our output that goes away (`| head`, a scheduler that ended), or a log's full disk, stops no work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast


@contextmanager
def outlived() -> Iterator[None]:
    """Within, what is printed to a pipe that nobody reads, or to a full disk, goes to nowhere, without an error."""
    out, err = _Outliving(sys.stdout), _Outliving(sys.stderr)
    with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, err)):
        try:
            yield
        finally:
            out.flush()
            err.flush()


class _Outliving:
    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (as long as the process)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:  # what is lost is only text
            self._leave()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._leave()

    def _leave(self) -> None:
        # Of the descriptor, so that what is still in the buffer has somewhere to go as well.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
