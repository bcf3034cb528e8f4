"""Layers of the network in our own kernels (native.py), and in oneDNN's where there is no kernel for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from .config import HDRUNetConfig
from .cpu_parts import Chained, Chaining, Convolving, ConvolvingModulated, Modulated, Modulating, Narrowing
from .hdrunet import PixelModulation
from .native import Kernels, Layer, kernel_of
from .native_tensors import Packed
from .onednn_layers import OneDnn, modulation_weights, weights_by_place, weights_of


class Native:
    """Makes the layers. See cpu_parts.Layers.

    With kernels that multiply bfloat16, convolutions do where there are such, and modulations that need not be exact.
    Chains that begin at the picture, and what makes colours, are of float32, or as good: rounding in the chain of the
    condition and in the last modulation made three quarters of a real frame's error.
    """

    backend, takes_parts, exact_dtype = "ours", True, torch.float32

    def __init__(self, kernels: Kernels) -> None:
        self._kernels, self.precision, self.dtype = kernels, kernels.precision, kernels.dtype
        self.instructions = kernels.instructions
        self._others = OneDnn(torch.float32)

    def fit(self, config: HDRUNetConfig) -> bool:
        """Whether the layers of a network can be made. Between features of float32, oneDNN's stand in for some."""
        inner = config.condition_channels, config.sft_channels
        needed = inner if self.dtype == torch.bfloat16 and config.condition else ()
        return self._kernels.fit(config.channels, *needed)

    def convolution(self, conv: nn.Module, after: str = "none") -> Convolving:
        """A convolution with a bias, and `relu` or `leaky_relu` after it."""
        assert isinstance(conv, nn.Conv2d)
        ours = self._kernels.convolves(conv.kernel_size[0], conv.stride[0])
        if ours and self._kernels.fit(conv.in_channels, conv.out_channels):
            return Convolution(conv, after, self._kernels)
        return self._others.convolution(conv, after)

    def chain(
        self, convolutions: Sequence[tuple[nn.Module, str]], kept: Sequence[int], exact: Sequence[int] = ()
    ) -> Chaining:
        """Convolutions one after the other, and which of their results are asked for."""
        convs = [conv for conv, _ in convolutions]
        pixels = all(isinstance(conv, nn.Conv2d) and conv.stride == (1, 1) for conv in convs)
        chained = all(weights_of(conv)[0].shape[-1] == 1 for _, conv in pairwise(convs))
        if self._kernels.tiled and weights_of(convs[0])[0].shape[-1] == 1:  # of features, which are rounded already
            assert not exact
            return Chained([self.convolution(*each) for each in convolutions], kept)
        if pixels and chained and self._kernels.fit(*(len(weights_of(conv)[1]) for conv in convs)):
            return Chain(convolutions, kept, exact, self._kernels)
        return self._others.chain(convolutions, kept)

    def narrow(self, conv: nn.Module) -> Narrowing:
        """A convolution that makes R, G and B."""
        assert isinstance(conv, nn.Conv2d)
        return Narrow(conv, self._kernels) if self._kernels.fit(conv.in_channels) else self._others.narrow(conv)

    def modulated(
        self, modulation: nn.Module, conv: nn.Module, after: str = "none", exact: bool = False
    ) -> ConvolvingModulated:
        """A modulation, or what stands where there is none, and a convolution."""
        convolution = self.convolution(conv, after)
        if isinstance(convolution, Convolution) and isinstance(modulation, PixelModulation):
            weights, biases = modulation_weights(modulation)
            if self._kernels.fit(*weights[1].shape[:2]):
                return ModulatedConvolution(convolution, self._kernels.pack_modulation(weights, biases, exact))
        return Modulated(self._others.modulation(modulation), convolution)

    def upsampling(self, conv: nn.Module) -> Modulating:
        """A convolution, ReLU and pixel shuffle to twice the size."""
        assert isinstance(conv, nn.Conv2d)
        if self._kernels.fit(conv.in_channels, conv.out_channels // 4):
            return Upsampling(conv, self._kernels)
        return self._others.upsampling(conv)


class Convolution:
    """A convolution, and what follows it."""

    def __init__(self, conv: nn.Conv2d, after: str, kernels: Kernels) -> None:
        self._compute = partial(
            kernels.convolution,
            packed=kernels.pack(kernel_of(conv.stride[0]), *weights_of(conv)),
            after=after,
            stride=conv.stride[0],
        )

    def __call__(
        self, features: Tensor, others: Tensor | None = None, modulated: tuple[Tensor, Packed] | None = None
    ) -> Tensor:
        return self._compute(features, added=others, modulated=modulated)

    def plus(self, features: Tensor, others: Tensor) -> Tensor:
        """conv(features) + others"""
        return self(features, others)


class ModulatedConvolution:
    """A modulation and a convolution in one go."""

    def __init__(self, convolution: Convolution, packed: Packed) -> None:
        """packed: the modulation's weights."""
        self._convolution, self._packed = convolution, packed

    def __call__(self, features: Tensor, *condition: Tensor) -> Tensor:
        return self._convolution(features, None, (condition[0], self._packed))

    def plus(self, features: Tensor, others: Tensor, *condition: Tensor) -> Tensor:
        """The same + others"""
        return self._convolution(features, others, (condition[0], self._packed))


class Chain:
    """Convolutions that follow each other; only the first may be 3x3."""

    def __init__(
        self,
        convolutions: Sequence[tuple[nn.Module, str]],
        kept: Sequence[int],
        exact: Sequence[int],
        kernels: Kernels,
    ) -> None:
        self._layers = [
            Layer(kernels.pack("layer", *weights_of(conv)), after, index in kept, index in exact)
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


class Upsampling:
    """features (1, N, h, w), skip (1, N, 2h, 2w) -> relu(pixel_shuffle(conv(features))) + skip"""

    def __init__(self, conv: nn.Conv2d, kernels: Kernels) -> None:
        self._packed, self._kernels = kernels.pack("convolution", *weights_by_place(conv)), kernels

    def __call__(self, features: Tensor, skip: Tensor) -> Tensor:
        return self._kernels.convolution(features, self._packed, after="relu", shuffled=True, added=skip)
