"""HDRUNet as a few launches of the kernels in `cuda_kernels`, on one block of memory.

What is computed pixel by pixel after a 3x3 convolution (bias, activation, skip connections, the next modulation,
pixel shuffle) is done before its result leaves the chip. The rest is exact algebra: the 1 of `scale + 1` is part of
a bias; the last convolution is split in products, which keep float32 at less memory than the features would take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from math import prod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import HDRUNetConfig
from .cuda_buffers import Buffers, buffers, workspace_bytes
from .cuda_weights import Arguments, filters, pack
from .hdrunet import HDRUNet

Way = Literal["strips", "tiles", "cudnn"]
"""How 3x3 convolutions are computed: those of stride 1 in strips, all in tiles (see cuda_convolution), or by cuDNN,
whose results are rounded to the features' type before our kernels go on with them."""

_Launch = Callable[[Any, tuple[int, ...], dict[str, Any]], None]
"""Takes a kernel, its grid, and its arguments."""

_TILE = {"ROWS": 8, "COLUMNS": 16, "num_warps": 4, "num_stages": 3, "enable_fp_fusion": True}
"""Pixels of a program; a square would load less around it, but 16 columns fill the lines of memory. With two steps in
the queue of loads (num_stages - 1) two programs have room on a multiprocessor of 100 KiB: one multiplies, one loads."""
_STRIP = {"ROWS": 3, "COLUMNS": 64, "num_warps": 4, "num_stages": 1, "enable_fp_fusion": True}
"""Narrow and without a queue of loads, so that two programs share a multiprocessor: one computes, one loads. ROWS are
those of a turn of its loop."""
_PROGRAMS = 2
"""Of strips, on a multiprocessor: up to 112 KiB of weights and features each."""
_ROOM_FOR_STRIPS = 226 << 10
"""Bytes of shared memory that a multiprocessor needs to hold both: those of H100 and H200 have 227 KiB."""
_MOST_FOR_CUDNN = 2**31 - 1
"""Numbers of a tensor: it counts in 32 bits."""
_START = 4
"""Rows that a strip's start takes the time of, by estimate: one is computed twice, and weights come for three."""
_OPTIONAL = (
    *("skip", "second_skip", "features", "condition", "modulation", "scale2_low", "modulation_bias", "modulated"),
    *("matrix1", "bias1", "mapped", "last", "last_bias", "image", "planes"),
)
_ABSENT: Arguments = dict.fromkeys(_OPTIONAL)
_TRUNKS = {"encoder": 0, "bottleneck": 1, "decoder": 2}
_SCALES = {"encoder": "half", "bottleneck": "quarter", "decoder": "half"}


def supports(config: HDRUNetConfig) -> bool:
    """True where there are kernels for such a network: channels fill the matrix units, SFT or nothing modulates."""
    channels = (config.channels, config.condition_channels, config.sft_channels)
    return (
        (not config.condition or config.modulation == "spatial")
        and all(16 <= count <= 128 and count.bit_count() == 1 for count in channels)
        and config.blocks[1] > 0
    )


def has_room_for_strips(device: torch.device) -> bool:
    """True where a multiprocessor of the device holds what convolutions in strips need, see cuda_convolution."""
    if device.type != "cuda":
        return False
    room = getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 0)
    return bool(room >= _ROOM_FOR_STRIPS)


