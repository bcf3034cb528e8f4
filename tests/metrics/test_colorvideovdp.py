from __future__ import annotations

import math

import pytest
import torch

from hdrunet_video.metrics import colorvideovdp


@pytest.mark.skipif(not colorvideovdp.is_installed(), reason="cvvdp is not installed")
@pytest.mark.filterwarnings("ignore")
def test_equal_pictures_are_ten_and_clipped_ones_less() -> None:
    reference = 2.0 * torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert colorvideovdp.jod(reference, reference) == pytest.approx(10.0, abs=1e-3)
    assert colorvideovdp.jod(reference.clamp(max=1.0), reference) < 9.9


def test_a_picture_that_is_too_small_has_no_value() -> None:
    line = torch.rand(3, 1, 57)
    assert math.isnan(colorvideovdp.jod(line, line))
