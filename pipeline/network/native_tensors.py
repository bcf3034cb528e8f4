"""Tensors as our kernels take them, and what does not belong to a kernel refused: it would be read as what it is not.

Tensors are (1, C, h, w), channels_last or a part of such.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Packed(NamedTuple):
    """Weights as a kernel takes them."""

    kernel: str
    channels: int
    side: int
    outputs: int
    values: Tensor
    exact: bool = False
    """Of a modulation: whether they are for products of float32, or as good."""

    @property
    def address(self) -> int:
        """Of the values."""
        return self.values.data_ptr()


def empty(channels: int, height: int, width: int, dtype: torch.dtype) -> Tensor:
    """(1, C, h, w) with whatever its memory held."""
    return torch.empty((1, channels, height, width), dtype=dtype, memory_format=torch.channels_last)


def in_rows(features: Tensor, dtype: torch.dtype) -> tuple[Tensor, int]:
    """The features, whose rows may lie apart as those of a part of a map do, and from where to where: in values."""
    _, channels, height, width = features.shape
    _, between_channels, pitch, between_pixels = features.stride()
    lies_in_rows = between_channels == 1 and between_pixels == channels and features.dtype == dtype
    return (features, pitch) if lies_in_rows and height > 1 < width else (dense(features, dtype), width * channels)


def fitting(features: Tensor, packed: Packed, kernel: str) -> tuple[int, int, int]:
    """(channels, height, width) of (1, C, h, w): features that these weights are for. Raises ValueError for others."""
    _, channels, height, width = features.shape
    belonging(packed, kernel, channels, packed.side)
    return channels, height, width


def belonging(packed: Packed, kernel: str, channels: int, side: int) -> None:
    """Raises ValueError for weights of another kernel, other channels or another side."""
    found, expected = packed[:3], (kernel, channels, side)
    if found != expected:
        raise ValueError(f"weights for {found}, kernel, channels and side, where those for {expected} belong")


def shaped(features: Tensor, other: Tensor) -> Tensor:
    """The features; raises ValueError where their shape is not the other's."""
    if features.shape != other.shape:
        raise ValueError(f"a tensor of {tuple(features.shape)} where one of {tuple(other.shape)} belongs")
    return features


def dense(features: Tensor, dtype: torch.dtype) -> Tensor:
    """The features, channels_last and in one piece. Raises TypeError where they are of another dtype."""
    if features.dtype != dtype:
        raise TypeError(f"the kernels take {dtype} here, not {features.dtype}")
    return features.contiguous(memory_format=torch.channels_last)
