"""`--backend openvino` from the command line to the receipts; and where it cannot be, a refusal before any work."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from hdrunet_video.backend import check_backend
from hdrunet_video.cli import main
from hdrunet_video.errors import UsageError
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.weights import save_network
from tests.conftest import needs_openvino
from tests.test_engine import engine_of, sdr_frame, small_network


@pytest.fixture
def weights(tmp_path: Path) -> str:
    torch.manual_seed(0)
    network = HDRUNet(HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(0, 1, 0)))
    save_network(network, tmp_path / "small.safetensors")
    return str(tmp_path / "small.safetensors")


@pytest.mark.parametrize(
    ("name", "device", "says"),
    [
        ("tensorrt", "cpu", "'tensorrt' is not a backend"),
        ("openvino", "cuda", "on the CPU only"),
        ("openvino", "cpu,cuda:1", "on the CPU only"),
        ("openvino", "auto", "not installed"),
    ],
)
def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, device: str, says: str) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=says) as caught:
        check_backend(name, device)
    assert caught.value.hint
    check_backend("auto", device)


def test_without_the_package_nothing_is_begun(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert main([str(clip), str(tmp_path / "out.mov"), "--backend", "openvino"]) == 2
    assert "pip install 'hdrunet-video[openvino]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@needs_openvino
def test_an_engine_says_whose_code_it_has(caplog: pytest.LogCaptureFixture) -> None:
    network = small_network()
    ours, theirs = engine_of(network), engine_of(network, backend="openvino")
    assert (ours.backend, theirs.backend) == ("onednn", "openvino")  # our kernels are for 16 channels and more
    assert engine_of(lambda signal: signal, backend="openvino").backend == "pytorch"
    assert engine_of(small_network(modulation="map")).backend == "pytorch"
    for one, other in zip(ours(sdr_frame()).planes, theirs(sdr_frame()).planes, strict=True):
        torch.testing.assert_close(one.int(), other.int(), rtol=0, atol=1)
    assert not caplog.records


@needs_openvino
def test_frames_at_once_have_the_bits_of_one_alone() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        engine = engine_of(small_network(), backend="openvino")
        alone = [engine(sdr_frame(pts=pts)) for pts in range(6)]
        engine.at_once = 2
        together = list(engine.stream(sdr_frame(pts=pts) for pts in range(6)))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(alone, together, strict=True):
        assert all(map(torch.equal, one.planes, other.planes))


@needs_openvino
def test_tiles_change_no_more_than_rounding_does() -> None:
    network = small_network()
    whole, tiled = engine_of(network, backend="openvino"), engine_of(network, backend="openvino", tile=(64, 64))
    for one, other in zip(whole(sdr_frame(96, 64)).planes, tiled(sdr_frame(96, 64)).planes, strict=True):
        torch.testing.assert_close(one.int(), other.int(), rtol=0, atol=1)


@needs_openvino
def test_from_the_plan_to_the_receipts(
    clip: Path, tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out = tmp_path / "plan", tmp_path / "out.mkv"
    asked = [str(clip), str(out), "--plan", str(plan), "--weights", weights, "--backend", "openvino"]
    assert main([*asked, "--segment-frames", "5", "--frames", ":10"]) == 0
    document = json.loads((plan / "plan.json").read_text())
    assert document["job"]["backend"] == "openvino"
    assert document["versions"]["openvino"][0].isdecimal()
    assert main(["--plan", str(plan), "--segments", "0"]) == 0
    with monkeypatch.context() as without:
        # A worker that has the package, but on which it fails, takes our code and says so.
        without.setattr("hdrunet_video.network.openvino.load", lambda: 1 / 0)
        assert main(["--plan", str(plan), "--segments", "1"]) == 0
    capsys.readouterr()
    made = [json.loads((plan / f"seg_{number:06d}.json").read_text())["backend"] for number in range(2)]
    assert made == ["openvino", "onednn"]
    assert main(["--plan", str(plan), "--join"]) == 0
    said = capsys.readouterr().err
    assert "in fp32 (openvino)" in said
    assert "in fp32 (onednn)" in said


@needs_openvino
def test_a_worker_with_another_version_is_refused(
    clip: Path, tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = str(tmp_path / "plan")
    given = ["--plan", plan, "--weights", weights, "--backend", "openvino"]
    assert main([str(clip), str(tmp_path / "out.mkv"), *given]) == 0

    from hdrunet_video.identity import version

    monkeypatch.setattr("hdrunet_video.identity.version", lambda name: "1" if name == "openvino" else version(name))
    assert main(["--plan", plan, "--segments", "0"]) == 65
    assert "the plan was made with openvino 20" in capsys.readouterr().err
