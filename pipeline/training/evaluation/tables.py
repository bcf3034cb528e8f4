"""Rows of values -> tables as text, Markdown and CSV: each picture, means with their intervals, gains over a model."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...metrics.bootstrap import Interval, mean_interval
from .measure import Measure, Row


@dataclass(frozen=True)
class Table:
    """A title, the names of the columns, and lines of cells as they are shown."""

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """Columns of equal width; the first is aligned to the left."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.lines, strict=True)]
        lines = [
            "  ".join(cell.ljust(w) if index == 0 else cell.rjust(w) for index, (cell, w) in enumerate(zipped)).rstrip()
            for zipped in (list(zip(line, widths, strict=True)) for line in (self.header, *self.lines))
        ]
        return "\n".join((self.title, "", *lines, ""))

    def markdown(self) -> str:
        """A table of GitHub's Markdown."""
        rule = ("---", *("---:" for _ in self.header[1:]))
        lines = [[cell.replace("|", "\\|") for cell in line] for line in (self.header, rule, *self.lines)]
        return "\n".join((f"## {self.title}", "", *(f"| {' | '.join(line)} |" for line in lines), ""))


def means(rows: Sequence[Row], measures: Sequence[Measure], seed: int = 0, unit: str = "scene") -> Table:
    """The mean of each model with its 95 % interval; `unit` is what the rows call a scene."""
    lines = []
    for model in _models(rows):
        intervals = [interval(rows, model, measure, seed) for measure in measures]
        lines.append((model, *(_mean(found, each) for found, each in zip(intervals, measures, strict=True))))
    pictures, scenes = len({row.name for row in rows}), len({row.scene for row in rows})
    counted = f"{pictures} picture{'s' * (pictures != 1)} of {scenes} {unit}{'s' * (scenes != 1)}"
    title = f"Means over {counted}, with 95 % intervals (bootstrap over {unit}s)"
    return Table(title, ("model", *map(_heading, measures)), tuple(lines))


def gains(rows: Sequence[Row], measures: Sequence[Measure], over: str, seed: int = 0) -> Table:
    """What each model gains over another one, picture by picture, and on how many pictures it is the better one."""
    lines = []
    for model in _models(rows):
        if model == over:
            continue
        cells = []
        for measure in measures:
            differences, scenes = gain_values(rows, measure, model, over)
            better = sum(difference > 0.0 for difference in differences)
            counted = sum(not math.isnan(difference) for difference in differences)
            cells.append(
                f"{_mean(mean_interval(differences, scenes, seed=seed), measure, sign=True)} {better}/{counted}"
            )
        lines.append((model, *cells))
    title = f"Better than {over} by (mean, 95 % interval, on how many pictures)"
    return Table(title, ("model", *map(_heading, measures)), tuple(lines))


def gain_values(rows: Sequence[Row], measure: Measure, model: str, over: str) -> tuple[list[float], list[str]]:
    """By how much `model` is better than `over` (positive) on each picture, and the scenes of the pictures."""
    before = {row.name: _goodness(row.values[measure.key], measure) for row in rows if row.model == over}
    chosen = [row for row in rows if row.model == model]
    differences = [_goodness(row.values[measure.key], measure) - before[row.name] for row in chosen]
    return differences, [row.scene for row in chosen]


def pictures(rows: Sequence[Row], measures: Sequence[Measure]) -> Table:
    """One line for each picture and model."""
    lines = [
        (row.name, row.model, *(_number(row.values[each.key], each.decimals) for each in measures)) for row in rows
    ]
    return Table("Each picture", ("picture", "model", *map(_heading, measures)), tuple(lines))


def pictures_csv(rows: Sequence[Row], measures: Sequence[Measure]) -> str:
    """One line for each picture and model, at full precision; what has no value is empty."""
    lines = [(row.name, row.scene, row.model, *(_full(row.values[each.key]) for each in measures)) for row in rows]
    return _csv(("picture", "scene", "model", *(each.key for each in measures)), lines)


def means_csv(rows: Sequence[Row], measures: Sequence[Measure], seed: int = 0) -> str:
    """One line for each model and measure: mean and interval, and of how many pictures and scenes."""
    lines = []
    for model in _models(rows):
        for measure in measures:
            found = interval(rows, model, measure, seed)
            numbers = (_full(found.mean), _full(found.low), _full(found.high), str(found.values), str(found.scenes))
            lines.append((model, measure.key, measure.unit, *numbers))
    return _csv(("model", "measure", "unit", "mean", "low", "high", "pictures", "scenes"), lines)


def interval(rows: Sequence[Row], model: str, measure: Measure, seed: int = 0) -> Interval:
    """The mean of one model's values and its interval."""
    chosen = [row for row in rows if row.model == model]
    return mean_interval([row.values[measure.key] for row in chosen], [row.scene for row in chosen], seed=seed)


def _models(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.model for row in rows))


def _goodness(value: float, measure: Measure) -> float:
    return {"high": value, "low": -value, "zero": -abs(value)}[measure.goal]


def _heading(measure: Measure) -> str:
    return f"{measure.title} ({measure.unit})" if measure.unit else measure.title


def _number(value: float, decimals: int, sign: bool = False) -> str:
    return "-" if math.isnan(value) else f"{value:{'+' if sign else ''}.{decimals}f}"


def _mean(found: Interval, measure: Measure, sign: bool = False) -> str:
    shown = [_number(value, measure.decimals, sign) for value in (found.mean, found.low, found.high)]
    return shown[0] if math.isnan(found.low) else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _full(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _csv(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerows((header, *lines))
    return output.getvalue()
