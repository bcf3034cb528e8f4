"""Names of sequences: one file a frame, with its number where the name says `%06d`. All else in a name is as it is."""

from __future__ import annotations

import os
import re
from glob import escape
from pathlib import Path

_NUMBERED = re.compile(r"(.*)%0([0-9]+)d(.*)", re.DOTALL)


def is_numbered(name: str) -> bool:
    """Whether the name has a place for a frame's number."""
    return _NUMBERED.fullmatch(name) is not None


def numbered(name: str, number: int) -> str:
    """The name of one frame's file: `shot.000007.exr` of `shot.%06d.exr` and 7."""
    match = _NUMBERED.fullmatch(name)
    assert match is not None
    return f"{match[1]}{number:0{match[2]}}{match[3]}"


def wildcard(name: str) -> str:
    """The glob pattern of the files with this name, whatever their numbers."""
    match = _NUMBERED.fullmatch(name)
    return f"{escape(match[1])}[0-9]*{escape(match[3])}" if match else escape(name)


def is_there(target: Path) -> bool:
    """Whether a file of this name, or one of its frames, exists."""
    # Path.exists would raise where the folder may not be looked into.
    return os.path.exists(target) or (is_numbered(target.name) and any(target.parent.glob(wildcard(target.name))))


def strangers(target: Path, frames: set[str]) -> list[str]:
    """Names of files beside these frames that a player would take for further ones."""
    match = _NUMBERED.fullmatch(target.name)
    assert match is not None
    number = re.compile(f"{re.escape(match[1])}[0-9]+{re.escape(match[3])}")
    found = (path.name for path in target.parent.glob(wildcard(target.name)))
    return sorted(name for name in found if number.fullmatch(name) and name not in frames)
