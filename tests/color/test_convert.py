from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from hdrunet_video.color.convert import Target, to_planes, to_signal
from hdrunet_video.color.light import LightMapping, pq_from_nits
from hdrunet_video.color.spec import (
    ChromaLocation,
    ColorSpec,
    Matrix,
    PixelFormat,
    Primaries,
    Range,
    Transfer,
    pixel_format,
)
from hdrunet_video.color.tone import to_nits
from hdrunet_video.frame import Frame

CODE = 0.02
"""Allowed error in codes of 10 bits."""

BT709 = ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED)
PQ = ColorSpec(Matrix.BT2020_NCL, Primaries.BT2020, Transfer.PQ, Range.LIMITED, ChromaLocation.TOP_LEFT)
HLG = replace(PQ, transfer=Transfer.HLG)
PQ_RGB = replace(PQ, matrix=Matrix.RGB, range=Range.FULL)
LINEAR = replace(PQ_RGB, transfer=Transfer.LINEAR)


def named(name: str) -> PixelFormat:
    found = pixel_format(name)
    assert found is not None
    return found


def frame_of(name: str, color: ColorSpec, planes: list[Any]) -> Frame:
    dtype = torch.uint8 if named(name).depth == 8 else torch.uint16
    return Frame(tuple(torch.as_tensor(plane).to(dtype) for plane in planes), named(name), color)


def pixels(triples: list[Any]) -> list[Tensor]:
    """Three (1, N) planes of N triples."""
    return [plane[None] for plane in torch.tensor(triples).T]


def random_frame(name: str, width: int, height: int, color: ColorSpec = BT709) -> Frame:
    generator = torch.Generator().manual_seed(width * 100 + height)
    shapes = named(name).plane_shapes(width, height)
    return frame_of(name, color, [torch.randint(0, 256, shape, generator=generator) for shape in shapes])


