"""What every command of ours does alike: it says what is wrong and what to do, and ends with an exit code."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from .errors import HdrunetError, UsageError
from .host import ask_for_huge_pages, keep_freed_memory


def exit_code_of(command: str, act: Callable[[], int]) -> int:
    """What `act` returns, or the exit code of what stopped it; an error is told to whoever typed `command`."""
    keep_freed_memory()
    ask_for_huge_pages()
    try:
        return act()
    except HdrunetError as error:
        return tell(command, error)
    except KeyboardInterrupt:
        return 130


def tell(command: str, error: HdrunetError, say: Callable[[str], None] | None = None) -> int:
    """Print an error and its hint, and return its exit code. `say` takes the error's line; without it, stderr does."""
    line = f"{command}: error: {error}"
    if say is None:
        print(line, file=sys.stderr)
    else:
        say(line)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)
    return error.exit_code


def size_of(flag: str, text: str) -> tuple[int, int]:
    """(width, height), pixels, of the WxH that a flag was given. Raises UsageError."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match or min(int(match[1]), int(match[2])) < 8:
        raise UsageError(f"{text!r} is not a size", f"{flag} takes WIDTHxHEIGHT, at least 8x8: 1920x1080")
    return int(match[1]), int(match[2])
