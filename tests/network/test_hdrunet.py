"""The network, against an independent one written from the paper's layer list with the published key names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hdrunet_video.network.config import VARIANTS, HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.weights import load_network, save_network
from tests.published import State, published_state

PARAMETERS = {
    "hdrunet": 1_651_494,
    "base": 1_332_931,
    "base-weighting": 1_376_006,
    "base-condition": 1_608_419,
    "sft-map": 1_500_311,
}


class Reference:
    """HDRUNet as functions of published keys, in float64. Shares no code with the package."""

    def __init__(self, state: State, blocks: tuple[int, int, int] = (2, 8, 2)) -> None:
        self.state = {name: tensor.double() for name, tensor in state.items()}
        self.blocks = blocks

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.state[name + ".weight"]
        return F.conv2d(x, weight, self.state[name + ".bias"], stride, weight.shape[-1] // 2)

    def sft(self, name: str, x: Tensor, c: Tensor) -> Tensor:
        def branch(kind: str) -> Tensor:
            hidden = F.leaky_relu(self.conv(f"{name}.SFT_{kind}_conv0", c), 0.1)
            return self.conv(f"{name}.SFT_{kind}_conv1", hidden)

        return x * (branch("scale") + 1) + branch("shift")

    def trunk(self, number: int, x: Tensor, c: Tensor) -> Tensor:
        for block in range(self.blocks[number - 1]):
            name = f"recon_trunk{number}.{block}"
            y = F.relu(self.conv(f"{name}.conv1", self.sft(f"{name}.sft1", x, c)))
            x = x + self.conv(f"{name}.conv2", self.sft(f"{name}.sft2", y, c))
        return x

    def __call__(self, image: Tensor) -> Tensor:
        image = image.double()
        height, width = image.shape[-2:]
        x = F.pad(image, (0, -width % 4, 0, -height % 4), mode="replicate")
        mask, c = x, x
        for layer in (0, 2, 4):
            mask = F.relu(self.conv(f"mask_est.{layer}", mask))
            c = F.leaky_relu(self.conv(f"cond_first.{layer}", c), 0.1)
        mask = self.conv("mask_est.6", mask)
        c1 = self.conv("CondNet1.2", F.leaky_relu(self.conv("CondNet1.0", c), 0.1))
        c2 = self.conv("CondNet2.2", F.leaky_relu(self.conv("CondNet2.0", c, 2), 0.1))
        c3 = self.conv("CondNet3.2", F.leaky_relu(self.conv("CondNet3.0", c, 2), 0.1), 2)
        f0 = self.sft("SFT_layer1", F.relu(self.conv("conv_first", x)), c1)
        f0 = F.relu(self.conv("HR_conv1", f0))
        f1 = self.trunk(1, F.relu(self.conv("down_conv1", f0, 2)), c2)
        f2 = F.relu(self.conv("down_conv2", f1, 2))
        t = self.trunk(2, f2, c3) + f2
        t = F.relu(F.pixel_shuffle(self.conv("up_conv1.0", t), 2)) + f1
        t = self.trunk(3, t, c2)
        t = F.relu(F.pixel_shuffle(self.conv("up_conv2.0", t), 2)) + f0
        t = F.relu(self.conv("HR_conv2", self.sft("SFT_layer2", t, c1)))
        return (mask * x + self.conv("conv_last", t))[..., :height, :width]


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_reference(tmp_path: Path, seed: int) -> None:
    state = published_state(seed)
    torch.save(state, tmp_path / "published.pth")
    network, reference = load_network(tmp_path / "published.pth"), Reference(state)
    for shape in ((2, 3, 32, 48), (1, 3, 4, 4), (1, 3, 37, 21), (1, 3, 1, 1), (3, 3, 5, 66)):
        image = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
        expected = reference(image)
        with torch.inference_mode():
            output = network(image)
        assert output.shape == image.shape
        assert expected.std() > 0.02
        assert (output - expected).abs().max() < 3e-5


@pytest.mark.parametrize("name", VARIANTS)
def test_variant(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = HDRUNet(VARIANTS[name])
    if name in PARAMETERS:
        assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]
    image = torch.rand(2, 3, 12, 17, requires_grad=True)
    output = network(image)
    assert output.shape == image.shape
    output.square().sum().backward()
    assert image.grad is not None
    assert image.grad.abs().amin(dim=(2, 3)).amax() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())

    save_network(network, tmp_path / "network.safetensors", trained="not at all")
    loaded = load_network(tmp_path / "network.safetensors")
    assert loaded.config == VARIANTS[name]
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    with torch.no_grad():
        assert torch.equal(loaded(image), network(image))


def test_only_channel_modulation_sees_the_whole_picture() -> None:
    assert [name for name, config in VARIANTS.items() if HDRUNet(config).halo is None] == ["sft-channel"]


def test_residuals_start_small() -> None:
    network = HDRUNet()
    for block in [*network.encoder, *network.bottleneck, *network.decoder]:
        for conv in (block.conv1, block.conv2):
            assert conv.weight.std().item() == pytest.approx(0.1 * (2 / 576) ** 0.5, rel=0.05)
            assert not conv.bias.any()


def test_output_may_exceed_white() -> None:
    network = HDRUNet(replace(VARIANTS["base"], channels=8, blocks=(0, 0, 0)))
    with torch.no_grad():
        network.to_rgb.weight.zero_()
        assert network.to_rgb.bias is not None
        network.to_rgb.bias.fill_(5.0)
        assert torch.equal(network(torch.ones(1, 3, 4, 4)), torch.full((1, 3, 4, 4), 6.0))


def test_halved_network_ends_in_float32() -> None:
    small = HDRUNetConfig(channels=8, condition_channels=8, sft_channels=4, blocks=(1, 1, 1))
    torch.manual_seed(0)
    network = HDRUNet(small).eval()
    image = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        exact = network(image)
        half = network.halve()(image)
    assert half.dtype is torch.float32
    assert network.stem.weight.dtype is torch.float16
    assert network.to_rgb.weight.dtype is torch.float32
    assert 0 < (half - exact).abs().max() < 5e-3


def test_last_convolutions_ignore_autocast() -> None:
    network = HDRUNet(HDRUNetConfig(channels=8, condition_channels=8, sft_channels=4, blocks=(1, 1, 1)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(torch.rand(1, 3, 8, 8))
    assert output.dtype is torch.float32
    assert not torch.equal(output, output.bfloat16().float())


@pytest.mark.parametrize(
    "fields",
    [
        {"modulation": "sideways"}, {"channels": 0}, {"channels": 2.0}, {"channels": True}, {"sft_channels": 9999},
        {"blocks": (1, 2)}, {"blocks": [2, 8, 2]}, {"blocks": (1, -1, 1)}, {"weighting": 1}, {"condition": None},
    ],
)  # fmt: skip
def test_config_is_checked(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        HDRUNetConfig(**fields)
