"""The plan's segments on disk: claimed, written, proved by receipts, found again after a crash.

A segment is written under a temporary name, synced and renamed; then its receipt is written the same way. A receipt
whose plan and SHA-256 match the bytes beside it means done. Whatever else lies there is not ours or not finished.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from .errors import OutputError, RetryError
from .frame import LightLevels
from .job import Plan
from .timeline import Segment
from .writer import sync, write_error

_EXTENSIONS = {"mov": ".mov", "mp4": ".mp4", "matroska": ".mkv", "exr": ""}


@dataclass(frozen=True)
class Receipt:
    """Proof that a segment is finished."""

    plan_id: str
    index: int
    frames: int
    """Output frames that it holds."""
    sha256: str
    """Of the file's bytes; of a sequence, of all its files one after the other."""
    max_nits: float
    """Brightest max(R, G, B), cd/m2."""
    average_nits: float
    """Largest frame average of max(R, G, B), cd/m2."""
    bad_frames: int
    """Source frames that were damaged or missing and were replaced (--keep-going)."""
    seconds: float
    """Wall time that it took."""
    device: str
    host: str
    weights_sha256: str

    @property
    def light(self) -> LightLevels:
        """Levels of the segment, to be merged over the film."""
        return LightLevels(self.max_nits, self.average_nits)


class SegmentStore:
    """The work folder of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self.folder = plan, plan.work
        self._extension = _EXTENSIONS[plan.preset.segment_container]

    def path(self, segment: Segment) -> Path:
        """The finished segment: a file, or a folder of one file a frame."""
        return self.folder / f"{segment.name}{self._extension}"

    def temporary(self, segment: Segment) -> Path:
        """A name for writing it that no other process uses."""
        return self.folder / f".{segment.name}.{_who()}.part{self._extension}"

    def joined(self) -> Path:
        """A name for the result before it is put in place."""
        return self.folder / f".joined.{_who()}.part{self._plan.target.suffix}"

    def _receipt_path(self, segment: Segment) -> Path:
        return self.folder / f"{segment.name}.json"

    def finish(self, segment: Segment, temporary: Path, receipt: Receipt) -> None:
        """Put a written segment and then its receipt in place."""
        target, proof = self.path(segment), self._receipt_path(segment)
        try:
            proof.unlink(missing_ok=True)
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(temporary, target)
            draft = proof.with_name(f".{proof.name}.{_who()}.part")
            draft.write_text(json.dumps(asdict(receipt), indent=1) + "\n")
            sync(draft)
            os.replace(draft, proof)
            sync(self.folder)
        except OSError as error:
            raise write_error(error, target) from None

    def receipt(self, segment: Segment) -> Receipt | None:
        """The receipt of a finished segment of this plan, or None where it must be done (again)."""
        try:
            facts = json.loads(self._receipt_path(segment).read_text())
            found = Receipt(**{each.name: facts[each.name] for each in fields(Receipt)})
            first, last = self._plan.output_frames(segment)
            belongs = found.plan_id == self._plan.identity.plan_id and found.index == segment.index
            whole = found.frames == last - first and found.sha256 == payload_sha256(self.path(segment))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if belongs and whole else None

    def receipts(self) -> dict[int, Receipt]:
        """Receipts of all finished segments by index. Reads every segment to compare its bytes."""
        found = ((segment.index, self.receipt(segment)) for segment in self._plan.segments)
        return {index: receipt for index, receipt in found if receipt is not None}

    def missing(self) -> list[Segment]:
        """Segments that are still to be done, in the film's order."""
        done = self.receipts()
        return [segment for segment in self._plan.segments if segment.index not in done]

    def remove(self) -> None:
        """Delete the work folder with everything that a run of this program leaves in it."""
        self.sweep()
        for left in self.folder.glob("seg_[0-9]*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """Delete the folder unless finished segments are in it: a job that failed at once leaves no trace."""
        if any(self.folder.glob("seg_[0-9]*")):
            return
        (self.folder / "lock").unlink(missing_ok=True)
        with suppress(OSError):  # somebody else's files are in it: not ours to delete
            self.folder.rmdir()

    def sweep(self, who: str = "*") -> None:
        """Delete half-written files: those of `who`, or of processes that were killed."""
        for left in self.folder.glob(f".*.{who}.part*"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def sweep_own_parts(work: Path) -> None:
    """Delete what this process was writing in a work folder; for the moment before a forced exit."""
    for left in work.glob(f".*.{_who()}.part*"):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


@contextmanager
def claimed(plan: Plan) -> Iterator[SegmentStore]:
    """The plan's work folder, locked against a second run of the same output; the lock dies with the process."""
    store = SegmentStore(plan)
    try:
        store.folder.mkdir(exist_ok=True)
        lock = (store.folder / "lock").open("w")
    except OSError as error:
        raise OutputError(
            f"the work folder {store.folder} cannot be made: {error.strerror}",
            "Choose another output folder.",
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The run that had it may have removed the folder in between; then this lock guards nothing.
            os.stat(lock.name)
        except OSError:
            raise RetryError(f"another run is writing {plan.target}", "Wait for it, or stop it first.") from None
        store.sweep()
        try:
            yield store
        finally:
            store.leave()


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


def _who() -> str:
    return f"{host_name()}.{os.getpid()}"
