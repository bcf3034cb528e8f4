from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hdrunet_video.metrics.psnr import mu_law, norm_of, psnr_l, psnr_mu


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """(result, reference): highlights up to 4, errors of a few per cent."""
    random = np.random.default_rng(3)
    reference = 4.0 * random.random((3, 40, 52)) ** 3
    result = reference * random.uniform(0.9, 1.1, reference.shape)
    return torch.from_numpy(result.astype(np.float32)), torch.from_numpy(reference.astype(np.float32))


def test_psnr_l_is_the_challenge_s_formula(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    result, reference = (picture.numpy().astype(np.float64) for picture in pictures)
    norm = reference.max()
    expected = -10 * np.log10(np.mean((reference / norm - result / norm) ** 2))
    assert psnr_l(*pictures) == pytest.approx(expected, abs=1e-9)


def test_psnr_mu_is_the_challenge_s_formula(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    result, reference = (picture.numpy().astype(np.float64) ** 2.24 for picture in pictures)
    norm = np.percentile(reference, 99)
    compressed = [np.log(1 + 5000 * np.tanh(light / norm)) / np.log(1 + 5000) for light in (result, reference)]
    expected = -10 * np.log10(np.mean((compressed[0] - compressed[1]) ** 2))
    assert psnr_mu(*pictures) == pytest.approx(expected, abs=1e-9)
    assert norm_of(pictures[1]) == pytest.approx(norm, rel=1e-12)


def test_values_worked_out_by_hand() -> None:
    reference = torch.full((3, 8, 8), 0.5, dtype=torch.float64)
    reference[0, 0, 0] = 2.0
    # An error of a hundredth of the maximum is 40 dB.
    assert psnr_l(reference + 0.02, reference) == pytest.approx(40.0, abs=1e-9)
    assert mu_law(torch.tensor([0.0, 3.0, 1e9], dtype=torch.float64), 3.0).tolist() == pytest.approx(
        [0.0, 0.96803, 1.0], abs=1e-5
    )


def test_edges() -> None:
    reference = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    black = torch.zeros(3, 8, 8)
    for measure in (psnr_l, psnr_mu):
        assert measure(reference, reference) == math.inf
        assert math.isnan(measure(reference, black))
        assert math.isnan(measure(reference * math.nan, reference))
        # Files cannot hold negative values, so those of a network count as 0.
        assert measure(reference - 5.0, reference) == measure(black, reference)
        with pytest.raises(ValueError, match="one size"):
            measure(reference, reference[:, :4])


def test_more_noise_is_worse() -> None:
    random = torch.Generator().manual_seed(1)
    reference, noise = torch.rand(3, 32, 32, generator=random), torch.randn(3, 32, 32, generator=random)
    for measure in (psnr_l, psnr_mu):
        values = [measure(reference + amount * noise, reference) for amount in (0.001, 0.01, 0.1)]
        assert values == sorted(values, reverse=True)
