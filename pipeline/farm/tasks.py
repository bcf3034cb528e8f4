"""The verbs that a farm calls: do segments, join. Each may be called any number of times, anywhere, at once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import HdrunetError, PlanError, RetryError, UsageError
from ..host import loading_torch
from ..progress import Progress
from ..receipts import Receipt, delete, proved, read_receipt, temporary_path
from ..sequence import wildcard
from .joined import has_sha256, is_joined, joined_sha256, note
from .plan_file import Document, Place, check, find, read_plan, restore

if TYPE_CHECKING:
    from ..job import Plan
    from ..timeline import Segment
    from ..work import Work


@dataclass(frozen=True)
class Request:
    """What a task is asked for; empty and None mean "as the plan says"."""

    folder: Path
    """Where the plan is."""
    source: Path | None = None
    target: Path | None = None
    weights: str = ""
    device: str = ""
    overwrite: bool = False
    tune: bool = False


@dataclass(frozen=True)
class Done:
    """What came of it: a sentence for people, facts for programs."""

    text: str
    facts: dict[str, Any] = field(default_factory=dict)


Cancelled = Callable[[], bool]


def segment_numbers(text: str, count: int) -> list[int]:
    """Numbers of `7`, `3-8`, `1,4,9`, `1-9:2` or `all`, ascending. Raises UsageError."""
    if text == "all":
        return list(range(count))
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part.strip())
        if not match or match[3] == "0":
            raise UsageError(f"--segments {text!r} is not a list of numbers", "For example 7, 3-8, 1,4,9, 1-9:2 or all")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UsageError(f"--segments {part}: the range runs backwards", f"For example {last}-{first}")
        if last >= count:
            raise UsageError(f"--segments {part}: the plan has segments 0 to {count - 1}", "Or give --segments all")
        numbers.update(range(first, last + 1, int(match[3] or 1)))
    return sorted(numbers)


def receipt_of(document: Document, folder: Path, number: int) -> Receipt | None:
    """The receipt of a segment whose bytes are those that it names. Reads the segment."""
    segment = document["segments"][number]
    return proved(folder / segment["file"], document["plan_id"], number, segment["frames"])


def do_segments(request: Request, numbers: str, progress: Progress, cancelled: Cancelled) -> Done:
    """Do those of the segments that are not done yet. Where nothing is left to do, torch is not even loaded."""
    started, document = time.monotonic(), read_plan(request.folder)
    wanted = segment_numbers(numbers, len(document["segments"]))
    place = find(document, request.folder, request.source, request.target, request.weights)
    progress.stage("checking")
    check(document, place)
    missing = [number for number in wanted if receipt_of(document, request.folder, number) is None]
    frames = {number: document["segments"][number]["frames"] for number in wanted}
    total, left = sum(frames.values()), sum(frames[number] for number in missing)
    named = f"{request.folder}: segments {numbers}"
    if missing:
        progress.stage("loading")
        work = _work(request, restore(document, place, request.device), progress, cancelled)
        work.prepare(_segments(work, missing), request.tune)
    progress.begin(named, total, total - left)
    try:
        if missing:
            _render(request, document, work, wanted, missing)
    finally:
        progress.end()
    seconds = time.monotonic() - started
    text = f"{named}: {left} frames in {seconds:.1f} s" if missing else f"{named}: done before, nothing to do"
    return Done(text, {"segments": wanted, "frames": left, "seconds": round(seconds, 3), "resumed": total - left})


def _work(request: Request, plan: Plan, progress: Progress, cancelled: Cancelled) -> Work:
    from ..job import check_machine
    from ..segments import SegmentStore
    from ..target import check_can_write

    with loading_torch():
        from ..device import limit_threads
        from ..engines import make_engines
        from ..work import Work
    limit_threads()
    check_can_write(plan.preset)
    check_machine(plan)
    return Work(plan, make_engines(plan), SegmentStore(plan, request.folder), progress, cancelled)


def _render(request: Request, document: Document, work: Work, wanted: list[int], missing: list[int]) -> None:
    try:
        work.finish(_segments(work, missing), tuple(_segments(work, wanted)))
    except HdrunetError:
        # Another task on the same segments may have taken our files away because it had finished them.
        if any(receipt_of(document, request.folder, number) is None for number in missing):
            raise


def _segments(work: Work, numbers: list[int]) -> list[Segment]:
    return [work.plan.segments[number] for number in numbers]


def join_plan(request: Request, progress: Progress) -> Done:
    """Join the segments into the result. Raises RetryError where one is missing, PlanError where one is damaged."""
    document = read_plan(request.folder)
    place = find(document, request.folder, request.source, request.target, request.weights)
    total = sum(segment["frames"] for segment in document["segments"])
    progress.begin(place.target.name, total, 0)
    try:
        if is_joined(document, request.folder, place.target, request.overwrite or document["overwrite"]):
            return Done(f"{place.target}: joined before, nothing to do", {"output": str(place.target)})
        progress.stage("checking")
        check(document, place, whole=True)
        receipts = all_receipts(document, request.folder)
        progress.stage("joining")
        try:
            warnings = _join(request, document, place, receipts)
        except HdrunetError:
            # Another join may have ended in the meantime and have swept up what this one was writing.
            known = joined_sha256(document, request.folder)
            if known is None:
                raise
            warnings = [] if known and has_sha256(place.target, known) else _join(request, document, place, receipts)
        progress.advance(total)
    finally:
        progress.end()
    for warning in warnings:
        progress.warn(warning)
    return Done(f"{place.target}: {total} frames joined", {"output": str(place.target), "frames": total})


def all_receipts(document: Document, folder: Path) -> list[Receipt]:
    """Receipts of all segments. Raises RetryError where one is missing, PlanError where one is damaged."""
    receipts: list[Receipt] = []
    missing: list[int] = []
    damaged: list[int] = []
    for number, segment in enumerate(document["segments"]):
        receipt = receipt_of(document, folder, number)
        if receipt is not None:
            receipts.append(receipt)
            continue
        claim = read_receipt((folder / segment["file"]).with_suffix(".json"))
        stale = claim is None or claim.plan_id != document["plan_id"] or not (folder / segment["file"]).exists()
        (missing if stale else damaged).append(number)
    if damaged:
        raise PlanError(
            f"the bytes of segments {_list(damaged)} are not those of their receipts",
            f"hdrunet-video --plan {folder} --segments {_list(damaged)} does them again.",
        )
    if missing:
        raise RetryError(
            f"segments {_list(missing)} are not done yet",
            f"hdrunet-video --plan {folder} --segments {_list(missing)} does them.",
        )
    return receipts


def _list(numbers: list[int]) -> str:
    return ",".join(map(str, numbers))


def _join(request: Request, document: Document, place: Place, receipts: list[Receipt]) -> list[str]:
    from ..assemble import assemble
    from ..segments import SegmentStore
    from ..target import check_free

    check_free(place.target)
    plan = restore(document, place)
    store, target = SegmentStore(plan, request.folder), place.target

    noted = partial(note, document, request.folder)
    warnings = assemble(plan, store, receipts, temporary_path(target.parent, target.name, target.suffix), noted)
    store.sweep()
    for left in target.parent.glob(f".{wildcard(target.name)}.*.part*"):
        delete(left)
    return warnings
