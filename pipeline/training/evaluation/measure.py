"""Pairs and models -> rows of values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from ...metrics.colorvideovdp import jod
from ...metrics.delta_e_itp import delta_e_itp
from ...metrics.exposed import dark_noise, exposed_stops
from ...metrics.flicker import flicker as flicker_of
from ...metrics.flicker import still_and_moving
from ...metrics.psnr import psnr_l, psnr_mu
from ...metrics.pu21 import pu21_psnr
from .layouts import Item, Pair
from .models import Model

FLICKER_SIZE = 128
"""Side in pixels of the middle of a picture on which flicker is measured: 24 frames of it take a while."""
FLICKER_LEAST = 64
"""Side in pixels of the smallest picture that flicker is measured on."""


@dataclass(frozen=True)
class Measure:
    """One column of the tables."""

    key: str
    """Its name in CSV."""
    title: str
    unit: str
    decimals: int
    goal: str
    """`high`, `low` or `zero`: what is better."""


MEASURES = (
    Measure("psnr_mu", "PSNR-mu", "dB", 2, "high"),
    Measure("psnr_l", "PSNR-L", "dB", 2, "high"),
    Measure("pu21_psnr", "PU21-PSNR", "dB", 2, "high"),
    Measure("delta_e_itp", "dE-ITP", "", 2, "low"),
    Measure("exposed_stops", "exposed", "stops", 3, "zero"),
    Measure("dark_noise", "dark noise", "codes", 2, "low"),
)
FLICKER = (
    Measure("flicker_still", "flicker still", "of source", 2, "low"),
    Measure("flicker_pan", "flicker pan", "of source", 2, "low"),
    Measure("flicker_alias", "added by motion", "codes", 2, "low"),
)
CODED = (Measure("flicker_coded", "flicker H.264 pan", "of source", 2, "low"),)
COLORVIDEOVDP = (Measure("cvvdp", "ColorVideoVDP", "JOD", 2, "high"),)


@dataclass(frozen=True)
class Row:
    """The values of one model on one picture, by the key of the measure."""

    model: str
    name: str
    scene: str
    values: dict[str, float]


def measure_all(
    items: Iterable[Item],
    models: Sequence[Model],
    *,
    flicker: bool = False,
    colorvideovdp: bool = False,
    seen: Callable[[Pair, dict[str, Tensor]], None] = lambda pair, results: None,
) -> Iterator[Row]:
    """A row for each picture and model. `seen` gets each pair with all results, by label, once they are there."""
    for item in items:
        pair = item.load()
        results = {}
        for model in models:
            results[model.label] = result = model(pair.source[None])[0]
            values = compare(result, pair)
            if flicker:
                values |= _flicker(model, pair.source) | _coded_flicker(model, item)
            if colorvideovdp:
                values["cvvdp"] = jod(result, pair.reference)
            yield Row(model.label, pair.name, pair.scene, values)
        seen(pair, results)


def compare(result: Tensor, pair: Pair) -> dict[str, float]:
    """The values of MEASURES for a result, a signal (3, H, W)."""
    return {
        "psnr_mu": psnr_mu(result, pair.reference),
        "psnr_l": psnr_l(result, pair.reference),
        "pu21_psnr": pu21_psnr(result, pair.reference),
        "delta_e_itp": delta_e_itp(result, pair.reference),
        "exposed_stops": exposed_stops(result, pair.reference, pair.source),
        "dark_noise": dark_noise(result, pair.reference),
    }


def _flicker(model: Model, source: Tensor) -> dict[str, float]:
    height, width = source.shape[-2:]
    if min(height, width) < FLICKER_LEAST:
        return {each.key: math.nan for each in FLICKER}
    top, left = max(height - FLICKER_SIZE, 0) // 2, max(width - FLICKER_SIZE, 0) // 2
    found = still_and_moving(model, source[:, top : top + FLICKER_SIZE, left : left + FLICKER_SIZE])
    return {
        "flicker_still": found["still"].ratio,
        "flicker_pan": found["pan"].ratio,
        "flicker_alias": found["alias"].result,
    }


def _coded_flicker(model: Model, item: Item) -> dict[str, float]:
    if item.clip is None:
        return {}
    clip, offsets = item.clip()
    return {"flicker_coded": flicker_of(model, clip, offsets).ratio if len(clip) else math.nan}
