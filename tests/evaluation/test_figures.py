from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hdrunet_video.training import images
from hdrunet_video.training.evaluation import figures
from hdrunet_video.training.evaluation.layouts import Pair
from hdrunet_video.training.evaluation.page import Page


def _pair() -> Pair:
    reference = 0.3 + 0.4 * torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0))
    reference[:, 30:40, 10:20] = 3.0
    return Pair("a b/ü", "a", reference.clamp(max=1.0), reference)


def test_kinds_columns_and_scales() -> None:
    pair = _pair()
    made = figures.figures(pair, {"good": pair.reference, "bad": pair.source * 0.5})
    assert [figure.column for figure in made[:4]] == ["SDR", "good", "bad", "reference"]
    assert len(made) == 5 * 4
    shown = {(figure.kind, figure.column): figure.codes for figure in made}
    assert shown[("mu-law view", "good")].shape == (48, 64, 3)
    assert np.array_equal(shown[("mu-law view", "good")], shown[("mu-law view", "reference")])
    assert shown[("crop 1", "SDR")].shape == (12 * 21, 12 * 21, 3)
    # No error is black, the clipped square is not.
    assert (shown[("error", "good")] == (0, 0, 4)).all()
    assert shown[("error", "SDR")][35, 15].max() > 60
    assert shown[("error", "bad")].mean() > shown[("error", "SDR")].mean()
    assert figures.sheet(made).shape[2] == 3
    assert "SDR" not in {figure.column for figure in figures.figures(pair, {"identity": pair.source})}


def test_crops_are_where_the_source_lost_most() -> None:
    pair = _pair()
    first, second = figures.choose_crops(pair.source, pair.reference)
    assert first.top <= 30
    assert first.top + first.size >= 40
    assert first.left <= 10
    assert first.left + first.size >= 20
    assert abs(first.top - second.top) >= first.size or abs(first.left - second.left) >= first.size


def test_scharr_of_a_ramp_is_its_slope() -> None:
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(11.0), indexing="ij")
    slopes = figures.scharr((0.03 * rows + 0.04 * columns).expand(3, 9, 11))
    assert slopes[1:-1, 1:-1] == pytest.approx(torch.full((7, 9), 0.05), abs=1e-6)
    assert figures.scharr(torch.ones(3, 5, 5)).abs().max() == 0.0


def test_black_and_nan_pictures_have_figures_too() -> None:
    black = Pair("black", "black", torch.zeros(3, 16, 16), torch.zeros(3, 16, 16))
    assert figures.figures(black, {"broken": torch.full((3, 16, 16), torch.nan)})


def test_page(tmp_path: Path) -> None:
    page, pair = Page(tmp_path), _pair()
    for _ in range(2):  # two pictures of one name do not overwrite each other
        page.add(pair.name, figures.figures(pair, {"m<1>": pair.source * 0.9}))
    text = page.write([]).read_text()
    names = [part.split('"')[0] for part in text.split('src="')[1:]]
    assert len(names) == len(set(names)) == 2 * 5 * 3
    for name in names:
        assert images.read_8bit(tmp_path / name).ndim == 3
    assert "m&lt;1&gt;" in text
    assert "m<1>" not in text
