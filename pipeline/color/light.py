"""The light mapping as numbers: which luminance the network's output stands for. No tensors, so checks are quick.

Sources: SMPTE ST 2084 (PQ), Rec. ITU-R BT.2390 section 5.4.1 (EETF), Rec. ITU-R BT.2408 (reference white 203 cd/m2).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError
from .spec import Transfer

PQ_PEAK_NITS = 10000.0
PQ_M1 = 2610 / 16384
PQ_M2 = 2523 / 4096 * 128
PQ_C1 = 3424 / 4096
PQ_C2 = 2413 / 4096 * 32
PQ_C3 = 2392 / 4096 * 32


def pq_from_nits(nits: float) -> float:
    """PQ signal (0..1) of a luminance in cd/m2: the inverse EOTF of SMPTE ST 2084."""
    power = (max(nits, 0.0) / PQ_PEAK_NITS) ** PQ_M1
    return float(((PQ_C1 + PQ_C2 * power) / (1 + PQ_C3 * power)) ** PQ_M2)


def nits_from_pq(signal: float) -> float:
    """Luminance in cd/m2 of a PQ signal (0..1): the EOTF of SMPTE ST 2084."""
    power = max(signal, 0.0) ** (1 / PQ_M2)
    return float(PQ_PEAK_NITS * (max(power - PQ_C1, 0.0) / (PQ_C2 - PQ_C3 * power)) ** (1 / PQ_M1))


@dataclass(frozen=True)
class LightMapping:
    """Constants that turn the network's signal into light. All are fixed for a film, so nothing can flicker."""

    white: float = 203.0
    """Luminance of signal 1.0, SDR white, in cd/m2 (BT.2408 reference white)."""
    display_gamma: float = 2.24
    """Exponent of the display light: 2.24 is that of the network's training data, 2.4 is BT.1886."""
    peak: float = 1000.0
    """Brightest luminance that may be written, in cd/m2."""
    strength: float = 1.0
    """Share of the network's light, 0..1; the rest is the source's."""

    @property
    def blends(self) -> bool:
        """True where both the network's and the source's light have a share."""
        return 0.0 < self.strength < 1.0

    @property
    def source_peak(self) -> float:
        """Luminance in cd/m2 that the roll-off maps to `peak`; everything above is at `peak` as well."""
        return min(max(4.0 * self.peak, 4000.0), PQ_PEAK_NITS)

    @property
    def knee_nits(self) -> float:
        """Luminance in cd/m2 where the BT.2390 roll-off begins; below it light is untouched."""
        source = pq_from_nits(self.source_peak)
        return nits_from_pq(max(1.5 * pq_from_nits(self.peak) - 0.5 * source, 0.0))


def checked_mapping(
    white: float, display_gamma: float, peak: float | None, transfer: Transfer, strength: float = 1.0
) -> LightMapping:
    """The mapping of what a user asked for; `peak` None takes what suits the transfer. Raises UsageError."""
    # Linear light keeps everything: without a roll-off the range is that of PQ itself.
    default_peak = PQ_PEAK_NITS if transfer is Transfer.LINEAR else 1000.0
    # Of the library's users some give whole numbers: 203 and 203.0 are the same plan.
    chosen = (white, display_gamma, peak if peak is not None else default_peak, strength)
    mapping = LightMapping(*map(float, chosen))
    if not 50 <= mapping.white <= 1000:
        raise UsageError(f"--white {mapping.white:g} is out of range", "Reference white is 203; 50 to 1000 is taken.")
    if not 1.0 <= mapping.display_gamma <= 3.0:
        raise UsageError(f"--display-gamma {mapping.display_gamma:g} is out of range", "2.24 is usual, 2.4 is BT.1886.")
    if not 0.0 <= mapping.strength <= 1.0:
        raise UsageError(
            f"--strength {mapping.strength:g} is out of range", "0 is the source's light, 1 (default) the network's."
        )
    if not mapping.white < mapping.peak <= 10000:
        raise UsageError(
            f"--peak {mapping.peak:g} must lie above --white {mapping.white:g} and not above 10000",
            "1000 is usual; 600 to 4000 suits most displays.",
        )
    if transfer is Transfer.HLG and mapping.peak > 1000:
        raise UsageError(f"--peak {mapping.peak:g} does not fit HLG, whose nominal peak is 1000 cd/m2", "--peak 1000")
    if mapping.knee_nits < mapping.white:
        raise UsageError(
            f"--peak {mapping.peak:g} would darken reference white: its roll-off begins at {mapping.knee_nits:.0f} "
            f"cd/m2, below --white {mapping.white:g}",
            "Raise --peak (600 works with white 203) or lower --white.",
        )
    return mapping
