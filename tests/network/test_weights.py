"""Weights: what is taken, and what is refused without being run."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from hdrunet_video.errors import OutputError, WeightsError
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.published import our_names
from hdrunet_video.network.weights import BUNDLED, load_network, save_network, weights_sha256

SMALL = HDRUNetConfig(channels=4, condition_channels=6, sft_channels=2, blocks=(1, 2, 1))
State = dict[str, Tensor]


def state_of(config: HDRUNetConfig) -> State:
    """A random checkpoint under the published names."""
    torch.manual_seed(0)
    ours = HDRUNet(config).state_dict()
    return {theirs: ours[name] for theirs, name in our_names(config).items()}


def refusal(path: Path | str) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        load_network(path)
    error = caught.value
    assert error.exit_code == 65
    assert error.hint
    assert "\n" not in str(error)
    assert str(path) in str(error)
    return error


def test_bundled_weights_do_something_sensible() -> None:
    random = torch.get_rng_state()
    network = load_network()
    assert torch.equal(random, torch.get_rng_state())
    assert network.config == HDRUNetConfig()
    ramp = torch.linspace(0, 1, 128).expand(1, 3, 32, 128)
    with torch.inference_mode():
        output = network(ramp)
    assert output[..., 48:80].sub(ramp[..., 48:80]).abs().mean() < 0.03  # well-exposed areas stay
    assert output[..., -2:].mean() > 1.03  # what is white goes above white
    assert output.min() > -0.1


def test_bundled_weights_are_known_by_their_bytes() -> None:
    assert weights_sha256() == weights_sha256(BUNDLED) == weights_sha256(str(BUNDLED))
    assert len(weights_sha256()) == 64
    with pytest.raises(WeightsError):
        weights_sha256("no such file")


def test_same_network_same_bytes(tmp_path: Path) -> None:
    network = HDRUNet(SMALL)
    for name in ("a", "b"):
        save_network(network, tmp_path / name, trained="briefly", by="a test", on="noise")
    assert weights_sha256(tmp_path / "a") == weights_sha256(tmp_path / "b")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    with pytest.raises(OutputError, match="cannot be written"):
        save_network(network, tmp_path / "missing" / "c")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"params": state},
        lambda state: {"params_ema": state, "params": {}},
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {name: tensor.half() for name, tensor in state.items()},
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_published_checkpoints(tmp_path: Path, wrap: Callable[[State], Any], legacy: bool) -> None:
    state, path = state_of(SMALL), tmp_path / "published.pth"
    torch.save(wrap(state), path, _use_new_zipfile_serialization=not legacy)
    network = load_network(path)
    assert network.config == SMALL
    loaded = network.state_dict()
    for theirs, ours in our_names(SMALL).items():
        assert loaded[ours].dtype is torch.float32
        assert torch.allclose(loaded[ours], state[theirs], rtol=1e-3)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert all(bool(tensor.isfinite().all()) for tensor in loaded.values())
    assert any(bool(tensor.any()) for tensor in loaded.values())


@pytest.mark.parametrize(
    "config",
    [
        HDRUNetConfig(weighting=False),
        HDRUNetConfig(condition=False, blocks=(0, 1, 3)),
        HDRUNetConfig(modulation="map", channels=8),
        HDRUNetConfig(),
    ],
)
def test_published_names_in_safetensors_tell_the_configuration(tmp_path: Path, config: HDRUNetConfig) -> None:
    safetensors.torch.save_file(state_of(config), tmp_path / "published.safetensors")
    assert load_network(tmp_path / "published.safetensors").config == config


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("kind", ["pickle", "legacy", "zip", "nested"])
def test_nothing_is_run(tmp_path: Path, kind: str) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    evil = Malicious(trace)
    if kind == "pickle":
        path.write_bytes(pickle.dumps(evil))
    else:
        content = {**state_of(SMALL), "extra": evil} if kind == "nested" else evil
        torch.save(content, path, _use_new_zipfile_serialization=kind != "legacy")
    refusal(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"text", b"PK\x03\x04", b"PK\x03\x04" + b"x" * 99, b"\x80\x02", b"\x80\x02}.", b"\x80\x04N.", b"{" * 20,
        b"\x10" + b"\0" * 7 + b"{" + b" " * 15, b"\xff" * 8 + b"{}", b"\x02" + b"\0" * 7 + b"{}",
    ],
)  # fmt: skip
def test_other_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    refusal(path)


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", "nul\0byte"):
        refusal(path)
    os.mkfifo(tmp_path / "pipe")
    refusal(tmp_path / "pipe")


def test_too_large(tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate((1 << 30) + 1)
    assert "larger than 1024 MiB" in str(refusal(tmp_path / "large"))
    with zipfile.ZipFile(tmp_path / "bomb", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("bomb/data.pkl", "w", force_zip64=True) as entry:
            entry.write(b"\0" * 1000)
        archive.getinfo("bomb/data.pkl").file_size = 1 << 40
    refusal(tmp_path / "bomb")


def change(name: str, tensor: Tensor | None) -> Callable[[State], State]:
    def changed(state: State) -> State:
        rest = {key: value for key, value in state.items() if key != name}
        return rest if tensor is None else {**rest, name: tensor}

    return changed


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (change("HR_conv1.bias", None), "lacks HR_conv1.bias"),
        (change("another.bias", torch.ones(4)), "has unknown another.bias"),
        (change("HR_conv1.bias", torch.ones(5)), "has the shape (5,) instead of (4,)"),
        (change("HR_conv1.bias", torch.ones(4, dtype=torch.int64)), "encode_full.bias is torch.int64"),
        (change("HR_conv1.bias", torch.tensor([1.0, float("nan"), 1, 1])), "encode_full.bias is not finite"),
        (change("HR_conv1.bias", torch.full((4,), 1e300, dtype=torch.float64)), "encode_full.bias is not finite"),
        (change("conv_first.weight", torch.ones(1000000, 1, 1, 1)), "channels must be 1 to 1024"),
        (change("recon_trunk2.9999.x", torch.ones(1)), "blocks must be"),
        (lambda state: dict(list(state.items())[:2]), "and 11 more"),
        (lambda state: {}, "lacks"),
    ],
)
def test_not_this_network(tmp_path: Path, damage: Callable[[State], State], says: str) -> None:
    for save, name in ((torch.save, "a.pth"), (safetensors.torch.save_file, "b.safetensors")):
        save(damage(state_of(SMALL)), tmp_path / name)
        assert says in str(refusal(tmp_path / name))


def test_not_tensors(tmp_path: Path) -> None:
    for content in ([1, 2], {"a": 1}, {1: torch.ones(1)}, torch.ones(3), {"state_dict": {"a": "b"}}):
        torch.save(content, tmp_path / "other.pth")
        refusal(tmp_path / "other.pth")


@pytest.mark.parametrize(
    "notes",
    [
        "{", "[]", '{"config": []}', '{"config": {"depth": 3}}', '{"config": {"blocks": [1]}}',
        '{"config": {"channels": 5}}', '{"config": {"channels": "4"}}', "[" * 100_000,
    ],
)  # fmt: skip
def test_bad_metadata(tmp_path: Path, notes: str) -> None:
    state = HDRUNet(SMALL).state_dict()
    safetensors.torch.save_file(state, tmp_path / "bad.safetensors", {"hdrunet_video": notes})
    refusal(tmp_path / "bad.safetensors")


def test_metadata_are_read_back_by_others(tmp_path: Path) -> None:
    save_network(HDRUNet(SMALL), tmp_path / "small.safetensors", trained="not at all")
    with safetensors.safe_open(tmp_path / "small.safetensors", framework="pt") as file:
        notes = json.loads(file.metadata()["hdrunet_video"])
    assert notes["trained"] == "not at all"
    assert notes["config"]["blocks"] == [1, 2, 1]


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    save_network(HDRUNet(SMALL).half(), tmp_path / "half.safetensors")
    assert {p.dtype for p in load_network(tmp_path / "half.safetensors").parameters()} == {torch.float32}
