"""The network on a CPU: oneDNN's fused convolutions, on pieces of the picture that stay in the caches.

Bias, activation, product and sum are computed inside the convolution that they follow, so that a feature map crosses
memory once instead of up to four times. The operators are the ones that torch.compile emits. They are private to
PyTorch: `forward.place` compares their result with the eager network's before it trusts them.

Between its steps the picture is whole, within a step it is in tiles. A tile is computed with the few samples around it
that the step's convolutions see, so that the result is exact, as in tiles.py, for less than tiles of the whole network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .check import largest_error
from .hdrunet import ConditionNetwork, HDRUNet, PixelModulation, ResidualBlock, WeightingNetwork, pad_to_multiple
from .tiles import Network

TOLERANCE = {"fp32": 0.05, "bf16": 8.0}
"""Of a 10-bit code of R'G'B' in PQ: how far the result may be from PyTorch's own operators'."""
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_ENGINE_BYTES_PER_PIXEL = 160
"""What the engine has of a frame beside the maps of the network."""
_ops: Any = torch.ops.mkldnn
_SAMPLES = 1 << 16
"""Of a tile: 16 MiB of 64 float32 channels. Whatever the number of threads, so that the bits do not depend on it."""
_PACKED_FOR = 128
"""Side of the picture that weights are laid out for. The layout fits any size."""
_log = logging.getLogger(__name__)


def fused(network: HDRUNet, precision: Literal["fp32", "bf16"]) -> Network | None:
    """The network, float32 and on the CPU, as fast as it gets; None where that is not possible or not right, which is a
    warning in the log unless the network's configuration is the reason."""
    if network.config.condition and network.config.modulation != "spatial":
        return None
    try:
        made = FusedNetwork(network, _DTYPES[precision])
        error = largest_error(made, network, torch.device("cpu"))
        if error <= TOLERANCE[precision]:
            return made
        reason = f"it is wrong by {error:.2f} of a 10-bit code"
    except Exception as problem:  # whatever it is, PyTorch's operators may do
        reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
    _log.warning("%s cannot be fused on this CPU, going on with PyTorch's operators in fp32: %s", precision, reason)
    return None


