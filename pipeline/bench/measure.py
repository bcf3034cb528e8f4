"""All that was asked for, smallest pictures first, within the budget."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from hdrunet_video.presets import Preset

from ..errors import HdrunetError, OutputError
from .contestants import Contestant
from .cost import with_limits
from .curves import Curves
from .machine import Machine
from .network import Contest
from .results import Results, Row
from .stages import Stages
from .timeline import Timeline
from .timing import Budget

Size = tuple[int, int]
Say = Callable[[str], None]
_log = logging.getLogger(__name__)


@dataclass
class Request:
    """What was asked for."""

    device: torch.device
    sizes: list[Size]
    """(width, height)."""
    parts: list[str]
    contestants: list[Contestant]
    preset: Preset
    """Of what is encoded."""
    seconds: float
    """The budget."""
    tune: bool = False
    """Measure again how many frames at once are fastest."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "device": str(self.device),
            "sizes": [f"{width}x{height}" for width, height in self.sizes],
            "parts": self.parts,
            "contestants": [each.name for each in self.contestants],
            "preset": self.preset.name,
            "seconds": self.seconds,
            "tune": self.tune,
        }


@dataclass(frozen=True)
class Piece:
    """A part at a size."""

    name: str
    weight: float
    """Share of the time."""
    reserved: float
    """Seconds that it gets besides: others compile before they compute."""
    act: Callable[[float], list[Row]]
    """Seconds -> rows."""


def measure(
    request: Request,
    examine: Callable[[], Machine],
    say: Say,
    timelines: dict[str, Timeline],
    keep: Callable[[Results], None] = lambda _: None,
) -> Results:
    """Results of all parts, smallest sizes first; `say` gets a line before each piece of work, `keep` what there is
    after each, and `timelines` what the runs from end to end did, by their size. The machine is examined before and
    after: it may have been busy. Stopped by Ctrl-C, it returns what was measured until then, not `complete`.
    """
    rows, complete = list[Row](), False
    with TemporaryDirectory() as folder, _on(request.device):
        machine = examine()
        contest = Contest(machine, request.device, request.contestants)
        pieces = list(_pieces(request, machine, contest, Path(folder), timelines))
        budget = Budget(request.seconds, sum(each.weight for each in pieces), sum(each.reserved for each in pieces))
        try:
            for piece in pieces:
                share = budget.share(piece.weight, piece.reserved)
                say(f"{piece.name}, {share:.0f} s")
                rows += _rows(piece, share)
                with suppress(OutputError):  # it is kept again in the end, and told then
                    keep(Results(machine, _limited(rows, machine, contest), request.as_dict(), complete=False))
            machine, complete = machine.best(examine()), True
        except KeyboardInterrupt:
            say("stopped: what was measured until now")
    return Results(machine, _limited(rows, machine, contest), request.as_dict(), complete)


def _pieces(
    request: Request, machine: Machine, contest: Contest, folder: Path, timelines: dict[str, Timeline]
) -> Iterator[Piece]:
    there = (each for each in request.contestants if not each.package or find_spec(each.package))
    # For the first size alone: by then it is known what they take, and no budget does for a compiler at each.
    reserved = min(sum(each.setup_seconds for each in there), request.seconds / 3)
    for rank, (width, height) in enumerate(sorted(request.sizes, key=lambda size: size[0] * size[1]), 1):
        size = f"{width}x{height}"
        if "network" in request.parts:
            act = partial(contest.run, width, height)
            yield Piece(f"network at {size}", rank, reserved if rank == 1 else 0.0, act)
        if "stages" in request.parts:
            even = width + width % 2, height + height % 2  # of 4:2:0
            stages = Stages(machine, request.device, request.preset, folder, *even, tune=request.tune)
            yield Piece(f"stages at {size}", rank, 0.0, partial(_stages, stages, timelines))
    if "curves" in request.parts:
        curves = Curves(machine, request.device, request.preset, folder)
        yield Piece("memory over the length of a film", 1, 0.0, curves.over_frames)
        yield Piece("time over the size of a picture", 2 * len(request.sizes) + 1, 0.0, curves.over_pixels)


def _rows(piece: Piece, seconds: float) -> list[Row]:
    """What others have measured is not to be lost to an error, whichever it is."""
    try:
        return piece.act(seconds)
    except HdrunetError as error:
        return [Row("failed", piece.name, 0, 0, note=str(error))]
    except Exception as error:
        _log.debug("%s", piece.name, exc_info=True)
        lines = str(error).strip().splitlines() or [""]
        return [Row("failed", piece.name, 0, 0, note=f"{type(error).__name__}: {lines[0]}")]


def _limited(rows: list[Row], machine: Machine, contest: Contest) -> tuple[Row, ...]:
    return tuple(with_limits(row, machine, contest.network) for row in rows)


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Events are recorded on the device that is current."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _stages(stages: Stages, timelines: dict[str, Timeline], seconds: float) -> list[Row]:
    rows = stages.run(seconds)
    if stages.timeline is not None:
        timelines[f"{stages.width}x{stages.height}"] = stages.timeline
    return rows
