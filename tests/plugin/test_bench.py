"""python -m hdrunet_video.plugin.bench: what it prints, and how it ends."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import vapoursynth as vs

from hdrunet_video.plugin.bench import main

Capture = pytest.CaptureFixture[str]


def refused(capsys: Capture, *arguments: str) -> str:
    """What is said of a command line that is wrong: the error, without the hint below it."""
    assert main([*arguments]) == 2
    output, said = capsys.readouterr()
    error, hint = said.splitlines()
    assert output == ""
    assert hint.startswith("  hint: ")
    prefix = "python -m hdrunet_video.plugin.bench: error: "
    assert error.startswith(prefix)
    return error.removeprefix(prefix)


def test_the_three_are_measured(capsys: Capture) -> None:
    arguments = ["--size", "32x24", "--model", "identity", "--device", "cpu", "--frames", "2", "--rounds", "1"]
    assert main(arguments) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == "32x24 on cpu, 1 rounds of 2 frames, 1 at once"
    assert [row.split(" fps ")[0][:16].strip() for row in rows] == ["engine alone", "Reconstruct", "std.ModifyFrame"]


@pytest.mark.parametrize("size", ["foo", "0x0", "640", "640x", "-640x360", "7x8", "640x360x3", ""])
def test_what_is_no_size(size: str, capsys: Capture) -> None:
    assert refused(capsys, f"--size={size}") == f"{size!r} is not a size"


@pytest.mark.parametrize("argument", ["--rounds", "--frames", "--prefetch", "--streams"])
def test_at_least_one_of_each(argument: str, capsys: Capture) -> None:
    assert "0 is not possible" in refused(capsys, argument, "0")


def test_models_and_devices_that_are_not_there(capsys: Capture) -> None:
    assert "nothing" in refused(capsys, "--model", "nothing")
    assert "cuda:77" in refused(capsys, "--device", "cuda:77")


def test_without_the_filter(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vs, "core", SimpleNamespace())
    assert refused(capsys) == "VapourSynth has no core.hdrunet.Reconstruct"


def test_without_vapoursynth(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vapoursynth", None)
    assert refused(capsys) == "VapourSynth is not installed"
