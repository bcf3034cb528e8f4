"""Time over the size of a picture, memory over the length of a film, and the picture of both."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hdrunet_video.bench.curves import Curves
from hdrunet_video.bench.machine import Machine
from hdrunet_video.bench.plot import plot
from hdrunet_video.bench.report import tables
from hdrunet_video.bench.results import Results, Row
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.forward import place
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.presets import load_preset
from tests.conftest import ffprobe

SIZES = ((320, 180), (48, 32), (96, 64))


def curves_of(machine: Machine, folder: Path, network: HDRUNet) -> Curves:
    preset = load_preset("prores-hq")
    return Curves(
        machine, torch.device("cpu"), preset, folder, network, sizes=SIZES, lengths=(3, 6), most_rounds=2, tiled_from=0
    )


def test_time_over_size(tmp_path: Path, machine: Machine, network: HDRUNet) -> None:
    rows = curves_of(machine, tmp_path, network).over_pixels(1000.0)
    assert [(row.name, row.width) for row in rows] == [
        *(("whole", 48), ("whole", 96), ("whole", 320)),
        *(("whole, in turns", 320), ("tiles 160x180, in turns", 320)),
    ]
    assert all(row.part == "sizes" and row.median > 0 for row in rows)
    assert len(rows[3].seconds) == len(rows[4].seconds)


def test_memory_of_a_size_does_not_depend_on_those_before(tmp_path: Path, machine: Machine) -> None:
    network = HDRUNet(HDRUNetConfig(channels=32, blocks=(1, 1, 1))).eval().requires_grad_(False)
    curves = curves_of(machine, tmp_path, network)
    curves.sizes = ((480, 270), (96, 64))
    rows = [row for row in curves.over_pixels(1000.0) if row.name.startswith("whole") and row.width == 480]
    first, again = (row.peak_bytes for row in rows)
    if first is None or again is None:
        pytest.skip("this system does not let a process reset its peak")
    assert again > 0.8 * first


def test_sizes_that_the_time_or_the_memory_will_not_do_for(
    tmp_path: Path, machine: Machine, network: HDRUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = curves_of(machine, tmp_path, network).over_pixels(0.0)
    assert all("of --budget are left" in row.note for row in rows)
    needed = place(network, torch.device("cpu"), "fp32").bytes_per_pixel  # type: ignore[attr-defined]
    monkeypatch.setattr("hdrunet_video.bench.curves.free_memory", lambda device: 96 * 64 * (needed + 110.0))
    rows = curves_of(machine, tmp_path, network).over_pixels(1000.0)
    assert [row.note for row in rows if row.width == 320] == ["it would not fit in the free memory"]
    assert [row.width for row in rows if row.seconds] == [48, 96, 96, 96]


def test_memory_over_length(tmp_path: Path, machine: Machine, network: HDRUNet) -> None:
    rows = curves_of(machine, tmp_path, network).over_frames(1000.0)
    assert [(row.name, row.frames) for row in rows] == [("decode, engine, encode", 3), ("decode, engine, encode", 6)]
    (stream,) = ffprobe(tmp_path / "converted", "-show_streams", "-count_frames")["streams"]
    assert stream["nb_read_frames"] == "6"
    if sys.platform == "linux" and rows[0].peak_bytes is not None:
        assert all((row.peak_bytes or 0) > 1 << 20 for row in rows)


def test_lengths_that_the_time_will_not_do_for(tmp_path: Path, machine: Machine, network: HDRUNet) -> None:
    curves = curves_of(machine, tmp_path, network)
    curves.lengths = (2, 3, 4)
    assert [bool(row.seconds) for row in curves.over_frames(0.0)] == [True, False, False]


def row(part: str, name: str, width: int, *seconds: float, frames: int = 1, note: str = "") -> Row:
    return Row(part, name, width, 100, "fp32", seconds=seconds, peak_bytes=(5 + frames) << 20, frames=frames, note=note)


def results_of(machine: Machine) -> Results:
    rows = (
        *(row("network", "eager fp32", width, 0.4, 0.5, 0.9) for width in (100, 200)),
        *(row("network", "ours fp32", width, 0.1, 0.125, 9.0) for width in (100, 200)),
        row("network", "TensorRT", 100, note="not installed: torch_tensorrt"),
        *(row("sizes", "whole", width, width * 1e-4) for width in (100, 200)),
        row("sizes", "tiles 160x96", 400, 0.05),
        row("sizes", "left out", 800, note="it would need 9 s"),
        *(row("frames", "engine", 320, 0.01, frames=count) for count in (8, 32)),
        Row("failed", "stages at 8x8", 0, 0, note="the device was lost"),
    )
    return Results(machine, rows)


def test_tables_say_all_of_it(machine: Machine) -> None:
    text = tables(results_of(machine))
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    by_name = {(line[0], line[1]): line for line in cells}
    assert by_name["ours fp32", "100x100"][2:7] == ["3", "100", "125", "9000", "4.00"]
    assert by_name["TensorRT", "100x100"][2] == "not installed: torch_tensorrt"
    assert by_name["tiles 160x96", "400x100"][6:8] == ["1250", "1.25"]
    assert by_name["left out", "800x100"][2] == "it would need 9 s"
    assert by_name["engine", "320x100"][2:] == ["32", "10", "37"]
    assert "stages at 8x8 failed: the device was lost" in text


def test_plot_is_a_picture_in_which_bars_are_as_long_as_times(machine: Machine) -> None:
    image = Image.open(io.BytesIO(plot(results_of(machine)))).convert("RGB")
    pixels = np.asarray(image)
    eager = (pixels == (0x9D, 0xB4, 0xD0)).all(-1).sum(1).max()
    ours = (pixels[: 12 * 22] == (0x1F, 0x5F, 0xBF)).all(-1).sum(1).max()  # above the curves
    assert eager == pytest.approx(600, abs=3)
    assert ours == pytest.approx(150, abs=3)


def test_plot_without_anything(machine: Machine) -> None:
    assert Image.open(io.BytesIO(plot(Results(machine, ())))).size[0] == 960
