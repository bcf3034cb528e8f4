"""HDRUNet as a few launches of the kernels in `cuda_kernels`, on one block of memory.

What is computed pixel by pixel after a 3x3 convolution (bias, activation, skip connections, the next modulation,
pixel shuffle) is done before its result leaves the chip. The rest is exact algebra: the 1 of `scale + 1` is part of
a bias; the last convolution is split in products, which keep float32 at less memory than the features would take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from .cuda_weights import pack
from .hdrunet import HDRUNet, HDRUNetConfig

Buffers = Mapping[str, Tensor]
_Shapes = dict[str, tuple[int, ...]]
_Then = tuple[Tensor | None, ...]

_ALIGNMENT = 256
"""Bytes; more than any load wants."""
_TILE = {"ROWS": 8, "COLUMNS": 16}
"""Pixels of a program; a square would load less around it, but 16 columns fill the lines of memory."""
_OPTIONS = {"num_warps": 4, "num_stages": 3, "enable_fp_fusion": True}
_TRUNKS = {"encoder": 0, "bottleneck": 1, "decoder": 2}


def supports(config: HDRUNetConfig) -> bool:
    """True where there are kernels for such a network: channels fill the matrix units, SFT or nothing modulates."""
    channels = (config.channels, config.condition_channels, config.sft_channels)
    return (
        (not config.condition or config.modulation == "spatial")
        and all(16 <= count <= 128 and count.bit_count() == 1 for count in channels)
        and config.blocks[1] > 0
    )


def workspace_bytes(config: HDRUNetConfig, height: int, width: int, dtype: torch.dtype = torch.float16) -> int:
    """Memory of all buffers of a picture, sides multiples of 4, in bytes: 484 a pixel for the paper's network."""
    return _layout(config, height, width, dtype)[1]


def buffers(memory: Tensor, config: HDRUNetConfig, height: int, width: int, dtype: torch.dtype) -> Buffers:
    """The buffers of a picture in `memory`, uint8, of workspace_bytes or more: "image" and "output" (1, 3, H, W)
    float32, which the caller fills and reads; others overlap where one is not needed any more when another is."""
    places, size = _layout(config, height, width, dtype)
    if memory.numel() < size:
        raise ValueError(f"{memory.numel()} bytes do not hold the {size} of a picture of {width}x{height}")
    return {
        name: memory[start : start + prod(shape) * kind.itemsize].view(kind).view(shape)
        for name, (start, shape, kind) in places.items()
    }


