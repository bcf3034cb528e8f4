from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hdrunet_video.metrics.pu21 import pu21_encode, pu21_psnr


def test_the_scale_is_that_of_its_authors() -> None:
    # 100 cd/m2 is 256 by design; the range is that of 0.005 to 10000 cd/m2.
    values = pu21_encode(torch.tensor([0.0, 0.005, 100.0, 10000.0, 20000.0]))
    assert values[2].item() == pytest.approx(256.4, abs=0.05)
    assert values[0] == values[1]
    assert values[1].item() == pytest.approx(0.0, abs=0.01)
    assert values[3] == values[4]
    assert values[3].item() == pytest.approx(595.4, abs=0.5)
    rising = pu21_encode(torch.logspace(-2, 4, 200))
    assert bool((rising.diff() > 0).all())


def test_psnr_is_that_of_encoded_light() -> None:
    random = np.random.default_rng(5)
    reference = (2.0 * random.random((3, 20, 24))).astype(np.float32)
    result = (reference * 1.03).astype(np.float32)

    def encoded(signal: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        p = [0.353487901, 0.3734658629, 8.277049286e-05, 0.9062562627, 0.09150303166, 0.9099517204, 596.3148142]
        light = np.clip(203.0 * signal.astype(np.float64) ** 2.24, 0.005, 10000.0)
        return np.asarray(
            p[6] * (((p[0] + p[1] * light ** p[3]) / (1 + p[2] * light ** p[3])) ** p[4] - p[5]), np.float64
        )

    expected = 10 * np.log10(256.0**2 / np.mean((encoded(result) - encoded(reference)) ** 2))
    assert pu21_psnr(torch.from_numpy(result), torch.from_numpy(reference)) == pytest.approx(expected, abs=1e-8)
    assert pu21_psnr(torch.from_numpy(reference), torch.from_numpy(reference)) == math.inf
