"""All that was asked for, smallest pictures first, within the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from .machine import Machine
from .network import Contest, Contestant
from .results import Results, Row
from .timing import Budget

Size = tuple[int, int]


def measure(
    machine: Machine,
    device: torch.device,
    sizes: Sequence[Size],
    parts: Sequence[str],
    contestants: list[Contestant],
    seconds: float,
    say: Callable[[str], None],
) -> Results:
    """Results of `parts` at `sizes` (width, height); `say` gets a line before each piece of work."""
    sizes = sorted(sizes, key=lambda size: size[0] * size[1])
    contest = Contest(machine, device, contestants)
    work: list[tuple[str, float, Callable[[float], list[Row]]]] = []
    for index, (width, height) in enumerate(sizes):
        if "network" in parts:

            def network(share: float, width: int = width, height: int = height) -> list[Row]:
                return contest.run(width, height, share)

            work.append((f"network at {width}x{height}", index + 1.0, network))
    budget = Budget(seconds, sum(weight for _, weight, _ in work))
    rows: list[Row] = []
    for name, weight, act in work:
        share = budget.share(weight)
        say(f"{name}, {share:.0f} s")
        rows += act(share)
    return Results(machine, tuple(rows))
