"""Tiny HDR pictures, made on the spot, and configurations of runs of seconds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Floats = npt.NDArray[np.float32]


def light(seed: int, height: int = 48, width: int = 64) -> Floats:
    """A smooth picture with texture and a lamp that is 40 times as bright as the rest."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / height
    base = 0.1 + 0.15 * (1 + np.sin(9 * x + seed)) * (1 + np.cos(7 * y - seed)) / 2
    lamp = 8 * np.exp(-90 * ((x - rng.uniform(0.2, 1.0)) ** 2 + (y - rng.uniform(0.2, 0.8)) ** 2))
    picture = (base + lamp)[..., None] * np.array([1.0, 0.9, 0.7]) * rng.uniform(0.95, 1.05, (height, width, 1))
    return picture.astype(np.float32)


def write_jp2(path: Path, picture: Floats) -> None:
    """Lossless, of the log encoding of our views."""
    import av

    codes = np.rint((np.log2(picture + 2.0**-12) + 12) / 22 * 65535).astype(np.uint16)
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("jpeg2000", rate=1, options={"pred": "1"})
        stream.width, stream.height, stream.pix_fmt = picture.shape[1], picture.shape[0], "rgb48le"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(codes, format="rgb48le")))
        container.mux(stream.encode(None))


def write_png(path: Path, picture: npt.NDArray[Any], pixel_format: str) -> None:
    import av

    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = picture.shape[1], picture.shape[0], pixel_format
        name = "rgb24" if pixel_format == "rgb24" else "rgb48le"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format=name).reformat(format=pixel_format)))
        container.mux(stream.encode(None))


def write_pair(paths: Sequence[Path], picture: Floats) -> tuple[npt.NDArray[np.uint8], Floats, float]:
    """Medium, truth and alignratio as of NTIRE 2021, of light; x, y and the ratio."""
    y = (picture ** (1 / 2.24)).astype(np.float32)
    x, ratio = np.rint(np.clip(y, 0, 1) * 255).astype(np.uint8), float(65535 / y.max())
    write_png(paths[0], x, "rgb24")
    write_png(paths[1], np.rint(y * ratio).astype(np.uint16), "rgb48be")
    np.save(paths[2], np.float64(ratio))
    return x, y, ratio


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pairs in the layout of NTIRE 2021."""
    folder = tmp_path_factory.mktemp("frames")
    for index in range(6):
        paths = [folder / f"{index:04d}_{part}" for part in ("medium.png", "gt.png", "alignratio.npy")]
        write_pair(paths, light(index))
    return folder


@pytest.fixture(scope="session")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scenes of two .jp2 views each, and a panorama of one of the scenes, with a manifest as ours."""
    folder = tmp_path_factory.mktemp("views")
    items = []
    for index in range(12):
        name = f"scene{index // 2}_{index % 2}.jp2"
        write_jp2(folder / name, light(index))
        items.append(entry(folder, name, f"scene{index // 2}"))
    write_jp2(folder / "around.jp2", light(99, 64, 128))
    manifest = {"items": items, "panoramas": [entry(folder, "around.jp2", "scene5")]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def entry(folder: Path, name: str, scene: str) -> dict[str, str]:
    """What a manifest says of a file."""
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return {"file": name, "scene": scene, "kind": "panorama", "sha256": digest}


TINY = """
[[source]]
path = "{views}"
layout = "manifest"
[run]
iterations = 6
validate_every = 3
log_every = 2
pictures = 1
[network]
channels = 8
condition_channels = 8
sft_channels = 4
blocks = [1, 1, 1]
[data]
patch = 16
batch = 2
workers = 0
cache = "../cache"
validation_fraction = 0.0
validation_scenes = ["scene5"]
validation_views = 1
[optimizer]
ema = 0.9
clip = 1.0
lr = 1e-3
[compute]
device = "cpu"
precision = "fp32"
threads = 1
"""


@pytest.fixture
def tiny(views: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A configuration file of a run of six steps; its output is the folder of its name."""

    def write(name: str = "run") -> Path:
        path = tmp_path / f"{name}.toml"
        path.write_text(TINY.format(views=views).replace("[run]", f'[run]\noutput = "{name}"'))
        return path

    return write
