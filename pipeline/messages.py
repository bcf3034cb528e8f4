"""What the command `hdrunet-video` says: to people, to a scheduler in its words, or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from . import options
from .command import tell
from .errors import HdrunetError

if TYPE_CHECKING:
    from .progress import Progress
    from .run import Report


def say(flags: argparse.Namespace, kind: int, text: str) -> None:
    """A sentence for people, or the same for the scheduler of --progress (see FARM_WORDS)."""
    from .progress import FARM_WORDS

    if flags.progress:
        print(FARM_WORDS[flags.progress][kind].format(text), flush=True)
    else:
        print(text, file=sys.stderr)


def stopped(flags: argparse.Namespace, number: int) -> None:
    """A signal has ended what was going on."""
    if flags.json:
        print(json.dumps({"event": "stopped", "signal": number}), flush=True)
    elif flags.submit:
        text = "no longer watching; the jobs that were submitted go on, and the same command watches them again"
        say(flags, 1, text)
    else:
        say(flags, 1, "stopped; finished segments are kept, and the same command goes on from there")


def progress_of(flags: argparse.Namespace) -> Progress:
    """What a run reports to, by `--progress`, `--json` and `--quiet`."""
    from . import progress

    kinds: dict[str, Callable[[], Progress]] = {
        "json": progress.JsonLines,
        "silent": progress.Silent,
        "bar": progress.Bar,
        "lines": progress.Lines,
        **{words: partial(progress.FarmLines, words) for words in progress.FARM_WORDS},
    }
    return kinds[options.progress_kind(flags)]()


def done(flags: argparse.Namespace, report: Report) -> None:
    """A film is finished."""
    light = report.light
    if flags.json:
        facts = {
            "output": str(report.target),
            "frames": report.frames,
            "seconds": round(report.seconds, 3),
            "max_nits": round(light.max_nits, 3),
            "average_nits": round(light.average_nits, 3),
            "bad_frames": report.bad_frames,
            "resumed": report.resumed,
        }
        print(json.dumps({"event": "done", **facts}), flush=True)
    elif not flags.quiet:
        resumed = f" ({report.resumed} were finished before)" if report.resumed else ""
        made = f"{report.target}: {report.frames} frames{resumed} in {report.seconds:.1f} s"
        average = f"brightest frame average {light.average_nits:.0f} cd/m2"
        say(flags, 1, f"{made}, brightest {light.max_nits:.0f} cd/m2, {average}")


def failed(flags: argparse.Namespace, error: HdrunetError) -> int:
    """Say what is wrong, and return the exit code."""
    if flags.json:
        facts = {"message": str(error), "hint": error.hint, "exit_code": error.exit_code}
        print(json.dumps({"event": "error", **facts}), flush=True)
    else:
        tell("hdrunet-video", error, partial(say, flags, 2))
    if flags.verbose:
        traceback.print_exception(error)
    return error.exit_code


def bug(flags: argparse.Namespace, error: Exception) -> int:
    """Say that it is our fault, and return the exit code."""
    print(f"hdrunet-video: bug: {type(error).__name__}: {error}", file=sys.stderr)
    if flags.verbose:
        traceback.print_exception(error)
    else:
        print("  hint: run it again with -v and report what it prints.", file=sys.stderr)
    return 1


def list_presets(as_json: bool) -> int:
    """`--list-presets`."""
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


def version() -> int:
    """`--version`."""
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
