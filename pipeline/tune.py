"""How many frames at once suit this machine: measured for a film's size, and remembered.

Only speed depends on it: a candidate whose frames differ by a single bit is not taken. What is remembered lies in
`tuning.json` in the user's cache folder; without that folder, or with a file that is not ours, it is measured again.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import repeat, takewhile
from pathlib import Path
from typing import Any

import torch

import hdrunet_video

from .at_once import compute_at_once
from .color.spec import ChromaLocation, ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer
from .device import total_memory
from .engine import Engine
from .frame import Frame
from .hardware import hardware_name
from .host import release_team

logger = logging.getLogger(__name__)

WORTH_FRAMES, _WORTH_EACH = 200, 12
"""A film of fewer frames is over before a measurement has paid: trying up to n at once computes some 11 n frames."""
_BETTER = 0.97
"""More frames at once must save at least 3 % of the time: they take memory."""
_ON_CPU = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_ON_CUDA = (1, 2, 3, 4, 6)
_MOST = max(*_ON_CPU, *_ON_CUDA)
_IN_VAIN = 2
"""Candidates in a row that do not help, after which none is tried: one alone may be a number that does not go well
with that of the cores."""
_FRAMES_ON_CUDA = 12


def tune(engine: Engine, width: int, height: int, frames: int = 0, redo: bool = False) -> int:
    """Set and return how many frames `engine` computes at once for films of `width` x `height`.

    What was remembered is taken; else, or to `redo` it, it is measured, without `redo` only where a film of `frames`
    is long enough to pay for it. Otherwise the engine stays as it is.
    """
    key = _key(engine, width, height)
    known = None if redo else _remembered().get(key)
    if known is None:
        if not redo and frames < max(WORTH_FRAMES, _WORTH_EACH * candidates(engine, width, height)[-1]):
            return engine.concurrency
        known = _measure(engine, width, height)
        _remember(key, known)
        logger.info("%d frames at once for %dx%d on %s", known, width, height, engine.device)
    engine.concurrency = known
    return known


def cache_file() -> Path | None:
    """Where tunings are remembered; None where the user has no home."""
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            given = os.environ.get("XDG_CACHE_HOME", "")
            # The XDG specification says to ignore a path that is relative.
            base = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "hdrunet-video" / "tuning.json"


def choose(seconds_a_frame: Callable[[int], float], candidates: Iterable[int]) -> int:
    """The candidate with the least seconds a frame; goes up until two in a row have not helped."""
    remaining, in_vain = iter(candidates), 0
    best = next(remaining)
    for candidate in remaining:
        # In turns: a machine that becomes busy or idle meanwhile is so for both.
        turns = [(seconds_a_frame(best), seconds_a_frame(candidate)) for _ in range(2)]
        if min(taken for _, taken in turns) <= _BETTER * min(taken for taken, _ in turns):
            best, in_vain = candidate, 0
            continue
        in_vain += 1
        if in_vain == _IN_VAIN:
            break
    return best


def candidates(engine: Engine, width: int, height: int) -> list[int]:
    """Numbers of frames at once that threads and memory allow, ascending."""
    if engine.device.type == "cuda":
        return list(_ON_CUDA)
    most = min(torch.get_num_threads(), engine.tiling.frames_that_fit(width, height))
    return [count for count in _ON_CPU if count <= most]


def _measure(engine: Engine, width: int, height: int) -> int:
    frame = noise(width, height)
    before, tile = engine.concurrency, engine.tiling.tile
    (expected,) = engine.stream([frame])  # the first frame of all, which is slower
    release_team()  # from here on others compute
    run = _run_on_cuda if engine.device.type == "cuda" else _run_on_cpu

    def seconds_a_frame(count: int) -> float:
        engine.concurrency = count
        made, taken = run(engine, frame, count)
        same = all(torch.equal(*planes) for each in made for planes in zip(each.planes, expected.planes, strict=True))
        return taken if same and fits() else math.inf

    def fits(_: int = 0) -> bool:
        """Whether all that was tried has found memory for frames as they are to be computed."""
        return engine.tiling.tile == tile

    try:
        return choose(seconds_a_frame, takewhile(fits, candidates(engine, width, height)))
    finally:
        engine.concurrency = before
        # Running out of memory has changed it; the film is not to be computed otherwise for that.
        engine.tiling.tile = tile
        engine.release()  # what more frames than are computed in the end have taken


def _run_on_cuda(engine: Engine, frame: Frame, count: int) -> tuple[Iterable[Frame], float]:
    """Some results, and the seconds that each took."""
    started = time.perf_counter()
    made = deque(engine.stream(repeat(frame, _FRAMES_ON_CUDA)), maxlen=count)
    return made, (time.perf_counter() - started) / _FRAMES_ON_CUDA


def _run_on_cpu(engine: Engine, frame: Frame, count: int) -> tuple[Iterable[Frame], float]:
    """The results of `count` frames at once, and the seconds that each takes where more follow: threads with a larger
    share than others go on to the next frame sooner."""
    seconds: list[float] = []

    def timed(source: Frame) -> Frame:
        started = time.perf_counter()
        made = engine(source)
        seconds.append(time.perf_counter() - started)
        return made

    made = list(compute_at_once(timed, repeat(frame, count), count))
    return made, 1 / sum(1 / each for each in seconds)


def noise(width: int, height: int) -> Frame:
    """A frame of random integers, 8-bit 4:2:0, BT.709, the same at each call."""
    format = PixelFormat("yuv420p", "yuv", 8, (1, 1))
    color = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaLocation.LEFT)
    generator = torch.Generator().manual_seed(0)
    shapes = format.plane_shapes(width, height)
    planes = (torch.randint(16, 236, shape, dtype=torch.uint8, generator=generator) for shape in shapes)
    return Frame(tuple(planes), format, color)


def _key(engine: Engine, width: int, height: int) -> str:
    """Everything that the answer may depend on."""
    facts = [hardware_name(engine.device), f"{torch.get_num_threads()} threads"]
    facts += [f"{total_memory(engine.device) >> 20} MiB"]
    facts += [f"torch {torch.__version__}", f"hdrunet-video {hdrunet_video.__version__}", engine.computed_by]
    return ", ".join([*facts, engine.precision, f"tile {engine.tiling.tile}", f"{width}x{height}"])


def _remembered() -> dict[str, int]:
    """What the file holds and could be ours."""
    path = cache_file()
    with suppress(OSError, ValueError, RecursionError):
        held: Any = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
        if isinstance(held, dict):
            return {key: value for key, value in held.items() if type(value) is int and 1 <= value <= _MOST}
    return {}


def _remember(key: str, count: int) -> None:
    path = cache_file()
    if path is None:
        return
    with suppress(OSError):  # no folder, no room, no right: it is measured again
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tuning-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(_remembered() | {key: count}, file, indent=1, sort_keys=True)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
