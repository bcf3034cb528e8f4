"""Finished segments -> the result, in place as a whole or not at all. Loads no torch: a farm's join needs none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from .container import join
from .errors import write_error
from .frame import LightLevels
from .identity import check_source_unchanged
from .job import Plan
from .mastering import static_metadata
from .receipts import Receipt, delete, sync, temporary_path
from .segments import SegmentStore
from .sequence import frames_there


def assemble(
    plan: Plan,
    store: SegmentStore,
    receipts: list[Receipt],
    temporary: Path,
    before: Callable[[Path | None], None],
) -> list[str]:
    """Join the segments as `temporary`, on the target's disk, and rename it: complete or not at all.

    `before` is called with the complete file before it is renamed, or with None before the first frame of a sequence is
    put in place. Returns what a user should know of the result, in sentences.
    """
    check_source_unchanged(plan)
    paths = [store.path(segment) for segment in plan.segments]
    if plan.is_sequence:
        before(None)
        frames = [file for folder in paths for file in sorted(folder.iterdir())]
        for path in frames:
            _place(path, plan.target.with_name(path.name), store)
        return _left(plan, {path.name for path in frames}) + _doubts(plan, receipts)
    metadata = static_metadata(film_light(receipts), plan.mapping.peak) if plan.preset.transfer == "pq" else None
    warnings = join(plan, paths, metadata, temporary)
    try:
        sync(temporary)
        before(temporary)
        os.replace(temporary, plan.target)
        sync(plan.target.parent)
    except BaseException as error:
        delete(temporary)
        if isinstance(error, OSError):
            raise write_error(error, plan.target) from None
        raise
    return warnings + _doubts(plan, receipts)


def _left(plan: Plan, frames: set[str]) -> list[str]:
    """What lies beside the frames of a sequence as if it belonged to it."""
    others = [name for name in frames_there(plan.target) if name not in frames]
    if not others:
        return []
    files = others[0] if len(others) == 1 else f"{others[0]} to {others[-1]} ({len(others)} files)"
    return [f"beside the frames of {plan.target} lie others that this run did not make: {files}"]


def _doubts(plan: Plan, receipts: list[Receipt]) -> list[str]:
    """What receipts say that makes a result less than it could be."""
    doubts = []
    kinds = sorted({_kind(receipt) for receipt in receipts})
    if len(kinds) > 1:
        rounded = any(receipt.precision == "bf16" for receipt in receipts)
        so = "they may differ by several 10-bit codes" if rounded else "another run may differ in its last bits"
        doubts.append(f"segments were computed on {' and on '.join(kinds)}: {so}")
    if bad := bad_frames(receipts):
        doubts.append(f"{bad} frames of {plan.info.path} were damaged or missing and were replaced")
    return doubts


def _kind(receipt: Receipt) -> str:
    """Of two that differ in it the last bits of a picture may."""
    tiles = f", in tiles of {receipt.tile}" if receipt.tile else ""
    return f"{receipt.hardware} in {receipt.precision} ({receipt.backend}{tiles})"


def bad_frames(receipts: list[Receipt]) -> int:
    """Source frames that were damaged or missing and were replaced."""
    return sum(receipt.bad_frames for receipt in receipts)


def _place(path: Path, target: Path, store: SegmentStore) -> None:
    """Put a finished file of a sequence in place; the segment keeps its own until the whole film is there."""
    linked = temporary_path(store.folder, target.name), os.link
    copied = temporary_path(target.parent, target.name), _copy  # where links cannot be, or not that far
    # To paint on a frame in place must not damage a segment that stays, as a farm's does.
    for temporary, duplicate in (copied,) if store.stays else (linked, copied):
        try:
            duplicate(path, temporary)
            os.replace(temporary, target)
            return
        except OSError as error:
            delete(temporary)
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