def rows_of(vectors: dict[str, Any], group: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = vectors["end_to_end_601"][group] if group.isdigit() else vectors[group]
    return rows


SOURCES = {
    "end_to_end": BT709,
    "525": ColorSpec(Matrix.SMPTE170M, Primaries.SMPTE170M, Transfer.SMPTE170M, Range.LIMITED),
    "625": ColorSpec(Matrix.BT470BG, Primaries.BT470BG, Transfer.BT709, Range.LIMITED),
}


@pytest.mark.parametrize("group", SOURCES)
def test_coded_colours_become_the_expected_signal(vectors: dict[str, Any], group: str) -> None:
    rows = rows_of(vectors, group)
    signal = to_signal(frame_of("yuv444p", SOURCES[group], pixels([row["ycc8"] for row in rows])))
    assert signal.shape == (1, 3, 1, len(rows))
    torch.testing.assert_close(signal[0, :, 0].T, torch.tensor([row["y"] for row in rows]), rtol=0, atol=1e-6)
    clipped = torch.tensor([row["rgb"] for row in rows]).clamp(0, 1)
    torch.testing.assert_close(signal[0, :, 0].T, clipped, rtol=0, atol=1e-6)


@pytest.mark.parametrize("group", [*SOURCES, "end_to_end_y"])
@pytest.mark.parametrize(("name", "color"), [("pq", PQ), ("hlg", HLG)])
def test_the_whole_path_makes_the_expected_codes(
    vectors: dict[str, Any], group: str, name: str, color: ColorSpec
) -> None:
    rows = rows_of(vectors, group)
    if group in SOURCES:
        signal = to_signal(frame_of("yuv444p", SOURCES[group], pixels([row["ycc8"] for row in rows])))
    else:
        signal = torch.stack(pixels([row["y"] for row in rows]))[None]
    nits = to_nits(signal, SOURCES.get(group, BT709).primaries, LightMapping())
    planes = to_planes(nits, Target(color, named("yuv444p10le")))
    coded = torch.stack([plane[0].int() for plane in planes], dim=1)
    exact = torch.tensor([row[f"{name}10f"] for row in rows], dtype=torch.float64)
    assert (coded - exact).abs().max() <= 0.5 + CODE
    assert (coded - torch.tensor([row[f"{name}10"] for row in rows])).abs().max() <= 1
    # 16 bits show the signal before it is rounded to 10.
    fine = to_planes(nits, Target(color, named("yuv444p16le")))
    near = torch.stack([plane[0].double() / 64 for plane in fine], dim=1)
    assert (near - exact).abs().max() <= CODE + 0.5 / 64
    rgb = to_planes(nits, Target(replace(color, matrix=Matrix.RGB, range=Range.FULL), named("gbrp16le")))
    near = torch.stack([plane[0].double() / 65535 for plane in rgb], dim=1)
    assert (near - torch.tensor([row[name] for row in rows])).abs().max() * 1023 <= CODE + 0.5 / 64


@given(hnp.arrays(np.uint8, (3, 2, 6)), st.booleans())
@settings(deadline=None, max_examples=40)
def test_the_whole_path_follows_the_printed_formulae(coded: npt.NDArray[np.uint8], full: bool) -> None:
    color = replace(BT709, range=Range.FULL if full else Range.LIMITED)
    luma, blue, red = coded.astype(np.float64)
    luma, blue, red = (
        (luma / 255, (blue - 128) / 255, (red - 128) / 255)
        if full
        else ((luma - 16) / 219, (blue - 128) / 224, (red - 128) / 224)
    )
    red, blue = luma + 1.5748 * red, luma + 1.8556 * blue
    green = (luma - 0.2126 * red - 0.0722 * blue) / 0.7152
    light = 203 * np.stack((red, green, blue)).clip(0, 1) ** 2.24  # at most 203, so there is no roll-off
    matrix = [
        [0.627403895935, 0.329283038378, 0.043313065687],
        [0.069097289358, 0.919540395075, 0.011362315566],
        [0.016391438875, 0.088013307877, 0.895595253248],
    ]
    signal = np.vectorize(pq_from_nits)(np.einsum("ij,jhw->ihw", matrix, light))
    luma = 0.2627 * signal[0] + 0.678 * signal[1] + 0.0593 * signal[2]
    exact = np.stack(
        (876 * luma + 64, 896 * (signal[2] - luma) / 1.8814 + 512, 896 * (signal[0] - luma) / 1.4746 + 512)
    )
    nits = to_nits(to_signal(frame_of("yuv444p", color, list(coded))), Primaries.BT709, LightMapping())
    planes = to_planes(nits, Target(PQ, named("yuv444p10le")))
    assert np.abs(torch.stack([plane.int() for plane in planes]).numpy() - exact).max() <= 0.5 + CODE


def test_rgb_and_grey_sources() -> None:
    triples = [[0, 255, 16], [128, 235, 1]]
    full = to_signal(frame_of("gbrp", replace(BT709, matrix=Matrix.RGB, range=Range.FULL), pixels(triples)))
    torch.testing.assert_close(full[0, :, 0].T, torch.tensor(triples) / 255)
    limited = to_signal(frame_of("rgb24", replace(BT709, matrix=Matrix.RGB), pixels(triples)))
    torch.testing.assert_close(limited[0, :, 0].T, ((torch.tensor(triples) - 16) / 219).clamp(0, 1))
    swapped = to_signal(frame_of("yuv444p", replace(BT709, matrix=Matrix.RGB), pixels(triples)))
    torch.testing.assert_close(swapped, limited[:, [2, 0, 1]])
    grey = to_signal(frame_of("gray", BT709, [torch.tensor([[16, 235, 0, 255]])]))
    assert grey[0, :, 0].tolist() == [[0, 1, 0, 1]] * 3
    deep = to_signal(frame_of("gray10le", BT709, [torch.tensor([[64, 940, 502]])]))
    torch.testing.assert_close(deep[0, 2, 0], torch.tensor([0, 1, 0.5]))


@pytest.mark.parametrize("name", ["yuv444p", "yuv420p", "yuv422p", "yuv440p", "yuv411p", "yuv410p", "yuv420p10le"])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 3), (7, 5), (16, 9)])
def test_any_size_goes_through(name: str, size: tuple[int, int]) -> None:
    signal = to_signal(random_frame(name, *size))
    assert signal.shape == (1, 3, size[1], size[0])
    assert signal.min() >= 0
    assert signal.max() <= 1
    nits = to_nits(signal, Primaries.BT709, LightMapping())
    for wanted in ("yuv420p10le", "yuv422p10le", "yuv444p12le"):
        planes = to_planes(nits, Target(PQ, named(wanted), dither=True))
        assert all(plane.is_contiguous() for plane in planes)
        assert Frame(planes, named(wanted), PQ).width == size[0]


