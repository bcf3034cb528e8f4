"""Every command and every line of Python that the README shows does what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from hdrunet_video.cli import main
from tests.conftest import ffmpeg

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = "\n".join(blocks("sh")[1:]).splitlines()
    return [line.partition(" #")[0].strip() for line in lines if line.startswith("hdrunet-video ")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny in.mp4, so that the network has little to do."""
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=24:duration=0.21"),
        *("-f", "lavfi", "-i", "sine=duration=0.21", "-pix_fmt", "yuv420p", "-c:v", "libx264", tmp_path / "in.mp4"),
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_commands_to_test() -> None:
    assert len(commands()) >= 8


@pytest.mark.parametrize("command", commands())
def test_command_runs_and_writes_what_it_names(command: str, folder: Path) -> None:
    words = shlex.split(command)[1:]
    assert main(words) == 0
    outputs = [word for word in words[1:] if re.search(r"\.(mov|mp4|mkv|exr)$", word)]
    for output in outputs:
        there = list(folder.glob(re.sub(r"%0\d+d", "*", output)))
        assert bool(there) != ("--dry-run" in words), output
    if "-o" in words:
        assert any((folder / words[words.index("-o") + 1]).iterdir())


def test_library_example_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})  # the README is ours
    assert (folder / "notebook.mov").is_file()
    assert "torch.Size([48, 64])" in capsys.readouterr().out


def test_every_preset_is_in_the_table() -> None:
    from hdrunet_video.presets import preset_names

    for name in preset_names():
        assert f"| `{name}` |" in README


def test_every_exit_code_is_explained() -> None:
    from hdrunet_video import errors

    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    section = README.split("### Exit codes")[1].split("##")[0]
    assert all(re.search(rf"\b{code}\b", section) for code in codes)
