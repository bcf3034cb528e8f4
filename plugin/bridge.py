"""What the native library calls: one `create` for each filter, one `Filter.frame` for each frame.

Frames come on VapourSynth's threads, several at once. The library turns exceptions into the filter's errors by
`describe`. torch is imported and the network loaded when the first frame is asked for.
"""

from __future__ import annotations

import _thread
import re
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

from hdrunet_video.errors import HdrunetError, RetryError
from hdrunet_video.host import ask_for_huge_pages

from .formats import clip_of
from .request import Arguments, Request, make_request

if TYPE_CHECKING:
    from .work import Work

CONTRACT = 3
"""What this file and the native library have agreed on; filter.cpp holds the same number."""

_loading = threading.Lock()
"""One filter at a time: they share out the same threads."""
_ending = threading.Event()
_ARGUMENTS = {"matrix": "matrix_in", "primaries": "primaries_in", "range": "range_in"}
_ARGUMENTS |= {"chroma-location": "chroma_location_in", "assume-sdr": "assume_sdr=1"}


def create(contract: int, clip: tuple[int, int, int, int, int, int, int], arguments: Arguments) -> Filter:
    """A filter for a clip: (width, height, family, sample type, bits, subsampling across and down)."""
    if contract != CONTRACT:
        raise HdrunetError(
            "the native library and the Python package are of different versions",
            "Install hdrunet-video again: pip install --force-reinstall --no-deps",
        )
    return Filter(make_request(clip_of(*clip), arguments))


def refuse() -> None:
    """Python is about to end: frames in work are finished, and those that wait for them fail."""
    _ending.set()


class Filter:
    """One Reconstruct in a script."""

    def __init__(self, request: Request) -> None:
        self.output = request.format_number
        """VapourSynth's number of the format of the result."""
        self._request = request
        self._work: Work | None = None
        self._failure: tuple[type[HdrunetError], str, str] | None = None

    def frame(
        self, source: tuple[Any, ...], target: tuple[Any, ...], properties: Any, threads: int
    ) -> tuple[list[str], dict[str, Any]]:
        """Make a frame: planes are buffers, read and written in place. threads: that VapourSynth's core has.

        Returns properties to remove and then properties to set.
        """
        return (self._work or self._load(threads)).frame(source, target, properties)

    def _load(self, threads: int) -> Work:
        with _loading:
            if self._work is None:
                if _ending.is_set():
                    raise HdrunetError("Python is shutting down")
                if self._failure is not None:
                    kind, message, hint = self._failure
                    raise kind(message, hint)
                ask_for_huge_pages()
                ours = "torch" not in sys.modules  # else it is the script's, and so is its number of threads
                from hdrunet_video.device import limit_threads

                from .work import Work

                if ours:
                    limit_threads()
                try:
                    self._work = Work(self._request, threads, _ending)
                except RetryError:
                    raise
                except HdrunetError as error:  # would fail again; not kept itself, for it holds on to the frame
                    self._failure = type(error), str(error), error.hint
                    raise
            return self._work


def describe(error: BaseException) -> str:
    """An error as the text of VapourSynth's: what, why, what to do."""
    if isinstance(error, HdrunetError):
        # What is said of commands that go on is not true of a script.
        text, hint = str(error), re.sub(r"(; )?the same command goes on.*", "", error.hint).removesuffix(".")
        if hint:
            text += f". {hint}" if hint[0].isupper() else f"; {hint}"
        # Flags of the command line are arguments here; a file's name may hold two dashes too.
        flag = r"(?<![\w./-])--([a-z][a-z-]*)"
        return re.sub(flag, lambda match: _ARGUMENTS.get(match[1], match[1].replace("-", "_")), text)
    if isinstance(error, KeyboardInterrupt):
        _thread.interrupt_main()  # it was meant for the script
        return "interrupted"
    where = "".join(traceback.format_exception(error)).strip()
    return f"{type(error).__name__}: {error}, a bug of hdrunet-video. Report it with what follows\n{where}"
