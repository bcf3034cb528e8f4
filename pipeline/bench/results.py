"""What was measured, as rows that a table, a plot and a JSON file are made of."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from .machine import Machine


@dataclass(frozen=True)
class Row:
    """One thing at one size."""

    part: str
    """`network`, `stage`, `end to end`, `sizes` (curve over pixels), `frames` (curve over the length);
    `failed` holds pieces of work that ended in an error."""
    name: str
    width: int
    height: int
    precision: str = ""
    """Of the network: fp32, fp16, bf16; empty where no network is in it."""
    seconds: tuple[float, ...] = ()
    """Of one frame, one a round; empty where nothing was measured, and then `note` says why."""
    flop: float = 0.0
    """Operations of a frame, of the network's convolutions."""
    bytes: float = 0.0
    """Bytes of a frame that each convolution reads and writes once; of copies, those that are copied."""
    roofline_seconds: float = 0.0
    """The least that a frame can take on this machine, layer by layer (cost.Cost.seconds); 0: not known."""
    peak_bytes: int | None = None
    """Memory above what was taken before."""
    joules: float | None = None
    """Energy of a frame, of the whole graphics card."""
    difference: float | None = None
    """Largest difference of the output to the original's, in signal: 1.0 is SDR white."""
    setup_seconds: float | None = None
    """Export, compilation and the first frame."""
    frames: int = 1
    """Frames that were measured together."""
    note: str = ""

    @property
    def median(self) -> float:
        """Seconds of a frame."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Results:
    """One run of the bench."""

    machine: Machine
    rows: tuple[Row, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; from_dict takes it back."""
        return asdict(self)

    @staticmethod
    def from_dict(facts: dict[str, Any]) -> Results:
        """Results of as_dict, also when it has been through a file."""
        rows = tuple(Row(**{**row, "seconds": tuple(row["seconds"])}) for row in facts["rows"])
        return Results(Machine(**facts["machine"]), rows)

    def of(self, part: str) -> list[Row]:
        """Rows of one part, in the order of their measurement."""
        return [row for row in self.rows if row.part == part]
