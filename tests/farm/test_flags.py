"""Flags of the farm's commands: what they take, and what contradicts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.farm.conftest import Capture, run


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--segments", "5"), "segments 0 to 4"),
        (("--segments", "3-9"), "segments 0 to 4"),
        (("--segments", "3-1"), "segments 0 to 4"),
        (("--segments", "x"), "not a list"),
        (("--segments", ""), "not a list"),
        (("--segments", "0-4:0"), "not a list"),
        (("--segments", "0", "--peak", "600"), "--peak is not for --segments"),
        (("--join", "--model", "identity"), "--model is not for --join"),
        (("--join", "--segments", "0"), "contradict"),
        (("--segments", "0", "in.mp4", "out.mp4"), "another kind of file"),
    ],
)
def test_flags_that_cannot_be(job: Path, arguments: tuple[str, ...], says: str, capsys: Capture) -> None:
    assert run("--plan", job / "plan", *arguments) == 2
    assert says in capsys.readouterr().err


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
