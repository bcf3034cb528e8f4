"""The plan's segments on disk: claimed, written, proved by receipts, found again after a crash.

A segment is written under a temporary name, synced and renamed; then its receipt is written the same way. A receipt
whose plan and SHA-256 match the bytes beside it means done. Whatever else lies there is not ours or not finished.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import RetryError, write_error
from .job import Plan
from .receipts import Receipt, delete, proved, sync, temporary_path, write_whole
from .target import JOINING
from .timeline import Segment

_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


class SegmentStore:
    """The segments of one plan in a folder; by default in the hidden one beside the result."""

    def __init__(self, plan: Plan, folder: Path | None = None) -> None:
        self._plan, self.folder = plan, folder or plan.work
        self.stays = folder is not None
        """Whether the segments are kept when the result is there."""

    def path(self, segment: Segment) -> Path:
        """The finished segment: a file, or a folder of one file a frame."""
        return self.folder / f"{segment.name}{self._plan.preset.segment_extension}"

    def temporary(self, segment: Segment) -> Path:
        """A name for writing it that no other process uses."""
        return temporary_path(self.folder, segment.name, self._plan.preset.segment_extension)

    def joined(self) -> Path:
        """A name for the result before it is put in place."""
        return temporary_path(self.folder, "joined", self._plan.target.suffix)

    def note(self, file: Path | None) -> None:
        """Note that, where there is no `file` of a whole film, frames are put in place from here on: see
        target.is_taken."""
        if file is None:
            try:
                write_whole(self.folder / JOINING, repr(self._plan.job))
            except OSError as error:
                raise write_error(error, self.folder / JOINING) from None

    def _receipt_path(self, segment: Segment) -> Path:
        return self.folder / f"{segment.name}.json"

    def finish(self, segment: Segment, temporary: Path, receipt: Receipt) -> None:
        """Put a written segment and then its receipt in place; where another task was quicker, its own stay."""
        target = self.path(segment)
        try:
            if self.receipt(segment) is not None:
                delete(temporary)
                return
            if temporary.is_dir():
                sync(temporary)
            _put(temporary, target)
            write_whole(self._receipt_path(segment), receipt.as_json())
        except OSError as error:
            delete(temporary)
            raise write_error(error, target) from None

    def receipt(self, segment: Segment) -> Receipt | None:
        """The receipt of a finished segment of this plan, or None where it must be done (again)."""
        # Without waiting for the identity; and Path.exists would raise where a file system is lost.
        if not os.path.exists(self._receipt_path(segment)):
            return None
        first, last = self._plan.output_frames(segment)
        return proved(self.path(segment), self._plan.identity.plan_id, segment.index, last - first)

    def receipts(self, wanted: tuple[Segment, ...]) -> dict[int, Receipt]:
        """Receipts by index of those segments that are finished. Reads every segment to compare its bytes."""
        found = ((segment.index, self.receipt(segment)) for segment in wanted)
        return {index: receipt for index, receipt in found if receipt is not None}

    def missing(self) -> list[Segment]:
        """Segments that are still to be done, in the film's order."""
        done = self.receipts(self._plan.segments)
        return [segment for segment in self._plan.segments if segment.index not in done]

    def remove(self) -> None:
        """Delete the work folder with everything that a run of this program leaves in it."""
        self.sweep()
        delete(self.folder / JOINING)
        for left in self.folder.glob("seg_[0-9]*"):
            delete(left)
        self.leave()

    def leave(self) -> None:
        """Delete the folder unless finished segments are in it: a job that failed at once leaves no trace."""
        if any(self.folder.glob("seg_[0-9]*")):
            return
        delete(self.folder / "lock")
        with suppress(OSError):  # somebody else's files are in it: not ours to delete
            self.folder.rmdir()

    def sweep(self) -> None:
        """Delete the half-written files of processes that were killed."""
        for left in self.folder.glob(".*.part*"):
            delete(left)


def _put(temporary: Path, target: Path) -> None:
    """Rename over whatever is there. Several processes may do so at once, and a full folder cannot be replaced."""
    for attempt in range(20):
        try:
            os.replace(temporary, target)
            return
        except OSError as error:
            if error.errno not in _OCCUPIED:
                raise
        aside = temporary_path(target.parent, f"{target.name}.{attempt}")
        with suppress(FileNotFoundError):
            os.replace(target, aside)
        delete(aside)
    raise OSError(errno.EBUSY, "other tasks keep replacing it", str(target))


@contextmanager
def claimed(plan: Plan) -> Iterator[SegmentStore]:
    """The plan's work folder, locked against a second run of the same output; the lock dies with the process."""
    store = SegmentStore(plan)
    try:
        store.folder.mkdir(exist_ok=True)
        lock = (store.folder / "lock").open("w")
    except OSError as error:
        raise write_error(error, store.folder) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The run that had it may have removed it, and the next have made its own: then this one guards nothing.
            guards = os.path.samestat(os.stat(lock.name), os.fstat(lock.fileno()))
        except OSError:
            guards = False
        if not guards:
            raise RetryError(f"another run is writing {plan.target}", "Wait for it, or stop it first.")
        store.sweep()
        try:
            yield store
        finally:
            store.leave()
