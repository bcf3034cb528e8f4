"""HDRUNet as a model of OpenVINO, written in its operators.

Written, because the ways by a converter take up to a minute, and because this one can say what is to be exact: the last
convolutions' weights are two bfloat16 numbers each where the features are bfloat16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .hdrunet import HDRUNet, NoModulation, ResidualBlock

Node = Any
"""What an operator of OpenVINO gives."""


class Graph:
    """Makes the model of a network. opset: OpenVINO's operators. halves: of the last convolutions' weights."""

    def __init__(self, opset: Any, halves: bool) -> None:
        self._opset, self._halves = opset, halves

    def model(self, network: HDRUNet, height: int, width: int) -> Node:
        """The result for a (1, 3, height, width) parameter, multiples of 4, and that parameter."""
        ops = self._opset
        image = ops.parameter([1, 3, height, width], np.float32, name="signal")
        added, kept = self._reconstruct(network, image), image
        if network.weighting is not None:
            features = image
            for conv in (network.weighting.conv1, network.weighting.conv2, network.weighting.conv3):
                features = ops.relu(self._convolution(conv, features))
            kept = ops.multiply(self._last(network.weighting.to_weights, features), image)
        return ops.add(kept, added), image

    def _reconstruct(self, network: HDRUNet, image: Node) -> Node:
        ops = self._opset
        condition_full, condition_half, condition_quarter = self._conditions(network, image)
        full = ops.relu(self._convolution(network.stem, image))
        full = self._modulated(network.stem_modulation, full, condition_full)
        full = ops.relu(self._convolution(network.encode_full, full))
        half = ops.relu(self._convolution(network.down_half, full))
        half = self._trunk(network.encoder, half, condition_half)
        quarter = ops.relu(self._convolution(network.down_quarter, half))
        features = ops.add(self._trunk(network.bottleneck, quarter, condition_quarter), quarter)
        features = ops.add(self._enlarged(network.up_half, features), half)
        features = self._trunk(network.decoder, features, condition_half)
        features = ops.add(self._enlarged(network.up_full, features), full)
        features = self._modulated(network.tail_modulation, features, condition_full)
        features = ops.relu(self._convolution(network.decode_full, features))
        return self._last(network.to_rgb, features)

    def _conditions(self, network: HDRUNet, image: Node) -> list[Node]:
        if network.condition is None:
            return [None, None, None]
        features = image
        for conv in network.condition.trunk:
            features = self._leaky(self._convolution(conv, features))
        heads = (network.condition.to_full, network.condition.to_half, network.condition.to_quarter)
        return [
            head and self._convolution(head[1], self._leaky(self._convolution(head[0], features))) for head in heads
        ]

    def _trunk(self, blocks: nn.ModuleList, features: Node, condition: Node) -> Node:
        for block in blocks:
            assert isinstance(block, ResidualBlock)
            residual = self._convolution(block.conv1, self._modulated(block.modulation1, features, condition))
            residual = self._modulated(block.modulation2, self._opset.relu(residual), condition)
            residual = self._convolution(block.conv2, residual)
            if block.scale is not None:
                average = self._opset.reduce_mean(condition, np.array([2, 3]), keep_dims=True)
                residual = self._opset.multiply(residual, self._convolution(block.scale, average))
            features = self._opset.add(features, residual)
        return features

    def _modulated(self, modulation: nn.Module, features: Node, condition: Node) -> Node:
        if isinstance(modulation, NoModulation):
            return features
        scale = self._leaky(self._convolution(modulation.scale1, condition))
        shift = self._leaky(self._convolution(modulation.shift1, condition))
        scale = self._convolution(modulation.scale2, scale, more=1.0)
        return self._opset.add(self._opset.multiply(features, scale), self._convolution(modulation.shift2, shift))

    def _enlarged(self, conv: nn.Conv2d, features: Node) -> Node:
        return self._opset.relu(self._opset.depth_to_space(self._convolution(conv, features), "depth_first", 2))

    def _leaky(self, features: Node) -> Node:
        return self._opset.prelu(features, np.array([0.1], dtype=np.float32))

    def _convolution(self, conv: Any, features: Node, more: float = 0.0) -> Node:
        """With `more` in the bias."""
        return self._opset.add(self._product(conv, conv.weight, features), _array(conv.bias + more)[:, None, None])

    def _last(self, conv: nn.Conv2d, features: Node) -> Node:
        """Its sums are float32 in any case; in bfloat16 its weights are halved in what that holds and the rest."""
        if not self._halves:
            return self._convolution(conv, features)
        held = conv.weight.to(torch.bfloat16).to(torch.float32)
        both = self._product(conv, torch.cat((held, conv.weight - held)), features)
        first, rest = self._opset.split(both, np.array(1), 2).outputs()
        assert conv.bias is not None
        return self._opset.add(self._opset.add(first, rest), _array(conv.bias)[:, None, None])

    def _product(self, conv: nn.Conv2d, weight: Tensor, features: Node) -> Node:
        padding = list(conv.padding)
        return self._opset.convolution(features, _array(weight), list(conv.stride), padding, padding, [1, 1])


def _array(weights: Tensor) -> Any:
    return np.array(weights.detach().numpy())
