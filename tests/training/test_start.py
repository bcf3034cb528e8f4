"""What a run starts from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from hdrunet_video.errors import ConfigError
from hdrunet_video.network.weights import BUNDLED, save_network
from hdrunet_video.training.config import load_config
from hdrunet_video.training.start import make_network
from tests.training.conftest import light, write_jp2
from tests.training.runs import Tiny, run, tensors

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")


def test_the_first_output_may_be_the_input(tiny: Tiny) -> None:
    network = make_network(load_config(tiny("run"), ["start.identity=true"]))
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(network(image), image)
    with pytest.raises(ConfigError, match="are weights of"):
        make_network(load_config(tiny("run"), ["start.weights=bundled"]))


def test_our_own_pictures_take_the_bundled_weights_further(views: Path, tmp_path: Path) -> None:
    small = ["data.patch=32", "data.batch=1", "data.workers=0", "compute.compile=false", "run.iterations=1"]
    where = [f"source=[{{path='{views}', layout='manifest'}}]", f"run.output='{tmp_path}'"]
    assert run(Path("further"), *small, *where, "schedule.warmup=0") == 0
    bundled, trained = tensors(BUNDLED), tensors(tmp_path / "last.safetensors")
    assert bundled.keys() == trained.keys()
    # One step: other weights, but near.
    changes = [float((trained[name] - bundled[name]).norm() / bundled[name].norm()) for name in bundled]
    assert 0 < max(changes) < 0.05


def test_equal_files_of_two_scenes_are_told(tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for seed, name in enumerate(("held", "other", "third")):
        write_jp2(tmp_path / f"{name}.jp2", light(seed))
    shutil.copy(tmp_path / "held.jp2", tmp_path / "twin.jp2")
    settings = (f"source=[{{path='{tmp_path}'}}]", "data.validation_scenes=['held']", "run.iterations=1")
    assert run(tiny("run"), *settings) == 0
    assert "not trained on, as they equal held-out pictures: 1" in caplog.text
    assert "2 to train on, 1 held out by scenes" in (tmp_path / "run" / "report.md").read_text()


def test_starting_with_the_weighting_of_weights_whose_unet_is_shut(tiny: Tiny, tmp_path: Path) -> None:
    """The first output is that of the weights, and the U-Net can learn."""
    config = load_config(tiny("run"))
    torch.manual_seed(4)
    shut = make_network(config)
    with torch.no_grad():
        shut.decode_full.bias.fill_(-100.0)
    save_network(shut, tmp_path / "shut.safetensors")
    network = make_network(load_config(tiny("run"), ["start.weighting=shut.safetensors"]))
    picture = torch.rand(1, 3, 12, 16)
    output = network(picture)
    assert torch.equal(output, shut(picture))
    output.sum().backward()
    assert network.to_rgb.weight.grad.abs().sum() > 0
    assert shut.to_rgb.weight.grad is None
    with torch.no_grad():
        network.to_rgb.weight.fill_(0.1)
    assert not torch.equal(network(picture), shut(picture))


def test_a_weighting_needs_a_network_that_has_one(tiny: Tiny, tmp_path: Path) -> None:
    settings = ["network.weighting=false", "start.weighting=without.safetensors"]
    config = load_config(tiny("run"), settings[:1])
    save_network(make_network(config), tmp_path / "without.safetensors")
    with pytest.raises(ConfigError, match="with weighting"):
        make_network(load_config(tiny("run"), settings))
