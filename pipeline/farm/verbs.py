"""What the flags of "on a farm" ask for -> what is done."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from .. import options
from ..progress import Progress
from .joined import sequence_is_begun
from .plan_file import Document, find, write_plan
from .tasks import Done, Request, do_segments, join_plan


def act(verb: str, flags: argparse.Namespace, progress: Progress, cancelled: Callable[[], bool], replace: bool) -> Done:
    """Do what `verb` (of options.farm_verb) says; replace: what is at a new plan's target. Raises HdrunetError."""
    if verb == "segments":
        return do_segments(_request(flags), flags.segments, progress, cancelled)
    if verb == "join":
        return join_plan(_request(flags), progress)
    if verb == "verify":
        from .verify import verify

        return verify(_request(flags), progress)
    if flags.submit and flags.submit[0] == "slurm":
        from .slurm import check_installed

        check_installed()
    if flags.submit and flags.submit[0] == "openjd":
        from .openjd import check_free

        check_free(Path(flags.submit[1]))
    document, folder, done = _plan(flags, progress, replace)
    return done if verb == "plan" else _submit(flags, document, folder, done, progress, cancelled)


def _request(flags: argparse.Namespace) -> Request:
    source, target, *_ = (*map(Path, flags.paths), None, None)
    return Request(Path(flags.plan), source, target, flags.weights, _device(flags), flags.overwrite, flags.tune)


def _device(flags: argparse.Namespace) -> str:
    return "" if flags.device == "auto" else str(flags.device)


def _plan(flags: argparse.Namespace, progress: Progress, replace: bool) -> tuple[Document, Path, Done]:
    from ..job import Job, make_plan

    progress.stage("planning")
    (fields,) = options.jobs(flags)
    job = Job(**fields)
    plan, folder = make_plan(job), _folder(flags, job.target)
    document = write_plan(plan, folder, flags.overwrite, replace)
    count = len(plan.segments)
    lines = [f"{job.source.name}: {line}" for line in plan.assumptions]
    lines.append(f"{folder}: segments 0 to {count - 1}, {len(plan.timeline.pts)} frames")
    facts = {"plan": str(folder), "plan_id": document["plan_id"], "segments": count, "frames": len(plan.timeline.pts)}
    return document, folder, Done("\n".join(lines), facts)


def has_begun_to_join(flags: argparse.Namespace, target: Path) -> bool:
    """Whether frames of a sequence may be there that a join of the plan has put in place: it knows them again."""
    return sequence_is_begun(_folder(flags, target))


def _folder(flags: argparse.Namespace, target: Path) -> Path:
    if flags.submit and flags.submit[0] == "openjd":
        return Path(flags.submit[1]) / "plan"
    return Path(flags.plan) if flags.plan else target.with_name(f"{target.name}.farm")


def _submit(
    flags: argparse.Namespace,
    document: Document,
    folder: Path,
    planned: Done,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Done:
    if flags.submit[0] == "openjd":
        from .openjd import write_bundle

        bundle, place = folder.parent, find(document, folder, None, None, "")
        write_bundle(document, place, bundle, flags.per_task or 1, _device(flags))
        return Done(f"{planned.text}\n{bundle / 'template.json'}: written", {**planned.facts, "bundle": str(bundle)})
    from .slurm import follow, submit

    progress.stage("submitting")
    jobs = submit(document, folder, flags.sbatch, flags.per_task, _device(flags))
    if flags.detach:
        text = f"{folder}: Slurm's job {jobs.join} joins" + (f" what {jobs.tasks} makes" if jobs.tasks else "")
        return Done(text, {**planned.facts, "tasks": jobs.tasks, "join": jobs.join})
    target = find(document, folder, None, None, "").target
    return follow(document, folder, target, jobs, progress, cancelled)
