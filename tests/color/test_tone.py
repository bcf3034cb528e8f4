from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from hdrunet_video.color import tone
from hdrunet_video.color.light import LightMapping, pq_from_nits
from hdrunet_video.color.spec import Primaries
from hdrunet_video.color.tone import bt2390_eetf, measure, to_nits
from hdrunet_video.color.transfer import hlg_inverse_ootf, hlg_oetf, pq_inverse_eotf

CODE = 0.02
"""Allowed error in codes of 10 bits."""

Array = npt.NDArray[np.float64]


def picture(pixels: list[list[float]] | Tensor) -> Tensor:
    """(1, 3, 1, N) of N R, G, B triples."""
    return torch.as_tensor(pixels, dtype=torch.float32).T[None, :, None]


def code_error(nits: Tensor, expected: list[Any] | Array) -> float:
    """Largest distance in 10-bit codes of PQ."""
    wanted = np.vectorize(pq_from_nits)(np.asarray(expected, dtype=np.float64))
    return float(np.abs(np.vectorize(pq_from_nits)(nits.double().numpy()) - wanted).max() * 1023)


def signals(highest: float) -> st.SearchStrategy[npt.NDArray[np.float32]]:
    return hnp.arrays(np.float32, (1, 3, 2, 5), elements=st.floats(-0.5, highest, width=32))