class FusedNetwork:
    """(1, 3, H, W) float32 signal -> (1, 3, H, W) float32 signal, what HDRUNet.forward computes, for inference.

    network: one without modulation, or with the `spatial` one; on the CPU. dtype: float32, or bfloat16 for all but the
    two last convolutions and the sum. From any number of threads. Raises what PyTorch raises where it has no oneDNN.
    """

    def __init__(self, network: HDRUNet, dtype: torch.dtype = torch.float32) -> None:
        self._dtype, self._channels = dtype, network.config.channels
        self._weighting = None if network.weighting is None else _Weighting(network.weighting, dtype)
        self._condition = None if network.condition is None else _Condition(network.condition, dtype)
        channels = 0 if network.condition is None else network.config.sft_channels
        self._conditions = [(channels, size) for size in (4, 2, 1)]
        self._stem = _convolution(network.stem, dtype, "relu")
        self._stem_modulation = _Modulation(network.stem_modulation, dtype)
        self._encode_full = _convolution(network.encode_full, dtype, "relu")
        self._down_half = _convolution(network.down_half, dtype, "relu")
        self._encoder = [_Block(block, dtype) for block in network.encoder]
        self._down_quarter = _convolution(network.down_quarter, dtype, "relu")
        self._bottleneck = [_Block(block, dtype) for block in network.bottleneck]
        self._up_half = _Upsampling(network.up_half, dtype)
        self._decoder = [_Block(block, dtype) for block in network.decoder]
        self._up_full = _Upsampling(network.up_full, dtype)
        self._tail_modulation = _Modulation(network.tail_modulation, dtype)
        self._decode_full = _convolution(network.decode_full, dtype, "relu")
        self._to_rgb = _convolution(network.to_rgb, torch.float32)

    @property
    def bytes_per_pixel(self) -> int:
        """Memory of a frame from planes to planes, in bytes, by counting: features of full size, four of half and four
        of quarter size, conditions, `kept`."""
        features = self._channels * (1 + 4 / 4 + 4 / 16) + self._conditions[0][0] * (1 + 1 / 4 + 1 / 16)
        return int(features * self._dtype.itemsize) + 3 * 4 + _ENGINE_BYTES_PER_PIXEL

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        image = pad_to_multiple(image, HDRUNet.MULTIPLE).contiguous(memory_format=torch.channels_last)
        n, picture = self._channels, _Picture(image, self._dtype)
        kept, full, half = picture.map(3, 4, torch.float32), picture.map(n, 4), picture.map(n, 2)
        # Lists of one, or empty where nothing is steered by a condition.
        of_full, of_half, of_quarter = ([picture.map(each, size)] if each else [] for each, size in self._conditions)
        picture.in_tiles(self._describe, [image], [kept, full, half, *of_full, *of_half, *of_quarter], 4, 1)

        encoded, quarter = picture.map(n, 2), picture.map(n, 1)
        picture.in_tiles(self._encode, [half, *of_half], [encoded, quarter], 2, len(self._encoder) + 1)
        features = quarter
        for block in self._bottleneck:
            output = picture.map(n, 1)
            picture.in_tiles(block, [features, *of_quarter], [output], 1, 2)
            features = output
        features = features + quarter
        picture.in_tiles(self._widen, [features, encoded, *of_half], [half], 2, len(self._decoder) + 1)
        picture.in_tiles(self._finish, [half, full, kept, *of_full], [kept], 4, 1)
        return kept[..., :height, :width]

    def _describe(self, image: Tensor) -> list[Tensor]:
        """signal -> weights * signal, features of full and of half size, the conditions."""
        signal = image.to(self._dtype)
        kept = image if self._weighting is None else self._weighting(signal, image)
        conditions = [] if self._condition is None else self._condition(signal)
        full = self._stem_modulation(self._stem(signal), *conditions[:1])
        full = self._encode_full(full)
        return [kept, full, self._down_half(full), *conditions]

    def _encode(self, half: Tensor, *condition: Tensor) -> list[Tensor]:
        for block in self._encoder:
            (half,) = block(half, *condition)
        return [half, self._down_quarter(half)]

    def _widen(self, features: Tensor, half: Tensor, *condition: Tensor) -> list[Tensor]:
        features = self._up_half(features, half)
        for block in self._decoder:
            (features,) = block(features, *condition)
        return [features]

    def _finish(self, features: Tensor, full: Tensor, kept: Tensor, *condition: Tensor) -> list[Tensor]:
        features = self._tail_modulation(self._up_full(features, full), *condition)
        return [self._to_rgb.plus(self._decode_full(features).float(), kept)]


