"""A cached picture -> what a camera sees of it: frames of light, standing or moving, and how they fit together.

A still picture is seen through a window that moves by whole pixels, so nothing is interpolated; a panorama by a camera
that turns. `motion` maps pixels of the second of two frames to pixels of the first: (3, 3), homogeneous, x to the right
and y down, pixel centres at whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .cache import Levels, measure
from .images import Array, Floats

Matrix3 = npt.NDArray[np.float64]
Rng = np.random.Generator
_STILL = 0.3
"""Share of the clips in which nothing moves but the noise."""
_FRAME = (320, 240)
"""Size of the thumbnails' camera: a panorama is exposed for a frame of this shape."""


@dataclass(frozen=True)
class Shot:
    """Frames of one camera."""

    frames: list[Floats]
    """(S, S, 3) light each."""
    levels: Levels
    """Of the whole picture that the frames are windows of."""
    step: Matrix3
    """Pixels of a frame -> pixels of the frame before it; the same for all frames."""


def shoot(light: Array, levels: Levels, rng: Rng, size: int, count: int, motion: float) -> Shot:
    """`count` frames of size x size of a still picture, moving by at most `motion` pixels a frame.

    A picture smaller than the window is mirrored at its edges.
    """
    speed = _speed(rng, motion) if count > 1 else np.zeros(2)
    step = np.rint(speed).astype(int)
    height, width = light.shape[:2]
    # Keep the whole path inside where the picture is large enough.
    path = np.abs(step) * (count - 1)
    start = np.array([_start(rng, length, size, along) for length, along in ((width, path[0]), (height, path[1]))])
    start += np.where(step < 0, path, 0)
    frames = []
    for index in range(count):
        x, y = start + step * index
        frames.append(_window(light, int(x), int(y), size))
    return Shot(frames, levels, _translation(float(step[0]), float(step[1])))


def shoot_panorama(light: Array, rng: Rng, size: int, count: int, motion: float) -> Shot:
    """`count` frames of size x size, a window of what a turning camera sees of an equirectangular picture."""
    focal = light.shape[1] / (2 * np.pi) * rng.uniform(0.7, 1.2)  # about a pixel for a pixel
    yaw, pitch = rng.uniform(-np.pi, np.pi), np.clip(rng.normal(0, 0.25), -1.0, 1.0)
    camera = _rotation_y(yaw) @ _rotation_x(pitch)
    width, height = max(_FRAME[0], size), max(_FRAME[1], size)
    left, top = rng.integers(0, width - size + 1), rng.integers(0, height - size + 1)
    lens = np.array([[focal, 0, (width - 1) / 2 - left], [0, focal, (height - 1) / 2 - top], [0, 0, 1.0]])
    small = np.array([[focal / 5, 0, (width / 5 - 1) / 2], [0, focal / 5, (height / 5 - 1) / 2], [0, 0, 1.0]])
    levels = measure(_render(light, camera, small, width // 5, height // 5))
    speed = _speed(rng, motion) if count > 1 else np.zeros(2)
    turn = _rotation_y(speed[0] / focal) @ _rotation_x(-speed[1] / focal)
    frames = []
    for _ in range(count):
        frames.append(_render(light, camera, lens, size, size))
        camera = camera @ turn
    return Shot(frames, levels, lens @ turn @ np.linalg.inv(lens))


def _speed(rng: Rng, motion: float) -> npt.NDArray[np.float64]:
    still = rng.random() < _STILL
    speed = rng.uniform(-motion, motion, 2)
    return np.zeros(2) if still else speed


def _start(rng: Rng, length: int, size: int, along: int) -> int:
    room = length - size - along
    return int(rng.integers(0, room + 1)) if room >= 0 else int(rng.integers(0, max(length - size, 0) + 1))


def _window(light: Array, x: int, y: int, size: int) -> Floats:
    height, width = light.shape[:2]
    if x >= 0 and x + size <= width and y >= 0 and y + size <= height:
        return np.asarray(light[y : y + size, x : x + size], np.float32)
    rows, columns = _mirrored(np.arange(y, y + size), height), _mirrored(np.arange(x, x + size), width)
    return np.asarray(light[rows][:, columns], np.float32)


def _mirrored(index: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    index = index % (2 * length)
    return np.minimum(index, 2 * length - 1 - index)


def _render(light: Array, camera: Matrix3, lens: Matrix3, width: int, height: int) -> Floats:
    """Bilinear samples of an equirectangular picture along the rays of a camera."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1).reshape(-1, 3)
    rays = pixels @ (camera @ np.linalg.inv(lens)).T
    across = np.arctan2(rays[:, 0], rays[:, 2]) / (2 * np.pi) + 0.5
    down = np.arctan2(rays[:, 1], np.hypot(rays[:, 0], rays[:, 2])) / np.pi + 0.5
    total_rows, total_columns = light.shape[:2]
    u, v = across * total_columns - 0.5, np.clip(down * total_rows - 0.5, 0, total_rows - 1)
    left, top = np.floor(u).astype(np.int64), np.minimum(v.astype(np.int64), total_rows - 2)
    part_u, part_v = (u - left).astype(np.float32)[:, None], (v - top).astype(np.float32)[:, None]
    left, right = left % total_columns, (left + 1) % total_columns
    upper = _mix(light[top, left], light[top, right], part_u)
    lower = _mix(light[top + 1, left], light[top + 1, right], part_u)
    return _mix(upper, lower, part_v).reshape(height, width, 3)


def _mix(first: Array, second: Array, part: Floats) -> Floats:
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return first + (second - first) * part


def _rotation_x(angle: float) -> Matrix3:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, s], [0, -s, c]])


def _rotation_y(angle: float) -> Matrix3:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _translation(x: float, y: float) -> Matrix3:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def conjugate(motion: Matrix3, transform: Matrix3) -> Matrix3:
    """A motion in the coordinates that `transform` gives: for crops, flips and rotations of both frames."""
    return np.asarray(transform @ motion @ np.linalg.inv(transform))


def turned(frames: list[Any], motion: Matrix3, rng: Rng, upright: bool = False) -> tuple[list[Any], Matrix3]:
    """Square frames (S, S, C) flipped and rotated at random, all alike, and their motion; upright: mirrored only."""
    flip_x, flip_y, swap = rng.random(3) < (0.5, 0.0 if upright else 0.5, 0.0 if upright else 0.5)
    last = frames[0].shape[0] - 1.0
    transform = np.eye(3)
    if flip_x:
        frames = [each[:, ::-1] for each in frames]
        transform = np.array([[-1.0, 0, last], [0, 1, 0], [0, 0, 1]]) @ transform
    if flip_y:
        frames = [each[::-1] for each in frames]
        transform = np.array([[1.0, 0, 0], [0, -1, last], [0, 0, 1]]) @ transform
    if swap:
        frames = [each.transpose(1, 0, 2) for each in frames]
        transform = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]) @ transform
    return frames, conjugate(motion, transform)