def _layout(
    config: HDRUNetConfig, height: int, width: int, dtype: torch.dtype
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


class Forward:
    """The launches, with weights made ready for them. Features are stored in `dtype`; see the module."""

    def __init__(self, network: HDRUNet, dtype: torch.dtype = torch.float16) -> None:
        """network: of a configuration that is supported, float32, on the device of the launches."""
        from . import cuda_kernels

        if not supports(network.config):
            raise ValueError(f"there are no kernels for {network.config}")
        self.config, self.dtype = network.config, dtype
        self._kernels: Any = cuda_kernels
        self._channels = {"N": self.config.channels, "K": self.config.condition_channels, "S": self.config.sft_channels}
        with torch.no_grad():
            self._weights = pack(network, dtype)

    def __call__(self, given: Buffers) -> None:
        """Computes "output" of "image" on the current stream, without waiting and without new memory."""
        weights, channels = self._weights, self._channels
        image, kept, products = given["image"], given["image"], given["products"]
        size = image.shape[-2:]
        steering = (*weights["trunk"], *weights["chain"], given.get("trunk"), given.get("condition_full"))
        weighting = (*weights["weighting"], given.get("weighting"))
        stem = (*weights["stem"], *weights["stem_modulation"], given["stem"])
        self._launch("stem", size, image, *stem, *steering, *weighting, **channels)
        if self.config.weighting:
            kept = given["kept"]
            self._launch("keep", size, given["weighting"], *weights["keep"], image, kept, N=channels["N"])
        self._convolve("encode_full", given["stem"], given["full"])
        if self.config.condition:
            self._condition(given)
        self._unet(given)
        last, bias = weights["to_rgb"]
        source = (given["tail"], *weights["decode_full"])
        self._launch("convolve_products", size, *source, last, products, N=channels["N"])
        self._launch("gather", size, products, bias, kept, given["output"])

    def _condition(self, given: Buffers) -> None:
        """The conditions of half and quarter size, of the condition's trunk."""
        trunk, half, features = given["trunk"], given["condition_half"], given["condition_features"]
        channels = {"INPUTS": trunk.shape[-1], "C": trunk.shape[-1], "S": half.shape[-1]}
        weights = self._weights["to_half"]
        self._launch("convolve_linear", half.shape, trunk, *weights, half, STRIDE=2, **channels)
        self._convolve("to_quarter0", trunk, features, slope=0.1, stride=2)
        self._convolve("to_quarter1", features, given["condition_quarter"], slope=1.0, stride=2)

    def _unet(self, given: Buffers) -> None:
        """From "full" to "tail"."""
        full, half, quarter, last = given["full"], given["half"], given["quarter"], given["quarter_sum"]
        encoder, bottleneck, decoder = self.config.blocks
        self._convolve("down_half", full, half, stride=2, then=self._first("encoder", given))
        self._trunk("encoder", encoder, half, half, given)
        self._convolve("down_quarter", half, quarter, stride=2, then=self._first("bottleneck", given))
        self._trunk("bottleneck", bottleneck, quarter, last, given, skip=quarter)
        self._convolve("up_half", last, half, skip=half, shuffle=True, then=self._first("decoder", given))
        self._trunk("decoder", decoder, half, half, given)
        tail = given["tail"]
        if self.config.condition:
            then = (given["condition_full"], *self._weights["tail_modulation"], tail)
            self._convolve("up_full", half, None, skip=full, shuffle=True, then=then)
        else:
            self._convolve("up_full", half, tail, skip=full, shuffle=True)

    def _first(self, trunk: str, given: Buffers) -> _Then | None:
        """The modulation that a trunk begins with, for the convolution before it."""
        return self._modulation(trunk, 0, 1, "modulated", given) if self.config.blocks[_TRUNKS[trunk]] else None

    def _modulation(self, trunk: str, block: int, half: int, result: str, given: Buffers) -> _Then | None:
        if not self.config.condition:
            return None
        scale = "quarter" if trunk == "bottleneck" else "half"
        weights = self._weights[f"{trunk}.{block}.modulation{half}"]
        return given[f"condition_{scale}"], *weights, given[f"{scale}_{result}"]

    def _trunk(
        self, trunk: str, blocks: int, source: Tensor, result: Tensor, given: Buffers, skip: Tensor | None = None
    ) -> None:
        """Residual blocks; `skip` is added to what the last one makes."""
        scale = "quarter" if trunk == "bottleneck" else "half"
        inner = given[f"{scale}_residual"]
        for block in range(blocks):
            name, ends = f"{trunk}.{block}", block + 1 == blocks
            modulated = given[f"{scale}_modulated"] if self.config.condition else source
            then = self._modulation(trunk, block, 2, "residual", given)
            self._convolve(f"{name}.conv1", modulated, None if then else inner, then=then)
            then = None if ends else self._modulation(trunk, block + 1, 1, "modulated", given)
            second = skip if ends else None
            self._convolve(f"{name}.conv2", inner, result, slope=1.0, skip=source, second_skip=second, then=then)
            source = result

    def _convolve(
        self,
        name: str,
        source: Tensor,
        features: Tensor | None,
        *,
        slope: float = 0.0,
        stride: int = 1,
        shuffle: bool = False,
        skip: Tensor | None = None,
        second_skip: Tensor | None = None,
        then: _Then | None = None,
    ) -> None:
        """One `convolve`; then: condition, weights and bias of a modulation, and its result."""
        weights, bias = self._weights[name]
        assert weights is not None
        size = [side // stride for side in source.shape[:2]]
        fixed = {"SLOPE": slope, "INPUTS": weights.shape[-2], "C": weights.shape[-1], "S": self._channels["S"]}
        tensors = (source, weights, bias, skip, second_skip, features, *(then or (None,) * 4))
        self._launch("convolve", size, *tensors, across=4 if shuffle else 1, STRIDE=stride, SHUFFLE=shuffle, **fixed)

    def _launch(self, name: str, size: Sequence[int], *tensors: Tensor | None, across: int = 1, **fixed: Any) -> None:
        height, width = size[:2]
        programs = -(-height // _TILE["ROWS"]) * -(-width // _TILE["COLUMNS"])
        getattr(self._kernels, name)[programs, across](*tensors, height, width, **fixed, **_TILE, **_OPTIONS)
