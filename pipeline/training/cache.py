"""Items -> memory-mapped pictures, decoded once. A cached file is named by the content of what it was made of.

A view or panorama is (H, W, 3) float16 light; a pair is x, uint8, and y, float16, non-linear. Beside it lies a small
.json with what an exposure needs to know of the whole picture.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..cgroup import cores
from ..errors import DataError, HdrunetError, OutputError, RetryError
from .images import LUMINANCE, Array, Floats, read_light, read_ntire
from .sources import Item

_VERSION = "1"
"""Part of every name: raise it when what is cached changes."""
SHARES = np.geomspace(1e-5, 0.95, 128)
"""Shares of pixels for which a picture's levels are known."""


@dataclass(frozen=True)
class Levels:
    """Light of a whole picture, for the choice of an exposure."""

    above: tuple[float, ...]
    """max(R, G, B) that the share SHARES[i] of the pixels reaches."""
    median: float
    """Median luminance."""

    def level(self, share: float) -> float:
        """max(R, G, B) that `share` of the pixels reaches."""
        return float(np.interp(np.log(share), np.log(SHARES), self.above))


def measure(light: Array) -> Levels:
    """Levels of (H, W, 3) light."""
    peaks = np.asarray(light, np.float32).max(axis=-1)
    above = np.quantile(peaks, 1 - SHARES)
    return Levels(tuple(float(each) for each in above), float(np.median(np.asarray(light, np.float32) @ LUMINANCE)))


@dataclass(frozen=True)
class Picture:
    """An item in the cache."""

    item: Item
    digest: str
    """SHA-256 of the files' contents."""
    files: tuple[Path, ...]
    """The light, or x and y."""
    levels: Levels

    def open(self) -> tuple[Array, ...]:
        """The arrays, as memory maps."""
        return tuple(np.load(path, mmap_mode="r", allow_pickle=False) for path in self.files)


def cache_items(
    items: Sequence[Item], folder: Path, advance: Callable[[int], object] = lambda count: None
) -> list[Picture]:
    """All items as pictures; what is not in the folder yet is decoded. `advance(1)` is called after each."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, folder) from None

    def one(item: Item) -> Picture:
        picture = _cached(item, folder)
        advance(1)
        return picture

    with ThreadPoolExecutor(cores()) as pool:
        try:
            return list(pool.map(one, items))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def keep_apart(train: Sequence[Picture], held: Sequence[Picture]) -> tuple[list[Picture], list[Picture]]:
    """Both parts of a split, without pictures to train on that equal a held-out one. Raises DataError where none is
    left. Not their scenes, as all may have a black frame."""
    known = {picture.digest for picture in held}
    apart = [picture for picture in train if picture.digest not in known]
    if train and not apart:
        raise DataError("every picture to train on is held out, too", "take out the equal files")
    return apart, list(held)


def data_sha256(train: Sequence[Picture], held: Sequence[Picture]) -> str:
    """One hash of which pictures, of which scenes, are trained on and held out: the same wherever they lie."""
    lines = [
        f"{part} {picture.item.kind} {picture.item.scene} {picture.digest} {picture.item.weight:.9g}"
        for part, pictures in (("train", train), ("held", held))
        for picture in pictures
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_error(error: OSError, path: Path) -> HdrunetError:
    """The sentence for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RetryError(f"{path}: the disk is full", "free some space and go on with --resume")
    return OutputError(f"{path} cannot be written: {error.strerror}", "name another run.output")


def _cached(item: Item, folder: Path) -> Picture:
    digest = _digest(item)
    key = hashlib.sha256(f"{_VERSION} {item.kind == 'pair'} {item.files[0].suffix} {digest}".encode()).hexdigest()[:40]
    parts = ("x", "y") if item.kind == "pair" else ("light",)
    files = tuple(folder / f"{key}.{part}.npy" for part in parts)
    facts = folder / f"{key}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not there, or damaged: made anew
        known = json.loads(facts.read_text())
        picture = Picture(item, digest, files, Levels(tuple(known["above"]), known["median"]))
        if len(picture.levels.above) == len(SHARES) and picture.open():
            return picture
    arrays = _read(item)
    levels = measure(arrays[-1])
    try:
        for path, array in zip(files, arrays, strict=True):
            _write(path, array)
        _write(facts, {"above": levels.above, "median": levels.median})
    except OSError as error:
        raise write_error(error, folder) from None
    return Picture(item, digest, files, levels)


def _digest(item: Item) -> str:
    whole = hashlib.sha256()
    for path in item.files:
        try:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256")
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}", "restore it") from None
        if item.sha256 and digest.hexdigest() != item.sha256:
            raise DataError(f"{path} is not the file that its manifest describes", "restore it: its SHA-256 differs")
        whole.update(digest.digest())
    return whole.hexdigest()


def _read(item: Item) -> tuple[Array, ...]:
    if item.kind == "pair":
        x, y = read_ntire(*item.files)
        return x, y.astype(np.float16)
    light: Floats = read_light(item.files[0])
    return (light.astype(np.float16),)


def _write(path: Path, content: Any) -> None:
    """Write an array or a JSON object under another name, then rename: what has the name is complete."""
    # Equal files have one name, and may be decoded by two threads at once.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        with open(unfinished, "wb") as file:
            if isinstance(content, np.ndarray):
                np.save(file, content)
            else:
                file.write(json.dumps(content).encode())
        os.replace(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
