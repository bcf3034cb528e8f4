"""The fused CPU path against float64, whatever its tiles; and what happens where it cannot be had."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from hdrunet_video.device import resolve_precision
from hdrunet_video.errors import UsageError
from hdrunet_video.network import cpu, onednn_layers
from hdrunet_video.network.check import largest_error
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.cpu import FusedNetwork
from hdrunet_video.network.cpu_parts import Layers
from hdrunet_video.network.forward import place
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.native_layers import Native
from hdrunet_video.network.onednn_layers import OneDnn
from hdrunet_video.network.weights import load_network
from hdrunet_video.processor import cpu_has_bf16
from tests.network.native_cases import FOUND

CPU = torch.device("cpu")
CONFIGS = {
    "whole": HDRUNetConfig(channels=8, condition_channels=8, sft_channels=4),
    "without weighting": HDRUNetConfig(channels=8, condition_channels=8, sft_channels=4, weighting=False),
    "without condition": HDRUNetConfig(channels=8, condition=False),
    "shallow": HDRUNetConfig(channels=5, condition_channels=7, sft_channels=3, blocks=(0, 1, 0)),
    "of our kernels": HDRUNetConfig(channels=32, condition_channels=16, sft_channels=16, blocks=(1, 1, 1)),
    "of all of our kernels": HDRUNetConfig(channels=32, condition_channels=64, sft_channels=32, blocks=(1, 1, 1)),
    "of some of our kernels": HDRUNetConfig(channels=16, condition_channels=8, sft_channels=8, blocks=(1, 1, 1)),
}
FLOAT32: dict[str, Layers] = {"onednn": OneDnn(torch.float32)}
FLOAT32 |= {f"ours {name}": Native(own) for name, own in FOUND.items() if own.precision == "fp32"}
OURS_IN_BF16 = {f"ours {name}": Native(own) for name, own in FOUND.items() if own.precision == "bf16"}
BF16: dict[str, Layers] = OURS_IN_BF16 | (
    {"onednn bf16": OneDnn(torch.bfloat16)} if torch.ops.mkldnn._is_mkldnn_bf16_supported() else {}
)
ALL = FLOAT32 | BF16
SIZES = [(1, 1), (3, 5), (8, 8), (37, 50), (4, 131), (66, 2)]


def a_network(config: HDRUNetConfig) -> HDRUNet:
    """Weights as PyTorch draws them, but for biases that matter and residuals that are not small."""
    torch.manual_seed(2)
    network = HDRUNet(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.normal_(0, 0.1)
        else:
            parameter.mul_(1.5)
    return network


def in_float64(network: HDRUNet, picture: torch.Tensor) -> torch.Tensor:
    other = HDRUNet(network.config).double().eval()
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        return other(picture.double())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("layers", FLOAT32)
def test_equals_float64(layers: str, name: str, size: tuple[int, int]) -> None:
    network, picture = a_network(CONFIGS[name]), torch.rand(1, 3, *size)
    expected = in_float64(network, picture)
    found = FusedNetwork(network, FLOAT32[layers])(picture)
    assert found.shape == picture.shape
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < 1e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("layers", FLOAT32)
def test_tiles_change_nothing(layers: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, picture = FusedNetwork(a_network(CONFIGS[name]), FLOAT32[layers]), torch.rand(1, 3, 150, 211)
    whole = network(picture)
    monkeypatch.setattr(cpu, "_SAMPLES", 1)  # as small as tiles get
    assert torch.allclose(network(picture), whole, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_tiles_change_nothing_of_the_papers_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """But roundings, where oneDNN takes other code for other sizes and the tiles of our kernels lie elsewhere."""
    network, picture = FusedNetwork(load_network(), ALL[name]), torch.rand(1, 3, 61, 75)
    whole = network(picture)
    monkeypatch.setattr(cpu, "_SAMPLES", 1)
    torch.testing.assert_close(network(picture), whole, rtol=0, atol=1e-5 if name in FLOAT32 else 0.01)


@pytest.mark.parametrize("layers", FLOAT32)
def test_the_bundled_weights_in_fp32(layers: str) -> None:
    network = load_network()
    assert largest_error(FusedNetwork(network, FLOAT32[layers]), network, CPU) < 0.02  # of a 10-bit code


@pytest.mark.skipif(not cpu_has_bf16(), reason="needs a CPU with bf16")
@pytest.mark.parametrize("name", BF16)
def test_the_bundled_weights_in_bf16(name: str) -> None:
    network = load_network()
    error = largest_error(FusedNetwork(network, BF16[name]), network, CPU)
    assert 0.05 < error < (12.0 if name.startswith("onednn") else 6.0)


@pytest.mark.parametrize("layers", OURS_IN_BF16)
def test_the_last_modulation_is_exact_in_bf16(layers: str) -> None:
    """Rounded, it is half of the error. Here it takes differences of numbers that bfloat16 has every other one of."""
    network, picture = a_network(CONFIGS["of all of our kernels"]), torch.rand(1, 3, 21, 33)
    assert network.condition is not None
    assert network.condition.to_full is not None
    first, last = network.stem_modulation, network.tail_modulation
    with torch.no_grad():
        network.condition.to_full[1].bias.fill_(256)
        for each in (first.scale1, first.shift1, last.scale2, last.shift2):
            each.weight.zero_()
        for each in (last.scale1, last.shift1):
            each.weight.copy_(torch.eye(len(each.bias))[:, :, None, None])
            each.bias.zero_()
        for each in (last.scale2, last.shift2):
            each.weight[:, 0], each.weight[:, 1] = 1, -1
    expected, found = in_float64(network, picture), FusedNetwork(network, OURS_IN_BF16[layers])(picture)
    assert float((found - expected).abs().max()) < 0.02 * float(expected.abs().max())


@pytest.mark.skipif(not cpu_has_bf16(), reason="needs a CPU with bf16")
@pytest.mark.parametrize("layers", BF16)
@pytest.mark.parametrize("name", CONFIGS)
def test_other_networks_in_bf16(name: str, layers: str) -> None:
    """Whatever of them our kernels have."""
    if layers in OURS_IN_BF16 and not OURS_IN_BF16[layers].fit(CONFIGS[name]):
        pytest.skip("our kernels are for 16 or 32 channels and more")
    network, picture = a_network(CONFIGS[name]), torch.rand(1, 3, 37, 50)
    expected, found = in_float64(network, picture), FusedNetwork(network, BF16[layers])(picture)
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < 0.05 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("layers", ALL)
def test_several_threads_at_once(layers: str) -> None:
    network = FusedNetwork(a_network(CONFIGS["of all of our kernels"]), ALL[layers])
    pictures = [torch.rand(1, 3, 20 + index, 33) for index in range(8)]
    expected = [network(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(network, pictures))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("layers", ALL)
def test_memory_is_kept_for_the_next_picture(layers: str) -> None:
    """And does not show in the results: those of a picture stay as they are when the next one is computed."""
    network = FusedNetwork(a_network(CONFIGS["of all of our kernels"]), ALL[layers])
    pictures = [torch.rand(1, 3, *size) for size in ((20, 33), (21, 36), (20, 33), (9, 9), (20, 33))]
    found = [network(picture) for picture in pictures]
    copies, kept = [each.clone() for each in found], network._free
    assert len(kept) == 1
    assert all(torch.equal(network(picture), copy) for picture, copy in zip(pictures, copies, strict=True))
    assert all(map(torch.equal, found, copies))
    assert len(network._free) == 1
    memory = network._free[0]._memory["full"].data_ptr()
    network(torch.rand(1, 3, 17, 30))
    assert network._free[0]._memory["full"].data_ptr() == memory
    network(pictures[3])
    assert network._free[0]._memory["full"].numel() == 32 * 12 * 12  # that of a much larger picture went
    network.release()
    assert network._free == []
    assert torch.equal(network(pictures[0]), copies[0])


def test_a_cpu_gets_it_and_its_input_is_left_alone() -> None:
    network, picture = a_network(CONFIGS["whole"]), torch.rand(1, 3, 12, 16)
    before = picture.clone()
    placed = place(network, CPU, "fp32")
    assert isinstance(placed, FusedNetwork)
    placed(picture)
    assert torch.equal(picture, before)


@pytest.mark.parametrize("modulation", ["map", "channel"])
def test_other_modulations_take_pytorchs_operators(modulation: str) -> None:
    config = HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, modulation=modulation)  # type: ignore[arg-type]
    network, picture = a_network(config), torch.rand(1, 3, 9, 14)
    placed = place(network, CPU, "fp32")
    assert not isinstance(placed, FusedNetwork)
    assert torch.allclose(placed(picture), network(picture), atol=1e-5)


def test_without_the_operators_it_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(onednn_layers, "_ops", object())
    network, picture = a_network(CONFIGS["whole"]), torch.rand(1, 3, 9, 14)
    with caplog.at_level(logging.WARNING):
        placed = place(network, CPU, "fp32")
    assert torch.allclose(placed(picture), network(picture), atol=1e-5)
    assert "_convolution_pointwise" in caplog.text


def test_a_wrong_result_is_not_believed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    right = FusedNetwork.__call__
    monkeypatch.setattr(FusedNetwork, "__call__", lambda self, image: right(self, image) * 1.01)
    network = a_network(CONFIGS["whole"])
    with caplog.at_level(logging.WARNING):
        placed = place(network, CPU, "fp32")
    assert not isinstance(placed, FusedNetwork)
    assert "of a 10-bit code" in caplog.text


def test_bf16_is_refused_without_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdrunet_video.device.cpu_has_bf16", lambda: False)
    with pytest.raises(UsageError, match="bf16"):
        resolve_precision("bf16", CPU)


def test_bf16_is_refused_on_cuda() -> None:
    with pytest.raises(UsageError, match="fp16"):
        resolve_precision("bf16", torch.device("cuda", 0))
