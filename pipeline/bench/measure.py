"""All that was asked for, smallest pictures first, within the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from hdrunet_video.presets import Preset

from ..errors import HdrunetError
from .contestants import Contestant
from .curves import Curves
from .machine import Machine
from .network import Contest
from .results import Results, Row
from .stages import Stages
from .timeline import Timeline
from .timing import Budget

Size = tuple[int, int]
Say = Callable[[str], None]


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


@dataclass(frozen=True)
class Piece:
    """A part at a size."""

    name: str
    weight: float
    """Share of the time."""
    act: Callable[[float], list[Row]]
    """Seconds -> rows."""


def measure(request: Request, examine: Callable[[], Machine], say: Say, timelines: dict[str, Timeline]) -> Results:
    """Results of all parts, smallest sizes first; `say` gets a line before each piece of work, and `timelines` what
    the runs from end to end did, by their size. The machine is examined before and after: it may have been busy."""
    machine = examine()
    contest = Contest(machine, request.device, request.contestants)
    with TemporaryDirectory() as folder:
        pieces: list[Piece] = []
        for rank, (width, height) in enumerate(sorted(request.sizes, key=lambda size: size[0] * size[1]), 1):
            size = f"{width}x{height}"
            if "network" in request.parts:
                pieces.append(Piece(f"network at {size}", rank, partial(contest.run, width, height)))
            if "stages" in request.parts:
                even = width + width % 2, height + height % 2  # of 4:2:0
                stages = Stages(machine, request.device, request.preset, Path(folder), *even, tune=request.tune)
                pieces.append(Piece(f"stages at {size}", rank, partial(_stages, stages, timelines)))
        if "curves" in request.parts:
            curves = Curves(machine, request.device, request.preset, Path(folder))
            pieces.append(Piece("memory over the length of a film", 1, curves.over_frames))
            pieces.append(Piece("time over the size of a picture", 2 * len(request.sizes) + 1, curves.over_pixels))
        budget = Budget(request.seconds, sum(piece.weight for piece in pieces))
        rows: list[Row] = []
        for piece in pieces:
            share = budget.share(piece.weight)
            say(f"{piece.name}, {share:.0f} s")
            try:
                rows += piece.act(share)
            except HdrunetError as error:  # what others have measured is not to be lost
                rows.append(Row("failed", piece.name, 0, 0, note=str(error)))
    machine = machine.best(examine())
    rows = [contest.with_limits(row, machine) if row.part == "network" else row for row in rows]
    return Results(machine, tuple(rows))


def _stages(stages: Stages, timelines: dict[str, Timeline], seconds: float) -> list[Row]:
    rows = stages.run(seconds)
    if stages.timeline is not None:
        timelines[f"{stages.width}x{stages.height}"] = stages.timeline
    return rows
