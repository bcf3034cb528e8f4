"""The same as a library: `convert` for files, `frames` for notebooks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .engines import make_engine
from .errors import OutputError
from .frame import Frame
from .job import Job, make_plan
from .prefetch import prefetch
from .progress import Progress
from .reader import Reader
from .run import Report, run
from .target import check_not_the_source, is_taken


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Convert a file as `hdrunet-video SOURCE TARGET` does; `options` are the fields of `Job`.

    Interrupted, it goes on when called again with the same arguments. Raises HdrunetError.
    """
    job = Job(Path(source), Path(target), **options)
    check_not_the_source(job.source, job.target)
    if is_taken(job.target, repr(job)) and not overwrite:
        raise OutputError(f"{target} exists", "overwrite=True replaces it.")
    return run(make_plan(job), progress)


def frames(source: str | os.PathLike[str], *, preset: str = "ffv1", **options: Any) -> Iterator[Frame]:
    """HDR frames of a file, one at a time and in order, as `preset` would write them; nothing is written.

    Each Frame has its planes on the host (ffv1: three uint16 (H, W) tensors R, G, B, PQ, full range), its time in
    `pts` and its light levels. `options` are the fields of `Job`, for example `frames=(0, 48)`.
    Raises HdrunetError.
    """
    job = Job(Path(source), Path(os.devnull), preset=preset, **options)
    plan = make_plan(job, writes=False)
    engine = make_engine(plan)
    reading = (plan.deinterlace, job.keep_going, job.decoder, str(engine.device))
    with Reader(plan.info, plan.color, plan.start, plan.stop, *reading) as reader:
        yield from engine.stream(prefetch(reader))
