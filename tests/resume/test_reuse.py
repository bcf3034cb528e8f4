"""Finished segments are used again by the same source, weights and settings, and by nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hdrunet_video.cli import main
from hdrunet_video.job import Job, make_plan
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.weights import save_network
from hdrunet_video.segments import SegmentStore
from tests.conftest import ffmpeg, needs_openvino
from tests.media import BT709, convert, forge, sha256
from tests.resume.conftest import made, receipts, redone, stop


def test_all_finished_segments_are_reused(
    film: Path, stopped: Path, undisturbed: Callable[[str], dict[str, str]]
) -> None:
    assert redone(stopped, film) == (30, set())
    assert made(stopped) == undisturbed("ffv1")


@pytest.mark.parametrize(
    "options",
    [
        {"peak": 600.0},
        {"white": 100.0},
        {"display_gamma": 2.4},
        {"strength": 0.5},
        {"settings": ("video.options.slices=4",)},
        {"settings": ("color.dither=false",)},
        {"segment_frames": 5},
        {"frames": (1, 30)},
        {"range": "full"},
        {"matrix": "bt601"},
        {"primaries": "smpte170m"},
        {"chroma_location": "topleft"},
        {"deinterlace": "frame"},
        {"model": "hdrunet"},
        {"precision": "fp32"},
        pytest.param({"backend": "openvino"}, marks=needs_openvino),
        {"tile": (16, 16)},
        {"keep_going": True},
    ],
    ids=str,
)
def test_other_settings_reuse_nothing(film: Path, stopped: Path, options: dict[str, Any]) -> None:
    same = Job(film, stopped, model="identity", segment_frames=3)
    assert SegmentStore(make_plan(same)).missing() == []
    plan = make_plan(replace(same, **options))
    assert SegmentStore(plan).missing() == list(plan.segments)


def test_segments_of_other_hardware_are_said(film: Path, stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forge(stopped.with_name(".out.mkv.work") / "seg_000004.json", hardware="GPU X", precision="fp16")
    convert(film, stopped, "--segment-frames", "3")
    assert "GPU X in fp16" in capsys.readouterr().err


def test_another_source_of_the_same_name_reuses_nothing(tmp_path: Path, stopped: Path, film: Path) -> None:
    kept = film.read_bytes()
    try:
        ffmpeg("-i", film, "-vf", "negate", "-pix_fmt", "yuv420p", "-c:a", "copy", *BT709, tmp_path / "other.mp4")
        film.write_bytes((tmp_path / "other.mp4").read_bytes())
        clean = tmp_path / "clean"
        clean.mkdir()
        convert(film, clean / "out.mkv", "--segment-frames", "3")
        assert redone(stopped, film) == (0, set(range(10)))
        assert made(stopped) == made(clean / "out.mkv")
    finally:
        film.write_bytes(kept)


def test_other_weights_reuse_nothing(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(0, 0, 0))
    for seed in range(2):
        torch.manual_seed(seed)
        save_network(HDRUNet(config), tmp_path / f"{seed}.safetensors")
    weights = tmp_path / "weights.safetensors"
    clean, target = tmp_path / "clean.mkv", tmp_path / "out.mkv"
    options = ("--weights", str(weights), "--segment-frames", "3", "--frames", ":6")
    shutil.copy(tmp_path / "1.safetensors", weights)
    convert(film, clean, *options, model="hdrunet")
    shutil.copy(tmp_path / "0.safetensors", weights)
    with monkeypatch.context() as patch:
        patch.setattr("hdrunet_video.assemble.join", stop)
        assert main([str(film), str(target), *options, "-q"]) == 130
    shutil.copy(tmp_path / "1.safetensors", weights)
    convert(film, target, *options, model="hdrunet")
    assert sha256(target) == sha256(clean)


def test_how_many_frames_at_once_is_asked_for_what_is_left(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A film that is all but finished is over before a measurement for all its frames has ended."""
    config = HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(0, 0, 0))
    save_network(HDRUNet(config), tmp_path / "weights.safetensors")
    target, asked = tmp_path / "out.mkv", list[tuple[int, int, int, bool]]()
    options = ("--weights", tmp_path / "weights.safetensors", "--segment-frames", "3", "--frames", ":12", "-q")
    monkeypatch.setattr("hdrunet_video.work.tune", lambda _, *how: asked.append(how))
    with monkeypatch.context() as patch:
        patch.setattr("hdrunet_video.assemble.join", stop)
        assert main([str(film), str(target), *map(str, options)]) == 130
        receipts(tmp_path / ".out.mkv.work")[2].unlink()
        assert main([str(film), str(target), *map(str, options)]) == 130
    assert main([str(film), str(target), *map(str, options), "--tune"]) == 0
    assert asked == [(128, 96, 12, False), (128, 96, 3, False), (128, 96, 0, True)]


def test_a_device_that_is_not_there_leaves_no_trace(film: Path, tmp_path: Path) -> None:
    assert main([str(film), str(tmp_path / "out.mkv"), "--device", "cuda:77", "-q"]) == 2
    assert list(tmp_path.iterdir()) == []
