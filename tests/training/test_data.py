from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hdrunet_video.errors import DataError
from hdrunet_video.training import cache, data
from hdrunet_video.training.cache import cache_items, data_sha256, keep_apart, measure
from hdrunet_video.training.config import Config, Data, Degrade, Loss, Optimizer, Source
from hdrunet_video.training.data import Numbers, Samples, batches
from hdrunet_video.training.images import read_light, read_ntire
from hdrunet_video.training.sources import find_items, split
from hdrunet_video.training.steady import warp
from hdrunet_video.training.views import shoot, shoot_panorama

from .conftest import light, write_jp2, write_pair

OpenEXR = pytest.importorskip("OpenEXR")


def write_hdr(path: Path, picture: np.ndarray) -> None:
    """Radiance RGBE, not compressed."""
    mantissa, exponent = np.frexp(picture.max(-1))
    codes = np.floor(picture * (mantissa / picture.max(-1) * 256)[..., None])
    pixels = np.concatenate([codes, (exponent + 128)[..., None]], axis=-1).astype(np.uint8)
    header = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {picture.shape[0]} +X {picture.shape[1]}\n"
    path.write_bytes(header.encode() + pixels.tobytes())


def test_readers_agree(tmp_path: Path) -> None:
    picture = light(1)
    picture *= 0.18 / np.median(picture @ np.array([0.2126, 0.7152, 0.0722], np.float32))
    write_jp2(tmp_path / "a.jp2", picture)
    write_hdr(tmp_path / "a.hdr", picture * 7)
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": picture * 3}) as file:
        file.write(str(tmp_path / "a.exr"))
    np.testing.assert_allclose(read_light(tmp_path / "a.jp2"), picture, rtol=3e-4)
    np.testing.assert_allclose(read_light(tmp_path / "a.exr"), picture, rtol=1e-5)
    assert (
        np.abs(
            read_light(tmp_path / "a.hdr") / picture.max(-1, keepdims=True) - picture / picture.max(-1, keepdims=True)
        ).max()
        < 0.012
    )


@pytest.mark.parametrize("name", ["a.jp2", "a.exr", "a.hdr"])
def test_a_damaged_picture_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"#?RADIANCE\nthis is not a picture" * 20)
    with pytest.raises(DataError, match=name):
        read_light(tmp_path / name)


def test_whole_scenes_are_held_out(views: Path) -> None:
    sources = [Source(str(views), "manifest"), Source(str(views), "panoramas", 0.5)]
    items = find_items(sources, Data())
    assert len(items) == 13
    train, held = split(items, Data(validation_fraction=0.4, validation_scenes=("scene5",)))
    assert {item.scene for item in train}.isdisjoint(item.scene for item in held)
    assert len(train) + len(held) == 13
    assert [item.kind for item in held].count("panorama") == 1
    assert sum(item.weight for item in items if item.scene == "scene0") == pytest.approx(1)
    # More scenes do not move a scene from one side to the other.
    fewer = [item for item in items if item.scene != "scene3"]
    again, _ = split(fewer, Data(validation_fraction=0.4, validation_scenes=("scene5",)))
    assert {item.scene for item in again} == {item.scene for item in train} - {"scene3"}
    with pytest.raises(DataError, match="there is no scene 'nowhere'"):
        split(items, Data(validation_scenes=("nowhere",)))