def test_only_near_pixels_matter() -> None:
    frame = random_frame("yuv420p", 96, 80)
    luma, *chroma = frame.planes
    crop = replace(frame, planes=(luma[16:64, 20:80], *(plane[8:32, 10:40] for plane in chroma)))
    results = []
    for source in (frame, crop):
        nits = to_nits(to_signal(source) * 2, Primaries.BT709, LightMapping())
        results.append(to_planes(nits, Target(PQ, named("yuv420p10le"))))
    (whole, *whole_chroma), (part, *part_chroma) = results
    assert torch.equal(part[4:-4, 4:-4].int(), whole[20:60, 24:76].int())
    for wide, narrow in zip(whole_chroma, part_chroma, strict=True):
        assert torch.equal(narrow[4:-4, 4:-4].int(), wide[12:28, 14:36].int())


def test_a_grey_ramp_keeps_neutral_chroma_in_every_format() -> None:
    nits = (torch.linspace(0, 1, 200).square() * 1000).expand(1, 3, 9, 200)
    for color in (PQ, HLG):
        for name in ("yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le"):
            for dither in (False, True):
                planes = to_planes(nits, Target(color, named(name), dither))
                middle = 1 << (named(name).depth - 1)
                assert all((plane.int() == middle).all() for plane in planes[1:])


def test_dither_changes_less_than_a_code_and_keeps_the_mean() -> None:
    nits = torch.full((1, 3, 64, 64), 27.3)
    plain, dithered = (to_planes(nits, Target(PQ, named("yuv444p10le"), on))[0].double() for on in (False, True))
    exact = 64 + 876 * pq_from_nits(27.3)
    assert (dithered - plain).abs().max() == 1
    assert abs(dithered.mean().item() - exact) < 0.01 < abs(plain.mean().item() - exact)


def test_dither_of_one_plane_is_not_that_of_another() -> None:
    nits = torch.full((1, 3, 64, 64), 27.3)
    planes = to_planes(nits, Target(PQ_RGB, named("gbrp10le"), dither=True))
    ups = [plane.int() == plane.int().max() for plane in planes]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert 0.1 < (ups[one] != ups[other]).double().mean() < 0.6


def test_dither_leaves_black_alone() -> None:
    for name in ("yuv420p10le", "yuv420p12le"):
        planes = to_planes(torch.zeros(1, 3, 64, 64), Target(PQ, named(name), dither=True))
        assert set(planes[0].flatten().tolist()) == {16 << (named(name).depth - 8)}


