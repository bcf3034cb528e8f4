"""Folders -> items: which pictures there are, of which scenes, and which scenes are held out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import DataError
from .config import Data, Source
from .images import EXTENSIONS


@dataclass(frozen=True)
class Item:
    """One picture, or one pair, before it is read."""

    name: str
    """Its file, relative to the source's folder."""
    scene: str
    kind: Literal["view", "panorama", "pair"]
    files: tuple[Path, ...]
    """One file; of a pair: medium, truth, alignratio."""
    weight: float = 1.0
    """How often it is drawn, against the others of its scene and source."""
    sha256: str = ""
    """What the manifest says of the file; empty: nothing."""


def find_items(sources: Sequence[Source], data: Data) -> list[Item]:
    """The items of all sources, in an order that depends on names only. Raises DataError."""
    items: list[Item] = []
    for source in sources:
        folder = Path(source.path)
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder of pictures", "correct source.path")
        found = _LAYOUTS[source.layout](folder, data)
        if not found:
            raise DataError(f"{folder} holds no pictures of the layout {source.layout!r}", "correct source.layout")
        items += _weighted(sorted(found, key=lambda item: item.name), source.weight)
    return items


def split(items: Iterable[Item], data: Data) -> tuple[list[Item], list[Item]]:
    """(to train on, held out): whole scenes, whatever source their pictures are from."""
    items = list(items)
    scenes = sorted({item.scene for item in items}, key=_hash_of_name)
    unknown = sorted(set(data.validation_scenes) - set(scenes))
    if unknown:
        raise DataError(f"data.validation_scenes: there is no scene {unknown[0]!r}", "its name is in the manifest")
    held = {scene for scene in scenes if _hash_of_name(scene) < data.validation_fraction}
    if data.validation_fraction > 0 and not held and len(scenes) > 1:
        held = {scenes[0]}
    held |= set(data.validation_scenes)
    train = [item for item in items if item.scene not in held]
    if not train:
        raise DataError("no scene is left to train on", "lower data.validation_fraction")
    return train, [item for item in items if item.scene in held]


def units(items: Iterable[Item]) -> str:
    """What is held out as a whole, to be told: NTIRE 2021 does not say which of its frames are of one scene."""
    return " and ".join(sorted({"frames" if item.kind == "pair" else "scenes" for item in items}, reverse=True))


def _hash_of_name(scene: str) -> float:
    """0..1, the same for a name whatever other scenes there are."""
    return int.from_bytes(hashlib.sha256(scene.encode()).digest()[:6]) / 2**48


def _weighted(items: list[Item], weight: float) -> list[Item]:
    """Each scene of a source weighs the same, however many pictures it has."""
    totals: dict[str, float] = {}
    for item in items:
        totals[item.scene] = totals.get(item.scene, 0.0) + 1.0
    return [
        Item(item.name, item.scene, item.kind, item.files, weight * item.weight / totals[item.scene], item.sha256)
        for item in items
    ]


def _manifest_items(folder: Path, data: Data) -> list[Item]:
    return [_listed(folder, entry, "view", data) for entry in _manifest(folder, "items")]


def _panorama_items(folder: Path, data: Data) -> list[Item]:
    if (folder / "manifest.json").is_file():
        return [_listed(folder, entry, "panorama", data) for entry in _manifest(folder, "panoramas")]
    return [_unlisted(folder, path, "panorama") for path in _pictures(folder)]


def _folder_items(folder: Path, data: Data) -> list[Item]:
    return [_unlisted(folder, path, "view") for path in _pictures(folder)]


def _manifest(folder: Path, key: str) -> list[Any]:
    path = folder / "manifest.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entries = document.get(key, []) if isinstance(document, dict) else None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "the layout 'folder' needs no manifest") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}", "") from None
    if not isinstance(entries, list):
        raise DataError(f"{path} must hold a list {key!r}", "")
    return entries


def _listed(folder: Path, entry: Any, kind: Literal["view", "panorama"], data: Data) -> Item:
    texts = isinstance(entry, dict) and all(isinstance(entry.get(key, ""), str) for key in ("scene", "sha256", "kind"))
    if not texts or not isinstance(entry.get("file"), str):
        raise DataError(f"{folder / 'manifest.json'}: {str(entry)[:80]} is not an entry of a picture", "")
    path = folder / entry["file"]
    if not path.is_file():
        raise DataError(f"{path} is missing, but the manifest lists it", "restore it, or take it out of the manifest")
    weight = data.gain_map_weight if entry.get("kind") == "gainmap-photo" else 1.0
    scene = entry.get("scene") or path.stem
    return Item(entry["file"], scene, kind, (path,), weight, entry.get("sha256", ""))


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())


def _unlisted(folder: Path, path: Path, kind: Literal["view", "panorama"]) -> Item:
    name = path.relative_to(folder).as_posix()
    return Item(name, Path(name).with_suffix("").as_posix(), kind, (path,))


def _ntire_items(folder: Path, data: Data) -> list[Item]:
    apart = (folder / "medium").is_dir()
    items = []
    for medium in sorted((folder / "medium" if apart else folder).glob("*.png")):
        stem = medium.stem.removesuffix("_medium")
        if (not apart and stem == medium.stem) or not re.match(r"\d{4}", stem):
            continue
        names = (("gt", (f"{stem}_gt.png", f"{stem}.png")), ("alignratio", (f"{stem[:4]}_alignratio.npy",)))
        files = [medium]
        for subfolder, candidates in names:
            places = [(folder / subfolder if apart else folder) / each for each in candidates]
            found = next((place for place in places if place.is_file()), None)
            if found is None:
                raise DataError(f"{places[0]} is missing, but there is {medium.name}", "the layout is in the README")
            files.append(found)
        items.append(Item(medium.relative_to(folder).as_posix(), stem[:4], "pair", tuple(files)))
    return items


_LAYOUTS = {
    "manifest": _manifest_items,
    "folder": _folder_items,
    "panoramas": _panorama_items,
    "ntire2021": _ntire_items,
}
