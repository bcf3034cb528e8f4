"""Every stage and all of them, on a film of a few small frames."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch

from hdrunet_video.bench.clip import make_clip
from hdrunet_video.bench.film import Film
from hdrunet_video.bench.machine import Machine
from hdrunet_video.bench.report import overlap
from hdrunet_video.bench.results import Row
from hdrunet_video.bench.stages import Stages
from hdrunet_video.bench.timeline import Timeline
from hdrunet_video.bench.traced import TracedEngine
from hdrunet_video.color.convert import Target
from hdrunet_video.color.light import LightMapping
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.presets import load_preset
from tests.conftest import ffprobe

CPU = torch.device("cpu")


def stages_of(machine: Machine, folder: Path, network: HDRUNet, preset: str = "prores-hq") -> Stages:
    return Stages(machine, CPU, load_preset(preset), folder, 48, 32, network, most_frames=8, most_rounds=1)


def test_clip_is_what_it_says(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", 50, 34, 7)
    (stream,) = ffprobe(tmp_path / "clip.mp4", "-show_streams", "-count_frames")["streams"]
    assert (stream["width"], stream["height"], stream["nb_read_frames"]) == (50, 34, "7")
    assert (stream["pix_fmt"], stream["color_space"], stream["color_range"]) == ("yuv420p", "bt709", "tv")


@pytest.mark.parametrize("preset", ["prores-hq", "ffv1"])
def test_stages(
    preset: str, tmp_path: Path, machine: Machine, network: HDRUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stages = stages_of(machine, tmp_path, network, preset)
    rows = stages.run(1000.0)
    names = ["decode", "colour", "network", "light", "engine", "encode", "end to end"]
    assert [row.name for row in rows] == names  # nothing is moved where the CPU computes
    assert all(0 < min(row.seconds) <= row.median <= max(row.seconds) for row in rows)
    assert rows[-1].frames == 8
    assert stages.timeline is not None
    assert sum(span.lane == "compute" for span in stages.timeline.spans) == rows[-1].frames
    assert set(stages.timeline.busy()) == {"decode", "compute", "encode"}
    assert "compute" in rows[-1].note
    # What was written is a film of as many frames.
    (stream,) = ffprobe(tmp_path / "converted", "-show_streams", "-count_frames")["streams"]
    assert rows[4].note == "1 at once"
    assert stream["nb_read_frames"] == str(rows[-1].frames)


def test_frames_at_once_are_those_that_were_measured(
    tmp_path: Path, machine: Machine, network: HDRUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("hdrunet_video.tune.choose", lambda seconds, candidates: 2)
    monkeypatch.setattr("hdrunet_video.tune.sys.platform", "linux")
    stages = stages_of(machine, tmp_path, network)
    stages.tune = True
    rows = {row.name: row for row in stages.run(1000.0)}
    assert rows["engine"].note == "2 at once"
    assert "compute frame_0" in rows["end to end"].note
    assert (tmp_path / "hdrunet-video" / "tuning.json").exists()
    later = {row.name: row for row in stages_of(machine, tmp_path, network).run(1000.0)}
    assert later["engine"].note == "2 at once"


def test_what_fills_the_engine_does_not_count(tmp_path: Path) -> None:
    """No frame can take less than its share of the time that the network sleeps, however many are at once."""
    at_once, sleep, count = 8, 0.1, 24
    preset = load_preset("prores-hq")

    def slow(signal: torch.Tensor) -> torch.Tensor:
        time.sleep(sleep)
        return signal

    target = Target(preset.color, preset.format, preset.dither)
    engine = TracedEngine(slow, LightMapping(), target, device="cpu", at_once=at_once)
    film = Film(tmp_path, 48, 32, count, preset)
    timeline = Timeline()
    assert film.convert(engine, timeline) > 0.85 * sleep / at_once
    times = [[span.pts for span in timeline.spans if span.lane.startswith(lane)] for lane in ("decode", "compute")]
    assert len(set(times[0])) == count
    assert set(times[0]) == set(times[1])


def test_what_would_take_too_long_is_left_out(tmp_path: Path, machine: Machine) -> None:
    rows = {row.name: row for row in stages_of(machine, tmp_path, HDRUNet()).run(1e-6)}
    assert [name for name, row in rows.items() if not row.seconds] == ["network", "engine", "end to end"]
    assert rows["network"].note.startswith("left out")
    assert rows["encode"].seconds


def test_without_pyav_the_rest_is_measured(
    tmp_path: Path, machine: Machine, network: HDRUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_av = ("av", "hdrunet_video.reader", "hdrunet_video.probe", "hdrunet_video.bench.film")
    for name in [name for name in sys.modules if name in needs_av]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "av", None)
    rows = {row.name: row for row in stages_of(machine, tmp_path, network).run(1000.0)}
    assert rows["engine"].seconds
    for name in ("decode", "encode", "end to end"):
        assert (rows[name].seconds, rows[name].note) == ((), "not installed: av")


def test_share_of_the_slowest() -> None:
    def row(name: str, *seconds: float, width: int = 64) -> Row:
        return Row("stage", name, width, 48, seconds=seconds)

    stages = [row("decode", 1, 1, 1), row("engine", 4, 4, 2), row("network", 9, 9, 9), row("engine", 99, width=65)]
    assert overlap(row("end to end", 5, 4, 4), stages) == ("engine", pytest.approx(0.8))
