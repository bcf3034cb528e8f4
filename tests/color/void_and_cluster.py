"""Makes pipeline/color/blue_noise.npy: `python tests/color/void_and_cluster.py PATH`.

Void and cluster (R. Ulichney, "The void-and-cluster method for dither array generation", 1993) on a torus.
All sums are integers, so that every machine and every numpy makes the same tile.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

SIZE = 64
SIGMA = 1.9
SEED = 2021


def blue_noise_ranks() -> NDArray[np.uint16]:
    """(64, 64) uint16: each of 0..4095 once, such that the cells below any rank are spread evenly."""
    count = SIZE * SIZE
    prototype = np.zeros(count, dtype=bool)
    # RandomState, unlike default_rng, promises its numbers for all time.
    prototype[np.random.RandomState(SEED).permutation(count)[: count // 10]] = True
    _spread(prototype)
    ranks = np.zeros(count, dtype=np.uint16)
    ones = int(prototype.sum())

    cells, energy = prototype.copy(), _energy(prototype)
    for rank in range(ones - 1, -1, -1):
        cell = _tightest_cluster(cells, energy)
        _toggle(cells, energy, cell)
        ranks[cell] = rank

    # Past the half the emptiest void among the ones' complement is the tightest cluster of zeros: the
    # energies of ones and zeros add up to a constant, so that one rule serves for all of the upper ranks.
    cells, energy = prototype.copy(), _energy(prototype)
    for rank in range(ones, count):
        cell = _largest_void(cells, energy)
        _toggle(cells, energy, cell)
        ranks[cell] = rank
    return ranks.reshape(SIZE, SIZE)


def _spread(cells: NDArray[np.bool_]) -> None:
    """Moves ones from clusters to voids until a move would undo itself."""
    energy = _energy(cells)
    while True:
        cluster = _tightest_cluster(cells, energy)
        _toggle(cells, energy, cluster)
        void = _largest_void(cells, energy)
        _toggle(cells, energy, void)
        if void == cluster:
            return


def _bell() -> NDArray[np.int64]:
    """(128, 128): the Gaussian around (64, 64), wrapped at 64; in steps far above the errors of exp."""
    offset = (np.arange(2 * SIZE) + SIZE // 2) % SIZE - SIZE // 2
    distance = offset[:, None] ** 2 + offset**2
    return np.rint(np.exp(-distance / (2 * SIGMA**2)) * 2**30).astype(np.int64)


_BELL = _bell()


def _around(cell: int) -> NDArray[np.int64]:
    """(4096,) energy that a one at `cell` gives to each cell."""
    row, column = divmod(cell, SIZE)
    return _BELL[SIZE - row : 2 * SIZE - row, SIZE - column : 2 * SIZE - column].reshape(-1)


def _energy(cells: NDArray[np.bool_]) -> NDArray[np.int64]:
    total = np.zeros(cells.size, dtype=np.int64)
    for cell in np.flatnonzero(cells):
        total += _around(int(cell))
    return total


def _toggle(cells: NDArray[np.bool_], energy: NDArray[np.int64], cell: int) -> None:
    energy += _around(cell) * (-1 if cells[cell] else 1)
    cells[cell] = not cells[cell]


def _tightest_cluster(cells: NDArray[np.bool_], energy: NDArray[np.int64]) -> int:
    return int(np.argmax(np.where(cells, energy, -1)))


def _largest_void(cells: NDArray[np.bool_], energy: NDArray[np.int64]) -> int:
    return int(np.argmin(np.where(cells, np.iinfo(np.int64).max, energy)))


if __name__ == "__main__":
    np.save(sys.argv[1], blue_noise_ranks())
