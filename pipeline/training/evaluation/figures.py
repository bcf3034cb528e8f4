"""Pictures of one pair and its results, as in the paper: mu-law views, zoomed crops, Scharr gradients, errors.

All views share the mu-law of PSNR-mu with the norm of the reference, so equal light looks equal in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...metrics.light import linear
from ...metrics.psnr import mu_law, norm_of
from ..images import Bytes
from .layouts import Pair

SOURCE, REFERENCE = "SDR", "reference"
"""Columns beside the models; SDR only where none of them leaves it as it is."""
VIEW, CROPS, GRADIENT, ERROR = "mu-law view", ("crop 1", "crop 2"), "Scharr gradient", "error"
"""Kinds of pictures."""
ERROR_WHITE, GRADIENT_WHITE = 0.2, 0.25
"""Mu-law difference, and gradient a pixel, at the bright end of the scale."""
_CROP_SHARE = 4
_CROP_HEIGHT = 256
_FRAMES = ((255, 64, 64), (64, 160, 255))
_HEAT = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))
_SCHARR = ((-3.0, 0.0, 3.0), (-10.0, 0.0, 10.0), (-3.0, 0.0, 3.0))


@dataclass(frozen=True)
class Box:
    """A square of a picture."""

    top: int
    left: int
    size: int


@dataclass(frozen=True)
class Figure:
    """One picture, (H, W, 3), of a kind and a column (a model's label, SOURCE or REFERENCE)."""

    kind: str
    column: str
    codes: Bytes


def figures(pair: Pair, results: Mapping[str, Tensor]) -> list[Figure]:
    """All pictures of a pair, row by row. results: signals (3, H, W) by label."""
    norm = norm_of(pair.reference)
    norm = norm if norm > 0.0 else 1.0
    signals = {SOURCE: pair.source, **results, REFERENCE: pair.reference}
    if any(torch.equal(result, pair.source) for result in results.values()):
        del signals[SOURCE]  # identity is among the models
    views = {column: mu_law(linear(signal), norm) for column, signal in signals.items()}
    boxes = choose_crops(mu_law(linear(pair.source), norm), views[REFERENCE])
    made = [Figure(VIEW, column, _framed(_codes(view), boxes)) for column, view in views.items()]
    for kind, box in zip(CROPS, boxes, strict=False):
        made += [Figure(kind, column, zoom(_codes(view), box)) for column, view in views.items()]
    made += [Figure(GRADIENT, column, heat(scharr(view) / GRADIENT_WHITE)) for column, view in views.items()]
    errors = {column: (view - views[REFERENCE]).abs().mean(dim=0) for column, view in views.items()}
    return made + [Figure(ERROR, column, heat(error / ERROR_WHITE)) for column, error in errors.items()]


def sheet(made: list[Figure]) -> Bytes:
    """All figures of a pair in one picture: a row for each kind, a column for each model, as the list has them."""
    kinds = list(dict.fromkeys(figure.kind for figure in made))
    rows = [[figure.codes for figure in made if figure.kind == kind] for kind in kinds]
    width = max(codes.shape[1] for row in rows for codes in row)
    gap = 4
    lines = []
    for row in rows:
        cells = [
            np.pad(codes, ((0, gap), (0, width - codes.shape[1] + gap), (0, 0)), constant_values=255) for codes in row
        ]
        lines.append(np.concatenate(cells, axis=1))
    return np.concatenate(lines, axis=0)


def choose_crops(source: Tensor, reference: Tensor) -> list[Box]:
    """The two squares, apart from each other, where the source lost most: mu-law views, (3, H, W)."""
    lost = (source - reference).abs().mean(dim=0)
    height, width = lost.shape
    size = max(min(height, width) // _CROP_SHARE, 1)
    sums = F.avg_pool2d(lost[None, None], size, stride=1)[0, 0]
    boxes = []
    for _ in CROPS:
        if not bool((sums > -1.0).any()):
            break
        top, left = divmod(int(sums.argmax()), sums.shape[1])
        boxes.append(Box(top, left, size))
        sums[max(top - size + 1, 0) : top + size, max(left - size + 1, 0) : left + size] = -1.0
    return boxes


def scharr(view: Tensor) -> Tensor:
    """Length of the gradient of the mean of R, G, B, change a pixel, by Scharr's 3 x 3 kernels: (3, H, W) -> (H, W)."""
    kernel = torch.tensor(_SCHARR, dtype=view.dtype) / 32.0
    padded = F.pad(view.mean(dim=0)[None, None], (1, 1, 1, 1), mode="replicate")
    across, down = F.conv2d(padded, torch.stack((kernel, kernel.T))[:, None])[0]
    return torch.hypot(across, down)


def heat(values: Tensor) -> Bytes:
    """(H, W), 0..1 (clipped), as black, purple, orange, yellow: (H, W, 3)."""
    scale = np.linspace(0.0, 1.0, len(_HEAT))
    shown = values.nan_to_num(1.0).clamp(0.0, 1.0).numpy()
    channels = [np.interp(shown, scale, [color[index] for color in _HEAT]) for index in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def zoom(codes: Bytes, box: Box) -> Bytes:
    """A box of a picture, its pixels repeated until it is about as high as a small picture."""
    factor = max(round(_CROP_HEIGHT / box.size), 1)
    crop = codes[box.top : box.top + box.size, box.left : box.left + box.size]
    return crop.repeat(factor, axis=0).repeat(factor, axis=1)


def _codes(view: Tensor) -> Bytes:
    codes: Bytes = (view.nan_to_num(0.0).clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return codes


def _framed(codes: Bytes, boxes: list[Box]) -> Bytes:
    codes = codes.copy()
    for box, color in zip(boxes, _FRAMES, strict=False):
        bottom, right = box.top + box.size - 1, box.left + box.size - 1
        codes[[box.top, bottom], box.left : right + 1] = color
        codes[box.top : bottom + 1, [box.left, right]] = color
    return codes
