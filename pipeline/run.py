"""The main path. Start reading here: a film's life is `run`, a frame's is `Work.render` in work.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .assemble import assemble, bad_frames, film_light
from .engines import make_engines
from .frame import LightLevels
from .job import Plan
from .progress import Progress, Silent
from .segments import claimed
from .work import Work, frame_count


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
    with claimed(plan) as store, closing(plan.identification):
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
            warnings = assemble(plan, store, receipts, store.joined(), store.note)
        finally:
            progress.end()
        store.remove()
    for warning in warnings:
        progress.warn(warning)
    seconds, bad = time.monotonic() - started, bad_frames(receipts)
    return Report(plan.target, total, seconds, film_light(receipts), bad, resumed, tuple(warnings))
