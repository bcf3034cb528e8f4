"""What the flags of "on a farm" ask for -> what is done."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from .. import options
from ..progress import Progress
from .plan_file import write_plan
from .tasks import Done, Request, do_segments, join_plan


def act(verb: str, flags: argparse.Namespace, progress: Progress, cancelled: Callable[[], bool]) -> Done:
    """Do what `verb` (of options.farm_verb) says. Raises HdrunetError."""
    if verb == "segments":
        return do_segments(_request(flags), flags.segments, progress, cancelled)
    if verb == "join":
        return join_plan(_request(flags), progress)
    if verb == "verify":
        from .verify import verify

        return verify(_request(flags), progress)
    return _plan(flags, progress)


def _request(flags: argparse.Namespace) -> Request:
    source, target, *_ = (*map(Path, flags.paths), None, None)
    device = "" if flags.device == "auto" else flags.device
    return Request(Path(flags.plan), source, target, flags.weights, device, flags.overwrite)


def _plan(flags: argparse.Namespace, progress: Progress) -> Done:
    from ..job import Job, make_plan

    progress.stage("planning")
    (job,) = options.jobs(flags)
    plan, folder = make_plan(Job(**job)), Path(flags.plan)
    document = write_plan(plan, folder, flags.overwrite)
    count = len(plan.segments)
    lines = [f"{plan.job.source.name}: {line}" for line in plan.assumptions]
    lines.append(f"{folder}: segments 0 to {count - 1}, {len(plan.timeline.pts)} frames")
    facts = {"plan": str(folder), "plan_id": document["plan_id"], "segments": count, "frames": len(plan.timeline.pts)}
    return Done("\n".join(lines), facts)
