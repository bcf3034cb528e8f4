"""Folders of test pictures: each item a pair of an SDR picture and the HDR picture it was made of.

A folder of pairs   sdr/NAME.png (8 bits) and hdr/NAME with .npy (the signal, (H, W, 3), 1.0 = SDR white), .exr or .hdr
                    (linear light, 1.0 = SDR white), or .png with NAME_alignratio.npy as below; scenes.json
                    ({"NAME": "scene"}) where a name does not begin with its scene, as in `scene_03`.
NTIRE 2021          0000_medium.png (8 bits), 0000_gt.png (16 bits) and 0000_alignratio.npy in one folder, or in folders
                    medium, gt and alignratio (there also gt/0000.png): signal = gt / alignratio.
HDR views           have no SDR picture: views.py makes one.
"""

from __future__ import annotations

import fnmatch
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError, UsageError
from ...metrics.flicker import Offset
from ...metrics.light import GAMMA
from .. import images
from ..images import Floats


@dataclass(frozen=True)
class Pair:
    """One test picture; both tensors are signals, (3, H, W), float32."""

    name: str
    scene: str
    """Pictures of one scene are not independent: confidence intervals draw whole scenes."""
    source: Tensor
    """SDR, 0..1."""
    reference: Tensor
    """HDR, >= 0, 1.0 = SDR white."""

    def __post_init__(self) -> None:
        if self.source.shape != self.reference.shape:
            sizes = " and ".join("x".join(map(str, picture.shape[:0:-1])) for picture in (self.source, self.reference))
            raise InputError(f"{self.name}: the SDR and the HDR picture differ in size: {sizes}", "Give matching ones.")


@dataclass(frozen=True)
class Item:
    """A pair that has not been read yet."""

    name: str
    scene: str
    load: Callable[[], Pair]
    clip: Callable[[], tuple[Tensor, Sequence[Offset]]] | None = None
    """A moving clip as SDR video has it, (T, 3, h, w), and where its window is in each frame; none for stored pairs.
    No frames where the picture is too small."""


def folder_of_pairs(folder: Path) -> list[Item]:
    """Items of a folder of pairs, by name. Raises InputError."""
    scenes = images.read_json(folder / "scenes.json") if (folder / "scenes.json").exists() else {}
    if not isinstance(scenes, dict):
        raise InputError(f"{folder / 'scenes.json'} is not an object of names", 'For example {"a": "street"}.')
    items = []
    for source in sorted((folder / "sdr").glob("*.png")):
        reference = _reference_of(folder / "hdr", source.stem)
        scene = str(scenes.get(source.stem, scene_of(source.stem)))
        items.append(_item(source.stem, scene, source, reference))
    if not items:
        raise InputError(
            f"{folder} has no pairs: no sdr/*.png", "It needs sdr/NAME.png and hdr/NAME.npy, .exr or .hdr."
        )
    return items


def ntire_2021(folder: Path) -> list[Item]:
    """Items of the NTIRE 2021 HDR layout, flat or in folders. Raises InputError."""
    apart = (folder / "medium").is_dir()
    items = []
    for source in sorted((folder / "medium" if apart else folder).glob("*.png")):
        stem = source.stem.removesuffix("_medium")
        if not apart and stem == source.stem:
            continue
        reference = (folder / "gt" if apart else folder) / f"{stem}_gt.png"
        if not reference.exists():  # as the training's sources do
            reference = reference.with_name(f"{stem}.png")
        # The id is the first four characters, also of sub-images such as 0003_s001.
        ratio = (folder / "alignratio" if apart else folder) / f"{stem[:4]}_alignratio.npy"
        items.append(_item(stem, stem[:4], source, reference, ratio))
    if not items:
        raise InputError(
            f"{folder} has no picture of the NTIRE 2021 layout",
            "It needs 0000_medium.png, 0000_gt.png and 0000_alignratio.npy, or the folders medium, gt and alignratio.",
        )
    return items


class Named(Protocol):
    """What can be selected."""

    @property
    def scene(self) -> str:
        """Of which scene it is."""


def select[T: Named](items: Sequence[T], scenes: Sequence[str] = (), limit: int | None = None) -> list[T]:
    """Items of the scenes that match a pattern (`*` and `?`), at most `limit`, spread evenly. Raises UsageError."""
    chosen = [item for item in items if not scenes or any(fnmatch.fnmatch(item.scene, each) for each in scenes)]
    if not chosen:
        known = ", ".join(sorted({item.scene for item in items})[:5])
        raise UsageError(f"no picture has a scene like {', '.join(scenes)}", f"There are {known} and so on.")
    if limit is not None and limit < len(chosen):
        chosen = [chosen[index * len(chosen) // limit] for index in range(limit)]
    return chosen


def save_pair(folder: Path, pair: Pair) -> None:
    """Write a pair as folder_of_pairs reads it: the SDR picture rounded to 8 bits. Raises OutputError.

    Video decodes to values between the codes, so what was made through H.264 changes a little by that.
    """
    for part in ("sdr", "hdr"):
        images.make_folder(folder / part)
    codes = (pair.source.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).permute(1, 2, 0).numpy()
    images.write_png(folder / "sdr" / f"{pair.name}.png", codes)
    buffer = io.BytesIO()
    np.save(buffer, pair.reference.permute(1, 2, 0).contiguous().numpy(), allow_pickle=False)
    images.write_file(folder / "hdr" / f"{pair.name}.npy", buffer.getvalue())


def scene_of(name: str) -> str:
    """`street_03` is a picture of `street`."""
    return re.sub(r"_\d+$", "", name)


def _reference_of(folder: Path, stem: str) -> Path:
    for extension in (".npy", ".exr", ".hdr", ".png"):
        if (folder / f"{stem}{extension}").exists():
            return folder / f"{stem}{extension}"
    raise InputError(f"{folder} has no HDR picture {stem}", f"Name it {stem}.npy, .exr, .hdr or .png.")


def _item(name: str, scene: str, source: Path, reference: Path, ratio: Path | None = None) -> Item:
    def load() -> Pair:
        pixels = images.read_8bit(source).astype(np.float32) / np.float32(255)
        return Pair(name, scene, tensor(pixels), tensor(_read_signal(reference, ratio)))

    return Item(name, scene, load)


def _read_signal(path: Path, ratio: Path | None) -> Floats:
    """The true signal, (H, W, 3), 1.0 = SDR white."""
    if path.suffix == ".npy":
        values = images.read_array(path)
        if values.ndim != 3:
            raise InputError(f"{path} holds one number, not a picture", "Write (height, width, 3).")
        return np.maximum(values, np.float32(0))
    if path.suffix == ".png":
        return images.read_aligned(path, ratio or path.with_name(f"{path.stem}_alignratio.npy"))
    return np.asarray(images.read_linear(path) ** np.float32(1 / GAMMA), np.float32)


def tensor(pixels: Floats) -> Tensor:
    """(H, W, 3) -> (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, 2, 0), np.float32))
