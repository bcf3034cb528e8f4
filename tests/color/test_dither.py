from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hdrunet_video.color.dither import dither_offset

CPU = torch.device("cpu")


def test_the_tile_can_be_made_again(tmp_path: Path) -> None:
    here = Path(__file__)
    again = tmp_path / "again.npy"
    subprocess.run([sys.executable, here.with_name("void_and_cluster.py"), again], check=True, timeout=60)
    ranks = np.load(again)
    assert ranks.dtype == np.uint16
    offset = dither_offset(64, 64, 0, CPU).numpy().astype(np.float64)
    np.testing.assert_array_equal(offset.argsort(axis=None), ranks.argsort(axis=None))
    np.testing.assert_array_equal(np.sort(ranks, axis=None), np.arange(4096))


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_a_tile_adds_nothing_and_never_a_whole_code(plane: int) -> None:
    tile = dither_offset(64, 64, plane, CPU)
    assert tile.double().sum() == 0
    assert 0.49 < tile.max() < 0.5
    assert -0.5 < tile.min() < -0.49
    steps = tile.flatten().double().sort().values.diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / 4128), rtol=0, atol=1e-7)


def test_the_tile_repeats_across_any_size() -> None:
    tile = dither_offset(64, 64, 1, CPU)
    wide = dither_offset(70, 200, 1, CPU)
    assert wide.shape == (70, 200)
    assert torch.equal(wide, tile.repeat(2, 4)[:70, :200])


def test_planes_start_elsewhere() -> None:
    tiles = [dither_offset(64, 64, plane, CPU).flatten() for plane in range(3)]
    correlation = torch.corrcoef(torch.stack(tiles))
    assert (correlation - torch.eye(3)).abs().max() < 0.1


def test_the_noise_is_blue() -> None:
    tile = dither_offset(64, 64, 0, CPU).numpy().astype(np.float64)
    power = np.abs(np.fft.fft2(tile)) ** 2 / (tile.size * tile.var())  # white noise is 1 everywhere
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    assert power[(frequency > 0) & (frequency < 0.1)].mean() < 1e-3
    assert power[(frequency > 0) & (frequency < 0.2)].mean() < 2e-2
    assert power[frequency > 0.3].mean() > 1.1
