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
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import Any

import torch

import hdrunet_video

from .color.spec import ChromaLocation, ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer
from .device import total_memory
from .engine import Engine
from .frame import Frame
from .hardware import hardware_name

logger = logging.getLogger(__name__)

WORTH_FRAMES = 200
"""A film of fewer frames is over before a measurement has paid."""
_BETTER = 0.97
"""More frames at once must save at least 3 % of the time: they take memory."""
_MOST = 16
_ON_CUDA = (1, 2, 3, 4, 6)
_FRAMES_ON_CUDA = 12


def tune(engine: Engine, width: int, height: int, frames: int = 0, redo: bool = False) -> int:
    """Set and return how many frames `engine` computes at once for films of `width` x `height`.

    What was remembered is taken; else, or to `redo` it, it is measured, without `redo` only where a film of `frames`
    is long enough to pay for it. Otherwise the engine stays as it is.
    """
    key = _key(engine, width, height)
    known = None if redo else _remembered().get(key)
    if known is None:
        if not redo and frames < WORTH_FRAMES:
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


def choose(seconds_a_frame: Callable[[int], float], candidates: list[int]) -> int:
    """The candidate with the least seconds a frame; goes up as long as that helps."""
    best = candidates[0]
    for candidate in candidates[1:]:
        # In turns: a machine that becomes busy or idle meanwhile is so for both.
        turns = [(seconds_a_frame(best), seconds_a_frame(candidate)) for _ in range(2)]
        if min(taken for _, taken in turns) > _BETTER * min(taken for taken, _ in turns):
            break
        best = candidate
    return best


def candidates(engine: Engine, width: int, height: int) -> list[int]:
    """Numbers of frames at once that threads and memory allow, ascending."""
    if engine.device.type == "cuda":
        return list(_ON_CUDA)
    most = min(torch.get_num_threads(), engine.frames_that_fit(width, height))
    return [count for count in (1, 2, 4, 8, _MOST) if count <= most]


def _measure(engine: Engine, width: int, height: int) -> int:
    frame = noise(width, height)
    before, tile = engine.concurrency, engine.tile
    expected = _last(engine, frame, 1)  # the first frame of all, which is slower

    def seconds_a_frame(count: int) -> float:
        engine.concurrency = count
        length = _FRAMES_ON_CUDA if engine.device.type == "cuda" else count
        started = time.perf_counter()
        made = _last(engine, frame, length)
        taken = (time.perf_counter() - started) / length
        same = engine.tile == tile and all(map(torch.equal, made.planes, expected.planes))
        return taken if same else math.inf

    try:
        return choose(seconds_a_frame, candidates(engine, width, height))
    finally:
        engine.concurrency = before
        engine.tile = tile  # which running out of memory has changed; the film is not to be computed otherwise for it
        engine.release()  # what more frames than are computed in the end have taken


def _last(engine: Engine, frame: Frame, length: int) -> Frame:
    (made,) = deque(engine.stream(repeat(frame, length)), maxlen=1)
    return made


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
    return ", ".join([*facts, engine.precision, f"tile {engine.tile}", f"{width}x{height}"])


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
