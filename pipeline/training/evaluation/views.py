"""HDR views without SDR pictures: the training's reader, split and camera make the pairs, and moving clips.

The other modules of the training are read when the first view is asked for, because they need its extras.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, empty, stack

from ...errors import DataError, UsageError
from ...metrics.flicker import Offset
from ..images import Floats, read_light
from .layouts import Item, Pair, tensor

SPLITS = ("held-out", "train", "all")
CLIP_FRAMES, CLIP_SIZE = 8, 128
_STEP = (1, 2)
"""Rows and columns that the window moves by in a frame."""
_CODEC = {"codec": "h264", "quality": 23.0, "preset": "medium"}
"""x264's own defaults."""


def view_items(path: Path, split: str = "all", seed: int = 0) -> list[Item]:
    """Items of a folder with a manifest.json, or of all .jp2, .exr and .hdr below a folder.

    Each picture has its own random state, made of `seed` and its name. Raises UsageError without the training's
    modules, DataError where the split is empty, and whatever they raise for a bad folder.
    """
    config, sources = _module("config"), _module("sources")
    folder = path.parent if path.name == "manifest.json" else path
    layout = "manifest" if (folder / "manifest.json").exists() else "folder"
    found = sources.find_items([config.Source(path=str(folder), layout=layout)], config.Data())
    train, held_out = sources.split(found, config.Data())
    chosen = {"held-out": held_out, "train": train, "all": [*train, *held_out]}[split]
    if not chosen:
        raise DataError(f"{folder} has no picture that is in the split {split!r}", "--split all takes every picture")
    stems = Counter(_stem(each.name) for each in chosen)
    items = [_item(each.files[0], each.name, each.scene, seed, stems[_stem(each.name)] == 1) for each in chosen]
    return sorted(items, key=lambda item: item.name)


def _stem(name: str) -> str:
    return Path(name).with_suffix("").as_posix().replace("/", "_")


def _item(file: Path, name: str, scene: str, seed: int, alone: bool) -> Item:
    """alone: no other picture is called so but for its ending or a `/`."""
    key = (seed, zlib.crc32(name.encode()))
    called = _stem(name) if alone else name.replace("_", "__").replace("/", "_")
    return Item(called, scene, partial(_pair, file, called, scene, key), partial(_clip, file, key))


def _pair(file: Path, name: str, scene: str, key: Sequence[int]) -> Pair:
    light, camera, random = _light(file), _module("degrade"), np.random.default_rng(key)
    recipe = _recipe(light, random)
    (source,) = camera.degrade([light], recipe, random)
    return Pair(name, scene, tensor(source), tensor(camera.truth(light, recipe)))


def _clip(file: Path, key: Sequence[int]) -> tuple[Tensor, list[Offset]]:
    """A window that moves over a view, through the camera and H.264."""
    light, camera, random = _light(file), _module("degrade"), np.random.default_rng(key)
    recipe = replace(_recipe(light, random), **_CODEC)
    offsets = [(_STEP[0] * index, _STEP[1] * index) for index in range(CLIP_FRAMES)]
    height, width = (min(light.shape[axis] - offsets[-1][axis], CLIP_SIZE) // 2 * 2 for axis in (0, 1))
    if min(height, width) < CLIP_SIZE // 2:
        return empty(0), offsets
    top, left = ((light.shape[axis] - offsets[-1][axis] - (height, width)[axis]) // 2 for axis in (0, 1))
    frames = [light[top + y : top + y + height, left + x : left + x + width] for y, x in offsets]
    return stack([tensor(each) for each in camera.degrade(frames, recipe, random)]), offsets


def _recipe(light: Floats, random: np.random.Generator) -> Any:
    return _module("degrade").draw(_module("config").Degrade(), _module("cache").measure(light), random)


def _light(file: Path) -> Floats:
    """Light of a file, its sides even, as codecs need them."""
    light = read_light(file)
    if min(light.shape[:2]) < 2:
        size = f"{light.shape[1]}x{light.shape[0]}"
        raise DataError(f"{file} is {size}, too small for a codec", "take it out of the folder")
    return light[: light.shape[0] // 2 * 2, : light.shape[1] // 2 * 2]


def _module(name: str) -> Any:
    try:
        return import_module(f"...{name}", __name__)
    except ImportError as error:
        raise UsageError(
            f"views need the training, which cannot be loaded: {error}",
            "pip install 'hdrunet-video[train]', or make a folder of pairs and give it to --pairs.",
        ) from None
