from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hdrunet_video.training.cache import measure
from hdrunet_video.training.config import Degrade
from hdrunet_video.training.degrade import CODECS, Recipe, blur, degrade, draw, truth

from .conftest import light

CLEAN = Recipe(gain=2.0, gamma=2.24, shot=0.0, read=0.0, grain=0.0, soft=0.0, codec="none", quality=0.0, preset="rgb")
LIGHT = light(3, 64, 64)


def test_without_noise_and_codec_x_is_y_rounded_and_clipped() -> None:
    (x,) = degrade([LIGHT], CLEAN, np.random.default_rng(0))
    y = truth(LIGHT, CLEAN)
    assert np.abs(x - np.clip(y, 0, 1)).max() <= 0.5 / 255 + 1e-6
    np.testing.assert_allclose(y, (LIGHT.astype(np.float64) * 2) ** (1 / 2.24), rtol=1e-5)
    assert (y > 1.003).any()
    assert ((y <= 1.003) | (x == 1)).all()
    assert truth(LIGHT * 1e4, CLEAN).max() == pytest.approx(64 ** (1 / 2.24))


def test_noise_has_the_variance_that_the_recipe_says() -> None:
    flat = np.full((128, 128, 3), 0.1, np.float32)
    for grain in (0.0, 0.6):
        recipe = replace(CLEAN, shot=1e-3, read=1e-5, grain=grain)
        (x,) = degrade([flat], recipe, np.random.default_rng(5))
        noise = x.astype(np.float64) ** 2.24 - 0.2
        assert noise.std() == pytest.approx((1e-3 * 0.2 + 1e-5) ** 0.5, rel=0.05)
        assert abs(noise.mean()) < 3e-4


@pytest.mark.parametrize("name", CODECS)
def test_codecs_are_seeded_and_close(name: str) -> None:
    quality, preset = {"jpeg": (90, ""), "webp": (90, ""), "h264": (18, "medium"), "hevc": (18, "ultrafast")}.get(
        name, (0, "420")
    )
    recipe = replace(CLEAN, codec=name, quality=quality, preset=preset, shot=1e-4)
    frames = [np.roll(LIGHT, shift, axis=1) for shift in range(3)]
    first = degrade(frames, recipe, np.random.default_rng(7))
    for size in range(1000, 200_000, 20_000):
        np.random.default_rng(size).bytes(size)  # what is left in memory must not matter
        second = degrade(frames, recipe, np.random.default_rng(7))
    assert len(first) == 3
    for x, again, frame in zip(first, second, frames, strict=True):
        assert x.dtype == np.float32
        assert x.shape == frame.shape
        assert np.array_equal(x, again)
        assert 0 <= x.min() <= x.max() <= 1
        assert np.abs(x - np.clip(truth(frame, recipe), 0, 1)).mean() < 0.02
    assert not np.array_equal(degrade(frames, recipe, np.random.default_rng(8))[0], first[0])


@pytest.mark.parametrize("name", ["h264", "hevc"])
def test_small_and_odd_pictures(name: str) -> None:
    frames = [light(2, 19, 34)] * 2
    recipe = replace(CLEAN, codec=name, quality=14, preset="ultrafast")
    coded = degrade(frames, recipe, np.random.default_rng(0))
    assert [each.shape for each in coded] == [(19, 34, 3)] * 2
    assert np.abs(coded[1] - np.clip(truth(frames[1], recipe), 0, 1)).mean() < 0.03


@pytest.mark.parametrize("name", ["h264", "hevc"])
def test_lower_quality_is_farther_away(name: str) -> None:
    errors = []
    for crf in (12, 40):
        recipe = replace(CLEAN, codec=name, quality=crf, preset="ultrafast")
        x = degrade([LIGHT] * 2, recipe, np.random.default_rng(0))[1]
        errors.append(np.square(x - np.clip(truth(LIGHT, recipe), 0, 1)).mean())
    assert errors[1] > 2 * errors[0]


def test_recipes_are_drawn_as_the_configuration_says() -> None:
    config, levels = Degrade(), measure(LIGHT)
    recipes = [draw(config, levels, np.random.default_rng(seed)) for seed in range(400)]
    assert recipes[7] == draw(config, levels, np.random.default_rng(7))
    assert np.mean([recipe.shot == 0 for recipe in recipes]) == pytest.approx(0.15, abs=0.06)
    assert np.mean([recipe.gamma == 2.24 for recipe in recipes]) == pytest.approx(0.5, abs=0.08)
    assert {recipe.codec for recipe in recipes} == set(CODECS)
    assert np.mean([recipe.codec == "h264" for recipe in recipes]) == pytest.approx(0.35, abs=0.08)
    clipped = [(LIGHT.max(-1) * recipe.gain > 1).mean() for recipe in recipes]
    assert 0.005 < np.median(clipped) < 0.1
    assert max(clipped) <= 0.21
    medians = [levels.median * recipe.gain for recipe in recipes]
    assert 0.015 * 0.99 < min(medians) < max(medians) < 0.6 * 1.01
    only = draw(replace(config, codecs=(0, 0, 0, 0, 1)), levels, np.random.default_rng(1))
    assert only.codec == "hevc"
    assert 16 <= only.quality <= 34


def test_blur_keeps_the_mean_and_spreads_by_sigma() -> None:
    point = np.zeros((21, 21, 1), np.float32)
    point[10, 10] = 1
    spread = blur(point, 0.8)
    assert spread.sum() == pytest.approx(1, abs=1e-6)
    assert (spread[..., 0].sum(0) * (np.arange(21) - 10) ** 2).sum() == pytest.approx(0.64, rel=0.05)
