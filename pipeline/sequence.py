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


def frames_there(target: Path) -> list[str]:
    """Names of the files that are frames of this sequence, whoever made them, in order; none of another name."""
    match = _NUMBERED.fullmatch(target.name)
    if match is None:
        return []
    frame = re.compile(f"{re.escape(match[1])}[0-9]+{re.escape(match[3])}")
    found = (path.name for path in target.parent.glob(wildcard(target.name)))
    return sorted((name for name in found if frame.fullmatch(name)), key=lambda name: (len(name), name))


def is_there(target: Path) -> bool:
    """Whether a file of this name, or one of its frames, exists."""
    # Path.exists would raise where the folder may not be looked into.
    return os.path.exists(target) or bool(frames_there(target))