def hermite_reference(nits: Array, peak: float, source_peak: float) -> Array:
    """BT.2390 section 5.4.1 as printed, black 0."""
    high = pq_from_nits(source_peak)
    relative = np.vectorize(pq_from_nits)(np.minimum(nits, source_peak)) / high
    top = pq_from_nits(peak) / high
    knee = 1.5 * top - 0.5
    t = (relative - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * top
    return np.asarray(np.where(relative < knee, relative, spline) * high)


def test_a_grey_signal_becomes_the_expected_light(vectors: dict[str, Any]) -> None:
    rows = vectors["y_map"]
    nits = to_nits(picture([[row["y"]] * 3 for row in rows]), Primaries.BT709, LightMapping())
    assert code_error(nits[0, :, 0], [[row["nits"] for row in rows]] * 3) <= CODE
    before = to_nits(picture([[row["y"]] * 3 for row in rows]), Primaries.BT709, LightMapping(peak=10000))
    assert code_error(before[0, 0, 0], [row["nits_pre"] for row in rows]) <= CODE
    pq = pq_inverse_eotf(nits)[0, 1, 0].double() * 876 + 64
    assert (pq - torch.tensor([row["pq10"] for row in rows])).abs().max() <= 0.5 + CODE
    hlg = hlg_oetf(hlg_inverse_ootf(nits))[0, 1, 0].double() * 876 + 64
    assert (hlg - torch.tensor([row["hlg10"] for row in rows])).abs().max() <= 0.5 + CODE


@pytest.mark.parametrize("group", ["end_to_end", "end_to_end_y", "525", "625"])
def test_colours_become_the_expected_light(vectors: dict[str, Any], group: str) -> None:
    rows = vectors["end_to_end_601"][group] if group.isdigit() else vectors[group]
    primaries = {"525": Primaries.SMPTE170M, "625": Primaries.BT470BG}.get(group, Primaries.BT709)
    signal = picture([row["y"] for row in rows])
    nits = to_nits(signal, primaries, LightMapping())
    assert code_error(nits[0, :, 0].T, [row["nits2020"] for row in rows]) <= CODE
    before = to_nits(signal, primaries, LightMapping(peak=10000))
    assert code_error(before[0, :, 0].T, [row["nits2020_pre"] for row in rows]) <= CODE
    for index, row in enumerate(rows):
        levels = measure(nits[..., index : index + 1])
        assert code_error(levels, [row["maxrgb_nits"]] * 2) <= CODE
        luminance = np.dot([0.2627, 0.678, 0.0593], nits[0, :, 0, index].double().numpy())
        assert luminance == pytest.approx(row["luma_nits"], rel=1e-4, abs=1e-5)


def test_the_roll_off_is_that_of_bt2390(vectors: dict[str, Any]) -> None:
    for row in vectors["eetf"]:
        out = bt2390_eetf(torch.tensor(row["inp"], dtype=torch.float32), row["peak"], row["source_peak"])
        assert code_error(out, row["out"]) <= CODE
        mapping = LightMapping(peak=row["peak"])
        if mapping.source_peak == row["source_peak"]:
            assert mapping.knee_nits == pytest.approx(row["knee_nits"], rel=1e-6)


@given(
    hnp.arrays(np.float32, 12, elements=st.floats(0, 12000, width=32)),
    st.sampled_from([(600.0, 4000.0), (1000.0, 4000.0), (1000.0, 10000.0), (2000.0, 8000.0), (4000.0, 10000.0)]),
)
@settings(deadline=None, max_examples=40)
def test_the_roll_off_is_the_printed_spline(nits: npt.NDArray[np.float32], peaks: tuple[float, float]) -> None:
    expected = hermite_reference(nits.astype(np.float64), *peaks)
    signal = np.vectorize(pq_from_nits)(bt2390_eetf(torch.from_numpy(nits), *peaks).double().numpy())
    assert np.abs(signal - expected).max() * 1023 <= CODE


@pytest.mark.parametrize("peak", [600.0, 1000.0, 2000.0, 10000.0])
def test_light_below_the_knee_is_untouched_and_above_it_rises(peak: float) -> None:
    mapping = LightMapping(peak=peak)
    nits = torch.linspace(0.0, 1.0, 4001).square() * 10000
    out = bt2390_eetf(nits, mapping.peak, mapping.source_peak)
    below = nits < mapping.knee_nits * 0.999
    assert below.sum() > 100
    assert torch.equal(out[below], nits[below])
    assert out.diff().min() > -1e-4 * peak / 1000
    assert out[-1] == pytest.approx(peak, rel=1e-4)


@given(signals(6), st.sampled_from([(100.0, 2.4, 1000.0), (203.0, 2.24, 600.0), (203.0, 2.24, 1000.0)]))
@settings(deadline=None, max_examples=40)
def test_light_follows_the_printed_formulae(
    signal: npt.NDArray[np.float32], numbers: tuple[float, float, float]
) -> None:
    white, gamma, peak = numbers
    rows = [
        [0.627403895935, 0.329283038378, 0.043313065687],
        [0.069097289358, 0.919540395075, 0.011362315566],
        [0.016391438875, 0.088013307877, 0.895595253248],
    ]
    light = white * np.maximum(signal[0].astype(np.float64), 0) ** gamma
    before = np.einsum("ij,jhw->ihw", rows, light)
    brightest = np.maximum(before.max(axis=0), 1e-12)
    mapping = LightMapping(white, gamma, peak)
    rolled = hermite_reference(brightest, peak, mapping.source_peak)
    nits = to_nits(torch.from_numpy(signal), Primaries.BT709, mapping)
    assert nits.shape == signal.shape
    top = np.vectorize(pq_from_nits)(nits[0].amax(dim=0).double().numpy())
    assert np.abs(top - rolled).max() * 1023 <= CODE
    lit = brightest > 1e-6
    np.testing.assert_allclose(
        (nits[0].double().numpy() / np.maximum(nits[0].amax(dim=0).double().numpy(), 1e-12))[:, lit],
        (before / brightest)[:, lit],
        rtol=2e-5,
        atol=1e-9,
    )


@pytest.mark.parametrize("primaries", [Primaries.BT709, Primaries.DISPLAY_P3, Primaries.BT2020, Primaries.FILM])
@pytest.mark.parametrize("peak", [600.0, 1000.0, 10000.0])
def test_nothing_is_ever_brighter_than_the_peak(primaries: Primaries, peak: float) -> None:
    generator = torch.Generator().manual_seed(3)
    signal = torch.randn(2, 3, 40, 50, generator=generator) * torch.logspace(-2, 3, 50)
    nits = to_nits(signal, primaries, LightMapping(peak=peak))
    assert nits.min() >= 0
    assert nits.max() <= peak
    assert nits.max() >= 0.999 * peak


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_broken_numbers_become_black_or_the_peak(dtype: torch.dtype) -> None:
    nan, inf = float("nan"), float("inf")
    signal = picture([[nan, nan, nan], [inf, inf, inf], [-inf, -inf, -inf], [nan, 1.0, 1.0], [0.0, 0.0, 0.0]])
    nits = to_nits(signal.to(dtype), Primaries.BT709, LightMapping())
    assert nits.dtype == torch.float32
    assert torch.isfinite(nits).all()
    assert nits[0, :, 0, 0].tolist() == [0, 0, 0]
    torch.testing.assert_close(nits[0, :, 0, 1], torch.full((3,), 1000.0), rtol=2e-5, atol=0)
    assert nits[0, :, 0, 2].tolist() == [0, 0, 0]
    assert nits[0, :, 0, 3].min() > 10
    assert nits[0, :, 0, 4].tolist() == [0, 0, 0]


def test_every_pixel_stands_alone() -> None:
    signal = torch.rand(2, 3, 33, 47, generator=torch.Generator().manual_seed(4)) * 3
    kept = signal.clone()
    whole = to_nits(signal, Primaries.BT709, LightMapping())
    assert torch.equal(signal, kept)
    part = to_nits(signal[1:, :, 5:22, 9:40], Primaries.BT709, LightMapping())
    assert torch.equal(part, whole[1:, :, 5:22, 9:40])


@given(share=st.floats(0, 1), peak=st.sampled_from([600.0, 1000.0, 4000.0, 10000.0]))
def test_the_roll_off_does_not_depend_on_how_much_is_bright(share: float, peak: float) -> None:
    """A CPU computes it where it is bright alone; other devices everywhere. The bits are the same."""
    generator = torch.Generator().manual_seed(5)
    nits = torch.rand(1, 3, 19, 23, generator=generator) * 200
    nits[:, :, torch.rand(19, 23, generator=generator) < share] *= 40
    mapping, brightest = LightMapping(peak=peak), nits.amax(dim=1, keepdim=True).clamp_(min=1e-6)
    everywhere = nits * bt2390_eetf(brightest, mapping.peak, mapping.source_peak).div_(brightest)
    tone._roll_off_where_bright(nits[0], brightest[0], mapping)
    assert torch.equal(nits, everywhere)


def test_sdr_white_is_the_reference_white() -> None:
    for white in (100.0, 203.0, 300.0):
        nits = to_nits(picture([[1.0, 1.0, 1.0]]), Primaries.BT709, LightMapping(white=white))
        torch.testing.assert_close(nits, torch.full_like(nits, white))


def test_light_levels_are_of_the_largest_component() -> None:
    nits = torch.zeros(1, 3, 4, 6)
    nits[0, 2, 0, 0] = 900.0
    nits[0, 1, 1:3] = 30.0
    nits[0, 0, 1:3] = 40.0
    assert measure(nits).tolist() == [900.0, (900.0 + 12 * 40.0) / 24]
    assert measure(nits).dtype == torch.float64
    assert measure(nits, (1, 3, 0, 6)).tolist() == [900.0, 40.0]
    assert measure(nits, (0, 4, 3, 6)).tolist() == [900.0, 20.0]


def test_the_mean_of_a_large_picture_is_exact() -> None:
    nits = torch.full((1, 3, 1100, 2000), 0.1)
    assert measure(nits)[1].item() == pytest.approx(torch.tensor(0.1).double().item(), rel=1e-12)


def test_an_empty_active_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        measure(torch.zeros(1, 3, 4, 4), (2, 2, 0, 4))
