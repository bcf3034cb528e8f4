"""Every command and every line of Python that the README shows does what it says."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from hdrunet_video.cli import main
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.weights import save_network
from hdrunet_video.training import images
from hdrunet_video.training.__main__ import main as train
from tests.conftest import ffmpeg

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")

FARM = README.partition("## On a farm\n")[2].partition("\n## ")[0]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Those that each stand alone: tests/farm runs the section on farms in its order."""
    lines = "\n".join(block for block in blocks("sh")[1:] if block not in FARM).splitlines()
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

    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.HdrunetError)
    }
    section = README.split("### Exit codes")[1].split("##")[0]
    assert all(re.search(rf"\b{code}\b", section) for code in codes)


def training_commands(evaluates: bool) -> list[str]:
    lines = "\n".join(blocks("sh")).splitlines()
    ours = [line.partition(" #")[0].partition(" >")[0] for line in lines if line.startswith("python -m hdrunet_video")]
    return [line for line in ours if (" evaluate " in line) == evaluates]


@pytest.mark.parametrize("command", training_commands(evaluates=False))
def test_training_command_is_accepted(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is only checked: a training that began would not end within a test."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(4):
        light = np.full((160, 160, 3), 0.1 * number, np.float32)
        with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": light}) as file:
            file.write(str(pictures / f"scene{number}.exr"))
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command)[3:]
    code = train([*arguments, "--check"])
    said = capsys.readouterr()
    if "paper" in arguments:
        assert (code, "NTIRE2021/Train" in said.err) == (65, True)
    else:
        assert code == 0, said.err
    if "--show" in arguments:
        assert "[network]" in said.out or "[data]" in said.out


@pytest.fixture(scope="module")
def evaluation_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny data of each layout that the section on evaluation names, and a network."""
    folder = tmp_path_factory.mktemp("evaluate")
    for name in ("pictures", "test/sdr", "test/hdr", "NTIRE2021/Valid", "films", "run-ours"):
        (folder / name).mkdir(parents=True)
    signal = np.random.default_rng(0).random((48, 64, 3)).astype(np.float32) * 1.5
    codes = np.rint(np.minimum(signal, 1) * 255).astype(np.uint8)
    for number in range(2):
        with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": signal**2.24}) as file:
            file.write(str(folder / "pictures" / f"scene{number}.exr"))
        images.write_png(folder / "test" / "sdr" / f"a_{number}.png", codes)
        np.save(folder / "test" / "hdr" / f"a_{number}.npy", signal)
    valid = folder / "NTIRE2021" / "Valid"
    images.write_png(valid / "0000_medium.png", codes)
    images.write_png(folder / "gt.png", codes)
    ffmpeg("-i", folder / "gt.png", "-pix_fmt", "rgb48be", valid / "0000_gt.png")
    np.save(valid / "0000_alignratio.npy", np.float64(65535))
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:duration=0.2", "-pix_fmt", "yuv420p", folder / "films" / "a.mp4")
    tiny = HDRUNet(HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(0, 1, 0)))
    save_network(tiny, folder / "run-ours" / "best.safetensors")
    return folder


@pytest.mark.parametrize("command", training_commands(evaluates=True))
def test_evaluation_command_prints_what_the_readme_lists(
    command: str, evaluation_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(evaluation_data)
    if "--clips" in command and find_spec("cv2") is None:
        pytest.skip("OpenCV is not installed")
    assert train(shlex.split(command)[3:]) == 0
    header = capsys.readouterr().out.splitlines()[2]
    section = README.split("## Evaluate")[1].split("\n## ")[0]
    names = [re.sub(r" \(.*", "", column) for column in re.split(r"  +", header)[1:]]
    assert len(names) >= 5
    known = ("PSNR", "dE-ITP", "exposed", "dark noise", "flicker", "added", "detail", "pumping")
    for name in names:
        assert any(part in name and part in section for part in known), name
    if " -o report" in command:
        assert Path("report/index.html").is_file()
