"""`python -m hdrunet_video.bench`: flags, messages, exit codes."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from ..command import exit_code_of, size_of
from ..errors import OutputError, UsageError

_DESCRIPTION = """Measure the network (in turns with the plain one and other runtimes), every stage and the whole
pipeline on this machine. Named are runtimes that are not installed (pip install 'hdrunet-video[bench]' brings them) and
what is left out because it would not end within the budget or not fit in the memory."""
PARTS = ("network", "stages", "curves")
SIZES = ("480x270", "1920x1080", "3840x2160")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    return exit_code_of(parser.prog, lambda: _run(flags))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m hdrunet_video.bench", description=_DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="WxH", help=f"default {' '.join(SIZES)}")
    parser.add_argument(
        "--only", nargs="+", default=list(PARTS[:2]), metavar="PART", help="network and stages (default), curves"
    )
    parser.add_argument("--curves", action="store_true", help="also time over size up to 8K, memory over length")
    parser.add_argument(
        "--contestants", nargs="+", default=[], metavar="NAME", help="networks and runtimes to measure (default: all)"
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--budget", type=float, default=600.0, metavar="SECONDS", help="for all of it (default 600)")
    parser.add_argument(
        "--preset", default="prores-hq", metavar="NAME", help="what the stages encode to (default prores-hq)"
    )
    parser.add_argument("--tune", action="store_true", help="measure again how many frames at once are fastest here")
    parser.add_argument("--json", metavar="FILE", help="write every round of everything")
    parser.add_argument("--plot", metavar="FILE", help="write bars and curves as a PNG (needs Pillow)")
    parser.add_argument("--trace", metavar="FILE", help="write who was at work when, end to end, as a Chrome trace")
    return parser


def _run(flags: argparse.Namespace) -> int:
    sizes = [size_of("--sizes", text) for text in flags.sizes]
    for part in flags.only:
        if part not in PARTS:
            raise UsageError(f"there is no part {part!r}", f"--only takes {', '.join(PARTS)}")
    if not 0 < flags.budget < math.inf:
        raise UsageError(f"--budget {flags.budget:g} is no time to share out", "For example --budget 60")
    for name in (flags.json, flags.trace, flags.plot):
        if name is not None:
            _check_writable(Path(name))
    if flags.trace is not None and "stages" not in flags.only:
        raise UsageError("--trace shows the stages, which --only leaves out", "--only stages")
    if flags.plot is not None and find_spec("PIL") is None:
        raise UsageError("--plot needs Pillow", "pip install 'hdrunet-video[bench]'")
    parts = [*flags.only, *(["curves"] if flags.curves and "curves" not in flags.only else [])]

    from hdrunet_video.presets import load_preset

    preset = load_preset(flags.preset)
    if preset.codec == "exr":
        raise UsageError(f"--preset {flags.preset} writes no film", "Name another; see hdrunet-video --list-presets.")

    from ..device import limit_threads, resolve_device
    from .contestants import chosen
    from .machine import examine
    from .measure import Request, measure
    from .report import tables
    from .results import Results
    from .timeline import Timeline, chrome_trace

    limit_threads()
    device = resolve_device(flags.device)
    contestants = chosen(device, flags.contestants)
    request = Request(device, sizes, parts, contestants, preset, flags.budget, flags.tune)
    timelines: dict[str, Timeline] = {}

    def keep(results: Results) -> None:
        if flags.json is not None:
            _write(Path(flags.json), json.dumps(results.as_dict(), indent=1).encode())

    results = measure(request, lambda: examine(device), _say, timelines, keep)
    print(tables(results), flush=True)
    keep(results)
    if flags.plot is not None:
        from .plot import plot

        _write(Path(flags.plot), plot(results))
    if flags.trace is not None:
        if not timelines:
            _say("nothing ran from end to end: the trace is empty")
        _write(Path(flags.trace), chrome_trace(timelines))
    if not results.complete:
        raise KeyboardInterrupt
    return 0


def _check_writable(path: Path) -> None:
    """Raises OutputError for what could not be written in the end; writes nothing."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"the folder of {path} does not exist", f"mkdir -p {path.parent}")
    if path.is_dir():
        raise OutputError(f"{path} is a folder", "Name a file.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise OutputError(f"{path} may not be written", "Name another file.")


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}", "Name another file.") from None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
