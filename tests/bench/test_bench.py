"""`python -m hdrunet_video.bench` as it is typed."""

from __future__ import annotations

import errno
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hdrunet_video.bench.__main__ import main
from hdrunet_video.bench.machine import Machine
from hdrunet_video.bench.report import tables
from hdrunet_video.bench.results import Results, Row
from hdrunet_video.bench.stages import Lengths
from hdrunet_video.errors import RetryError
from hdrunet_video.network.hdrunet import HDRUNet
from tests.conftest import NVIDIA_DRIVER

pytestmark = pytest.mark.usefixtures("machine")


def results_in(path: Path) -> Results:
    facts = json.loads(path.read_text())
    rows = tuple(Row(**{**row, "seconds": tuple(row["seconds"])}) for row in facts.pop("rows"))
    return Results(Machine(**facts.pop("machine")), rows, **facts)


def test_network_at_two_sizes(tmp_path: Path, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "bench.json"
    words = ["--only", "network", "--sizes", "20x12", "12x8", "--contestants", "ours fp32", "TensorRT"]
    assert main([*words, "--budget", "60", "--json", str(target)]) == 0
    said = capsys.readouterr()
    assert "network at 12x8" in said.err.splitlines()[0]
    assert "not installed: torch_tensorrt" in said.out or "left out" in said.out
    results = results_in(target)
    assert results.machine == machine
    assert results.complete
    assert results.asked["sizes"] == ["20x12", "12x8"]
    assert [(row.name, row.width) for row in results.of("network")] == [
        (name, width) for width in (12, 20) for name in ("eager fp32", "ours fp32", "TensorRT")
    ]
    assert all(row.seconds for row in results.of("network") if row.name != "TensorRT")
    assert tables(results) in said.out


def test_stages_and_their_trace(
    tmp_path: Path, network: HDRUNet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hdrunet_video.bench.stages._bundled", lambda: network)
    # However busy the machine is.
    monkeypatch.setattr("hdrunet_video.bench.stages.Stages._lengths", lambda *_: Lengths(2, 6, ()))
    target = tmp_path / "trace.json"
    picture = tmp_path / "plot.png"
    words = ["--only", "stages", "--sizes", "33x17", "--budget", "0.1", "--trace", str(target), "--plot", str(picture)]
    assert main(words) == 0
    bars = np.asarray(Image.open(picture).convert("RGB"))
    assert (bars == (0x1F, 0x5F, 0xBF)).all(-1).any()  # end to end
    assert {"decode", "engine", "encode", "end to end"} <= set(capsys.readouterr().out.replace("|", " ").split("  "))
    events = json.loads(target.read_text())["traceEvents"]
    processes = [event for event in events if event["name"] == "process_name"]
    assert [event["args"]["name"] for event in processes] == ["34x18"]  # even, for 4:2:0
    for lane in ("decode", "compute", "encode"):
        spans = [event for event in events if event["name"] == lane]
        assert len({event["args"]["pts"] for event in spans if "args" in event}) >= 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sizes", "big"], "'big' is not a size"),
        (["--sizes", "4x4"], "'4x4' is not a size"),
        (["--only", "colour"], "there is no part 'colour'"),
        (["--contestants", "mine"], "there is no contestant 'mine'"),
        (["--budget", "0"], "--budget 0 is no time"),
        (["--budget", "nan"], "--budget nan is no time"),
        (["--budget", "inf"], "--budget inf is no time"),
        (["--preset", "exr"], "writes no film"),
        (["--device", "tpu"], "'tpu' is not a device"),
        (["--only", "network", "--trace", "trace.json"], "--trace shows the stages"),
    ],
)
def test_wrong_flags(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("python -m hdrunet_video.bench: error: ")
    assert message in lines[0]
    assert lines[1].startswith("  hint: ")


def test_a_plot_needs_pillow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("hdrunet_video.bench.__main__.find_spec", lambda name: None)
    assert main(["--plot", "plot.png"]) == 2
    assert "hdrunet-video[bench]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RetryError("the device was lost"), "the device was lost"),
        (OSError("No space left on device"), "OSError: No space left on device"),
    ],
)
def test_what_others_measured_is_kept_where_one_fails(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("hdrunet_video.bench.stages.Stages.run", fail)
    assert main(["--sizes", "12x8", "--contestants", "ours fp32", "--budget", "60"]) == 0
    said = capsys.readouterr().out
    assert f"stages at 12x8 failed: {told}" in said
    assert "| eager fp32" in said


def test_what_was_measured_is_kept_where_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hdrunet_video.bench.stages.Stages.run", stop)
    target = tmp_path / "bench.json"
    words = ["--sizes", "12x8", "--contestants", "ours fp32", "--budget", "60", "--json", str(target)]
    assert main(words) == 130
    assert "| eager fp32" in capsys.readouterr().out
    results = results_in(target)
    assert not results.complete
    assert [row.name for row in results.rows if row.seconds] == ["eager fp32", "ours fp32"]


def test_a_disk_that_is_full_does_not_end_the_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hdrunet_video.bench.__main__.Path.write_bytes", full)
    words = ["--only", "network", "--sizes", "12x8", "--contestants", "ours fp32", "--budget", "60"]
    assert main([*words, "--json", str(tmp_path / "bench.json")]) == 73
    said = capsys.readouterr()
    assert "| eager fp32" in said.out
    assert "cannot be written: No space left on device" in said.err


def test_pictures_that_nothing_has_memory_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sizes", "99999x99999", "--budget", "2"]) == 0
    said = capsys.readouterr().out
    assert "| left out: its features and those of the others would not fit in the memory" in said
    assert "stages at 99999x99999 failed: its pictures would not fit in the free memory" in said


@pytest.mark.skipif(NVIDIA_DRIVER, reason="there may be one")
def test_an_encoder_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "stages", "--sizes", "160x96", "--preset", "hdr10-nvenc", "--budget", "1"]) == 0
    assert "failed: the encoder hevc_nvenc does not start here" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_noticed_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", str(tmp_path / "no" / "bench.json")]) == 73
    assert "does not exist" in capsys.readouterr().err


def test_a_folder_in_the_place_of_a_file_is_noticed_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "stages", "--trace", str(tmp_path)]) == 73
    assert "is a folder" in capsys.readouterr().err


def readme_commands() -> list[str]:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    start = "python -m hdrunet_video.bench"
    return [line.partition(" # ")[0] for line in readme.splitlines() if line.startswith(start)]


@pytest.mark.parametrize("command", readme_commands())
def test_readme_command_runs(
    command: str, tmp_path: Path, network: HDRUNet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a size and with a budget that suit a test; a later flag overrides an earlier one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hdrunet_video.bench.stages._bundled", lambda: network)
    monkeypatch.setattr("hdrunet_video.bench.curves.LENGTHS", (3,))
    words = shlex.split(command)[3:]
    small = ["--sizes", "16x8", "--budget", "1", *([] if "--contestants" in words else ["--contestants", "ours fp32"])]
    assert main([*words, *small]) == 0
    assert "| eager fp32" in capsys.readouterr().out
    assert all((tmp_path / word).is_file() for word in words if word.endswith((".json", ".png")))


def test_there_are_readme_commands() -> None:
    assert len(readme_commands()) >= 4
