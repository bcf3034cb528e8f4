from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest

import hdrunet_video.training
from hdrunet_video.errors import ConfigError
from hdrunet_video.training import config as module
from hdrunet_video.training.__main__ import main
from hdrunet_video.training.config import Config, load_config

FOLDER = Path(hdrunet_video.training.__file__).parent


def test_presets_are_the_recipes_that_they_claim_to_be() -> None:
    paper = load_config(FOLDER / "paper.toml")
    assert (paper.loss.kind, paper.optimizer.kind, paper.optimizer.lr) == ("tanh-l1", "adam", 2e-4)
    assert (paper.data.batch, paper.data.patch, paper.run.iterations) == (16, 256, 1_000_000)
    assert paper.schedule.steps == (0.2, 0.4, 0.6, 0.8)
    ours = load_config(FOLDER / "ours.toml", ["data.batch=3", "start.weights=", "run.output=elsewhere"])
    assert (ours.data.batch, ours.start.weights) == (3, "")
    assert ours.run.output == str(FOLDER / "elsewhere")
    further = load_config(FOLDER / "further.toml")
    assert (further.start.weights, further.data.upright, further.optimizer.kind) == ("bundled", True, "muon")


def test_bundled_by_name(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    ours = load_config("ours", ['source=[{path="pictures"}]'])
    assert (ours.source[0].path, ours.run.output) == (str(tmp_path / "pictures"), str(tmp_path / "run-ours"))
    assert main(["paper", "--show"]) == 0
    assert "ntire2021" in capsys.readouterr().out
    assert main(["ours", "--set", 'source=[{path="pictures"}]']) == 65
    assert "pictures is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("data.pach=64", "did you mean 'patch'"),
        ("dta.patch=64", "did you mean 'data'"),
        ("data.patch=62", "multiple of 4"),
        ("data.patch=64.5", "a whole number"),
        ("data.batch=0", "from 1 to 4096"),
        ("data.batch=true", "a whole number"),
        ("optimizer.lr=nan", "from 1e-09 to 1"),
        ("loss.kind=tanh-l3", "did you mean 'tanh-l"),
        ("degrade.gamma=[2.5, 2.0]", "from low to high"),
        ("degrade.codecs=[0, 0, 0, 0, 0]", "are all 0"),
        ("degrade.codecs=[1]", "must have 5 values"),
        ("network.blocks=[1, 1]", "must have 3 values"),
        ("network.channels=0", "channels must be 1 to 1024"),
        ("schedule.over=time", "needs run.minutes"),
        ("source=[]", "no [[source]]"),
        ("nothing", "is not key=value"),
        ("compute.device=tpu", "cannot be 'tpu'"),
    ],
)
def test_one_sentence_for_each_mistake(
    tiny: Callable[[], Path], setting: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tiny()), "--check", "--set", setting]) == 65
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_a_file_that_is_not_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.toml")]) == 65
    (tmp_path / "bad.toml").write_text("[data\n")
    assert main([str(tmp_path / "bad.toml")]) == 65
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(ConfigError, match="source is missing"):
        load_config(tmp_path / "empty.toml")
    assert "not TOML" in capsys.readouterr().err


def test_every_table_is_documented() -> None:
    for table in (Config, *(each for each in get_type_hints(Config).values() if is_dataclass(each))):
        assert table.__doc__
        assert not table.__doc__.startswith(f"{table.__name__}("), table
    text = Path(module.__file__).read_text()
    assert all(f"    {each.name}: " in text for each in fields(Config))
