from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hdrunet_video.training.evaluate import main
from hdrunet_video.training.evaluation.views import CLIP_FRAMES, view_items

pytest.importorskip("hdrunet_video.training.degrade")
OpenEXR = pytest.importorskip("OpenEXR")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three views of smooth light with a highlight, 120 x 110, odd columns."""
    rows, columns = np.mgrid[0:110, 0:121] / 110
    for index, name in enumerate("abc"):
        light = 0.1 + 0.2 * rows + 20.0 * np.exp(-40 * ((rows - 0.3) ** 2 + (columns - 0.2 * index - 0.3) ** 2))
        pixels = np.repeat(light[..., None], 3, axis=2).astype(np.float32)
        with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": pixels}) as file:
            file.write(str(tmp_path / f"{name}.exr"))
    return tmp_path


def test_pairs_and_clips(folder: Path) -> None:
    items = view_items(folder)
    assert [item.name for item in items] == ["a", "b", "c"]
    pair = items[0].load()
    assert pair.source.shape == pair.reference.shape == (3, 110, 120)
    assert 0.0 <= pair.source.min() <= pair.source.max() <= 1.0 < pair.reference.max()
    assert torch.equal(view_items(folder)[0].load().source, pair.source)
    assert not torch.equal(view_items(folder, seed=1)[0].load().source, pair.source)
    assert items[0].clip is not None
    clip, offsets = items[0].clip()
    assert clip.shape[:2] == (CLIP_FRAMES, 3)
    assert len(offsets) == CLIP_FRAMES
    split = {name: {item.scene for item in view_items(folder, name)} for name in ("held-out", "train")}
    assert split["held-out"] | split["train"] == {"a", "b", "c"}
    assert not split["held-out"] & split["train"]


def test_evaluate_views_and_keep_them(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"
    assert main(["identity", "--views", str(folder), "--flicker", "--limit", "2", "--save-pairs", str(kept)]) == 0
    shown = capsys.readouterr().out
    assert "flicker H.264 pan (of source)" in shown
    assert main(["identity", "--pairs", str(kept)]) == 0
    again = capsys.readouterr().out
    # Nearly the same from the stored pairs: video decodes to values between the 8-bit codes of a PNG.
    first, second = (float(text.splitlines()[3].split()[1]) for text in (shown, again))
    assert second == pytest.approx(first, abs=0.3)


def test_pictures_that_differ_by_their_ending_or_folder_stay_apart(folder: Path) -> None:
    (folder / "x").mkdir()
    for name in ("x/a.exr", "x_a.exr"):
        (folder / name).write_bytes((folder / "a.exr").read_bytes())
    (folder / "b.hdr").write_bytes(b"")
    items = {item.name: item.scene for item in view_items(folder)}
    assert len(items) == 6
    assert items == {"a": "a", "b.exr": "b", "b.hdr": "b", "c": "c", "x_a.exr": "x/a", "x__a.exr": "x_a"}


@pytest.mark.parametrize("shape", [(1, 70), (70, 1)])
def test_a_line_of_pixels_is_no_view(
    shape: tuple[int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": np.ones((*shape, 3), np.float32)}) as file:
        file.write(str(tmp_path / "line.exr"))
    assert main(["identity", "--views", str(tmp_path)]) == 65
    assert f"line.exr is {shape[1]}x{shape[0]}" in capsys.readouterr().err


def test_what_is_wrong_with_an_exr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (folder / "a.exr").read_bytes()
    (folder / "a.exr").write_bytes(content[: len(content) // 2])
    assert main(["identity", "--views", str(folder)]) == 65
    assert "channels" not in capsys.readouterr().err
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"Y": np.ones((8, 8), np.float32)}) as file:
        file.write(str(folder / "a.exr"))
    assert main(["identity", "--views", str(folder)]) == 65
    assert "a.exr has no channel R" in capsys.readouterr().err


def test_a_single_picture_is_not_held_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "bc":
        (folder / f"{name}.exr").unlink()
    assert main(["identity", "--views", str(folder), "--split", "held-out"]) == 65
    assert "has no picture that is in the split 'held-out'" in capsys.readouterr().err


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identity", "--views", str(tmp_path / "none")]) == 65
    assert "none" in capsys.readouterr().err
