"""Confidence intervals of a mean over pictures, by drawing whole scenes again (Efron's percentile bootstrap).

Views of one scene are not independent, so scenes are drawn, with all of their pictures (a cluster bootstrap).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its confidence interval; NaN where there are no values, and no ends for one scene."""

    mean: float
    low: float
    high: float
    values: int
    """How many values the mean is of."""
    scenes: int


def mean_interval(
    values: Sequence[float], scenes: Sequence[str], confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> Interval:
    """The mean of `values`, one a picture, `scenes` naming the scene of each. NaN values do not count.

    The same arguments give the same interval.
    """
    if len(values) != len(scenes):
        raise ValueError(f"{len(values)} values of {len(scenes)} scenes")
    by_scene: dict[str, list[float]] = {}
    for value, scene in zip(values, scenes, strict=True):
        if not math.isnan(value):
            by_scene.setdefault(scene, []).append(value)
    # In the order of the names, so that the order of the pictures does not matter.
    groups = [by_scene[scene] for scene in sorted(by_scene)]
    counted = sum(map(len, groups))
    if not groups:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    sums, counts = np.array([math.fsum(group) for group in groups]), np.array([len(group) for group in groups])
    mean = math.fsum(sums) / counted
    if len(groups) == 1 or math.isinf(mean):
        return Interval(mean, math.nan, math.nan, counted, len(groups))
    picked = np.random.default_rng(seed).integers(0, len(groups), (draws, len(groups)))
    means = sums[picked].sum(axis=1) / counts[picked].sum(axis=1)
    low, high = np.quantile(means, ((1 - confidence) / 2, (1 + confidence) / 2))
    return Interval(mean, float(low), float(high), counted, len(groups))
