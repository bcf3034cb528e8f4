"""What a join has put in place, as it notes in the plan's folder."""

from __future__ import annotations

import filecmp
import json
import os
from pathlib import Path

from ..errors import OutputError, write_error
from ..receipts import payload_sha256, write_whole
from ..sequence import is_there
from .plan_file import Document

_JOINED = "joined.json"


def note(document: Document, folder: Path, file: Path | None) -> None:
    """Note that the file, or for None the first frame of a sequence, is about to be put in place. Raises OutputError,
    RetryError."""
    facts = {"plan_id": document["plan_id"], "sha256": payload_sha256(file) if file else ""}
    try:
        write_whole(folder / _JOINED, json.dumps(facts) + "\n")
    except OSError as error:
        raise write_error(error, folder / _JOINED) from None


def joined_sha256(document: Document, folder: Path) -> str | None:
    """SHA-256 of what a join of this plan has put in place, empty for sequences; None where no join came so far."""
    plan_id, sha256 = _noted(folder)
    return sha256 if plan_id == document["plan_id"] else None


def sequence_is_begun(folder: Path) -> bool:
    """Whether a join of any plan has begun to put the frames of a sequence in place."""
    return _noted(folder)[1] == ""


def _noted(folder: Path) -> tuple[str | None, str | None]:
    """(plan_id, SHA-256), or nothing."""
    try:
        facts = json.loads((folder / _JOINED).read_text())
        return str(facts["plan_id"]), str(facts["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None


def is_joined(document: Document, folder: Path, target: Path, overwrite: bool) -> bool:
    """Whether the result is there. Raises OutputError where something else is that must not be replaced."""
    for attempt in range(2):  # a second look, because another join may have ended after the first
        known = joined_sha256(document, folder)
        if known and has_sha256(target, known):
            return True
        if overwrite or not is_there(target):
            return False
        if known == "":
            return _holds_frames(document, folder, target)
        if attempt and known:
            raise OutputError(f"{target} is not what was joined: somebody has changed it", "-y makes it again.")
    raise OutputError(f"{target} exists", "-y overwrites it.")


def _holds_frames(document: Document, folder: Path, target: Path) -> bool:
    """Whether all frames of a sequence are in place, which appears frame by frame: an earlier join may have been
    stopped. Raises OutputError where one is not what a join puts there."""
    placed = 0
    for segment in document["segments"]:
        for frame in (folder / segment["file"]).glob("*"):
            path = target.with_name(frame.name)
            if os.path.exists(path):
                if not filecmp.cmp(frame, path, shallow=False):
                    raise OutputError(f"{path} is not what was joined: somebody has changed it", "-y makes it again.")
                placed += 1
    return bool(placed == sum(segment["frames"] for segment in document["segments"]))


def has_sha256(path: Path, sha256: str) -> bool:
    """Whether there is a file with such content."""
    try:
        return payload_sha256(path) == sha256
    except OSError:
        return False
