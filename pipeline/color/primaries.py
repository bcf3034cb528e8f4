"""Linear-light matrices from the primaries of a source to those of BT.2020.

Sources: Rec. ITU-T H.273 table 2 (chromaticities), SMPTE RP 177 (the derivation), Rec. ITU-R BT.2020 table 3.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from .spec import Primaries

Matrix3 = npt.NDArray[np.float64]
"""(3, 3) float64, acts on a column of R, G, B or of X, Y, Z."""

_D65 = (0.3127, 0.3290)
_C = (0.310, 0.316)
_DCI = (0.314, 0.351)
_SMPTE_C = ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65)

CHROMATICITIES: dict[Primaries, tuple[tuple[float, float], ...]] = {
    Primaries.BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    Primaries.BT470M: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    Primaries.BT470BG: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    Primaries.SMPTE170M: _SMPTE_C,
    Primaries.SMPTE240M: _SMPTE_C,
    Primaries.FILM: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    Primaries.BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    Primaries.DCI_P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI),
    Primaries.DISPLAY_P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    Primaries.EBU3213: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
"""CIE 1931 x and y of red, green, blue and white. What is missing here cannot be a source."""

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def _xyz(chromaticity: tuple[float, float]) -> npt.NDArray[np.float64]:
    """(3,) X, Y, Z of a chromaticity at Y = 1."""
    across, up = chromaticity
    return np.array([across / up, 1.0, (1 - across - up) / up])


def _adaptation(white: tuple[float, float]) -> Matrix3:
    """XYZ under `white` to XYZ under D65; nothing is done where the white is D65."""
    if white == _D65:
        return np.eye(3)
    gains = (_BRADFORD @ _xyz(_D65)) / (_BRADFORD @ _xyz(white))
    return np.asarray(np.linalg.solve(_BRADFORD, gains[:, None] * _BRADFORD))


def _rgb_to_xyz(primaries: Primaries) -> Matrix3:
    """Linear R, G, B (1, 1, 1 is white at Y = 1) to CIE XYZ under D65."""
    *colors, white = CHROMATICITIES[primaries]
    columns = np.stack([_xyz(color) for color in colors], axis=1)
    return _adaptation(white) @ (columns * np.linalg.solve(columns, _xyz(white)))


@cache
def to_bt2020(primaries: Primaries) -> Matrix3:
    """Linear R, G, B of `primaries` to linear BT.2020 R, G, B: (3, 3) float64, read-only. Grey stays grey.

    D65 sources are not adapted; those with illuminant C or the white of DCI are, after Bradford. Raises ValueError for
    primaries that are not in CHROMATICITIES.
    """
    if primaries not in CHROMATICITIES:
        raise ValueError(f"no chromaticities for primaries {primaries.name}")
    matrix = np.linalg.solve(_rgb_to_xyz(Primaries.BT2020), _rgb_to_xyz(primaries))
    if primaries is Primaries.BT2020:
        matrix = np.eye(3)
    matrix.flags.writeable = False
    return matrix
