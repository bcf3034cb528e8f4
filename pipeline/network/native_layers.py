"""Layers of the network in our own kernels (native.py), and in oneDNN's where there is no kernel for them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from .cpu_parts import Chaining, Convolving, Modulating, Narrowing
from .hdrunet import PixelModulation
from .native import Kernels, Layer
from .onednn_layers import Convolution, OneDnn, modulation_weights, weights_by_place, weights_of


class Native:
    """Makes the layers, between features of float32. See cpu_parts.Layers."""

    backend, takes_parts, dtype = "ours", True, torch.float32
    precision: Literal["fp32", "bf16"] = "fp32"

    def __init__(self, kernels: Kernels) -> None:
        self._kernels, self._others = kernels, OneDnn(torch.float32)

    def convolution(self, conv: nn.Module, after: str = "none") -> Convolving:
        """A convolution with a bias, and `relu` or `leaky_relu` after it."""
        assert isinstance(conv, nn.Conv2d)
        ours = conv.kernel_size == (3, 3) and conv.stride == (1, 1) and after != "leaky_relu"
        if ours and self._kernels.fit(conv.in_channels, conv.out_channels):
            return Winograd(conv, after == "relu", self._kernels)
        return self._other(conv, after)

    def _other(self, conv: nn.Conv2d, after: str) -> Convolving:
        """One that there is no kernel for."""
        return self._others.convolution(conv, after)

    def chain(self, convolutions: Sequence[tuple[nn.Module, str]], kept: Sequence[int]) -> Chaining:
        """Convolutions one after the other, and which of their results are asked for."""
        convs = [conv for conv, _ in convolutions]
        pixels = all(isinstance(conv, nn.Conv2d) and conv.stride == (1, 1) for conv in convs)
        chained = all(weights_of(conv)[0].shape[-1] == 1 for _, conv in pairwise(convs))
        if pixels and chained and self._kernels.fit(*(len(weights_of(conv)[1]) for conv in convs)):
            return Chain(convolutions, kept, self._kernels)
        return self._others.chain(convolutions, kept)

    def narrow(self, conv: nn.Module) -> Narrowing:
        """A convolution that makes R, G and B, float32."""
        assert isinstance(conv, nn.Conv2d)
        return Narrow(conv, self._kernels) if self._kernels.fit(conv.in_channels) else self._others.narrow(conv)

    def modulation(self, modulation: nn.Module, exact: bool = False) -> Modulating:
        """A PixelModulation, or what stands where there is none."""
        if isinstance(modulation, PixelModulation):
            outputs, inputs = modulation.scale2.weight.shape[:2]
            if self._kernels.fit(outputs, inputs):
                return Modulation(modulation, self._kernels)
        return self._others.modulation(modulation)

    def upsampling(self, conv: nn.Module) -> Modulating:
        """A convolution, ReLU and pixel shuffle to twice the size."""
        assert isinstance(conv, nn.Conv2d)
        if self._kernels.fit(conv.in_channels, conv.out_channels // 4):
            return Upsampling(conv, self._kernels)
        return self._others.upsampling(conv)


class NativeBf16(Native):
    """As Native, but products are of bfloat16 in 3x3 convolutions, whose results are rounded to it where they have a
    stride, and in modulations that need not be exact. All else is float32, as features between layers and sums are:
    rounding in the chain of the condition and in the last modulation made three quarters of a real frame's error."""

    precision: Literal["fp32", "bf16"] = "bf16"

    def __init__(self, kernels: Kernels, exact: Kernels) -> None:
        """kernels: those that multiply bfloat16. exact: of float32."""
        super().__init__(kernels)
        self._exact, self._strided = Native(exact), OneDnn(torch.bfloat16)

    def modulation(self, modulation: nn.Module, exact: bool = False) -> Modulating:
        """As Native's; exact: of float32."""
        return self._exact.modulation(modulation) if exact else super().modulation(modulation)

    def _other(self, conv: nn.Conv2d, after: str) -> Convolving:
        return Rounded(self._strided.convolution(conv, after)) if conv.stride != (1, 1) else super()._other(conv, after)


class Rounded:
    """A convolution of bfloat16 between features of float32."""

    def __init__(self, convolution: Convolution) -> None:
        self._convolution = convolution

    def __call__(self, features: Tensor) -> Tensor:
        return self._convolution(features.to(torch.bfloat16)).float()

    def plus(self, features: Tensor, others: Tensor) -> Tensor:
        """conv(features) + others"""
        return self(features) + others


class Winograd:
    """A 3x3 convolution of stride 1, and a ReLU where it is rectified."""

    def __init__(self, conv: nn.Conv2d, rectify: bool, kernels: Kernels) -> None:
        self._packed, self._rectify = kernels.pack("winograd", *weights_of(conv)), rectify
        self._kernels = kernels

    def __call__(self, features: Tensor) -> Tensor:
        return self._kernels.winograd(features, self._packed, rectify=self._rectify)

    def plus(self, features: Tensor, others: Tensor) -> Tensor:
        """conv(features) + others"""
        return self._kernels.winograd(features, self._packed, rectify=self._rectify, added=others)


class Chain:
    """Convolutions that follow each other; only the first may be 3x3."""

    def __init__(self, convolutions: Sequence[tuple[nn.Module, str]], kept: Sequence[int], kernels: Kernels) -> None:
        self._layers = [
            Layer(kernels.pack("layer", *weights_of(conv)), after, index in kept)
            for index, (conv, after) in enumerate(convolutions)
        ]
        self._kernels = kernels

    def __call__(self, features: Tensor) -> list[Tensor]:
        return self._kernels.chain(features, self._layers)


class Narrow:
    """A 1x1 or 3x3 convolution that makes R, G and B."""

    def __init__(self, conv: nn.Conv2d, kernels: Kernels) -> None:
        self._packed, self._kernels = kernels.pack("narrow", *weights_of(conv)), kernels

    def plus(self, features: Tensor, others: Tensor) -> Tensor:
        """conv(features) + others"""
        return self._kernels.narrow(features, self._packed, added=others)

    def times(self, features: Tensor, factors: Tensor) -> Tensor:
        """conv(features) * factors"""
        return self._kernels.narrow(features, self._packed, factors=factors)


class Modulation:
    """features, condition -> features * (scale + 1) + shift"""

    def __init__(self, modulation: PixelModulation, kernels: Kernels) -> None:
        self._packed, self._kernels = kernels.pack_modulation(*modulation_weights(modulation)), kernels

    def __call__(self, features: Tensor, condition: Tensor) -> Tensor:
        return self._kernels.modulate(features, condition, self._packed)


class Upsampling:
    """features (1, N, h, w), skip (1, N, 2h, 2w) -> relu(pixel_shuffle(conv(features))) + skip"""

    def __init__(self, conv: nn.Conv2d, kernels: Kernels) -> None:
        self._packed, self._kernels = kernels.pack("winograd", *weights_by_place(conv)), kernels

    def __call__(self, features: Tensor, skip: Tensor) -> Tensor:
        return self._kernels.winograd(features, self._packed, rectify=True, shuffled=True, added=skip)
