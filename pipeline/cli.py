"""The command `hdrunet-video`: flags, messages, signals, exit codes."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options
from .closed_pipes import outlived
from .command import tell
from .errors import HdrunetError, OutputError
from .host import ask_for_huge_pages, keep_freed_memory, loading_torch
from .interrupt import interruptible

if TYPE_CHECKING:
    from .job import Job
    from .progress import Progress
    from .run import Report


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    with outlived():
        return _main(options.parser().parse_args(arguments))


def _main(flags: argparse.Namespace) -> int:
    keep_freed_memory()
    ask_for_huge_pages()
    flags.json = flags.json or flags.progress == "json"
    logging.basicConfig(level=logging.DEBUG if flags.verbose else logging.WARNING, format="%(levelname)s: %(message)s")
    logging.captureWarnings(True)
    try:
        return _act(flags)
    except HdrunetError as error:
        return _fail(flags, error)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return _bug(flags, error)


def _act(flags: argparse.Namespace) -> int:
    if flags.version:
        return _version()
    if flags.list_presets:
        return _list_presets(flags.json)
    if flags.show_preset is not None:
        from hdrunet_video.presets import preset_path

        print(preset_path(flags.show_preset).read_text(encoding="utf-8"), end="")
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
    from .farm.verbs import act

    if verb in ("plan", "submit"):
        (job,) = options.jobs(flags)
        if not _may_write(flags, job["target"]):
            return 0
    progress = _progress(flags)
    done = interruptible(partial(_stopped, flags), lambda cancelled: act(verb, flags, progress, cancelled))
    if flags.json:
        print(json.dumps({"event": "done", **done.facts}), flush=True)
    elif not flags.quiet:
        _say(flags, 1, done.text)
    return 0


def _convert_all(flags: argparse.Namespace, jobs: list[dict[str, Any]]) -> int:
    from .job import Job

    if flags.output_folder is not None and not flags.dry_run:
        try:
            Path(flags.output_folder).mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{flags.output_folder} cannot be made: {error.strerror}", "Name another.") from None
    code = 0
    for fields in jobs:
        try:
            _convert(flags, Job(**fields))
        except HdrunetError as error:
            if len(jobs) == 1:
                raise
            # One bad file must not cost the night: the others are still converted.
            failed = _fail(flags, error)
            code = code or failed
    return code


def _convert(flags: argparse.Namespace, job: Job) -> None:
    if not flags.dry_run and not _may_write(flags, job.target):
        return
    from .job import make_plan

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
    progress = _progress(flags)
    report = interruptible(partial(_stopped, flags), lambda cancelled: run(plan, progress, cancelled))
    _report(flags, report)


def _stopped(flags: argparse.Namespace, number: int) -> None:
    if flags.json:
        print(json.dumps({"event": "stopped", "signal": number}), flush=True)
    elif flags.submit:
        _say(
            flags, 1, "no longer watching; the jobs that were submitted go on, and the same command watches them again"
        )
    else:
        _say(flags, 1, "stopped; finished segments are kept, and the same command goes on from there")


def _may_write(flags: argparse.Namespace, target: Path) -> bool:
    """Whether the output may be (over)written: -y and -n decide, else a person is asked."""
    if "%" in target.name:
        import re

        pattern = re.sub(r"%0\d+d", "[0-9]*", target.name)
        exists = target.parent.is_dir() and any(target.parent.glob(pattern))
    else:
        exists = target.exists() and not target.is_dir()
    if not exists or flags.overwrite:
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


def _progress(flags: argparse.Namespace) -> Progress:
    from . import progress

    kinds: dict[str, Callable[[], Progress]] = {
        "json": progress.JsonLines,
        "silent": progress.Silent,
        "bar": progress.Bar,
        "lines": progress.Lines,
        **{words: partial(progress.FarmLines, words) for words in progress.FARM_WORDS},
    }
    return kinds[options.progress_kind(flags)]()


def _say(flags: argparse.Namespace, kind: int, text: str) -> None:
    """A sentence for people, or the same for the scheduler of --progress (see FARM_WORDS)."""
    from .progress import FARM_WORDS

    if flags.progress:
        print(FARM_WORDS[flags.progress][kind].format(text), flush=True)
    else:
        print(text, file=sys.stderr)


def _report(flags: argparse.Namespace, report: Report) -> None:
    light = report.light
    if flags.json:
        done = {
            "output": str(report.target),
            "frames": report.frames,
            "seconds": round(report.seconds, 3),
            "max_nits": round(light.max_nits, 3),
            "average_nits": round(light.average_nits, 3),
            "bad_frames": report.bad_frames,
            "resumed": report.resumed,
        }
        print(json.dumps({"event": "done", **done}), flush=True)
    elif not flags.quiet:
        resumed = f" ({report.resumed} were finished before)" if report.resumed else ""
        _say(
            flags,
            1,
            f"{report.target}: {report.frames} frames{resumed} in {report.seconds:.1f} s, "
            f"brightest {light.max_nits:.0f} cd/m2, brightest frame average {light.average_nits:.0f} cd/m2",
        )


def _fail(flags: argparse.Namespace, error: HdrunetError) -> int:
    if flags.json:
        facts = {"message": str(error), "hint": error.hint, "exit_code": error.exit_code}
        print(json.dumps({"event": "error", **facts}), flush=True)
    else:
        tell("hdrunet-video", error, partial(_say, flags, 2))
    if flags.verbose:
        traceback.print_exception(error)
    return error.exit_code


def _bug(flags: argparse.Namespace, error: Exception) -> int:
    print(f"hdrunet-video: bug: {type(error).__name__}: {error}", file=sys.stderr)
    if flags.verbose:
        traceback.print_exception(error)
    else:
        print("  hint: run it again with -v and report what it prints.", file=sys.stderr)
    return 1


def _list_presets(as_json: bool) -> int:
    from hdrunet_video.presets import load_preset, preset_names

    presets = [load_preset(name) for name in preset_names()]
    if as_json:
        for preset in presets:
            facts = {"name": preset.name, "description": preset.description, "extensions": preset.extensions}
            print(json.dumps({"event": "preset", **facts}))
        return 0
    for preset in presets:
        print(f"{preset.name:<12} {' '.join(preset.extensions):<16} {preset.description}")
    return 0


def _version() -> int:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from . import __version__

    print(f"hdrunet-video {__version__}")
    for name in ("torch", "av", "vapoursynth", "numpy", "safetensors"):
        try:
            print(f"{name} {version(name)}")
        except PackageNotFoundError:
            print(f"{name} missing")
    print(f"python {platform.python_version()} on {platform.system()} {platform.machine()}")
    return 0
