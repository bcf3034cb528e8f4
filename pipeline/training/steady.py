"""Stability in time as a loss, after Eilertsen, Mantiuk and Unger (CVPR 2019, arXiv 1902.10424), on pairs of frames.

Theirs: the second frame is the first under a small affine transform, with Gaussian noise. Ours besides: two frames of a
moving camera, each with noise of its own, from one coded clip. Both come with the `motion` that maps pixels of the
second frame to pixels of the first. Differences are taken in the domain of the loss, not in log luminance, and
everywhere that both frames see, not only near clipped pixels: flicker of noise is everywhere.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_BORDER = 2.0
"""Pixels this near to the edge of the first frame do not count: interpolation and padding reach there."""


def unsteadiness(
    output: Tensor, target: Tensor, motion: Tensor, kind: Literal["invariance", "jacobian"]
) -> tuple[Tensor, Tensor]:
    """What should be 0, (B, 3, H, W), and where it counts, (B, 1, H, W) of 0 and 1.

    invariance: f(x2) - T f(x1). jacobian: f(x2) - f(x1) - (y2 - y1). (B, 2, 3, H, W), (B, 3, 3).
    """
    first, second = output.unbind(dim=1)
    if kind == "jacobian":
        before, after = target.unbind(dim=1)
        return (second - first) - (after - before), torch.ones_like(first[:, :1])
    moved, seen = warp(first, motion)
    return second - moved, seen


def warp(picture: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) sampled at motion * pixel, bilinear, and (B, 1, H, W) 1 where the sample lies well inside."""
    height, width = picture.shape[-2:]
    rows = torch.arange(height, dtype=motion.dtype, device=motion.device)
    columns = torch.arange(width, dtype=motion.dtype, device=motion.device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(-1, 3)  # (H W, 3)
    sampled = pixels @ motion.transpose(-1, -2)  # (B, H W, 3)
    at = (sampled[..., :2] / sampled[..., 2:]).reshape(-1, height, width, 2)
    # Filled on the device: to copy them there, a GPU's host would wait for all that it was given before.
    size = torch.stack([torch.full((), side, dtype=at.dtype, device=at.device) for side in (width, height)])
    inside = ((at >= _BORDER) & (at <= size - 1 - _BORDER)).all(dim=-1, keepdim=True)
    moved = F.grid_sample(picture, (2 * at + 1) / size - 1, padding_mode="border", align_corners=False)
    return moved, inside.permute(0, 3, 1, 2).to(picture.dtype)


def transform_pair(x: Tensor, y: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, np.ndarray]:
    """(1, 3, H, W) x and y -> both with a second frame, the first transformed (and of x with noise), and the motion.

    As published: up to 2 pixels, 1 degree of rotation and of shear, 3 % of zoom; noise of sigma 0.01 to 0.05.
    """
    angle, shear_x, shear_y = np.deg2rad(rng.uniform(-1, 1, 3))
    zoom, shift = rng.uniform(0.97, 1.03), rng.uniform(-2, 2, 2)
    middle = np.array([[1.0, 0, (x.shape[-1] - 1) / 2], [0, 1, (x.shape[-2] - 1) / 2], [0, 0, 1]])
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    shear = np.array([[1.0, np.tan(shear_x), 0], [np.tan(shear_y), 1, 0], [0, 0, 1]])
    move = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]], [0, 0, 1]])
    motion = middle @ move @ turn @ shear @ np.linalg.inv(middle)
    both, _ = warp(torch.cat([x, y]), torch.from_numpy(motion.astype(np.float32)).expand(2, 3, 3))
    noise = torch.from_numpy(rng.standard_normal(x.shape, np.float32)) * rng.uniform(0.01, 0.05)
    return torch.cat([x, (both[:1] + noise).clamp(0, 1)]), torch.cat([y, both[1:]]), motion