class Forward:
    """The launches, with weights made ready for them. Features are stored in `dtype`; see the module."""

    def __init__(self, network: HDRUNet, way: Way, dtype: torch.dtype = torch.float16) -> None:
        """network: of a configuration that is supported, float32, on the device of the launches."""
        from . import cuda_kernels

        if not supports(network.config):
            raise ValueError(f"there are no kernels for {network.config}")
        self.config, self.way, self.dtype = network.config, way, dtype
        self._kernels: Any = cuda_kernels
        self._launch: _Launch = _launch
        self._channels = {"N": self.config.channels, "K": self.config.condition_channels, "S": self.config.sft_channels}
        device = network.stem.weight.device
        self._processors = _processors(device)
        with torch.no_grad():
            self._weights = pack(network, dtype)
            self._filters = filters(self._weights) if way == "cudnn" else {}
        self._cudnn = _convolve_by_cudnn

    def workspace_bytes(self, height: int, width: int) -> int:
        """Memory of all buffers of a picture, sides multiples of 4, in bytes."""
        return workspace_bytes(self.config, height, width, self.dtype, self.way == "cudnn")

    def buffers(self, memory: Tensor, height: int, width: int) -> Buffers:
        """The buffers of such a picture in uint8 memory."""
        return buffers(memory, self.config, height, width, self.dtype, self.way == "cudnn")

    def __call__(self, given: Buffers) -> None:
        """Computes "output" of "image" on the current stream, without waiting and without new memory."""
        image, kept = given["image"], given["image"]
        names = {"features": "stem", "trunk": "trunk", "condition": "condition_full", "weighting": "weighting"}
        results = {argument: given.get(name) for argument, name in names.items()}
        self._in_tiles("stem", image.shape, image=image, **results, **self._channels)
        if self.config.weighting:
            kept = given["kept"]
            self._convolve(given, "keep", given["weighting"], {"image": image, "planes": kept})
        self._convolve(given, "encode_full", given["stem"], {"features": given["full"]})
        if self.config.condition:
            features, quarter = given["condition_features"], given["condition_quarter"]
            self._convolve(given, "to_half", given["trunk"], {"mapped": given["condition_half"]}, slope=0.1, stride=2)
            self._convolve(given, "to_quarter0", given["trunk"], {"features": features}, slope=0.1, stride=2)
            self._convolve(given, "to_quarter1", features, {"features": quarter}, slope=1.0, stride=2)
        self._unet(given)
        self._convolve(given, "decode_full", given["tail"], {"planes": given["products"]})
        self._in_tiles("gather", image.shape, products=given["products"], kept=kept, output=given["output"])

    def compile(self, given: Buffers) -> None:
        """Compiles what a call with such buffers launches, or loads it from Triton's cache, and launches nothing."""
        instead = copy(self)
        instead._launch, instead._cudnn = _compile, _convolve_nothing
        instead(given)

    def _unet(self, given: Buffers) -> None:
        """From "full" to "tail"."""
        full, half, quarter, last = given["full"], given["half"], given["quarter"], given["quarter_sum"]
        encoder, bottleneck, decoder = self.config.blocks
        self._convolve(given, "down_half", full, {"features": half, **self._first("encoder", given)}, stride=2)
        self._trunk("encoder", encoder, half, half, given)
        self._convolve(given, "down_quarter", half, {"features": quarter, **self._first("bottleneck", given)}, stride=2)
        self._trunk("bottleneck", bottleneck, quarter, last, given, skip=quarter)
        self._convolve(given, "up_half", last, {"skip": half, "features": half, **self._first("decoder", given)})
        self._trunk("decoder", decoder, half, half, given)
        if self.config.condition:
            then = {"condition": given["condition_full"], "modulated": given["tail"]} | self._weights["tail_modulation"]
            self._convolve(given, "up_full", half, {"skip": full, **then})
        else:
            self._convolve(given, "up_full", half, {"skip": full, "features": given["tail"]})

    def _first(self, trunk: str, given: Buffers) -> Arguments:
        """The modulation that a trunk begins with, for the convolution before it."""
        blocks = self.config.blocks[_TRUNKS[trunk]]
        return self._modulation(trunk, 0, 1, "modulated", given) if blocks else {}

    def _modulation(self, trunk: str, block: int, part: int, result: str, given: Buffers) -> Arguments:
        """What a convolution needs for the modulation that follows; nothing where none does."""
        if not self.config.condition:
            return {}
        scale = _SCALES[trunk]
        tensors = {"condition": given[f"condition_{scale}"], "modulated": given[f"{scale}_{result}"]}
        return tensors | self._weights[f"{trunk}.{block}.modulation{part}"]

    def _trunk(
        self, trunk: str, blocks: int, source: Tensor, result: Tensor, given: Buffers, skip: Tensor | None = None
    ) -> None:
        """Residual blocks; `skip` is added to what the last one makes."""
        inner = given[f"{_SCALES[trunk]}_residual"]
        for block in range(blocks):
            name, ends = f"{trunk}.{block}", block + 1 == blocks
            modulated = given[f"{_SCALES[trunk]}_modulated"] if self.config.condition else source
            then = self._modulation(trunk, block, 2, "residual", given) or {"features": inner}
            self._convolve(given, f"{name}.conv1", modulated, {**then})
            then = {} if ends else self._modulation(trunk, block + 1, 1, "modulated", given)
            second = skip if ends else None
            self._convolve(
                given,
                f"{name}.conv2",
                inner,
                {"skip": source, "second_skip": second, "features": result, **then},
                slope=1.0,
            )
            source = result

    def _convolve(
        self, given: Buffers, name: str, source: Tensor, tensors: Arguments, *, slope: float = 0.0, stride: int = 1
    ) -> None:
        """One `convolve`; tensors: by the names of its arguments."""
        arguments = {"source": source, **_ABSENT, **self._weights[name], **tensors}
        weights = arguments["weights"]
        assert weights is not None
        height, width = (side // stride for side in source.shape[:2])
        fixed = {"SLOPE": slope, "INPUTS": weights.shape[-2], "C": weights.shape[-1], "S": self._channels["S"]}
        across, strips = 4 if weights.ndim == 4 else 1, self.way == "strips" and stride == 1
        fixed |= {"STRIDE": stride, "SHUFFLE": across == 4, "STRIPS": strips} | (_STRIP if strips else _TILE)
        rows, programs = 1, _tiles(height, width)
        if strips:
            rows, programs = _strips(height, width, _PROGRAMS * self._processors // across)
        shape = height, width, across * weights.shape[-1]
        if self.way == "cudnn" and max(source.numel(), prod(shape)) <= _MOST_FOR_CUDNN:
            made = given["convolved"].flatten()[: prod(shape)].view(shape)
            self._cudnn(source, self._filters[name], stride, made)
            arguments |= {"source": made, "weights": None}
        size = {"height": height, "width": width, "rows": rows}
        self._launch(self._kernels.convolve, (programs, across), {**arguments, **size, **fixed})

    def _in_tiles(self, name: str, shape: Sequence[int], **arguments: Any) -> None:
        size = {"height": shape[-2], "width": shape[-1]}
        given = {**arguments, **self._weights[name], **size, **_TILE}
        self._launch(getattr(self._kernels, name), (_tiles(**size),), given)


def _convolve_by_cudnn(source: Tensor, filters: Tensor, stride: int, made: Tensor) -> None:
    """(H, W, inputs) -> made (H / stride, W / stride, outputs), without a bias."""
    image, result = channels_last(source), channels_last(made)
    if source.is_cuda:
        by_rule, same_each_time, tf32 = False, True, False  # not by measuring, which need not end the same each time
        torch.ops.aten.cudnn_convolution.out(
            image, filters, [1, 1], [stride, stride], [1, 1], 1, by_rule, same_each_time, tf32, out=result
        )
    else:  # Triton's interpreter
        result.copy_(F.conv2d(image, filters, stride=stride, padding=1))


def channels_last(features: Tensor) -> Tensor:
    """(H, W, C) -> (1, C, H, W), with strides that PyTorch takes for channels_last: else it would copy them."""
    return features.unsqueeze(0).permute(0, 3, 1, 2)


def _convolve_nothing(source: Tensor, filters: Tensor, stride: int, made: Tensor) -> None:
    """There is nothing to compile."""


def _launch(kernel: Any, grid: tuple[int, ...], arguments: dict[str, Any]) -> None:
    kernel[grid](**arguments)


def _compile(kernel: Any, grid: tuple[int, ...], arguments: dict[str, Any]) -> None:
    kernel.warmup(grid=grid, **arguments)


def _tiles(height: int, width: int) -> int:
    return -(-height // _TILE["ROWS"]) * -(-width // _TILE["COLUMNS"])


def _strips(height: int, width: int, programs: int) -> tuple[int, int]:
    """How high strips are, in whole turns of the loop so that none makes a row of the next, and how many: so many that
    all `programs` at once have work, as evenly as it gets; each costs its start besides."""
    across, turn = -(-width // _STRIP["COLUMNS"]), _STRIP["ROWS"]

    def strips(rows: int) -> int:
        return across * -(-height // rows)

    heights = [-(-height // max(wave * programs // across, 1)) for wave in range(1, 9)]
    heights = [-(-rows // turn) * turn for rows in heights]
    rows = min(heights, key=lambda rows: -(-strips(rows) // programs) * (rows + _START))
    return rows, strips(rows)


def _processors(device: torch.device) -> int:
    """Multiprocessors of a device."""
    if device.type != "cuda":
        return 2
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
