"""One page at the end of a run: report.md, with the curves and held-out pictures as PNG beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .cache import write_error
from .checkpoint import revision
from .progress import strip
from .sources import units
from .validate import Pair, validate

if TYPE_CHECKING:
    from PIL import Image

    from .loop import Training

Series = Sequence[tuple[float, float]]
_SIZE, _MARGIN = (900, 260), 60


def write_report(training: Training, say: Callable[[str], None]) -> None:
    """Write report.md into the run's folder. Without Pillow it has no pictures."""
    folder = training.folder
    try:
        pictures = _pictures(training, folder)
    except ImportError:
        say("Pillow is not installed (pip install 'hdrunet-video[train]'): the report has no pictures")
        pictures = []
    try:
        (folder / "report.md").write_text(_page(training, pictures), encoding="utf-8")
    except OSError as error:
        raise write_error(error, folder / "report.md") from None
    say(f"report: {folder / 'report.md'}")


def _page(training: Training, pictures: list[str]) -> str:
    config, worker = training.config, training.worker
    source = validate(lambda x: x, training.pairs, worker.device)
    rows = [f"| the source itself | | {source.psnr_mu:.3f} | {source.psnr_l:.3f} | |"]
    for entry in _few(training.history, 12):
        rows.append(
            f"| {entry['iteration']:.0f} | {entry['minutes']:.1f} | {entry['psnr_mu']:.3f} | {entry['psnr_l']:.3f}"
            f" | {entry['better']:.0%} |"
        )
    held_units, size = units(picture.item for picture in training.pictures), config.data.validation_size
    speed = training.iteration / max(training.elapsed, 1e-9)
    facts = {
        "iterations": f"{training.iteration}, {training.elapsed / 60:.1f} min, {speed:.2f} it/s",
        "waiting for data": f"{training.waited / max(training.elapsed, 1e-9):.1%} of the time",
        "device": f"{worker.world} x {worker.device}, {str(worker.dtype or 'float32').removeprefix('torch.')}",
        "pictures": f"{len(training.pictures)} to train on, {len(training.held)} held out by {held_units}",
        "validation": f"{len(training.pairs)} of those, a window of at most {size}x{size} of each",
        "data": training.data,
        "revision": revision(),
        "last loss": f"{training.losses[-1][1]:.5f}" if training.losses else "none yet",
    }
    lines = ["# Training report", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]
    lines += [
        "",
        f"## Held-out {held_units}",
        "",
        "| iteration | minutes | PSNR-mu dB | PSNR-L dB | better than the source |",
    ]
    lines += ["|---|---|---|---|---|", *rows, "", *(f"![{name}]({name})\n" for name in pictures)]
    if len(pictures) > 1:
        lines += ["Held-out pictures: the source, the output, the truth, by one tone curve.", ""]
    lines += ["## Configuration", "", "```json", json.dumps(json.loads(config.as_json()), indent=1), "```", ""]
    return "\n".join(lines)


def _few[T](entries: Sequence[T], most: int) -> list[T]:
    """At most `most`, evenly spread, the first and the last among them."""
    if len(entries) <= most:
        return list(entries)
    return [entries[round(i * (len(entries) - 1) / (most - 1))] for i in range(most)]


def _pictures(training: Training, folder: Path) -> list[str]:

    def save(image: Image.Image, name: str) -> None:
        try:
            image.save(folder / name)
        except OSError as error:
            raise write_error(error, folder / name) from None

    curves: dict[str, Series] = {
        "training loss": [(each[0], each[1]) for each in training.losses],
        "held-out PSNR-mu, dB": [(each["iteration"], each["psnr_mu"]) for each in training.history],
        "held-out PSNR-L, dB": [(each["iteration"], each["psnr_l"]) for each in training.history],
    }
    save(_plots(curves), "curves.png")
    names = ["curves.png"]
    for index, pair in enumerate(training.pairs[: training.config.run.pictures]):
        names.append(f"held-out-{index}.png")
        save(_strip_image(pair, training.shipped, training.worker.device), names[-1])
    return names


def _strip_image(pair: Pair, network: Callable[[Tensor], Tensor], device: torch.device) -> Image.Image:
    from PIL import Image

    pixels = strip(pair, network, device).clamp(0, 1).permute(1, 2, 0).numpy()
    return Image.fromarray(np.rint(pixels * 255).astype(np.uint8))


def _plots(curves: dict[str, Series]) -> Image.Image:
    """Line plots below each other, each with its name and the ends of its axes."""
    from PIL import Image, ImageDraw

    width, height = _SIZE
    image = Image.new("RGB", (width, height * len(curves)), "white")
    draw = ImageDraw.Draw(image)
    for index, (name, series) in enumerate(curves.items()):
        top, bottom = index * height + 30, (index + 1) * height - 30
        left, right = _MARGIN, width - 20
        draw.rectangle((left, top, right, bottom), outline="#888888")
        draw.text((left, top - 18), name, fill="black")
        points = [(x, y) for x, y in series if np.isfinite(y)]
        if not points:
            continue
        (x0, x1), (y0, y1) = (_range([point[axis] for point in points]) for axis in (0, 1))
        line = [
            (left + (x - x0) / (x1 - x0) * (right - left), bottom - (y - y0) / (y1 - y0) * (bottom - top))
            for x, y in points
        ]
        if len(line) > 1:
            draw.line(line, fill="#1f5fbf", width=2)
        for x, y in line if len(line) < 50 else line[-1:]:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill="#1f5fbf")
        draw.text((4, top - 4), f"{y1:.4g}", fill="black")
        draw.text((4, bottom - 10), f"{y0:.4g}", fill="black")
        draw.text((left, bottom + 6), f"{x0:.0f}", fill="black")
        draw.text((right - 60, bottom + 6), f"{x1:.0f}", fill="black")
    return image


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
