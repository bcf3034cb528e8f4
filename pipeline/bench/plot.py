"""What was measured as one picture: bars of the network and of the stages, lines of the curves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .results import Results, Row

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_WIDTH, _LINE, _CHART = 960, 22, 260
_LEFT, _RIGHT = 250, 110
_MARKED = ("ours", "end to end")
_BAR, _OURS, _INK, _PALE = "#9db4d0", "#1f5fbf", "#202020", "#b0b0b0"


def plot(results: Results) -> bytes:
    """A PNG: median time of each contestant and stage at each size, and both curves, as far as they were measured."""
    from PIL import Image, ImageDraw

    groups = _groups(results)
    curves = [(title, points) for title, points in _curves(results) if points]
    height = 3 * _LINE + sum((len(rows) + 2) * _LINE for rows in groups.values()) + _CHART * len(curves)
    image = Image.new("RGB", (_WIDTH, height), "white")
    draw = ImageDraw.Draw(image)
    machine = results.machine
    draw.text((10, 8), f"{machine.device}, {machine.kind}, {machine.threads} threads, {machine.date} UTC", fill=_INK)
    draw.text((10, 24), f"hdrunet-video {machine.package}, torch {machine.torch}, load {machine.load:g}", fill=_INK)
    top = 3 * _LINE
    for title, rows in groups.items():
        draw.text((10, top), f"{title}, ms a frame (median; line: min to max)", fill=_INK)
        _bars(draw, top + _LINE, rows)
        top += (len(rows) + 2) * _LINE
    for title, points in curves:
        _line(draw, top, title, points)
        top += _CHART
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _groups(results: Results) -> dict[str, list[Row]]:
    """Rows that are compared with each other, by what they show."""
    groups: dict[str, list[Row]] = {}
    for part, title in (("network", "network"), ("stage", "stages"), ("end to end", "stages")):
        for row in results.of(part):
            if row.seconds:
                groups.setdefault(f"{title}, {row.width}x{row.height}", []).append(row)
    return groups


def _curves(results: Results) -> list[tuple[str, list[tuple[float, float]]]]:
    sizes = [row for row in results.of("sizes") if row.seconds and "in turns" not in row.name]
    films = [row for row in results.of("frames") if row.seconds and row.peak_bytes is not None]
    return [
        (
            "ns a pixel, over Mpixel",
            [(row.width * row.height / 1e6, row.median / row.width / row.height * 1e9) for row in sizes],
        ),
        (
            "peak memory in MiB, over the frames of a film",
            [(row.frames, (row.peak_bytes or 0) / 2**20) for row in films],
        ),
    ]


def _bars(draw: ImageDraw, top: int, rows: Sequence[Row]) -> None:
    # Longest median, not maximum: one disturbed round would make all bars short.
    scale = (_WIDTH - _LEFT - _RIGHT) / max(row.median for row in rows)
    for index, row in enumerate(rows):
        y = top + index * _LINE
        right = _LEFT + row.median * scale
        draw.text((10, y + 3), row.name, fill=_INK)
        draw.rectangle((_LEFT, y + 2, right, y + _LINE - 4), fill=_OURS if row.name.startswith(_MARKED) else _BAR)
        low, high = (_LEFT + min(limit * scale, _WIDTH - _LEFT) for limit in (min(row.seconds), max(row.seconds)))
        draw.line((low, y + _LINE // 2 - 1, high, y + _LINE // 2 - 1), fill=_INK)
        draw.text((_WIDTH - _RIGHT + 30, y + 3), f"{row.median * 1e3:.4g} ms", fill=_INK)


def _line(draw: ImageDraw, top: int, title: str, points: Sequence[tuple[float, float]]) -> None:
    """From zero in both directions, so that flat looks flat."""
    left, right, upper, lower = 70, _WIDTH - 30, top + 30, top + _CHART - 40
    widest, highest = max(x for x, _ in points), max(y for _, y in points) * 1.1 or 1.0
    draw.text((10, top + 8), title, fill=_INK)
    draw.rectangle((left, upper, right, lower), outline=_PALE)
    places = [(left + x / widest * (right - left), lower - y / highest * (lower - upper)) for x, y in points]
    if len(places) > 1:
        draw.line(places, fill=_OURS, width=2)
    for x, y in places:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=_OURS)
    draw.text((10, upper), f"{highest:.4g}", fill=_INK)
    draw.text((10, lower - 12), "0", fill=_INK)
    draw.text((right - 50, lower + 6), f"{widest:.4g}", fill=_INK)
