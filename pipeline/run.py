"""The main path. Start reading here: a film's life is `run`, a frame's is `Work.render` in work.py."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .container import join
from .frame import LightLevels
from .identity import check_source_unchanged
from .job import Plan, make_engines
from .mastering import static_metadata
from .progress import Progress, Silent
from .receipts import Receipt, sync, temporary_path
from .segments import SegmentStore, claimed
from .work import Work, frame_count
from .writer import write_error


@dataclass(frozen=True)
class Report:
    """What a finished run has made."""

    target: Path
    frames: int
    seconds: float
    """Wall time of this run; what earlier runs had finished is not in it."""
    light: LightLevels
    bad_frames: int
    """Source frames that were damaged or missing and were replaced."""
    resumed: int
    """Output frames that earlier runs had finished."""
    warnings: tuple[str, ...]


def run(plan: Plan, progress: Progress | None = None, cancelled: Callable[[], bool] = lambda: False) -> Report:
    """Do the plan's segments that are not done yet, then join them into the result.

    `cancelled` is asked before each frame; once true, KeyboardInterrupt is raised and finished segments stay.
    """
    progress, started = progress or Silent(), time.monotonic()
    progress.stage("loading")
    # Before anything is written: a device or weights that will not do leave no trace.
    engines = make_engines(plan)
    with claimed(plan) as store:
        work = Work(plan, engines, store, progress, cancelled)
        progress.stage("checking")
        missing = store.missing()
        work.prepare(missing, plan.job.tune)
        total = len(plan.timeline.pts)
        resumed = total - sum(frame_count(plan, segment) for segment in missing)
        progress.begin(plan.target.name, total, resumed)
        try:
            receipts = work.finish(missing, plan.segments)
            progress.stage("joining")
            warnings = assemble(plan, store, receipts, store.joined())
        finally:
            progress.end()
        store.remove()
    for warning in warnings:
        progress.warn(warning)
    seconds, bad = time.monotonic() - started, _bad_frames(receipts)
    return Report(plan.target, total, seconds, film_light(receipts), bad, resumed, tuple(warnings))


def assemble(
    plan: Plan,
    store: SegmentStore,
    receipts: list[Receipt],
    temporary: Path,
    before: Callable[[Path], None] = lambda _: None,
) -> list[str]:
    """Join the segments as `temporary`, on the target's disk, and rename it: complete or not at all.

    `before` is called with the complete file before it is renamed. Returns what a user should know of the result, in
    sentences.
    """
    check_source_unchanged(plan)
    paths = [store.path(segment) for segment in plan.segments]
    if plan.is_sequence:
        for path in (file for folder in paths for file in sorted(folder.iterdir())):
            _place(path, plan.target.with_name(path.name), store.folder)
        return _doubts(plan, receipts)
    metadata = static_metadata(film_light(receipts), plan.mapping.peak) if plan.preset.transfer == "pq" else None
    warnings = join(plan, paths, metadata, temporary)
    try:
        sync(temporary)
        before(temporary)
        os.replace(temporary, plan.target)
        sync(plan.target.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_error(error, plan.target) from None
        raise
    return warnings + _doubts(plan, receipts)


def _doubts(plan: Plan, receipts: list[Receipt]) -> list[str]:
    """What receipts say that makes a result less than it could be."""
    doubts = []
    kinds = sorted({f"{receipt.hardware} in {receipt.precision} ({receipt.backend})" for receipt in receipts})
    if len(kinds) > 1:
        rounded = any(receipt.precision == "bf16" for receipt in receipts)
        so = "they may differ by several 10-bit codes" if rounded else "another run may differ in its last bits"
        doubts.append(f"segments were computed on {' and on '.join(kinds)}: {so}")
    if bad := _bad_frames(receipts):
        doubts.append(f"{bad} frames of {plan.info.path} were damaged or missing and were replaced")
    return doubts


def _bad_frames(receipts: list[Receipt]) -> int:
    return sum(receipt.bad_frames for receipt in receipts)


def _place(path: Path, target: Path, work: Path) -> None:
    """Put a finished file of a sequence in place; the segment keeps its own until the whole film is there."""
    for temporary, duplicate in (
        (temporary_path(work, target.name), os.link),
        (temporary_path(target.parent, target.name), _copy),  # where links cannot be, or not that far
    ):
        try:
            duplicate(path, temporary)
            os.replace(temporary, target)
            return
        except OSError as error:
            temporary.unlink(missing_ok=True)
            failure = error
    raise write_error(failure, target)


def _copy(path: Path, target: Path) -> None:
    shutil.copyfile(path, target)
    sync(target)


def film_light(receipts: list[Receipt]) -> LightLevels:
    """Light levels of the whole film."""
    light = LightLevels()
    for receipt in receipts:
        light = light.merge(LightLevels(receipt.max_nits, receipt.average_nits))
    return light
