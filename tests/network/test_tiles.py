"""Tiles: they cover the picture once, keep their halo, and come out as the whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.tiles import SMALLEST, choose_tile, run_in_tiles, smaller_tile

SIZES = st.integers(1, 60)


@settings(deadline=None, max_examples=60)
@given(width=SIZES, height=SIZES, across=st.integers(4, 40), down=st.integers(4, 40))
def test_every_pixel_is_given_once(width: int, height: int, across: int, down: int) -> None:
    signal = torch.arange(3 * width * height, dtype=torch.float32).reshape(1, 3, height, width)
    assert torch.equal(run_in_tiles(lambda piece: piece.clone(), signal, (across, down), (8, 4)), signal)


@pytest.mark.parametrize("blocks", [(0, 0, 0), (1, 1, 1), (0, 2, 1)])
@pytest.mark.parametrize("size", [(50, 121), (64, 64), (133, 30)])
def test_tiles_equal_the_whole(blocks: tuple[int, int, int], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = HDRUNet(HDRUNetConfig(channels=8, condition_channels=8, sft_channels=4, blocks=blocks)).double()
    signal = torch.rand(1, 3, *size, dtype=torch.float64)
    halo = network.halo
    assert halo is not None
    with torch.no_grad():
        tiled = run_in_tiles(network, signal, (24, 20), halo)
        assert torch.allclose(tiled, network(signal), rtol=0, atol=1e-12)


def test_a_smaller_halo_would_show() -> None:
    torch.manual_seed(0)
    network = HDRUNet(HDRUNetConfig(channels=8, condition_channels=8, sft_channels=4, blocks=(1, 1, 1))).double()
    signal = torch.rand(1, 3, 8, 160, dtype=torch.float64)
    with torch.no_grad():
        exact, short = network(signal), run_in_tiles(network, signal, (80, 8), (12, 12))
    assert (exact - short).abs().max() > 1e-9


def test_halo_of_the_paper_is_what_gradients_see() -> None:
    torch.manual_seed(0)
    network = HDRUNet(HDRUNetConfig(channels=8, condition_channels=8, sft_channels=4)).double()
    assert network.halo == (96, 92)
    signal = torch.rand(1, 3, 4, 288, dtype=torch.float64, requires_grad=True)
    network(signal)[..., 140:144].sum().backward()
    assert signal.grad is not None
    seen = signal.grad.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    assert 140 - 96 <= seen.min() <= seen.max() < 144 + 92


def test_auto_prefers_the_whole_then_the_least_work() -> None:
    halo = (96, 92)
    assert choose_tile(1920, 1080, halo, 1920 * 1080) is None
    tile = choose_tile(3840, 2160, halo, 4_500_000)
    assert tile is not None
    across, down = tile
    assert (min(across + 188, 3840)) * min(down + 188, 2160) <= 4_500_000
    assert tile == (1280, 2160)  # 9.1 Mpx with the halos; 2x2 would be 9.5, three strips 9.7
    assert choose_tile(3840, 2160, halo, 1000) == (SMALLEST, SMALLEST)
    assert choose_tile(1, 1, halo, 16) is None


def test_halving_ends_at_the_smallest() -> None:
    tile, seen = None, []
    while (tile := smaller_tile(500, 200, tile)) is not None:
        seen.append(tile)
    assert seen == [(252, 200), (128, 200), (128, 100), (64, 100), (64, 64)]
    assert smaller_tile(64, 20, None) is None


def test_output_dtype_is_the_networks() -> None:
    def narrow(piece: Tensor) -> Tensor:
        return piece.to(torch.float64)

    assert run_in_tiles(narrow, torch.rand(1, 3, 9, 9), (4, 4), (0, 0)).dtype is torch.float64
