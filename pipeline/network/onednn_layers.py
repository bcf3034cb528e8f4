"""Parts of the network with oneDNN's fused convolutions: what onednn.py is made of.

Tensors are (1, C, h, w), channels_last, of the dtype that a part was made with where nothing else is said.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .hdrunet import ConditionNetwork, PixelModulation, ResidualBlock, WeightingNetwork

_ops: Any = torch.ops.mkldnn
_PACKED_FOR = 128
"""Side of the picture that weights are laid out for. The layout fits any size."""


class Convolution:
    """A convolution with what follows it. Tensors are channels_last, of the dtype of the weights."""

    def __init__(self, weight: Tensor, bias: Tensor, stride: int, after: str) -> None:
        padding = [weight.shape[-1] // 2] * 2
        size = [1, weight.shape[1], _PACKED_FOR, _PACKED_FOR]
        weight = weight.contiguous(memory_format=torch.channels_last).to_mkldnn()
        # Its type stub lacks the last argument.
        pack: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        packed = pack(weight, padding, [stride] * 2, [1, 1], 1, size)
        self._convolution = packed, bias, padding, [stride] * 2, [1, 1], 1
        self._after = after, [0.1] if after == "leaky_relu" else [], ""

    def __call__(self, features: Tensor) -> Tensor:
        output: Tensor = _ops._convolution_pointwise(features, *self._convolution, *self._after)
        return output

    def times(self, features: Tensor, factors: Tensor) -> Tensor:
        """conv(features) * factors"""
        return self._with(features, factors, "mul", None)

    def plus(self, features: Tensor, others: Tensor) -> Tensor:
        """conv(features) + others"""
        return self._with(features, others, "add", 1.0)

    def _with(self, features: Tensor, others: Tensor, what: str, alpha: float | None) -> Tensor:
        after: tuple[Any, ...] = what, alpha, None, [], None
        output: Tensor = _ops._convolution_pointwise.binary(features, others, *self._convolution, *after)
        return output

    def added_to(self, total: Tensor, features: Tensor) -> Tensor:
        """total += conv(features)"""
        after: tuple[Any, ...] = "add", 1.0, None, [], None
        output: Tensor = _ops._convolution_pointwise_.binary(total, features, *self._convolution, *after)
        return output


def convolution(conv: nn.Module, dtype: torch.dtype, after: str = "none", shift: float = 0.0) -> Convolution:
    """The fused form of a convolution with a bias, to which `shift` is added."""
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    return Convolution(conv.weight.detach().to(dtype), (conv.bias.detach() + shift).to(dtype), conv.stride[0], after)


class Weighting:
    """signal -> weights * image, float32"""

    def __init__(self, network: WeightingNetwork, dtype: torch.dtype) -> None:
        self._hidden = [convolution(each, dtype, "relu") for each in (network.conv1, network.conv2, network.conv3)]
        self._to_weights = convolution(network.to_weights, torch.float32)

    def __call__(self, signal: Tensor, image: Tensor) -> Tensor:
        for conv in self._hidden:
            signal = conv(signal)
        return self._to_weights.times(signal.float(), image)


class Condition:
    """signal -> conditions of full, half and quarter size"""

    def __init__(self, network: ConditionNetwork, dtype: torch.dtype) -> None:
        assert network.to_full is not None
        self._trunk = [convolution(conv, dtype, "leaky_relu") for conv in network.trunk]
        heads = (network.to_full, network.to_half, network.to_quarter)
        self._heads = [(convolution(first, dtype, "leaky_relu"), convolution(last, dtype)) for first, last in heads]

    def __call__(self, signal: Tensor) -> list[Tensor]:
        for conv in self._trunk:
            signal = conv(signal)
        return [last(first(signal)) for first, last in self._heads]


class Modulation:
    """features, condition -> features * (scale + 1) + shift; the features where there is no condition."""

    def __init__(self, modulation: nn.Module, dtype: torch.dtype) -> None:
        self._parts = None
        if isinstance(modulation, PixelModulation):
            # The 1 that the network adds to the scale is in the bias.
            self._parts = (
                convolution(modulation.scale1, dtype, "leaky_relu"),
                convolution(modulation.scale2, dtype, shift=1.0),
                convolution(modulation.shift1, dtype, "leaky_relu"),
                convolution(modulation.shift2, dtype),
            )

    def __call__(self, features: Tensor, *condition: Tensor) -> Tensor:
        if self._parts is None:
            return features
        scale1, scale2, shift1, shift2 = self._parts
        scaled = scale2.times(scale1(*condition), features)
        return shift2.added_to(scaled, shift1(*condition))


class Block:
    """A ResidualBlock: features, condition -> [features]"""

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        assert isinstance(block, ResidualBlock)
        self._modulation1 = Modulation(block.modulation1, dtype)
        self._conv1 = convolution(block.conv1, dtype, "relu")
        self._modulation2, self._conv2 = Modulation(block.modulation2, dtype), convolution(block.conv2, dtype)

    def __call__(self, features: Tensor, *condition: Tensor) -> list[Tensor]:
        residual = self._conv1(self._modulation1(features, *condition))
        return [self._conv2.plus(self._modulation2(residual, *condition), features)]


class Upsampling:
    """features (1, N, h, w), skip (1, N, 2h, 2w) -> relu(pixel_shuffle(conv(features))) + skip"""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        assert conv.bias is not None
        self._channels = conv.out_channels // 4
        # The channels of a pixel lie together, so that the shuffle moves rows of them.
        order = torch.arange(4 * self._channels).view(self._channels, 4).t().reshape(-1)
        weight, bias = conv.weight.detach()[order], conv.bias.detach()[order]
        self._conv = Convolution(weight.to(dtype), bias.to(dtype), 1, "relu")

    def __call__(self, features: Tensor, skip: Tensor) -> Tensor:
        _, _, height, width = features.shape
        shuffled = self._conv(features).permute(0, 2, 3, 1).view(height, width, 2, 2, self._channels)
        others = skip.permute(0, 2, 3, 1).view(height, 2, width, 2, self._channels)
        total = others + shuffled.permute(0, 2, 1, 3, 4)  # in this order: the result is laid out like the first
        return total.view(1, 2 * height, 2 * width, self._channels).permute(0, 3, 1, 2)
