from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from hdrunet_video.color.transfer import (
    hlg_inverse_oetf,
    hlg_inverse_ootf,
    hlg_oetf,
    pq_eotf,
    pq_inverse_eotf,
)

CODE = 0.02
"""Allowed error in codes of 10 bits."""

Array = npt.NDArray[np.float64]
few = settings(deadline=None, max_examples=40)


def amounts(highest: float) -> st.SearchStrategy[npt.NDArray[np.float32]]:
    return hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(0, highest, width=32))


def pq_reference(nits: Array) -> Array:
    """ST 2084, as printed."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    normal = (nits / 10000) ** m1
    return np.asarray(((c1 + c2 * normal) / (1 + c3 * normal)) ** m2)


def hlg_reference(scene: Array) -> Array:
    """BT.2100 table 5, as printed."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.asarray(np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c))


def column(rows: list[dict[str, Any]], key: str) -> Tensor:
    return torch.tensor([row[key] for row in rows])


def assert_codes(signal: Tensor, expected: list[int], scale: float, offset: float) -> None:
    """`signal` makes the `expected` integers, give or take what fp32 may move across a half."""
    coded = signal.double() * scale + offset
    assert (coded - torch.tensor(expected)).abs().max() <= 0.5 + CODE * scale / 876


def test_pq_signals_are_those_of_the_standard(vectors: dict[str, Any]) -> None:
    rows = vectors["pq"]
    signal = pq_inverse_eotf(column(rows, "nits"))
    assert (signal - column(rows, "N")).abs().max() * 1023 <= CODE
    for key, scale, offset in (
        ("c10_lim", 876, 64),
        ("c10_full", 1023, 0),
        ("c12_lim", 3504, 256),
        ("c16_lim", 56064, 4096),
        ("c16_full", 65535, 0),
    ):
        assert_codes(signal, [row[key] for row in rows], scale, offset)


def test_pq_codes_decode_to_the_light_of_the_standard(vectors: dict[str, Any]) -> None:
    rows = vectors["pq_decode"]
    nits = pq_eotf((column(rows, "code") - 64) / 876).double().numpy()
    expected = np.array([row["nits"] for row in rows])
    assert np.abs(pq_reference(nits) - pq_reference(expected)).max() * 1023 <= CODE
    assert nits[0] == 0.0


def test_hlg_signals_are_those_of_the_standard(vectors: dict[str, Any]) -> None:
    rows = vectors["hlg_oetf"]
    signal = hlg_oetf(column(rows, "E"))
    assert (signal - column(rows, "Ep")).abs().max() * 1023 <= CODE
    assert_codes(signal, [row["c10_lim"] for row in rows], 876, 64)


def test_hlg_scene_light_of_a_grey_display(vectors: dict[str, Any]) -> None:
    rows = vectors["hlg_display"]
    grey = column(rows, "nits").to(torch.float32).view(1, -1).repeat(3, 1).unsqueeze(-1)
    scene = hlg_inverse_ootf(grey)
    signal = hlg_oetf(scene)
    for channel in range(3):
        assert (signal[channel, :, 0] - column(rows, "Ep")).abs().max() * 1023 <= CODE
        torch.testing.assert_close(scene[channel, :, 0], column(rows, "E"), rtol=1e-5, atol=1e-7)
    assert_codes(signal[0, :, 0], [row["c10_lim"] for row in rows], 876, 64)


def test_hlg_scene_light_of_colours(vectors: dict[str, Any]) -> None:
    rows = vectors["hlg_rgb"]
    scene = hlg_inverse_ootf(column(rows, "nits").to(torch.float32).T.unsqueeze(-1))
    torch.testing.assert_close(scene[..., 0].T, column(rows, "E"), rtol=1e-5, atol=1e-7)
    assert (hlg_oetf(scene)[..., 0].T - column(rows, "Ep")).abs().max() * 1023 <= CODE


@given(amounts(10000))
@few
def test_pq_follows_the_printed_formula(nits: npt.NDArray[np.float32]) -> None:
    error = pq_inverse_eotf(torch.from_numpy(nits)).numpy() - pq_reference(nits.astype(np.float64))
    assert np.abs(error).max() * 1023 <= CODE


@given(amounts(1))
@few
def test_pq_eotf_undoes_its_inverse(signal: npt.NDArray[np.float32]) -> None:
    back = pq_inverse_eotf(pq_eotf(torch.from_numpy(signal)))
    assert (back - torch.from_numpy(signal)).abs().max() * 1023 <= CODE


@given(amounts(2))
@few
def test_hlg_follows_the_printed_formula_and_back(scene: npt.NDArray[np.float32]) -> None:
    signal = hlg_oetf(torch.from_numpy(scene))
    assert np.abs(signal.numpy() - hlg_reference(scene.astype(np.float64))).max() * 1023 <= CODE
    torch.testing.assert_close(hlg_inverse_oetf(signal), torch.from_numpy(scene), rtol=2e-5, atol=1e-7)


@given(
    hnp.arrays(np.float32, (3, 4, 2), elements=st.floats(0, 1000, width=32)),
    st.sampled_from([400, 1000, 2000]),
)
@few
def test_inverse_ootf_follows_the_printed_formula(nits: npt.NDArray[np.float32], peak: int) -> None:
    gamma = 1.2 + 0.42 * np.log10(peak / 1000)
    display = nits.astype(np.float64)
    luminance = 0.2627 * display[0] + 0.678 * display[1] + 0.0593 * display[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.nan_to_num((luminance / peak) ** ((1 - gamma) / gamma) * display / peak)
    scene = hlg_inverse_ootf(torch.from_numpy(nits), peak).numpy()
    lit = np.broadcast_to(luminance > 1e-6, scene.shape)
    np.testing.assert_allclose(scene[lit], expected[lit], rtol=1e-5, atol=1e-9)
    assert (scene[~lit] <= 1e-4).all()


def test_black_is_zero_and_negative_light_is_black() -> None:
    black = torch.zeros(3, 1, 1)
    assert pq_eotf(pq_inverse_eotf(black)).max() == 0
    assert pq_inverse_eotf(torch.tensor(-5.0)) == pq_inverse_eotf(torch.tensor(0.0)) < 1e-6
    assert hlg_inverse_ootf(black).max() == 0
    assert hlg_oetf(black).max() == 0


@pytest.mark.parametrize(
    ("curve", "steps"),
    [
        (pq_inverse_eotf, torch.linspace(0, 100, 2048).square()),
        (pq_eotf, torch.linspace(0, 1, 2048)),
        (hlg_oetf, torch.linspace(0, 1, 2048).square()),
        (hlg_inverse_oetf, torch.linspace(0, 1, 2048)),
    ],
)
def test_more_in_is_more_out(curve: Callable[[Tensor], Tensor], steps: Tensor) -> None:
    assert curve(steps).diff().min() > 0


@pytest.mark.parametrize("curve", [pq_inverse_eotf, pq_eotf, hlg_oetf, hlg_inverse_oetf])
def test_a_value_does_not_depend_on_its_place_and_is_left_alone(curve: Callable[[Tensor], Tensor]) -> None:
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    kept = values.clone()
    whole = curve(values)
    assert torch.equal(values, kept)
    for start in range(1, 36):
        assert torch.equal(curve(values[start : start + 533].clone()), whole[start : start + 533])
