"""Pairs in the layout of NTIRE 2021: what a run does with them, and says of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hdrunet_video.errors import ConfigError
from hdrunet_video.training.config import load_config
from hdrunet_video.training.evaluate import main as evaluate
from tests.training.runs import Tiny, run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")


def of(frames: Path) -> tuple[str, str]:
    return f"source=[{{path='{frames}', layout='ntire2021'}}]", "data.validation_scenes=['0002', '0004']"


def test_frames_are_not_called_scenes(frames: Path, tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny("run")
    assert run(config, *of(frames), "run.iterations=1") == 0
    assert "4 pictures of 4 frames, 2 held out" in capsys.readouterr().err
    report = (config.with_suffix("") / "report.md").read_text()
    assert "## Held-out frames" in report
    assert "| 4 to train on, 2 held out by frames |" in report
    assert "| 1 of those, a window of at most 320x320 of each |" in report
    assert "scenes" not in report.partition("## Configuration")[0]
    assert evaluate(["identity", "--ntire", str(frames)]) == 0
    assert "Means over 6 pictures of 6 frames, with 95 % intervals (bootstrap over frames)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["degrade.noise_free=0.5"], "[degrade]"),
        (["data.highlights=0.5"], "data.highlights"),
        (["loss.steady=invariance"], "loss.steady = 'invariance' with steady_pairs = 'pan'"),
    ],
)
def test_what_pairs_cannot_have_is_refused(frames: Path, tiny: Tiny, settings: list[str], said: str) -> None:
    config, (source, _) = tiny("run"), of(frames)
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_config(config, [source, *settings])
    load_config(config, settings)
    load_config(config, [source, "loss.steady=invariance", "loss.steady_pairs=transform", "data.highlights=0"])
    load_config(config, [source, "loss.steady=jacobian", "loss.steady_weight=0"])
