from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame

from hdrunet_video.errors import HdrunetError, OutputError, UsageError
from hdrunet_video.training import images
from hdrunet_video.training.evaluation import layouts

OpenEXR = pytest.importorskip("OpenEXR")


def _write_16bit(path: Path, codes: np.ndarray) -> None:  # type: ignore[type-arg]
    context = av.CodecContext.create("png", "w")
    context.height, context.width = codes.shape[:2]  # type: ignore[attr-defined]
    context.pix_fmt, context.time_base = "rgb48be", Fraction(1, 25)  # type: ignore[attr-defined]
    frame = VideoFrame.from_ndarray(codes, format="rgb48be")
    path.write_bytes(b"".join(bytes(each) for each in (*context.encode(frame), *context.encode(None))))  # type: ignore[attr-defined]


def _radiance(path: Path, exponents: np.ndarray) -> None:  # type: ignore[type-arg]
    """A Radiance picture of mantissas 128, 64, 32 and the given shared exponents: 2^(e - 128) times 1/2, 1/4, 1/8."""
    height, width = exponents.shape
    pixels = np.empty((height, width, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = (128, 64, 32), exponents
    head = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n"
    path.write_bytes(head.encode() + pixels.tobytes())


def test_png_goes_there_and_back(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (13, 21, 3)).astype(np.uint8)
    images.write_png(tmp_path / "a.png", codes)
    assert np.array_equal(images.read_8bit(tmp_path / "a.png"), codes)
    wide = np.random.default_rng(0).integers(0, 65536, (13, 21, 3)).astype(np.uint16)
    _write_16bit(tmp_path / "b.png", wide)
    assert np.array_equal(images.read_16bit(tmp_path / "b.png"), wide)


def test_folder_of_pairs(pairs: Path) -> None:
    items = layouts.folder_of_pairs(pairs)
    assert [(item.name, item.scene) for item in items] == [
        ("beach_00", "beach"),
        ("lamp", "lamp"),
        ("street_00", "street"),
        ("street_01", "street"),
    ]
    pair = items[2].load()
    assert pair.source.shape == pair.reference.shape == (3, 40, 56)
    assert torch.equal(pair.reference, torch.from_numpy(np.load(pairs / "hdr" / "street_00.npy")).permute(2, 0, 1))
    codes = images.read_8bit(pairs / "sdr" / "street_00.png")
    assert torch.equal(pair.source, torch.from_numpy(codes).permute(2, 0, 1) / 255)
    (pairs / "scenes.json").write_text(json.dumps({"lamp": "street"}))
    assert layouts.folder_of_pairs(pairs)[1].scene == "street"


def test_light_becomes_the_signal(tmp_path: Path) -> None:
    for part in ("sdr", "hdr"):
        (tmp_path / part).mkdir()
    light = np.random.default_rng(0).random((12, 20, 3)).astype(np.float32) * 5
    for name in ("a", "b"):
        images.write_png(tmp_path / "sdr" / f"{name}.png", np.zeros((12, 20, 3), np.uint8))
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": light}) as file:
        file.write(str(tmp_path / "hdr" / "a.exr"))
    exponents = 126 + np.arange(240, dtype=np.uint8).reshape(12, 20) % 7
    _radiance(tmp_path / "hdr" / "b.hdr", exponents)
    first, second = (item.load().reference.permute(1, 2, 0).numpy() for item in layouts.folder_of_pairs(tmp_path))
    np.testing.assert_allclose(first, light ** (1 / 2.24), rtol=1e-5)
    expected = np.exp2(exponents[..., None].astype(np.float64) - 128) * (0.5, 0.25, 0.125)
    np.testing.assert_allclose(second, expected ** (1 / 2.24), rtol=0.02)


@pytest.mark.parametrize(("apart", "truth"), [(False, "_gt"), (True, "_gt"), (True, "")])
def test_ntire_2021(tmp_path: Path, apart: bool, truth: str) -> None:
    folders = [tmp_path / part if apart else tmp_path for part in ("medium", "gt", "alignratio")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    codes = np.random.default_rng(0).integers(0, 65536, (8, 12, 3)).astype(np.uint16)
    for number in ("0000", "0007"):
        images.write_png(folders[0] / f"{number}_medium.png", (codes >> 8).astype(np.uint8))
        _write_16bit(folders[1] / f"{number}{truth}.png", codes)
        np.save(folders[2] / f"{number}_alignratio.npy", np.float64(6806.42))
        np.save(folders[2] / f"{number}_exposures.npy", np.array([-3, -1, 1]))
    items = layouts.ntire_2021(tmp_path)
    assert [(item.name, item.scene) for item in items] == [("0000", "0000"), ("0007", "0007")]
    pair = items[1].load()
    np.testing.assert_allclose(pair.reference.permute(1, 2, 0).numpy(), codes / 6806.42, rtol=1e-6)
    assert torch.equal(pair.source, torch.from_numpy((codes >> 8).astype(np.float32)).permute(2, 0, 1) / 255)


def test_saved_pairs_are_read_again(pairs: Path, tmp_path: Path) -> None:
    first = layouts.folder_of_pairs(pairs)[0].load()
    layouts.save_pair(tmp_path / "kept", first)
    (kept,) = layouts.folder_of_pairs(tmp_path / "kept")
    assert torch.equal(kept.load().reference, first.reference)
    assert torch.equal(kept.load().source, first.source)
    assert (kept.name, kept.scene) == (first.name, first.scene)


def test_select(pairs: Path) -> None:
    items = layouts.folder_of_pairs(pairs)
    assert [item.name for item in layouts.select(items, ["str*", "lamp"])] == ["lamp", "street_00", "street_01"]
    assert [item.name for item in layouts.select(items, limit=2)] == ["beach_00", "street_00"]
    with pytest.raises(UsageError, match="no picture has a scene like nowhere"):
        layouts.select(items, ["nowhere"])


def _fails(action: object) -> HdrunetError:
    with pytest.raises(HdrunetError) as caught:
        action()  # type: ignore[operator]
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


def test_bad_folders_and_files(pairs: Path, tmp_path: Path) -> None:
    assert "no pairs" in str(_fails(lambda: layouts.folder_of_pairs(tmp_path)))
    assert "NTIRE" in str(_fails(lambda: layouts.ntire_2021(tmp_path)))
    sdr, hdr = pairs / "sdr" / "lamp.png", pairs / "hdr" / "lamp.npy"

    def load() -> object:
        return next(item for item in layouts.folder_of_pairs(pairs) if item.name == "lamp").load()

    whole, true = sdr.read_bytes(), np.load(hdr)
    for content in (whole[: len(whole) // 2], b"", b"not a picture at all"):
        sdr.write_bytes(content)
        assert "lamp.png cannot be read as a picture" in str(_fails(load))
    _write_16bit(sdr, np.zeros((40, 56, 3), np.uint16))
    assert "not an 8-bit RGB picture" in str(_fails(load))
    sdr.write_bytes(whole)
    for values, message in (
        (true[:20], "differ in size: 56x40 and 56x20"),
        (true[..., 0], "not (height, width, 3)"),
        (np.where(true > 0.5, np.nan, true), "not finite"),
        (np.array(1.0), "one number"),
    ):
        np.save(hdr, values)
        assert message in str(_fails(load))
    hdr.write_bytes(b"\x93NUMPY")
    assert "lamp.npy cannot be read" in str(_fails(load))
    hdr.rename(hdr.with_suffix(".exr"))
    assert "lamp.exr cannot be read as OpenEXR" in str(_fails(load))
    hdr.with_suffix(".exr").unlink()
    assert "no HDR picture lamp" in str(_fails(load))
    (pairs / "scenes.json").write_text("{")
    assert "scenes.json cannot be read" in str(_fails(load))


def test_writing_where_it_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        images.write_file(tmp_path / "none" / "a", b"")
    with pytest.raises(OutputError, match="cannot be made"):
        images.make_folder(tmp_path / "file" / "a")
