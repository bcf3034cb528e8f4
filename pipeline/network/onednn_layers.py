"""Layers of the network in oneDNN's fused convolutions, as PyTorch brings them.

Bias, activation, product and sum are computed inside the convolution that they follow, so that a feature map crosses
memory once instead of up to four times. The operators are the ones that torch.compile emits. They are private to
PyTorch: `cpu.fused` compares their result with the eager network's before it trusts them.

Tensors are (1, C, h, w), channels_last, of the dtype that a layer was made with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .cpu_parts import Chained, ConvolvingModulated, Modulated
from .hdrunet import PixelModulation

_ops: Any = torch.ops.mkldnn
_PACKED_FOR = 128
"""Side of the picture that weights are laid out for. The layout fits any size."""


class OneDnn:
    """Makes the layers, of a dtype."""

    backend, takes_parts = "onednn", False

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = self.exact_dtype = dtype
        self.precision: Literal["fp32", "bf16"] = "fp32" if dtype is torch.float32 else "bf16"

    def convolution(self, conv: nn.Module, after: str = "none") -> Convolution:
        """A convolution with a bias, and `relu` or `leaky_relu` after it."""
        return _convolution(conv, after, self.dtype)

    def chain(
        self, convolutions: Sequence[tuple[nn.Module, str]], kept: Sequence[int], exact: Sequence[int] = ()
    ) -> Chained:
        """Convolutions one after the other, and which of their results are asked for."""
        return Chained([self.convolution(*each) for each in convolutions], kept)

    def narrow(self, conv: nn.Module) -> Narrow:
        """A convolution that makes R, G and B."""
        return Narrow(_convolution(conv, "none", torch.float32))

    def modulated(
        self, modulation: nn.Module, conv: nn.Module, after: str = "none", exact: bool = False
    ) -> ConvolvingModulated:
        """A modulation, or what stands where there is none, and a convolution."""
        return Modulated(self.modulation(modulation), self.convolution(conv, after))

    def modulation(self, modulation: nn.Module) -> Modulation:
        """A PixelModulation, or what stands where there is none."""
        return Modulation(modulation, self.dtype)

    def upsampling(self, conv: nn.Module) -> Upsampling:
        """A convolution, ReLU and pixel shuffle to twice the size."""
        return Upsampling(conv, self.dtype)


class Convolution:
    """A convolution with what follows it."""

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


class Narrow:
    """A convolution that makes R, G and B, float32."""

    def __init__(self, convolution: Convolution) -> None:
        self._convolution = convolution

    def plus(self, features: Tensor, others: Tensor) -> Tensor:
        """conv(features) + others"""
        return self._convolution.plus(features.float(), others)

    def times(self, features: Tensor, factors: Tensor) -> Tensor:
        """conv(features) * factors"""
        return self._convolution.times(features.float(), factors)


class Modulation:
    """features, condition -> features * (scale + 1) + shift; the features where there is no condition."""

    def __init__(self, modulation: nn.Module, dtype: torch.dtype) -> None:
        self._parts = None
        if isinstance(modulation, PixelModulation):
            after = ("leaky_relu", "none") * 2
            self._parts = [
                Convolution(weight.to(dtype), bias.to(dtype), 1, each)
                for weight, bias, each in zip(*modulation_weights(modulation), after, strict=True)
            ]

    def __call__(self, features: Tensor, *condition: Tensor) -> Tensor:
        if self._parts is None:
            return features
        scale1, scale2, shift1, shift2 = self._parts
        scaled = scale2.times(scale1(*condition), features)
        return shift2.added_to(scaled, shift1(*condition))


class Upsampling:
    """features (1, N, h, w), skip (1, N, 2h, 2w) -> relu(pixel_shuffle(conv(features))) + skip"""

    def __init__(self, conv: nn.Module, dtype: torch.dtype) -> None:
        weight, bias = weights_by_place(conv)  # so that the shuffle moves rows of channels
        self._channels = len(bias) // 4
        self._conv = Convolution(weight.to(dtype), bias.to(dtype), 1, "relu")

    def __call__(self, features: Tensor, skip: Tensor) -> Tensor:
        _, _, height, width = features.shape
        shuffled = self._conv(features).permute(0, 2, 3, 1).view(height, width, 2, 2, self._channels)
        others = skip.permute(0, 2, 3, 1).view(height, 2, width, 2, self._channels)
        total = others + shuffled.permute(0, 2, 1, 3, 4)  # in this order: the result is laid out like the first
        return total.view(1, 2 * height, 2 * width, self._channels).permute(0, 3, 1, 2)


def _convolution(conv: nn.Module, after: str, dtype: torch.dtype) -> Convolution:
    assert isinstance(conv, nn.Conv2d)
    weight, bias = weights_of(conv)
    return Convolution(weight.to(dtype), bias.to(dtype), conv.stride[0], after)


def weights_of(conv: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that has both."""
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    return conv.weight.detach(), conv.bias.detach()


def weights_by_place(conv: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution before a pixel shuffle, with the channels of a sample side by side: first those
    of (0, 0) of each 2x2 samples, then of (0, 1), (1, 0) and (1, 1)."""
    weight, bias = weights_of(conv)
    order = torch.arange(len(bias)).view(-1, 4).t().reshape(-1)
    return weight[order], bias[order]


def modulation_weights(modulation: PixelModulation) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and biases of scale1, scale2, shift1 and shift2. The 1 that is added to a scale is in its bias."""
    parts = (modulation.scale1, modulation.scale2, modulation.shift1, modulation.shift2)
    weights, biases = zip(*map(weights_of, parts), strict=True)
    return list(weights), [biases[0], biases[1] + 1, *biases[2:]]
