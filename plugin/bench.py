"""What the filter costs: its frames per second beside those of the engine alone, and of std.ModifyFrame.

    python -m hdrunet_video.plugin.bench --size 640x360 --frames 12 --rounds 5

The three are measured in turns in one process, because machines are busy; ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hdrunet_video.command import size_of, tell
from hdrunet_video.device import limit_threads
from hdrunet_video.engine import Engine
from hdrunet_video.errors import HdrunetError, UsageError
from hdrunet_video.frame import Frame

from .formats import clip_of
from .properties import read
from .request import make_request
from .work import Work

if TYPE_CHECKING:
    import vapoursynth as vs


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    try:  # not exit_code_of, which keeps freed memory: whoever else loads the filter does not
        _measure(flags)
    except HdrunetError as error:
        return tell(parser.prog, error)
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m hdrunet_video.plugin.bench",
        description="Throughput of core.hdrunet.Reconstruct.",
        allow_abbrev=False,
    )
    parser.add_argument("--size", default="640x360", metavar="WxH", help="default 640x360")
    parser.add_argument("--frames", type=int, default=12, metavar="N", help="a round (default 12)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default 5")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--model", default="hdrunet", metavar="NAME", help="as the filter's (default hdrunet)")
    parser.add_argument("--streams", type=int, metavar="N", help="num_streams; left out, what is remembered")
    parser.add_argument("--prefetch", type=int, default=6, metavar="N", help="frames asked for at once (default 6)")
    return parser


def _measure(given: argparse.Namespace) -> None:
    width, height = size_of("--size", given.size)
    for name in ("frames", "rounds", "prefetch"):
        if getattr(given, name) < 1:
            raise UsageError(f"--{name} {getattr(given, name)} is not possible", "Give at least 1, or leave it out")
    _check_vapoursynth()
    import vapoursynth as vs
    from vapoursynth import core

    limit_threads()
    clip = core.std.BlankClip(format=vs.RGB24, width=width, height=height, length=10**6, keep=True, color=[90, 140, 60])
    arguments = {"device": given.device, "model": given.model}
    if given.streams is not None:
        arguments["num_streams"] = given.streams
    request = make_request(
        clip_of(width, height, vs.RGB, vs.INTEGER, 8, 0, 0), {name: [value] for name, value in arguments.items()}
    )
    work = Work(request, core.num_threads, Event())
    made = core.hdrunet.Reconstruct(clip, **arguments)
    modified = _modified(clip, work)

    def play(node: vs.VideoNode) -> Callable[[int], None]:
        def run(first: int) -> None:
            for _ in node[first : first + given.frames].frames(prefetch=given.prefetch, close=True):
                pass

        return run

    source = _frame(clip.get_frame(0), work)
    ways: dict[str, Callable[[int], None]] = {
        "engine alone": lambda _: _drain(work.engine, [source] * given.frames),
        "Reconstruct": play(made),
        "std.ModifyFrame": play(modified),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(given.rounds + 1):  # the first warms up
        for name, run in ways.items():
            started = time.perf_counter()
            run(turn * given.frames)
            seconds[name].append(time.perf_counter() - started)
    at_once = f"{work.engine.concurrency} at once"
    print(f"{width}x{height} on {work.engine.device}, {given.rounds} rounds of {given.frames} frames, {at_once}")
    for name in ways:
        ratios = [alone / own for alone, own in zip(seconds["engine alone"][1:], seconds[name][1:], strict=True)]
        fps = given.frames / statistics.median(seconds[name][1:])
        print(f"{name:<16} {fps:8.2f} fps  {statistics.median(ratios):.3f} of the engine's rate")


def _check_vapoursynth() -> None:
    try:
        import vapoursynth
    except ImportError:
        raise UsageError("VapourSynth is not installed", "pip install vapoursynth") from None
    if not hasattr(vapoursynth.core, "hdrunet"):
        raise UsageError("VapourSynth has no core.hdrunet.Reconstruct", "hdrunet-video --doctor says why")


def _drain(engine: Engine, frames: list[Frame]) -> None:
    for _ in engine.stream(frames):
        pass


def _frame(frame: vs.VideoFrame, work: Work) -> Frame:
    request = work.request
    assert request.clip.format is not None
    planes = tuple(torch.from_numpy(np.array(frame[plane])) for plane in range(3))
    return Frame(planes, request.clip.format, read({}, request))


def _modified(clip: vs.VideoNode, work: Work) -> vs.VideoNode:
    """The same by a Python function, as filters are written without a native library."""
    import vapoursynth as vs
    from vapoursynth import core

    canvas = core.std.BlankClip(clip, format=vs.RGB48, keep=True)

    def fill(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        made = work.engine(_frame(f[0], work))
        out: Any = f[1].copy()
        for plane, pixels in enumerate(made.planes):
            np.copyto(np.asarray(out[plane]), pixels.numpy())
        return out

    return core.std.ModifyFrame(canvas, [clip, canvas], fill)


if __name__ == "__main__":
    raise SystemExit(main())
