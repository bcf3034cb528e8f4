"""Networks and pictures for the tests of the fused network, and the same in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hdrunet_video.color.light import LightMapping
from hdrunet_video.color.spec import Primaries
from hdrunet_video.color.tone import to_nits
from hdrunet_video.color.transfer import pq_inverse_eotf
from hdrunet_video.device import forbid_tf32
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.cuda_forward import Forward, Way
from hdrunet_video.network.cuda_weights import Arguments
from hdrunet_video.network.hdrunet import HDRUNet

forbid_tf32()
ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if ON_GPU else torch.device("cpu")
SMALL = HDRUNetConfig(channels=16, condition_channels=16, sft_channels=16, blocks=(0, 1, 0))


def network_of(config: HDRUNetConfig = SMALL, seed: int = 0) -> HDRUNet:
    """Random weights, and biases too, which new networks have not."""
    generator = torch.Generator().manual_seed(seed)
    network = HDRUNet(config).requires_grad_(False).eval()
    for parameter in network.parameters():
        spread = 0.1 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return network.to(DEVICE)


def picture_of(height: int, width: int, seed: int = 1) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def exact(network: HDRUNet, picture: Tensor) -> Tensor:
    """Float64 on the CPU."""
    copy = HDRUNet(network.config).double()
    copy.load_state_dict(network.state_dict())
    with torch.no_grad():
        output: Tensor = copy(picture.cpu().double())
    return output


def assert_equal(made: Tensor, expected: Tensor) -> None:
    """Within float32's rounding: on a GPU that of three products of TF32, whose low parts and sums are cut off, or of
    cuDNN's minimal filtering."""
    limit = 1e-4 if ON_GPU else 3e-6
    torch.testing.assert_close(made.cpu().double(), expected, rtol=limit, atol=limit)


def computed(network: HDRUNet, picture: Tensor, way: Way, dtype: torch.dtype = torch.float32) -> Tensor:
    """By the launches alone, in memory full of NaN."""
    forward, size = Forward(network, way, dtype), picture.shape[-2:]
    memory = torch.full((forward.workspace_bytes(*size),), 255, dtype=torch.uint8)
    given = forward.buffers(memory.to(DEVICE), *size)
    given["image"].copy_(picture)
    forward(given)
    return given["output"]


def convolve(
    forward: Forward, name: str, source: Tensor, tensors: Arguments, slope: float = 0.0, stride: int = 1
) -> None:
    """One launch, with room for what cuDNN makes."""
    room = torch.full((4 * source.numel(),), torch.nan, dtype=source.dtype, device=DEVICE)
    forward._convolve({"convolved": room}, name, source, tensors, slope=slope, stride=stride)


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def planar(values: Tensor) -> Tensor:
    """(H, W, C) -> (1, C, H, W), float64 on the CPU."""
    return values.cpu().double().permute(2, 0, 1).unsqueeze(0)


def codes(signal: Tensor) -> Tensor:
    """10-bit codes of R'G'B' in PQ, not rounded."""
    return 1023 * pq_inverse_eotf(to_nits(signal.cpu().float(), Primaries.BT709, LightMapping())).double()


class Inverse(Forward):
    """1 - image, in the buffers of the real thing."""

    def __init__(self, config: HDRUNetConfig = SMALL) -> None:
        self.config, self.way, self.dtype = config, "tiles", torch.float16

    def __call__(self, given: Any) -> None:
        given["output"].copy_(1 - given["image"])