class _Picture:
    """Feature maps of one picture, and steps on them in tiles. Places are counted in cells: 4x4 pixels."""

    def __init__(self, image: Tensor, dtype: torch.dtype) -> None:
        self._rows, self._columns, self._dtype = image.shape[-2] // 4, image.shape[-1] // 4, dtype

    def map(self, channels: int, size: int, dtype: torch.dtype | None = None) -> Tensor:
        """A feature map with size x size samples a cell, not filled."""
        shape = (1, channels, size * self._rows, size * self._columns)
        return torch.empty(shape, dtype=dtype or self._dtype, memory_format=torch.channels_last)

    def in_tiles(
        self, step: Callable[..., list[Tensor]], inputs: list[Tensor], outputs: list[Tensor], size: int, halo: int
    ) -> None:
        """outputs = step(*inputs), where an output sees `halo` cells around it. Tiles are made for size x size samples
        a cell. An output may be an input of which a tile needs its own cells only."""
        side = max(int((_SAMPLES / size**2) ** 0.5), 8 * halo)
        for top, bottom, above, below in _spans(self._rows, side, halo):
            for left, right, before, behind in _spans(self._columns, side, halo):
                seen = (self._part(each, above, below, before, behind) for each in inputs)
                pieces = step(*(each.contiguous(memory_format=torch.channels_last) for each in seen))
                for output, piece in zip(outputs, pieces, strict=True):
                    scale = output.shape[-2] // self._rows
                    rows = slice(scale * (top - above), scale * (bottom - above))
                    columns = slice(scale * (left - before), scale * (right - before))
                    self._part(output, top, bottom, left, right).copy_(piece[..., rows, columns])

    def _part(self, map_: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
        scale = map_.shape[-2] // self._rows
        return map_[..., scale * top : scale * bottom, scale * left : scale * right]


class _Convolution:
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


def _convolution(conv: nn.Module, dtype: torch.dtype, after: str = "none", shift: float = 0.0) -> _Convolution:
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    return _Convolution(conv.weight.detach().to(dtype), (conv.bias.detach() + shift).to(dtype), conv.stride[0], after)


class _Weighting:
    """signal -> weights * image, float32"""

    def __init__(self, network: WeightingNetwork, dtype: torch.dtype) -> None:
        self._hidden = [_convolution(each, dtype, "relu") for each in (network.conv1, network.conv2, network.conv3)]
        self._to_weights = _convolution(network.to_weights, torch.float32)

    def __call__(self, signal: Tensor, image: Tensor) -> Tensor:
        for conv in self._hidden:
            signal = conv(signal)
        return self._to_weights.times(signal.float(), image)


class _Condition:
    """signal -> conditions of full, half and quarter size"""

    def __init__(self, network: ConditionNetwork, dtype: torch.dtype) -> None:
        assert network.to_full is not None
        self._trunk = [_convolution(conv, dtype, "leaky_relu") for conv in network.trunk]
        heads = (network.to_full, network.to_half, network.to_quarter)
        self._heads = [(_convolution(first, dtype, "leaky_relu"), _convolution(last, dtype)) for first, last in heads]

    def __call__(self, signal: Tensor) -> list[Tensor]:
        for conv in self._trunk:
            signal = conv(signal)
        return [last(first(signal)) for first, last in self._heads]


class _Modulation:
    """features, condition -> features * (scale + 1) + shift; the features where there is no condition."""

    def __init__(self, modulation: nn.Module, dtype: torch.dtype) -> None:
        self._parts = None
        if isinstance(modulation, PixelModulation):
            # The 1 that the network adds to the scale is in the bias.
            self._parts = (
                _convolution(modulation.scale1, dtype, "leaky_relu"),
                _convolution(modulation.scale2, dtype, shift=1.0),
                _convolution(modulation.shift1, dtype, "leaky_relu"),
                _convolution(modulation.shift2, dtype),
            )

    def __call__(self, features: Tensor, *condition: Tensor) -> Tensor:
        if self._parts is None:
            return features
        scale1, scale2, shift1, shift2 = self._parts
        scaled = scale2.times(scale1(*condition), features)
        return shift2.added_to(scaled, shift1(*condition))


class _Block:
    """A ResidualBlock: features, condition -> [features]"""

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        assert isinstance(block, ResidualBlock)
        self._modulation1 = _Modulation(block.modulation1, dtype)
        self._conv1 = _convolution(block.conv1, dtype, "relu")
        self._modulation2, self._conv2 = _Modulation(block.modulation2, dtype), _convolution(block.conv2, dtype)

    def __call__(self, features: Tensor, *condition: Tensor) -> list[Tensor]:
        residual = self._conv1(self._modulation1(features, *condition))
        return [self._conv2.plus(self._modulation2(residual, *condition), features)]


class _Upsampling:
    """features (1, N, h, w), skip (1, N, 2h, 2w) -> relu(pixel_shuffle(conv(features))) + skip"""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        assert conv.bias is not None
        self._channels = conv.out_channels // 4
        # The channels of a pixel lie together, so that the shuffle moves rows of them.
        order = torch.arange(4 * self._channels).view(self._channels, 4).t().reshape(-1)
        weight, bias = conv.weight.detach()[order], conv.bias.detach()[order]
        self._conv = _Convolution(weight.to(dtype), bias.to(dtype), 1, "relu")

    def __call__(self, features: Tensor, skip: Tensor) -> Tensor:
        _, _, height, width = features.shape
        shuffled = self._conv(features).permute(0, 2, 3, 1).view(height, width, 2, 2, self._channels)
        others = skip.permute(0, 2, 3, 1).view(height, 2, width, 2, self._channels)
        total = others + shuffled.permute(0, 2, 1, 3, 4)  # in this order: the result is laid out like the first
        return total.view(1, 2 * height, 2 * width, self._channels).permute(0, 3, 1, 2)


def _spans(length: int, side: int, halo: int) -> Iterator[tuple[int, int, int, int]]:
    """(start, stop) of each tile along one side, of about equal lengths, and (start, stop) of what it sees."""
    count = -(-length // side)
    edges = [length * index // count for index in range(count + 1)]
    for start, stop in pairwise(edges):
        yield start, stop, max(start - halo, 0), min(stop + halo, length)
