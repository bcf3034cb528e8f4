"""What was measured, as rows that a table, a plot and a JSON file are made of."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
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
    """That the network was computed in: fp32, fp16, bf16; empty where no network is in it."""
    backend: str = ""
    """Whose code computed it, where it says so: `ours`, `onednn`, `pytorch`, `openvino` (see forward.place)."""
    seconds: tuple[float, ...] = ()
    """Of one frame, one a round; empty where nothing was measured, and then `note` says why."""
    flop: float = 0.0
    """Operations of a frame, of the network's convolutions."""
    bytes: float = 0.0
    """Bytes of a frame that each convolution reads and writes once; of what is no network, those that must be read
    and written: planes, and the signal in float32."""
    roofline_seconds: float = 0.0
    """The least that a frame can take on this machine: a network's layer by layer (cost.Cost.seconds), of others by
    their bytes; 0: not known."""
    peak_bytes: int | None = None
    """Memory that it needs, with what it holds from one frame to the next."""
    joules: float | None = None
    """Energy of a frame, of the whole graphics card."""
    difference: float | None = None
    """Largest difference to the original's output, after the light mapping, in 10-bit codes of R'G'B' in PQ."""
    setup_seconds: float | None = None
    """Export, compilation and the first frame."""
    frames: int = 1
    """Frames that were measured together."""
    at_once: int = 1
    """Frames that were in work at the same time."""
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
    asked: dict[str, Any] = field(default_factory=dict)
    """What was asked for: budget, preset, parts, sizes."""
    complete: bool = True
    """False where it was stopped before its end, or goes on."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def of(self, part: str) -> list[Row]:
        """Rows of one part, in the order of their measurement."""
        return [row for row in self.rows if row.part == part]
