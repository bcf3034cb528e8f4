"""What a network costs by its own convolutions: operations, and bytes that must move."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..network.hdrunet import HDRUNet
from .machine import Machine
from .results import Row

ITEM_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


@dataclass(frozen=True)
class Layer:
    """One convolution on one picture."""

    flop: int
    """A multiplication and an addition count as two."""
    values: int
    """Numbers read and written once: input, output and weights."""


@dataclass(frozen=True)
class Cost:
    """A network on one picture. All but convolutions is left out: it can be computed on the way."""

    layers: tuple[Layer, ...]

    @property
    def flop(self) -> int:
        """Operations of a picture."""
        return sum(layer.flop for layer in self.layers)

    def bytes(self, precision: str) -> int:
        """Bytes of a picture where each convolution reads its input and writes its output once."""
        return sum(layer.values for layer in self.layers) * ITEM_BYTES[precision]

    def seconds(self, precision: str, flops: float, bandwidth: float) -> float:
        """The roofline, layer by layer: each as long as its operations (at `flops` a second) or its bytes (at
        `bandwidth` bytes a second) take, whichever is longer. Code that keeps features on the chip from one
        layer to the next can beat it; `flop / flops` no code can beat but by another algorithm (Winograd)."""
        size = ITEM_BYTES[precision]
        return sum(max(layer.flop / flops, layer.values * size / bandwidth) for layer in self.layers)


def cost(network: HDRUNet, width: int, height: int) -> Cost:
    """Cost of a picture of `width` x `height`: that of the smallest picture, scaled, because all of it is local."""
    side = network.MULTIPLE
    scale = -(-width // side) * -(-height // side)
    layers: list[Layer] = []

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        weights = module.weight.numel()
        flop = 2 * output.numel() * weights // module.out_channels
        layers.append(Layer(flop * scale, (inputs[0].numel() + output.numel()) * scale + weights))

    own = copy.deepcopy(network).to("cpu").float()
    for module in own.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    with torch.inference_mode():
        own(torch.zeros(1, 3, side, side))
    return Cost(tuple(layers))


def with_limits(row: Row, machine: Machine, network: HDRUNet) -> Row:
    """The row with its roofline on `machine`, whose limits may have been measured after it."""
    if row.flop:
        if not (flops := machine.flops.get(row.precision)):
            return row
        least = cost(network, row.width, row.height).seconds(row.precision, flops, machine.bandwidth)
        return replace(row, roofline_seconds=least)
    # What else has bytes goes over a bus, whose speed is not known.
    return replace(row, roofline_seconds=row.bytes / machine.bandwidth) if row.name in ("colour", "light") else row
