"""`--verify`: is a finished file what its plan and receipts say? The source and the segments are not needed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from ..container import has_planned_times
from ..errors import PlanError, RetryError
from ..frame_hashes import frame_hashes
from ..job import Plan
from ..progress import Progress
from ..receipts import Receipt, payload_sha256, read_receipt
from ..sequence import numbered
from .joined import joined_sha256
from .plan_file import Document, decided, find, read_plan
from .tasks import Done, Request


def verify(request: Request, progress: Progress) -> Done:
    """Compare every coded frame and its time with the plan, and all other bytes with what the join wrote.

    Raises RetryError where a receipt or the result is missing, PlanError (65) that names the first difference.
    """
    document = read_plan(request.folder)
    place = find(document, request.folder, request.source, request.target, request.weights)
    plan, target = decided(document, place), place.target
    total = len(plan.timeline.pts)
    progress.begin(target.name, total, 0)
    progress.stage("verifying")
    try:
        receipts = _receipts(document, request.folder)
        if not plan.is_sequence and not target.is_file():
            raise RetryError(f"{target} does not exist yet", f"hdrunet-video --plan {request.folder} --join")
        _compare_frames(plan, receipts, progress)
        if not plan.is_sequence:
            if not has_planned_times(plan, target):
                raise PlanError(f"the frames of {target} are not at the times of the plan", "Join it again with -y.")
            known = joined_sha256(document, request.folder)
            if known and payload_sha256(target) != known:
                raise PlanError(
                    f"the frames of {target} are right, but other bytes (sound, tags) are not those of the join",
                    "Somebody has changed it; --join -y makes it again.",
                )
    finally:
        progress.end()
    return Done(f"{target}: {total} frames are those of the plan", {"output": str(target), "frames": total})


def _receipts(document: Document, folder: Path) -> list[Receipt]:
    receipts, missing = [], []
    for number, segment in enumerate(document["segments"]):
        receipt = read_receipt((folder / segment["file"]).with_suffix(".json"))
        if receipt is None or (receipt.plan_id, receipt.index) != (document["plan_id"], number):
            missing.append(str(number))
        else:
            receipts.append(receipt)
    if missing:
        raise RetryError(
            f"segments {','.join(missing)} have no receipt of this plan",
            f"hdrunet-video --plan {folder} --segments {','.join(missing)}",
        )
    return receipts


def _compare_frames(plan: Plan, receipts: list[Receipt], progress: Progress) -> None:
    expected = (
        (receipt.index, number, sha256) for receipt in receipts for number, sha256 in enumerate(receipt.frame_sha256)
    )
    for planned, found in zip_longest(expected, _found(plan), fillvalue=None):
        if planned is None:
            raise PlanError(f"{plan.target} holds more frames than the plan", "It is the result of another plan.")
        index, number, sha256 = planned
        if found is None:
            raise PlanError(
                f"{plan.target} ends before coded frame {number} of segment {index}", "Join it again with -y."
            )
        if found != sha256:
            raise PlanError(
                f"coded frame {number} of segment {index} of {plan.target} is not the one of its receipt",
                "It is damaged or the result of another plan; --join -y makes it again.",
            )
        progress.advance(1)


def _found(plan: Plan) -> Iterator[str]:
    """Hashes of the result's frames, in its order."""
    if not plan.is_sequence:
        yield from frame_hashes(plan.target, plan.preset)
        return
    first = plan.start * plan.outputs_per_frame
    for number in range(first, first + len(plan.timeline.pts)):
        path = plan.target.with_name(numbered(plan.target.name, number))
        if not path.is_file():
            raise PlanError(f"{path} is missing", "Join again.")
        yield payload_sha256(path)
