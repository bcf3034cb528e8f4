"""Which held-out pictures are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hdrunet_video.training.cache import Picture, measure
from hdrunet_video.training.config import Config, Data, Source
from hdrunet_video.training.sources import Item
from hdrunet_video.training.validate import held_out_pairs


def pictures(folder: Path, count: int, black: Sequence[int] = ()) -> list[Picture]:
    """Pairs of NTIRE 2021, each with a number of its own; a black one has one bright pixel."""
    made = []
    for number in range(count):
        y = np.full((10, 10, 3), 0.0 if number in black else 0.5, np.float16)
        y[5, 5, 0] = 1.5
        files = tuple(folder / f"{number}.{part}.npy" for part in "xy")
        for path, content in zip(files, (np.rint(y.clip(0, 1) * 255).astype(np.uint8), y), strict=True):
            np.save(path, content)
        item = Item(f"{number:04d}_medium.png", f"{number:04d}", "pair", files)
        made.append(Picture(item, str(number), files, measure(y)))
    return made


def numbers(made: list[Picture], most: int) -> list[int]:
    config = Config(source=(Source("."),), data=Data(patch=8, validation_views=most, validation_size=8))
    return [int(pair.name[:4]) for pair in held_out_pairs(made, config)]


def test_frames_are_spread_over_all_that_are_held_out(tmp_path: Path) -> None:
    made = pictures(tmp_path, 40)
    chosen = numbers(made, 12)
    assert len(set(chosen)) == 12
    assert all(sum(first <= each < first + 10 for each in chosen) >= 1 for first in range(0, 40, 10))
    assert numbers(made, 20)[:12] == chosen
    assert numbers(made[::-1], 12) == chosen


def test_black_pictures_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert set(numbers(pictures(tmp_path, 6, black=(1, 4)), 6)) == {0, 2, 3, 5}
    assert "2 held-out pictures are black" in caplog.text
    assert len(numbers(pictures(tmp_path, 6, black=(1, 4)), 3)) == 3
