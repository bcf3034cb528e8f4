from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hdrunet_video.color.planes import (
    LUMA_WEIGHTS,
    dequantize,
    luma_weights,
    quantize,
    rgb_from_ycbcr,
    ycbcr_from_rgb,
)
from hdrunet_video.color.spec import Matrix, Range

MATRICES = {"bt709": Matrix.BT709, "bt601": Matrix.SMPTE170M, "bt2020": Matrix.BT2020_NCL}


@pytest.mark.parametrize("name", MATRICES)
def test_matrices_are_the_published_ones(vectors: dict[str, Any], name: str) -> None:
    units = torch.eye(3)
    rgb = rgb_from_ycbcr(units[:1], units[1:, None], MATRICES[name])[0, :, 0]
    expected = torch.tensor(vectors["matrices"][f"ycc_{name}_inv"])
    torch.testing.assert_close(rgb, expected, rtol=0, atol=1e-6)
    luma, chroma = ycbcr_from_rgb(units[None, :, None], MATRICES[name])
    expected = torch.tensor(vectors["matrices"][f"ycc_{name}"])
    torch.testing.assert_close(torch.cat((luma, chroma[:, 0])), expected, rtol=0, atol=1e-6)


def test_full_range_codes(vectors: dict[str, Any]) -> None:
    rows = vectors["full_range"]
    coded = torch.tensor([row["ycc8"] for row in rows], dtype=torch.uint8).T.unsqueeze(1)
    chroma = torch.stack([dequantize(plane, 8, Range.FULL, chroma=True) for plane in coded[1:]])
    rgb = rgb_from_ycbcr(dequantize(coded[0], 8, Range.FULL), chroma, Matrix.BT709)
    torch.testing.assert_close(rgb[0, :, 0].T, torch.tensor([row["rgb"] for row in rows]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("matrix", LUMA_WEIGHTS)
def test_ycbcr_there_and_back(matrix: Matrix) -> None:
    rgb = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(2))
    luma, chroma = ycbcr_from_rgb(rgb, matrix)
    assert luma.min() >= 0
    assert luma.max() <= 1
    assert chroma.abs().max() <= 0.5
    torch.testing.assert_close(rgb_from_ycbcr(luma, chroma, matrix), rgb, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("matrix", "red", "blue"),
    [
        (Matrix.BT709, 0.2126, 0.0722),
        (Matrix.FCC, 0.30, 0.11),
        (Matrix.BT470BG, 0.299, 0.114),
        (Matrix.SMPTE170M, 0.299, 0.114),
        (Matrix.SMPTE240M, 0.212, 0.087),
        (Matrix.BT2020_NCL, 0.2627, 0.0593),
    ],
)
def test_luma_is_weighted_as_in_h273(matrix: Matrix, red: float, blue: float) -> None:
    luma, chroma = ycbcr_from_rgb(torch.eye(3)[None, :, None], matrix)
    assert luma[0].tolist() == pytest.approx([red, 1 - red - blue, blue], abs=1e-6)
    assert [chroma[0, 0, 2].item(), chroma[1, 0, 0].item()] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("matrix", LUMA_WEIGHTS)
def test_grey_has_no_chroma(matrix: Matrix) -> None:
    grey = torch.linspace(0, 1, 1001).expand(1, 3, 1, 1001)
    _, chroma = ycbcr_from_rgb(grey, matrix)
    assert (quantize(chroma[0], 10, Range.LIMITED, chroma=True).int() == 512).all()
    assert (quantize(chroma[1], 12, Range.FULL, chroma=True).int() == 2048).all()


@pytest.mark.parametrize("depth", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("coded_range", [Range.LIMITED, Range.FULL])
@pytest.mark.parametrize("chroma", [False, True])
def test_every_legal_code_survives(depth: int, coded_range: Range, chroma: bool) -> None:
    lowest, highest = 0, 2**depth - 1
    if coded_range is Range.LIMITED:
        lowest, highest = 2 ** (depth - 8), 255 * 2 ** (depth - 8) - 1
    codes = torch.arange(lowest, highest + 1, dtype=torch.int32)
    coded = codes.to(torch.uint8 if depth == 8 else torch.uint16).view(1, -1)
    again = quantize(dequantize(coded, depth, coded_range, chroma), depth, coded_range, chroma)
    assert again.dtype == coded.dtype
    assert torch.equal(again.int(), coded.int())


@given(
    hnp.arrays(np.float32, (2, 5), elements=st.floats(-0.5, 1.5, width=32)),
    st.integers(9, 16),
    st.booleans(),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_quantising_follows_the_printed_formula(
    signal: npt.NDArray[np.float32], depth: int, full: bool, chroma: bool
) -> None:
    unit, wide = 2.0 ** (depth - 8), signal.astype(np.float64)
    if full:
        exact = wide * (2**depth - 1) + (2 ** (depth - 1) if chroma else 0)
        exact = exact.clip(0, 2**depth - 1)
    else:
        exact = (224 * wide + 128) * unit if chroma else (219 * wide + 16) * unit
        exact = exact.clip(unit, 255 * unit - 1)
    coded = quantize(torch.from_numpy(signal), depth, Range.FULL if full else Range.LIMITED, chroma)
    error = coded.numpy().astype(np.float64) - exact
    assert np.abs(error).max() <= 0.5 + 2.0 ** (depth - 22)


def test_halves_round_up() -> None:
    halves = torch.tensor([[0.5, 1.5, 2.5]]) / 1023
    assert quantize(halves.double().float(), 10, Range.FULL).tolist() == [[1, 2, 3]]


def test_reserved_codes_are_never_written() -> None:
    far = torch.tensor([[-9.0, 9.0]])
    for depth, expected in ((8, [1, 254]), (10, [4, 1019]), (12, [16, 4079]), (16, [256, 65279])):
        assert quantize(far, depth, Range.LIMITED).tolist() == [expected]
        assert quantize(far, depth, Range.LIMITED, chroma=True).tolist() == [expected]
    assert quantize(far, 10, Range.FULL).tolist() == [[0, 1023]]


def test_dither_is_added_before_the_rounding() -> None:
    signal = torch.full((1, 3), 100.25 / 1023)
    dither = torch.tensor([[-0.49, 0.0, 0.49]])
    assert quantize(signal, 10, Range.FULL, dither=dither).tolist() == [[100, 100, 101]]


def test_what_cannot_be_converted_is_refused() -> None:
    for matrix in (Matrix.RGB, Matrix.UNSPECIFIED, Matrix.YCGCO, Matrix.BT2020_CL, Matrix.ICTCP):
        with pytest.raises(ValueError, match=matrix.name):
            luma_weights(matrix)
    with pytest.raises(ValueError, match="not specified"):
        dequantize(torch.zeros(1, 1, dtype=torch.uint8), 8, Range.UNSPECIFIED)
    with pytest.raises(ValueError, match="32 bits"):
        dequantize(torch.zeros(1, 1), 32, Range.FULL)
