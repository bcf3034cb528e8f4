"""The command `hdrunet-video`: flags -> what is done, and the exit code."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import messages, options
from .closed_pipes import outlived
from .errors import HdrunetError, OutputError, RetryError, refusals_told, write_error
from .host import ask_for_huge_pages, keep_freed_memory, loading_torch
from .interrupt import interruptible
from .sequence import is_there

if TYPE_CHECKING:
    from .job import Job


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    with outlived() as out:
        flags = options.parser().parse_args(arguments)
        code = _main(flags)
        out.flush()
        if code == 0 and out.is_full and options.only_tells(flags):
            return messages.failed(flags, RetryError("what was to be told does not fit on the disk", "Make room."))
        return code


def _main(flags: argparse.Namespace) -> int:
    keep_freed_memory()
    ask_for_huge_pages()
    flags.json = flags.json or flags.progress == "json"
    logging.basicConfig(level=logging.DEBUG if flags.verbose else logging.WARNING, format="%(levelname)s: %(message)s")
    logging.captureWarnings(True)
    try:
        with refusals_told():
            return _act(flags)
    except HdrunetError as error:
        return messages.failed(flags, error)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return messages.bug(flags, error)


def _act(flags: argparse.Namespace) -> int:
    if flags.version:
        return messages.version()
    if flags.list_presets:
        return messages.list_presets(flags.json)
    if flags.show_preset is not None:
        from hdrunet_video.presets import preset_text

        print(preset_text(flags.show_preset), end="")
        return 0
    if flags.doctor:
        from .doctor import examine

        findings = examine()
        print(json.dumps([vars(each) for each in findings]) if flags.json else "\n".join(map(str, findings)))
        return 0 if all(each.good or each.optional for each in findings) else 1
    if flags.make_sample is not None:
        from .sample import make_sample

        if _may_write(flags, Path(flags.make_sample)):
            make_sample(Path(flags.make_sample))
        return 0
    verb = options.farm_verb(flags)
    if verb and not flags.dry_run:
        return _farm(flags, verb)
    return _convert_all(flags, options.jobs(flags))


def _farm(flags: argparse.Namespace, verb: str) -> int:
    from .farm.verbs import act, has_begun_to_join

    replace = False
    if verb in ("plan", "submit"):
        (job,) = options.jobs(flags)
        # What is there now is asked about, not what comes while the source is read.
        replace = is_there(job["target"]) and not has_begun_to_join(flags, job["target"])
        if replace and not _may_write(flags, job["target"]):
            return 0
    progress = messages.progress_of(flags)
    done = interruptible(
        partial(messages.stopped, flags), lambda cancelled: act(verb, flags, progress, cancelled, replace)
    )
    if flags.json:
        print(json.dumps({"event": "done", **done.facts}), flush=True)
    elif not flags.quiet:
        messages.say(flags, 1, done.text)
    return 0


def _convert_all(flags: argparse.Namespace, jobs: list[dict[str, Any]]) -> int:
    from .job import Job

    with _output_folder(flags):
        return _convert_each(flags, [Job(**fields) for fields in jobs])


@contextmanager
def _output_folder(flags: argparse.Namespace) -> Iterator[None]:
    """The folder of -o, which a dry run makes, too, but does not leave behind."""
    if flags.output_folder is None:
        yield
        return
    folder = Path(flags.output_folder)
    passing = flags.dry_run and not os.path.exists(folder)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise write_error(error, folder) from None
    try:
        yield
    finally:
        if passing:
            with suppress(OSError):  # another run has found it
                folder.rmdir()


def _convert_each(flags: argparse.Namespace, jobs: list[Job]) -> int:
    code = 0
    for job in jobs:
        try:
            with refusals_told():
                _convert(flags, job)
        except Exception as error:
            if len(jobs) == 1:
                raise
            # One bad file must not cost the night: the others are still converted.
            failed = messages.failed(flags, error) if isinstance(error, HdrunetError) else messages.bug(flags, error)
            code = code or failed
    return code


def _convert(flags: argparse.Namespace, job: Job) -> None:
    from .job import make_plan
    from .target import check_not_the_source

    check_not_the_source(job.source, job.target)
    if not flags.dry_run and not _may_write(flags, job.target, repr(job)):
        return

    plan = make_plan(job)
    with loading_torch():  # which takes longer than to say that a file is not there
        from .device import limit_threads
        from .run import run
    limit_threads()
    if flags.dry_run:
        from .describe import describe, facts

        print(json.dumps({"event": "plan", **facts(plan)}) if flags.json else describe(plan))
        return
    if plan.assumptions and not flags.quiet and not flags.json:
        for line in plan.assumptions:
            print(f"{job.source.name}: {line}", file=sys.stderr)
    progress = messages.progress_of(flags)
    report = interruptible(partial(messages.stopped, flags), lambda cancelled: run(plan, progress, cancelled))
    messages.done(flags, report)


def _may_write(flags: argparse.Namespace, target: Path, job: str = "") -> bool:
    """Whether the output may be (over)written: -y and -n decide, else a person is asked. See target.is_taken."""
    from .target import is_taken

    if flags.overwrite or not is_taken(target, job):
        return True
    if flags.skip_existing:
        if not flags.quiet and not flags.json:
            print(f"{target} exists and is left alone", file=sys.stderr)
        return False
    if sys.stdin is not None and sys.stdin.isatty() and os.isatty(2) and not flags.json:
        print(f"{target} exists. Overwrite? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return True
    raise OutputError(f"{target} exists", "-y overwrites it, -n leaves it and exits 0.")
