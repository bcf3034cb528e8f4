"""Flags of the farm's commands: what they take, and what contradicts them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from hdrunet_video.job import Job
from tests.farm.conftest import OPTIONS, Capture, run


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--segments", "5"), "segments 0 to 4"),
        (("--segments", "3-9"), "segments 0 to 4"),
        (("--segments", "3-1"), "--segments 3-1: the range runs backwards"),
        (("--segments", "x"), "not a list"),
        (("--segments", ""), "not a list"),
        (("--segments", "0-4:0"), "not a list"),
        (("--segments", "0", "--peak", "600"), "--peak is not for --segments"),
        (("--join", "--model", "identity"), "--model is not for --join"),
        (("--join", "--segments", "0"), "contradict"),
        (("--segments", "0", "in.mp4", "out.mp4"), "another kind of file"),
        (("--segments", "0", "--per-task", "2"), "--per-task is for --submit"),
        (("--segments", "0", "--sbatch=--gres=gpu:1"), "--sbatch is for --submit slurm"),
        (("--join", "--detach"), "--detach is for --submit slurm"),
        (("--join", "--tune"), "--tune is not for --join"),
    ],
)
def test_flags_that_cannot_be(job: Path, arguments: tuple[str, ...], says: str, capsys: Capture) -> None:
    assert run("--plan", job / "plan", *arguments) == 2
    assert says in capsys.readouterr().err


SETTINGS = {
    "preset": ("-p", "hlg"),
    "settings": ("--set", "video.options.crf=2"),
    "model": ("--model", "identity"),
    "decoder": ("--decoder", "nvdec"),
    "precision": ("--precision", "fp32"),
    "backend": ("--backend", "openvino"),
    "tile": ("--tile", "64x64"),
    "peak": ("--peak", "600"),
    "white": ("--white", "100"),
    "display_gamma": ("--display-gamma", "2.4"),
    "strength": ("--strength", "0.5"),
    "frames": ("--frames", "0:6"),
    "segment_frames": ("--segment-frames", "7"),
    "deinterlace": ("--deinterlace", "off"),
    "matrix": ("--matrix", "bt601"),
    "primaries": ("--primaries", "smpte170m"),
    "range": ("--range", "full"),
    "chroma_location": ("--chroma-location", "left"),
    "assume_sdr": ("--assume-sdr",),
    "keep_going": ("--keep-going",),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_the_plan_are_not_for_tasks(job: Path, setting: str, capsys: Capture) -> None:
    for verb in (("--segments", "0"), ("--join",), ("--verify",)):
        assert run("--plan", job / "plan", *verb, *SETTINGS[setting]) == 2
        assert f"is not for {verb[0]}" in capsys.readouterr().err


def test_no_setting_was_forgotten() -> None:
    of_the_machine = {"source", "target", "weights", "device", "tune"}
    assert {each.name for each in fields(Job)} - of_the_machine == SETTINGS.keys()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--per-task", "2"), "--per-task is for --submit"),
        (("--plan", "p", "--detach"), "--detach is for --submit slurm"),
        (("--plan", "p", "--tune"), "--tune is not for --plan"),
        (("--submit", "openjd", "bundle", "--sbatch=--gres=gpu:1"), "--sbatch is for --submit slurm"),
        (("--submit", "openjd", "bundle", "--plan", "p"), "in bundle/plan"),
    ],
)
def test_flags_that_would_do_nothing(
    film: Path, tmp_path: Path, arguments: tuple[str, ...], says: str, capsys: Capture
) -> None:
    assert run(film, tmp_path / "out.mov", *OPTIONS, *arguments) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", [("--join",), ("--segments", "0"), ("--verify",)])
def test_a_plan_must_be_named(verb: tuple[str, ...], capsys: Capture) -> None:
    assert run(*verb) == 2
    assert "needs --plan" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("7", [7]),
        ("3-5", [3, 4, 5]),
        ("1,4,9", [1, 4, 9]),
        ("1-9:3", [1, 4, 7]),
        ("5,3-5", [3, 4, 5]),
        ("all", [*range(10)]),
    ],
)
def test_lists_of_segments(text: str, numbers: list[int]) -> None:
    from hdrunet_video.farm.tasks import segment_numbers

    assert segment_numbers(text, 10) == numbers