def test_hlg_dims_what_would_exceed_it_and_keeps_the_hue() -> None:
    nits = torch.tensor([[0.0, 50.0, 1000.0], [10.0, 0.0, 900.0]]).T[None, :, None]
    planes = to_planes(nits, Target(replace(HLG, matrix=Matrix.RGB, range=Range.FULL), named("gbrp16le")))
    coded = torch.stack(planes)[:, 0].double() / 65535
    assert coded[2].tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    scene = torch.where(coded <= 0.5, coded**2 / 3, (torch.exp((coded - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    # The OOTF scales R, G and B alike, so their ratios are those of the display light.
    assert (scene[1, 0] / scene[2, 0]).item() == pytest.approx(50 / 1000, rel=1e-3)
    assert (scene[0, 1] / scene[2, 1]).item() == pytest.approx(10 / 900, rel=1e-3)


def test_linear_is_light_in_units_of_white() -> None:
    nits = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(5)) * 1000
    planes = to_planes(nits, Target(LINEAR, named("gbrpf32le")))
    assert all(plane.dtype == torch.float32 for plane in planes)
    torch.testing.assert_close(torch.stack(planes), nits[0] / 203)
    planes = to_planes(nits, Target(LINEAR, named("gbrpf32le"), white=100.0))
    torch.testing.assert_close(torch.stack(planes), nits[0] / 100)


def test_the_light_is_left_alone() -> None:
    nits = torch.rand(1, 3, 6, 6) * 1000
    kept = nits.clone()
    for color, name in (
        (PQ, "yuv420p10le"),
        (HLG, "yuv420p10le"),
        (PQ_RGB, "rgb48be"),
        (LINEAR, "gbrpf32le"),
    ):
        to_planes(nits, Target(color, named(name), dither=True))
        assert torch.equal(nits, kept)


def test_full_scale_rgb_uses_every_code() -> None:
    nits = torch.tensor([0.0, 10000.0]).expand(1, 3, 1, 2)
    for plane in to_planes(nits, Target(PQ_RGB, named("rgb48be"))):
        assert plane.tolist() == [[0, 65535]]
    for plane in to_planes(nits, Target(replace(PQ_RGB, range=Range.LIMITED), named("gbrp10le"))):
        assert plane.tolist() == [[64, 940]]


@pytest.mark.parametrize(
    ("color", "name", "words"),
    [
        (replace(PQ, primaries=Primaries.BT709), "yuv420p10le", "BT.2020"),
        (replace(PQ, transfer=Transfer.BT709), "yuv420p10le", "BT709"),
        (replace(PQ, chroma_location=ChromaLocation.LEFT), "yuv420p10le", "top-left"),
        (replace(PQ, matrix=Matrix.ICTCP), "yuv444p10le", "ICTCP"),
        (replace(PQ, range=Range.UNSPECIFIED), "yuv420p10le", "range"),
        (PQ, "gbrp16le", "matrix"),
        (PQ_RGB, "yuv444p10le", "matrix"),
        (PQ, "gray10le", "matrix"),
        (LINEAR, "gbrp16le", "LINEAR"),
        (replace(LINEAR, matrix=Matrix.BT2020_NCL), "yuv444p16le", "LINEAR"),
        (replace(LINEAR, transfer=Transfer.BT709), "gbrp16le", "BT709"),
    ],
)
def test_a_target_that_contradicts_itself_is_refused(color: ColorSpec, name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Target(color, named(name))


def test_sources_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(ValueError, match="YCGCO"):
        to_signal(random_frame("yuv444p", 4, 4, replace(BT709, matrix=Matrix.YCGCO)))
    with pytest.raises(ValueError, match="G, B and R"):
        to_signal(random_frame("yuv420p", 4, 4, replace(BT709, matrix=Matrix.RGB)))
    with pytest.raises(ValueError, match="not specified"):
        to_signal(random_frame("yuv420p", 4, 4, replace(BT709, range=Range.UNSPECIFIED)))


def test_top_left_chroma_lies_on_the_even_pixels() -> None:
    across, down = torch.linspace(1, 2, 41).view(1, 1, 1, -1), torch.linspace(1, 2, 33).view(1, 1, -1, 1)
    nits = torch.cat((40 * across * down, 20 * across * down, 90 - 20 * across * down), dim=1)
    small = to_planes(nits, Target(PQ, named("yuv420p16le")))
    full = to_planes(nits, Target(PQ, named("yuv444p16le")))
    inside = (slice(2, -2), slice(2, -2))
    for coarse, fine in zip(small[1:], full[1:], strict=True):
        here, beside, below = (fine.double()[row::2, column::2][:16, :20] for row, column in ((0, 0), (0, 1), (1, 0)))
        error = (coarse.double()[:16, :20] - here)[inside].abs().max()
        assert error <= 0.25 * (beside - here)[inside].abs().min()
        assert error <= 0.25 * (below - here)[inside].abs().min()
