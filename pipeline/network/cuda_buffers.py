"""The block of memory that a picture takes on an NVIDIA GPU: what lies where, and what lies where another lay."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from .config import HDRUNetConfig

Buffers = Mapping[str, Tensor]
_Shapes = dict[str, tuple[int, ...]]
_ALIGNMENT = 256
"""Bytes; more than any load wants."""


def workspace_bytes(
    config: HDRUNetConfig, height: int, width: int, dtype: torch.dtype = torch.float16, convolved: bool = False
) -> int:
    """Memory of all buffers of a picture, sides multiples of 4, in bytes: 484 a pixel for the paper's network, and 128
    more with "convolved"."""
    return _layout(config, height, width, dtype, convolved)[1]


def buffers(
    memory: Tensor, config: HDRUNetConfig, height: int, width: int, dtype: torch.dtype, convolved: bool = False
) -> Buffers:
    """The buffers of a picture in `memory`, uint8, of workspace_bytes or more: "image" and "output" (1, 3, H, W)
    float32, which the caller fills and reads; others overlap where one is not needed any more when another is.

    convolved: also one that holds what any 3x3 convolution makes."""
    places, size = _layout(config, height, width, dtype, convolved)
    if memory.numel() < size:
        raise ValueError(f"{memory.numel()} bytes do not hold the {size} of a picture of {width}x{height}")
    return {
        name: memory[start : start + prod(shape) * kind.itemsize].view(kind).view(shape)
        for name, (start, shape, kind) in places.items()
    }


def _layout(
    config: HDRUNetConfig, height: int, width: int, dtype: torch.dtype, convolved: bool
) -> tuple[dict[str, tuple[int, tuple[int, ...], torch.dtype]], int]:
    """Start, shape and dtype of each buffer, and the bytes of all."""
    n, k, s = config.channels, config.condition_channels, config.sft_channels
    half, quarter = (height // 2, width // 2), (height // 4, width // 4)
    conditions: _Shapes = {"condition_half": (*half, s), "condition_quarter": (*quarter, s)}
    # Regions of memory, each with what lives there one after the other.
    regions: list[list[_Shapes]] = [
        [{"image": (1, 3, height, width)}],
        [{"output": (1, 3, height, width)}],
        [{"kept": (3, height, width)}] if config.weighting else [],
        [{"condition_full": (height, width, s)}] if config.condition else [],
        [
            {"stem": (height, width, n)},
            conditions | {"condition_features": (*half, k)},
            conditions | {"half": (*half, n), "half_modulated": (*half, n), "half_residual": (*half, n)},
            {"products": (27, height, width)},
        ],
        [{"weighting": (height, width, n)} if config.weighting else {}, {"full": (height, width, n)}],
        [
            {"trunk": (height, width, k)} if config.condition else {},
            dict.fromkeys(("quarter", "quarter_sum", "quarter_modulated", "quarter_residual"), (*quarter, n)),
            {"tail": (height, width, n)},
        ],
        [{"convolved": (height, width, max(n, -(-k // 4)))}] if convolved else [],
    ]
    planes = ("image", "output", "kept", "products")
    places, start = {}, 0
    for region in regions:
        stop = start
        for shapes in region:
            place = start
            for name, shape in shapes.items():
                kind = torch.float32 if name in planes else dtype
                places[name] = (place, shape, kind)
                place += -(-prod(shape) * kind.itemsize // _ALIGNMENT) * _ALIGNMENT
            stop = max(stop, place)
        start = stop
    return places, start
