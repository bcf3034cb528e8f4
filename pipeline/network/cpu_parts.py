"""Parts of the network made of the layers that a CPU computes: what cpu.py is made of.

Tensors are (1, C, h, w), channels_last, of the dtype of the layers where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from .hdrunet import ConditionNetwork, ResidualBlock, WeightingNetwork

Modulating = Callable[..., Tensor]
"""(1, N, h, w) and further tensors -> (1, N, h, w)."""
Chaining = Callable[[Tensor], list[Tensor]]
"""(1, C, h, w) -> the results that are asked for, (1, N, h, w) each."""


class Convolving(Protocol):
    """A convolution with a bias and what follows it, as a layer."""

    def __call__(self, features: Tensor) -> Tensor: ...

    def plus(self, features: Tensor, others: Tensor) -> Tensor:
        """The same + others."""
        ...


class ConvolvingModulated(Protocol):
    """A modulation and a convolution of what it makes. The condition may be of the exact dtype; there is none where
    nothing is modulated."""

    def __call__(self, features: Tensor, *condition: Tensor) -> Tensor: ...

    def plus(self, features: Tensor, others: Tensor, *condition: Tensor) -> Tensor:
        """The same + others."""
        ...


class Chained:
    """Convolutions one after the other: features -> the results that are kept."""

    def __init__(self, convolutions: Sequence[Convolving], kept: Sequence[int]) -> None:
        self._convolutions, self._kept = convolutions, kept

    def __call__(self, features: Tensor) -> list[Tensor]:
        results = []
        for index, convolution in enumerate(self._convolutions):
            features = convolution(features)
            if index in self._kept:
                results.append(features)
        return results


class Modulated:
    """A modulation and a convolution, one after the other."""

    def __init__(self, modulation: Modulating, convolution: Convolving) -> None:
        self._modulation, self._convolution = modulation, convolution

    def __call__(self, features: Tensor, *condition: Tensor) -> Tensor:
        return self._convolution(self._modulation(features, *condition))

    def plus(self, features: Tensor, others: Tensor, *condition: Tensor) -> Tensor:
        """The same + others"""
        return self._convolution.plus(self._modulation(features, *condition), others)


class Narrowing(Protocol):
    """A convolution that makes R, G and B, as a layer: float32, as what they are joined with."""

    def plus(self, features: Tensor, others: Tensor) -> Tensor:
        """conv(features) + others"""
        ...

    def times(self, features: Tensor, factors: Tensor) -> Tensor:
        """conv(features) * factors"""
        ...


class Layers(Protocol):
    """Makes the layers that take most of the time."""

    backend: str
    """Whose code the layers are: `ours` or `onednn`."""
    takes_parts: bool
    """Whether the features given to a layer may be a part of a map, whose rows lie apart."""
    dtype: torch.dtype
    """float32 or bfloat16, of all that is not said to be in another."""
    exact_dtype: torch.dtype
    """The same or float32, of the picture and of results where rounding shows most."""
    precision: Literal["fp32", "bf16"]
    """That most products are computed in."""

    def convolution(self, conv: nn.Module, after: str = "none") -> Convolving:
        """A convolution with a bias, and `relu` or `leaky_relu` after it."""
        ...

    def chain(
        self, convolutions: Sequence[tuple[nn.Module, str]], kept: Sequence[int], exact: Sequence[int] = ()
    ) -> Chaining:
        """Convolutions one after the other, and which of their results are asked for. exact: those that are to be of
        the exact dtype, as what goes in is where the first is 3x3."""
        ...

    def narrow(self, conv: nn.Module) -> Narrowing:
        """A convolution that makes R, G and B."""
        ...

    def modulated(
        self, modulation: nn.Module, conv: nn.Module, after: str = "none", exact: bool = False
    ) -> ConvolvingModulated:
        """A convolution as above, of stride 1, of what a PixelModulation, or what stands where there is none, makes of
        features. exact: with products of the exact dtype in the modulation."""
        ...

    def upsampling(self, conv: nn.Module) -> Modulating:
        """features (1, N, h, w), skip (1, N, 2h, 2w) -> relu(pixel_shuffle(conv(features))) + skip"""
        ...


class Weighting:
    """signal -> weights * image, float32"""

    def __init__(self, network: WeightingNetwork, layers: Layers) -> None:
        self._first = layers.chain([(network.conv1, "relu")], [0])
        self._second = layers.convolution(network.conv2, "relu")
        self._third = layers.chain([(network.conv3, "relu")], [0])
        self._to_weights = layers.narrow(network.to_weights)

    def __call__(self, signal: Tensor, image: Tensor) -> Tensor:
        (features,) = self._first(signal)
        (features,) = self._third(self._second(features))
        return self._to_weights.times(features, image)


class Condition:
    """signal -> conditions of full, half and quarter size"""

    def __init__(self, network: ConditionNetwork, layers: Layers) -> None:
        assert network.to_full is not None
        trunk = [(conv, "leaky_relu") for conv in network.trunk]
        full = [(network.to_full[0], "leaky_relu"), (network.to_full[1], "none")]
        last = len(trunk) + len(full) - 1
        self._trunk_and_full = layers.chain([*trunk, *full], [len(trunk) - 1, last], exact=[last])
        heads = (network.to_half, network.to_quarter)
        self._heads = [(layers.convolution(first, "leaky_relu"), layers.convolution(last)) for first, last in heads]

    def __call__(self, signal: Tensor) -> list[Tensor]:
        features, full = self._trunk_and_full(signal)
        return [full, *(last(first(features)) for first, last in self._heads)]


class Block:
    """A ResidualBlock: features, condition -> [features]"""

    def __init__(self, block: nn.Module, layers: Layers) -> None:
        assert isinstance(block, ResidualBlock)
        self._first = layers.modulated(block.modulation1, block.conv1, "relu")
        self._second = layers.modulated(block.modulation2, block.conv2)

    def __call__(self, features: Tensor, *condition: Tensor) -> list[Tensor]:
        residual = self._first(features, *condition)
        return [self._second.plus(residual, features, *condition)]
