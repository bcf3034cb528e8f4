from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hdrunet_video.color.chroma import downsample_chroma, upsample_chroma
from hdrunet_video.color.spec import ChromaLocation

SHIFTS = {"420": (1, 1), "422": (1, 0), "440": (0, 1), "411": (2, 0), "410": (2, 2), "444": (0, 0)}

# (subsampling, location): column and row of luma on which the first chroma sample lies, H.273 figure 1.
SITES = {
    ("420", ChromaLocation.LEFT): (0, 0.5),
    ("420", ChromaLocation.CENTER): (0.5, 0.5),
    ("420", ChromaLocation.TOP_LEFT): (0, 0),
    ("420", ChromaLocation.TOP): (0.5, 0),
    ("420", ChromaLocation.BOTTOM_LEFT): (0, 1),
    ("420", ChromaLocation.BOTTOM): (0.5, 1),
    ("422", ChromaLocation.LEFT): (0, 0),
    ("422", ChromaLocation.CENTER): (0.5, 0),
    ("440", ChromaLocation.LEFT): (0, 0.5),
    ("411", ChromaLocation.LEFT): (0, 0),
    ("411", ChromaLocation.CENTER): (1.5, 0),
    ("410", ChromaLocation.LEFT): (0, 1.5),
    ("410", ChromaLocation.CENTER): (1.5, 1.5),
    ("444", ChromaLocation.LEFT): (0, 0),
}


def ramp(columns: Tensor, rows: Tensor) -> Tensor:
    """(2, rows, columns): two planes that rise linearly."""
    plane = 0.003 * columns[None, :] - 0.002 * rows[:, None]
    return torch.stack((plane, 0.1 - 2 * plane))


@pytest.mark.parametrize("site", SITES, ids=lambda site: f"{site[0]}-{site[1].name}")
def test_a_ramp_comes_back_from_where_it_was_sampled(site: tuple[str, ChromaLocation]) -> None:
    shift = SHIFTS[site[0]]
    width, height = 38, 27
    columns = torch.arange(0, width, 1 << shift[0]) + SITES[site][0]
    rows = torch.arange(0, height, 1 << shift[1]) + SITES[site][1]
    chroma = ramp(columns, rows)
    full = upsample_chroma(chroma, (height, width), shift, site[1])
    expected = ramp(torch.arange(width), torch.arange(height))
    inside = (..., slice(8, -8), slice(8, -8))
    torch.testing.assert_close(full[inside], expected[inside], rtol=0, atol=1e-6)


def test_a_ramp_survives_the_way_down() -> None:
    full = ramp(torch.arange(37), torch.arange(26))
    for shift in ((1, 1), (1, 0), (0, 1)):
        columns, rows = torch.arange(0, 37, 1 << shift[0]), torch.arange(0, 26, 1 << shift[1])
        small = downsample_chroma(full, shift)
        inside = (..., slice(2, -2), slice(2, -2))
        torch.testing.assert_close(small[inside], ramp(columns, rows)[inside], rtol=0, atol=1e-6)


def test_the_weights_upwards_are_cubic() -> None:
    impulse = torch.zeros(1, 1, 9)
    impulse[..., 4] = 1
    co_sited = upsample_chroma(impulse, (1, 18), (1, 0), ChromaLocation.LEFT)[0, 0]
    assert (co_sited[5:12] * 16).tolist() == [-1, 0, 9, 16, 9, 0, -1]
    between = upsample_chroma(impulse, (1, 18), (1, 0), ChromaLocation.CENTER)[0, 0]
    quarter = [-0.0234375, -0.0703125, 0.2265625, 0.8671875]
    assert between[5:13].tolist() == [*quarter, *reversed(quarter)]


def test_the_weights_downwards_are_half_band() -> None:
    for axis, shift in ((-1, (1, 0)), (-2, (0, 1))):
        responses = []
        for place in range(5, 12):
            impulse = torch.zeros(1, 17, 17)
            impulse.select(axis, place).fill_(1)
            responses.append(downsample_chroma(impulse, shift).select(axis, 4)[0, 8].item() * 32)
        assert responses == [-1, 0, 9, 16, 9, 0, -1]


def test_the_finest_stripes_vanish_downwards() -> None:
    stripes = torch.tensor([1.0, -1.0]).repeat(10).expand(1, 20, 20)
    assert downsample_chroma(stripes, (1, 1))[..., 2:-2].abs().max() < 1e-6


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (2, 3), (3, 2), (7, 9)])
@pytest.mark.parametrize("location", ChromaLocation)
def test_flat_chroma_stays_flat_at_any_size(name: str, size: tuple[int, int], location: ChromaLocation) -> None:
    shift = SHIFTS[name]
    rows, columns = (-(-length // (1 << bits)) for length, bits in zip(size, reversed(shift), strict=True))
    full = upsample_chroma(torch.full((2, rows, columns), 0.375), size, shift, location)
    assert full.shape == (2, *size)
    torch.testing.assert_close(full, torch.full_like(full, 0.375))
    if max(shift) < 2:
        small = downsample_chroma(full, shift)
        assert small.shape == (2, rows, columns)
        torch.testing.assert_close(small, torch.full_like(small, 0.375))


@pytest.mark.parametrize("location", [ChromaLocation.LEFT, ChromaLocation.CENTER, ChromaLocation.TOP_LEFT])
def test_only_near_samples_matter(location: ChromaLocation) -> None:
    chroma = torch.rand(2, 40, 40, generator=torch.Generator().manual_seed(1))
    whole = upsample_chroma(chroma, (80, 80), (1, 1), location)
    part = upsample_chroma(chroma[:, 5:25, 7:27], (40, 40), (1, 1), location)
    assert torch.equal(part[:, 4:-4, 4:-4], whole[:, 14:46, 18:50])
    small = downsample_chroma(whole, (1, 1))
    small_part = downsample_chroma(whole[:, 10:50, 14:54], (1, 1))
    assert torch.equal(small_part[:, 2:-2, 2:-2], small[:, 7:23, 9:25])


def test_a_factor_without_a_filter_is_refused() -> None:
    with pytest.raises(ValueError, match="4 times"):
        downsample_chroma(torch.zeros(2, 8, 8), (2, 0))