def test_missing_and_changed_files(views: Path, tmp_path: Path) -> None:
    folder = tmp_path / "views"
    shutil.copytree(views, folder)
    (folder / "scene0_0.jp2").write_bytes((folder / "scene0_1.jp2").read_bytes())
    with pytest.raises(DataError, match=r"scene0_0\.jp2 is not the file"):
        cache_items(find_items([Source(str(folder), "manifest")], Data()), tmp_path / "cache")
    (folder / "scene0_0.jp2").unlink()
    with pytest.raises(DataError, match=r"scene0_0\.jp2 is missing"):
        find_items([Source(str(folder), "manifest")], Data())
    (folder / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        find_items([Source(str(folder), "manifest")], Data())
    (folder / "manifest.json").write_text(json.dumps({"items": [{"file": 3}]}))
    with pytest.raises(DataError, match="is not an entry"):
        find_items([Source(str(folder), "manifest")], Data())
    with pytest.raises(DataError, match="is not a folder"):
        find_items([Source(str(tmp_path / "none"))], Data())


def test_decoded_once_and_known_by_content(views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = find_items([Source(str(views), "manifest")], Data())
    first = cache_items(items, tmp_path)
    np.testing.assert_allclose(first[0].open()[0], read_light(items[0].files[0]), rtol=1e-3)
    monkeypatch.setattr(cache, "_read", lambda item: pytest.fail(f"{item} is decoded again"))
    moved = tmp_path / "moved"
    shutil.copytree(views, moved)
    second = cache_items(find_items([Source(str(moved), "manifest")], Data()), tmp_path)
    assert [each.files for each in second] == [each.files for each in first]
    assert data_sha256(second, []) == data_sha256(first, [])
    assert data_sha256(first[1:], first[:1]) != data_sha256(first, [])
    monkeypatch.undo()
    first[0].files[0].write_bytes(b"damaged")
    assert cache_items(items[:1], tmp_path)[0].open()[0].shape == (48, 64, 3)


def test_equal_files_are_decoded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        write_jp2(tmp_path / f"{name}.jp2", light(1))
    read, replace_file, both = cache._read, os.replace, threading.Barrier(2, timeout=30)
    monkeypatch.setattr(cache, "cores", lambda: 2)
    monkeypatch.setattr(cache, "_read", lambda item: (both.wait(), read(item))[1])
    monkeypatch.setattr(os, "replace", lambda old, new: (both.wait(), replace_file(old, new))[1])
    one, other = cache_items(find_items([Source(str(tmp_path))], Data()), tmp_path / "cache")
    assert one.files == other.files
    assert not list((tmp_path / "cache").glob(".*"))


def test_what_equals_a_held_out_picture_is_not_trained_on(tmp_path: Path) -> None:
    """A black frame, for example, which every scene may have: the others of its scene are trained on."""
    for name, seed in (("a/1", 1), ("a/2", 2), ("b/1", 1), ("b/2", 3), ("c/1", 4)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_jp2(tmp_path / f"{name}.jp2", light(seed))
    items = [replace(item, scene=item.name[0]) for item in find_items([Source(str(tmp_path))], Data())]
    made = cache_items(items, tmp_path / "cache")
    train, held = keep_apart(made[2:], made[:2])
    assert [picture.item.name for picture in train] == [items[3].name, items[4].name]
    assert held == made[:2]
    with pytest.raises(DataError, match="every picture to train on"):
        keep_apart(made[2:3], made[:2])


@pytest.mark.parametrize("apart", [False, True])
def test_the_layout_of_ntire_2021(tmp_path: Path, apart: bool) -> None:
    names = ("medium/0007.png", "gt/0007.png", "alignratio/0007_alignratio.npy")
    if not apart:
        names = ("0007_medium.png", "0007_gt.png", "0007_alignratio.npy")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
    x, y, ratio = write_pair([tmp_path / name for name in names], light(2))
    (item,) = find_items([Source(str(tmp_path), "ntire2021")], Data())
    assert (item.scene, item.kind) == ("0007", "pair")
    read_x, read_y = read_ntire(*item.files)
    assert np.array_equal(read_x, x)
    np.testing.assert_allclose(read_y, y, atol=0.6 / ratio)
    sample = Samples(cache_items([item], tmp_path / "cache"), _config(tmp_path, patch=32))[0]
    assert sample.x.shape == sample.y.shape == (1, 3, 32, 32)
    assert float((sample.x - sample.y.clamp(0, 1)).abs().max()) < 0.004
    np.save(tmp_path / names[2], np.float64(-1))
    with pytest.raises(DataError, match="not one number above 0"):
        read_ntire(*item.files)
    (tmp_path / names[1]).unlink()
    with pytest.raises(DataError, match="is missing"):
        find_items([Source(str(tmp_path), "ntire2021")], Data())


def _config(folder: Path, patch: int = 16, **tables: object) -> Config:
    return Config(source=(Source(str(folder)),), data=Data(patch=patch, batch=2, workers=0), **tables)  # type: ignore[arg-type]


def test_a_number_is_a_sample_everywhere(views: Path, tmp_path: Path) -> None:
    sources = [Source(str(views), "manifest"), Source(str(views), "panoramas")]
    pictures = cache_items(find_items(sources, Data()), tmp_path)
    config = _config(views)
    one, other = Samples(pictures, config), Samples(pictures, config)
    for number in (0, 5, 10**12):
        first, second = one[number], other[number]
        assert torch.equal(first.x, second.x)
        assert torch.equal(first.y, second.y)
        assert first.x.shape == (1, 3, 16, 16)
    assert not torch.equal(one[1].x, one[2].x)
    with batches(pictures, replace(config, data=replace(config.data, workers=1)), 3) as made:
        with_worker = next(made)
    assert torch.equal(with_worker.x[1], one[7].x)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="has no list of open files")
def test_pictures_do_not_stay_open(views: Path, tmp_path: Path) -> None:
    """A process may have 1024 files open, and NTIRE 2021 has two in the cache for each of 1494 frames."""
    samples = Samples(cache_items(find_items([Source(str(views), "manifest")], Data()), tmp_path), _config(views))
    before = len(os.listdir("/proc/self/fd"))
    assert len({samples[number].y.sum().item() for number in range(8)}) == 8
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(
    ("batches_fit", "queue"), [(100, (8, 4)), (27, (8, 3)), (10, (8, 1)), (9, (7, 1)), (3, (1, 1)), (2, (0, None))]
)
def test_workers_make_no_more_than_shared_memory_holds(
    batches_fit: int, queue: tuple[int, int | None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two batches are in the hands of the training. Where there is less, the process would be killed."""
    config = _config(Path("pictures"), 32)
    config = replace(config, data=replace(config.data, workers=8))
    batch = 2 * (2 * 3 * 32 * 32) * 4  # two samples, x and y, float32
    monkeypatch.setattr(data, "_SHARED_MEMORY", Path("/"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=batch * batches_fit + 5))
    assert data._queue(config) == queue
    assert ("no room for batches of 8 workers" in caplog.text) is (queue[0] < 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2 * batch * batches_fit + 5))
    assert data._queue(config) == queue


@pytest.mark.parametrize("upright", [True, False])
def test_the_sky_stays_above_in_upright_samples(tmp_path: Path, upright: bool) -> None:
    """Light falls from the sky to the ground, and from left to right."""
    y, x = np.mgrid[0:40, 0:40] / 40
    picture = np.repeat((0.1 + 0.4 * (1 - y) + 0.3 * (1 - x))[..., None], 3, axis=-1).astype(np.float32)
    write_jp2(tmp_path / "a.jp2", picture)
    config = _config(tmp_path, 16)
    config = replace(config, data=replace(config.data, upright=upright))
    samples = Samples(cache_items(find_items([Source(str(tmp_path))], Data()), tmp_path / "cache"), config)
    seen = [samples[number].y[0, 0] for number in range(16)]
    above = {bool(each[:4].mean() > each[-4:].mean()) for each in seen}
    left = {bool(each[:, :4].mean() > each[:, -4:].mean()) for each in seen}
    assert above == ({True} if upright else {True, False})
    assert left == {True, False}


def test_devices_share_the_numbers_out(views: Path) -> None:
    def of(accumulate: int, rank: int, world: int, iteration: int = 3) -> list[list[int]]:
        config = _config(views, optimizer=Optimizer(accumulate=accumulate))
        numbers = iter(Numbers(config, iteration, rank, world))
        return [next(numbers) for _ in range(accumulate)]

    assert of(2, 0, 1) == of(1, 0, 2) + of(1, 1, 2) == [[12, 13], [14, 15]]
    assert of(1, 0, 1, 4) == [[8, 9]]


@pytest.mark.parametrize("kind", ["manifest", "panoramas"])
def test_pairs_fit_their_motion(views: Path, tmp_path: Path, kind: str) -> None:
    pictures = cache_items(find_items([Source(str(views), kind)], Data()), tmp_path)  # type: ignore[arg-type]
    plain = Degrade(noise_free=1.0, blur=0.0, codecs=(1, 0, 0, 0, 0), motion=3.0)
    samples = Samples(pictures, _config(views, 24, loss=Loss(steady="invariance"), degrade=plain))
    moving = 0
    for number in range(40):
        _, y, motion = samples[number]
        assert y.shape == (2, 3, 24, 24)
        y = y.clamp(max=1)
        moved, seen = warp(y[:1], motion[None])
        error = ((moved - y[1:]).abs() * seen).sum() / seen.sum() / 3
        still = ((y[:1] - y[1:]).abs() * seen).sum() / seen.sum() / 3
        if float(still) > 0.005:
            moving += 1
            assert float(error) < (1e-5 if kind == "manifest" else 0.7 * float(still))
        assert samples[number].x.shape == (2, 3, 24, 24)
    assert moving >= 4


def test_cameras() -> None:
    picture, rng = light(5, 40, 50), np.random.default_rng(0)
    shot = shoot(picture, measure(picture), rng, 16, 4, 3.0)
    assert len(shot.frames) == 4
    larger = shoot(picture, measure(picture), rng, 64, 2, 3.0)  # larger than the picture: mirrored
    assert larger.frames[0].shape == (64, 64, 3)
    flat = np.full((32, 64, 3), 0.25, np.float16)
    around = shoot_panorama(flat, rng, 32, 2, 3.0)
    assert np.abs(np.stack(around.frames) - 0.25).max() < 1e-6
