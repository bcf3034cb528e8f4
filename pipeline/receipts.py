"""Receipts: proof that a segment is finished. Imports nothing heavy, so that a task with nothing to do ends at once."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

_TOKEN = secrets.token_hex(4)
_FOLDERS: set[Path] = set()
"""Where this process has written under temporary names."""


@dataclass(frozen=True)
class Receipt:
    """Proof that a segment is finished."""

    plan_id: str
    index: int
    frames: int
    """Output frames that it holds."""
    sha256: str
    """Of the file's bytes; of a sequence, of all its files one after the other."""
    frame_sha256: tuple[str, ...]
    """Of each coded frame in the order of the file, without the film's light levels (see frame_hashes)."""
    max_nits: float
    """Brightest max(R, G, B), cd/m2."""
    average_nits: float
    """Largest frame average of max(R, G, B), cd/m2."""
    bad_frames: int
    """Source frames that were damaged or missing and were replaced (--keep-going)."""
    seconds: float
    """Wall time that it took."""
    device: str
    hardware: str
    """The processor or GPU, by name."""
    precision: str
    """Of the network: `fp32`, `fp16` or `bf16`."""
    backend: str
    """Whose code computed the network: see Engine."""
    tile: str
    """WIDTHxHEIGHT of what the network saw at once at the end, as memory allowed; empty for whole frames."""
    host: str
    weights_sha256: str

    def as_json(self) -> str:
        """The text of its file, proved by a hash: a flipped digit of its light levels would change the film."""
        return json.dumps({**asdict(self), "proof": self._proof()}, indent=1) + "\n"

    def _proof(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def read_receipt(path: Path) -> Receipt | None:
    """The receipt in a file, or None where there is none that is as it was written."""
    try:
        facts = json.loads(path.read_text())
        found = Receipt(**{each.name: facts[each.name] for each in fields(Receipt)})
        found = replace(found, frame_sha256=tuple(found.frame_sha256))
        return found if found._proof() == facts["proof"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def proved(path: Path, plan_id: str, index: int, frames: int) -> Receipt | None:
    """The receipt beside the segment `path` where it is of this plan and the segment's bytes are those it names."""
    receipt = read_receipt(path.with_suffix(".json"))
    if receipt is None or (receipt.plan_id, receipt.index, receipt.frames) != (plan_id, index, frames):
        return None
    try:
        return receipt if receipt.sha256 == payload_sha256(path) else None
    except OSError:
        return None


def payload_sha256(path: Path) -> str:
    """SHA-256 of a segment's bytes: of the file, or of all files of the folder in the order of their names."""
    digest = hashlib.sha256()
    for part in sorted(path.iterdir()) if path.is_dir() else [path]:
        with part.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def host_name() -> str:
    """The machine's name, as receipts and temporary names give it."""
    return socket.gethostname().split(".")[0] or "localhost"


def who() -> str:
    """This process in the names of temporary files; containers may share a host's name and process numbers."""
    return f"{host_name()}.{os.getpid()}.{_TOKEN}"


def temporary_path(folder: Path, name: str, extension: str = "") -> Path:
    """A name for writing `name` that no other process uses; see delete_own_temporaries."""
    _FOLDERS.add(folder)
    return folder / f".{name}.{who()}.part{extension}"


def delete_own_temporaries() -> None:
    """Delete what this process was writing; for the moment before a forced exit."""
    for folder in _FOLDERS:
        for left in folder.glob(f".*.{who()}.part*"):
            delete(left)


def delete(path: Path) -> None:
    """Delete a file or a folder with all that is in it; what is gone already, or may not be deleted, is no error."""
    with suppress(OSError):  # of a read-only disk, for one: what failed before is what a user is to be told
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a file under a name of its own, force it to the disk and rename it. Raises OSError."""
    draft = temporary_path(path.parent, path.name)
    try:
        draft.write_text(text, encoding="utf-8")
        sync(draft)
        os.replace(draft, path)
    except OSError:
        delete(draft)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Force a file's bytes, or a folder's names, to the disk, so that a rename after it cannot outlive them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
