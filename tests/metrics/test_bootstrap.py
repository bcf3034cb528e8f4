from __future__ import annotations

import math

import numpy as np
import pytest

from hdrunet_video.metrics.bootstrap import mean_interval


def test_interval_of_independent_values_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(30.0, 2.0, 400).tolist()
    found = mean_interval(values, [str(index) for index in range(400)], draws=4000)
    error = np.std(values) / 20.0
    assert found.mean == pytest.approx(np.mean(values))
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.02)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.02)
    assert (found.values, found.scenes) == (400, 400)


def test_the_same_arguments_give_the_same_interval_in_any_order() -> None:
    values, scenes = [float(index**2 % 17) / 3 for index in range(40)], [f"s{index % 13}" for index in range(40)]
    first = mean_interval(values, scenes)
    assert mean_interval(values, scenes) == first
    assert mean_interval(values[::-1], scenes[::-1]) == first
    assert mean_interval(values, scenes, seed=1) != first


def test_views_of_one_scene_do_not_make_it_surer() -> None:
    values = [20.0, 30.0, 25.0, 35.0]
    few = mean_interval(values, list("abcd"))
    many = mean_interval([value for value in values for _ in range(10)], [name for name in "abcd" for _ in range(10)])
    assert (many.low, many.high) == pytest.approx((few.low, few.high))
    assert many.mean == few.mean


def test_edges() -> None:
    nan = math.nan
    assert mean_interval([1.0, nan, 3.0], ["a", "b", "c"]).mean == 2.0
    assert mean_interval([1.0, nan, 3.0], ["a", "b", "c"]).values == 2
    one = mean_interval([1.0, 3.0], ["a", "a"])
    assert one.mean == 2.0
    assert math.isnan(one.low)
    assert math.isnan(mean_interval([], []).mean)
    assert mean_interval([math.inf, 1.0], ["a", "b"]).mean == math.inf
    with pytest.raises(ValueError, match="1 values of 2"):
        mean_interval([1.0], ["a", "b"])
