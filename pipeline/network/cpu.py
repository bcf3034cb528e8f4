"""The network on a CPU: fused layers, on pieces of the picture that take little memory.

The layers are our kernels (native.py) where they were built and have the layer, else oneDNN's.

Between its steps the picture is whole, within a step it is in tiles. A tile is computed with the few samples around it
that the step's convolutions see, so that the result is exact, as in tiles.py, for less than tiles of the whole network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from threading import Lock
from typing import Literal

import torch
from torch import Tensor

from .check import believed
from .cpu_parts import Block, Condition, Layers, Weighting
from .hdrunet import HDRUNet, pad_to_multiple
from .native import kernels
from .native_layers import Native
from .native_library import instructions_for_bf16
from .onednn_layers import OneDnn
from .tiles import Network

TOLERANCE = {"fp32": 0.05, "bf16": 16.0}
"""Of a 10-bit code of R'G'B' in PQ: how far the result may be from PyTorch's own operators'."""
DTYPES: dict[Literal["fp32", "bf16"], torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Of products."""
_ENGINE_BYTES_PER_PIXEL = 160
"""What the engine has of a frame beside the maps of the network."""
_SAMPLES = 120_000
"""Of a tile: with its halo, 64 float32 channels are just less than the 32 MiB that host.py keeps for the next tile.
Whatever the number of threads, so that the bits do not depend on it."""
_MOST_LARGER = 2
"""Times: memory for a larger picture than that is not held on to for a smaller one. Tiles differ by a few pixels."""
_log = logging.getLogger(__name__)


def fused(network: HDRUNet, precision: Literal["fp32", "bf16"]) -> Network | None:
    """The network, float32 and on the CPU, as fast as it gets; None where that is not possible or not right, which is a
    warning in the log unless the network's configuration is the reason."""
    if network.config.condition and network.config.modulation != "spatial":
        return None
    for own in own_layers(precision):
        otherwise = f"the kernels for {own.instructions} cannot be used on this CPU, going on without"
        made = partial(FusedNetwork, network, own)
        if own.fit(network.config) and (fused := believed(made, network, TOLERANCE[precision], _log, otherwise)):
            return fused
    otherwise = f"{precision} cannot be fused on this CPU, going on with PyTorch's operators in fp32"
    made = partial(FusedNetwork, network, OneDnn(DTYPES[precision]))
    return believed(made, network, TOLERANCE[precision], _log, otherwise)


def own_layers(precision: Literal["fp32", "bf16"]) -> Iterator[Native]:
    """Of our kernels for this processor, the fastest first: those that were built, can be loaded, and have this."""
    for name in instructions_for_bf16() if precision == "bf16" else [None]:
        if (found := kernels(name)) is not None:
            yield Native(found)


class FusedNetwork:
    """(1, 3, H, W) float32 signal -> (1, 3, H, W) float32 signal, what HDRUNet.forward computes, for inference.

    network: one without modulation, or with the `spatial` one; on the CPU. layers: what all but the sum at the end is
    computed in. From any number of threads; the memory of feature maps is kept for the next picture. Raises what
    PyTorch raises where it has no oneDNN.
    """

    def __init__(self, network: HDRUNet, layers: Layers) -> None:
        self._layers, self._channels = layers, network.config.channels
        self.backend, self.precision = layers.backend, layers.precision
        self._weighting = None if network.weighting is None else Weighting(network.weighting, layers)
        self._condition = None if network.condition is None else Condition(network.condition, layers)
        channels = 0 if network.condition is None else network.config.sft_channels
        self._conditions = [(channels, 4, layers.exact_dtype), *((channels, size, layers.dtype) for size in (2, 1))]
        self._stem = layers.chain([(network.stem, "relu")], [0])
        self._encode_full = layers.modulated(network.stem_modulation, network.encode_full, "relu")
        self._down_half = layers.convolution(network.down_half, "relu")
        self._encoder = [Block(block, layers) for block in network.encoder]
        self._down_quarter = layers.convolution(network.down_quarter, "relu")
        self._bottleneck = [Block(block, layers) for block in network.bottleneck]
        self._up_half = layers.upsampling(network.up_half)
        self._decoder = [Block(block, layers) for block in network.decoder]
        self._up_full = layers.upsampling(network.up_full)
        self._decode_full = layers.modulated(network.tail_modulation, network.decode_full, "relu", exact=True)
        self._to_rgb = layers.narrow(network.to_rgb)
        self._lock, self._free = Lock(), list[_Maps]()

    @property
    def bytes_per_pixel(self) -> int:
        """Memory of a frame from planes to planes, in bytes, by counting: features of full size, two of half and four
        of quarter size, conditions, `kept`; and as much as two more of half size for what tiles take."""
        features = self._channels * self._layers.dtype.itemsize * (1 + 4 / 4 + 4 / 16)
        conditions = sum(channels * dtype.itemsize * size**2 / 16 for channels, size, dtype in self._conditions)
        return int(features + conditions) + 3 * 4 + _ENGINE_BYTES_PER_PIXEL

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        image = pad_to_multiple(image, HDRUNet.MULTIPLE).contiguous(memory_format=torch.channels_last)
        maps = self._maps_for(image.shape[-2] // 4, image.shape[-1] // 4)
        n, kept = self._channels, torch.empty_like(image)
        full, half = maps.map("full", n, 4), maps.map("half", n, 2)
        # Lists of one, or empty where nothing is steered by a condition.
        of_full, of_half, of_quarter = (
            [maps.map(f"condition {size}", channels, size, dtype)] if channels else []
            for channels, size, dtype in self._conditions
        )
        maps.in_tiles(self._describe, [image], [kept, full, half, *of_full, *of_half, *of_quarter], 4, 1)

        encoded, quarter = maps.map("encoded", n, 2), maps.map("quarter", n, 1)
        maps.in_tiles(self._encode, [half, *of_half], [encoded, quarter], 2, len(self._encoder) + 1)
        features = quarter
        for index, block in enumerate(self._bottleneck):
            output = maps.map(f"bottleneck {index % 2}", n, 1)
            maps.in_tiles(block, [features, *of_quarter], [output], 1, 2)
            features = output
        features = features + quarter
        maps.in_tiles(self._widen, [features, encoded, *of_half], [half], 2, len(self._decoder) + 1)
        maps.in_tiles(self._finish, [half, full, kept, *of_full], [kept], 4, 1)
        with self._lock:
            self._free.append(maps)
        return kept[..., :height, :width]

    def release(self) -> None:
        """Gives back the memory that is kept for the next pictures."""
        with self._lock:
            self._free.clear()

    def _maps_for(self, rows: int, columns: int) -> _Maps:
        """In the memory of an earlier picture's: fresh memory comes from the system page by page, which takes time."""
        with self._lock:
            self._free = [maps for maps in self._free if maps.cells <= _MOST_LARGER * rows * columns]
            earlier = self._free.pop() if self._free else None
        return _Maps(rows, columns, self._layers, earlier)

    def _describe(self, image: Tensor) -> list[Tensor]:
        """signal -> weights * signal, features of full and of half size, the conditions."""
        signal = image.to(self._layers.exact_dtype)
        kept = image if self._weighting is None else self._weighting(signal, image)
        conditions = [] if self._condition is None else self._condition(signal)
        full = self._encode_full(*self._stem(signal), *conditions[:1])
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
        features = self._decode_full(self._up_full(features, full), *condition)
        return [self._to_rgb.plus(features, kept)]


class _Maps:
    """Feature maps of one picture, and steps on them in tiles. Places are counted in cells: 4x4 pixels."""

    def __init__(self, rows: int, columns: int, layers: Layers, earlier: _Maps | None) -> None:
        """earlier: maps whose memory is taken over."""
        self._rows, self._columns, self._layers = rows, columns, layers
        self._memory: dict[str, Tensor] = earlier._memory if earlier else {}
        self.cells: int = max(rows * columns, earlier.cells if earlier else 0)
        """That there is memory for."""

    def map(self, name: str, channels: int, size: int, dtype: torch.dtype | None = None) -> Tensor:
        """A feature map with size x size samples a cell, of the layers' dtype where no other is given, with whatever
        its memory held before."""
        height, width = size * self._rows, size * self._columns
        length = height * width * channels
        if name not in self._memory or self._memory[name].numel() < length:
            self._memory[name] = torch.empty(length, dtype=dtype or self._layers.dtype)
        return self._memory[name][:length].view(1, height, width, channels).permute(0, 3, 1, 2)

    def in_tiles(
        self, step: Callable[..., list[Tensor]], inputs: list[Tensor], outputs: list[Tensor], size: int, halo: int
    ) -> None:
        """outputs = step(*inputs), where an output sees `halo` cells around it. Tiles are made for size x size samples
        a cell. An output may be an input of which a tile needs its own cells only."""
        side = max(int((_SAMPLES / size**2) ** 0.5), 8 * halo)
        for top, bottom, above, below in _spans(self._rows, side, halo):
            for left, right, before, behind in _spans(self._columns, side, halo):
                seen = [self._part(each, above, below, before, behind) for each in inputs]
                if not self._layers.takes_parts:
                    seen = [each.contiguous(memory_format=torch.channels_last) for each in seen]
                pieces = step(*seen)
                for output, piece in zip(outputs, pieces, strict=True):
                    scale = output.shape[-2] // self._rows
                    rows = slice(scale * (top - above), scale * (bottom - above))
                    columns = slice(scale * (left - before), scale * (right - before))
                    self._part(output, top, bottom, left, right).copy_(piece[..., rows, columns])

    def _part(self, map_: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
        scale = map_.shape[-2] // self._rows
        return map_[..., scale * top : scale * bottom, scale * left : scale * right]


def _spans(length: int, side: int, halo: int) -> Iterator[tuple[int, int, int, int]]:
    """(start, stop) of each tile along one side, of about equal lengths, and (start, stop) of what it sees."""
    count = -(-length // side)
    edges = [length * index // count for index in range(count + 1)]
    for start, stop in pairwise(edges):
        yield start, stop, max(start - halo, 0), min(stop + halo, length)
