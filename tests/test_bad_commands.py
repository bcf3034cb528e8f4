"""Commands that cannot be done: wrong flags, places, presets and weights."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hdrunet_video.cli import main
from hdrunet_video.presets import preset_path
from tests.bad_input import check_failure, contents

COMMANDS = [
    (["nowhere.mp4", "out.mov"], 65, "does not exist"),
    (["/dev/null", "out.mov"], 65, "not a regular file"),
    (["http://localhost:1/in.mp4", "out.mov"], 65, "is a URL"),
    (["file:good.mp4", "out.mov"], 65, "does not exist"),
    (["concat:good.mp4|good.mp4", "out.mov"], 65, "does not exist"),
    (["good.mp4", "good.mp4", "-y"], 2, "is the input itself"),
    (["good.mp4", "./good.mp4", "-y"], 2, "is the input itself"),
    (["good.mp4", "nowhere/out.mov"], 73, "does not exist"),
    (["good.mp4", "good.mp4/out.mov"], 73, "good.mp4"),
    (["good.mp4", "/proc/out.mov"], 73, "/proc"),
    (["good.mp4", "out.xyz"], 2, "extension"),
    (["good.mp4", "out"], 2, "extension"),
    (["good.mp4", "out.mov", "-p", "av1"], 2, "preset av1"),
    (["good.mp4", "out.exr"], 2, "frame number"),
    (["good.mp4", "out.mov", "-p", "prores-hd"], 65, "Did you mean 'prores-hq'"),
    (["good.mp4", "out.mov", "-p", "nowhere.toml"], 65, "does not exist"),
    (["good.mp4", "out.mov", "-p", "bad.toml"], 65, "bad.toml is not TOML"),
    (["good.mp4", "out.mov", "--set", "segment.frame=5"], 65, "Did you mean 'segment.frames'"),
    (["good.mp4", "out.mov", "--set", "video.codec=libx999"], 2, "libx999"),
    (["good.mp4", "out.mov", "--set", "video.codec_tag=abcd"], 65, "mov does not take prores with the tag 'abcd'"),
    (["good.mp4", "out.mov", "--set", "video.codec_tag=ab"], 65, "with the tag 'ab'"),
    (["good.mp4", "out.mov", "--set", "segment.container=mp4"], 65, "mp4 does not take prores"),
    (["good.mp4", "out.mp4", "-p", "mp4.toml"], 65, "mp4 does not take prores"),
    (["good.mp4", "out.mov", "-p", "mov.toml"], 65, "mov does not take libsvtav1"),
    (["good.mp4", "out.mp4", "-p", "av1", "--set", "video.static_metadata=hevc"], 65, "needs the encoder libx265"),
    (["good.mp4", "out.mov", "--set", "video.options.crf=24"], 65, "prores has no option 'crf'"),
    (["good.mp4", "out.mp4", "--set", "video.options.crff=24"], 65, "Did you mean 'crf'"),
    (["good.mp4", "out.%06d.exr", "--set", "video.options.compresion=zip"], 65, "Did you mean 'compression'"),
    (["good.mp4", "out.mp4", "--set", "video.options.crf=abc"], 65, "refuses the options {'crf': 'abc'"),
    (["good.mp4", "out.mp4", "--set", "video.options.preset=fasst"], 65, "'preset': 'fasst'"),
    (["good.mp4", "out.mp4", "-p", "av1", "--set", "video.options.crf=99"], 65, "'crf': '99'"),
    (["good.mp4", "out.mov", "--backend", "openvino", "--device", "cuda"], 2, "on the CPU only"),
    (["good.mp4", "out.mov", "--peak", "400"], 2, "roll-off begins"),
    (["good.mp4", "out.mov", "--peak", "100"], 2, "--white"),
    (["good.mp4", "out.mov", "--peak", "nan"], 2, "--peak"),
    (["good.mp4", "out.mov", "--white", "inf"], 2, "--white"),
    (["good.mp4", "out.mov", "--strength", "1.5"], 2, "--strength 1.5 is out of range"),
    (["good.mp4", "out.mov", "--display-gamma", "0"], 2, "--display-gamma"),
    (["good.mp4", "out.mp4", "-p", "hlg", "--peak", "4000"], 2, "HLG"),
    (["good.mp4", "out.mov", "--frames", "9:3"], 2, "--frames 9:3"),
    (["good.mp4", "out.mov", "--frames", "3:3"], 2, "--frames 3:3"),
    (["good.mp4", "out.mov", "--frames", "10:20"], 2, "(10 frames)"),
    (["good.mp4", "out.mov", "--frames", "abc"], 2, "--frames 'abc'"),
    (["good.mp4", "out.mov", "--segment-frames", "0"], 2, "--segment-frames"),
    (["good.mp4", "out.mov", "--tile", "big"], 2, "--tile"),
    (["good.mp4", "out.mov", "-y", "-n"], 2, "-y and -n"),
    (["good.mp4"], 2, "1 given"),
    (["good.mp4", "out.mov", "--weights", "evil.pth"], 65, "evil.pth"),
    (["good.mp4", "out.mov", "--weights", "other.safetensors"], 65, "other.safetensors"),
    (["good.mp4", "out.mov", "--weights", "nowhere.pth"], 65, "nowhere.pth"),
    (["good.mp4", "out.mov", "--weights", "good.mp4"], 65, "good.mp4"),
]


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize(
    ("arguments", "code", "says"), COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_a_bad_command(
    arguments: list[str], code: int, says: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "bad.toml").write_text("name = [")
    (here / "mp4.toml").write_text(preset_path("prores-hq").read_text().replace('".mov"', '".mp4"'))
    (here / "mov.toml").write_text(preset_path("av1").read_text().replace('".mkv"', '".mov"'))
    (here / "evil.pth").write_bytes(pickle.dumps({"conv_first.weight": Evil()}))
    save_file({"conv.weight": torch.zeros(3, 3)}, here / "other.safetensors")
    check_failure(arguments, code, says, here, capsys)


def test_the_pickle_of_this_table_is_armed(here: Path) -> None:
    pickle.loads(pickle.dumps({"conv_first.weight": Evil()}))
    assert (here / "executed").exists()


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_link_to_the_input_is_the_input(
    link: Callable[[Path, Path], None], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link(here / "link.mp4", here / "good.mp4")
    check_failure(["good.mp4", "link.mp4", "-y"], 2, "is the input itself", here, capsys)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("out.mov", "out.mov"),
        ("film [1] 100%.mov", "film [1] 100%.mov"),
        ("take [2].%04d.mov", "take [2].%04d.mov"),
        ("shot[1].%06d.exr", "shot[1].000003.exr"),
    ],
)
def test_an_output_that_exists_is_kept(name: str, file: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / file).write_text("precious")
    check_failure(["good.mp4", name], 73, f"{name} exists", here, capsys)
    before = contents(here)
    assert main(["good.mp4", name, "-n", "--model", "identity"]) == 0
    assert contents(here) == before
