"""Our kernels for the CPU, in C++ (native/): the convolutions and modulations that take most of a frame's time.

setup.py builds them where there is a compiler, as one library for each set of instructions, next to this package. They
use the threads that torch has. Tensors here are (1, C, h, w), channels_last or a part of such, of the kernels' dtype
where nothing else is said.
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import HdrunetError
from . import native_structs as structs
from .native_library import BF16, instructions_for_fp32, library
from .native_structs import LONG, POINTER
from .native_team import Team
from .native_tensors import Packed, belonging, dense, empty, fitting, in_rows, shaped

_MOST = 1024
"""Channels: the kernels have so many zeros to pad with."""
_log = logging.getLogger(__name__)
_AFTER = {"none": 0, "relu": 1, "leaky_relu": 2}


_TASKS = {
    "convolution": structs.Convolution,
    "chain": structs.Chain,
    "narrow": structs.Narrow,
}
"""hdrunet_* and hdrunet_*_scratch of native/kernels.h."""


def kernel_of(stride: int) -> str:
    """That the weights of a convolution of this stride are packed for."""
    return "convolution" if stride == 1 else "strided"


class Layer(NamedTuple):
    """A convolution of a chain."""

    packed: Packed
    """By `pack("layer", ...)`: of as many channels as the layer before has outputs."""
    after: str
    """`none`, `relu` or `leaky_relu`."""
    kept: bool
    """Whether its result is asked for."""
    exact: bool = False
    """Whether that is to be float32."""


class Kernels:
    """The kernels for one set of instructions, from any number of threads."""

    def __init__(self, instructions: str, team: Team) -> None:
        """Raises what `library` raises."""
        self.instructions = instructions
        self._team, self._library = team, library(instructions)
        self.precision: Literal["fp32", "bf16"] = "bf16" if instructions in BF16 else "fp32"
        """That most products are computed in."""
        self.tiled = instructions == "amx_bf16"
        """Whether they multiply tiles of bfloat16."""
        self.dtype = torch.bfloat16 if self.tiled else torch.float32
        """Of features."""
        self.multiple = 32 if self.tiled else 16
        """That numbers of channels are of."""
        for name in ("convolution", "strided", "layer", "narrow"):
            self._declare(f"packed_{name}", LONG, [LONG] * 3)
            self._declare(
                f"pack_{name}",
                None,
                [POINTER, POINTER, LONG, LONG, LONG, POINTER],
            )
        self._declare("packed_modulation", LONG, [LONG] * 3)
        self._declare(
            "pack_modulation",
            None,
            [POINTER * 4, POINTER * 4, LONG, LONG, LONG, POINTER],
        )
        for name, task in _TASKS.items():
            self._declare(f"{name}_scratch", LONG, [ctypes.POINTER(task)])
            self._declare(name, None, [ctypes.POINTER(task), ctypes.POINTER(structs.Team)])

    def fit(self, *channels: int) -> bool:
        """Whether there are kernels for these numbers of channels: they come in vectors."""
        return all(count % self.multiple == 0 and count <= _MOST for count in channels)

    def convolves(self, side: int, stride: int, modulated: bool = False) -> bool:
        """Whether `convolution` has such: by Winograd's filtering it is 3x3."""
        return (side == 3 or (side == 1 and self.tiled)) and stride in (1, 2) and not (modulated and stride == 2)

    def pack(self, kernel: str, weight: Tensor, bias: Tensor) -> Packed:
        """(N, C, side, side) and (N) float32, as a kernel takes them: `kernel_of` a stride, of a side that it has,
        `layer`, or `narrow` with three outputs."""
        weight, bias = weight.contiguous(), bias.contiguous()
        outputs, channels, side, _ = weight.shape
        if kernel in ("convolution", "strided") and not self.convolves(side, 1):
            raise ValueError(f"there is no kernel for convolutions of {side}x{side}")
        shape = channels, side, outputs
        values = torch.empty(getattr(self._library, f"hdrunet_packed_{kernel}")(*shape), dtype=torch.float32)
        pack = getattr(self._library, f"hdrunet_pack_{kernel}")
        pack(weight.data_ptr(), bias.data_ptr(), *shape, values.data_ptr())
        return Packed(kernel, *shape, values)

    def convolution(
        self,
        features: Tensor,
        packed: Packed,
        *,
        after: str = "none",
        stride: int = 1,
        shuffled: bool = False,
        added: Tensor | None = None,
        modulated: tuple[Tensor, Packed] | None = None,
    ) -> Tensor:
        """A convolution, padded by zeros: (1, C, h, w) -> (1, N, h, w), through `relu` or `leaky_relu` where asked for,
        and then `added` to. Of every other pixel where the stride is 2: (1, N, (h + 1) // 2, (w + 1) // 2).

        modulated: condition and weights of a modulation of the features that is done on the way, where the stride is 1:
        features * scale(condition) + shift(condition), both by two 1x1 convolutions with a leaky ReLU between them. The
        condition is (1, S, h, w), which may be float32.

        shuffled: makes (1, N / 4, 2h, 2w) instead; the outputs are those of (0, 0), (0, 1), (1, 0) and (1, 1) of each
        2x2 samples, one after the other."""
        channels, height, width = fitting(features, packed, kernel_of(stride))
        if not self.convolves(packed.side, stride, modulated is not None):
            raise ValueError(f"there is no kernel for such: stride {stride}, modulated: {modulated is not None}")
        made = packed.outputs, -(-height // stride), -(-width // stride)
        shape = (made[0] // 4, 2 * made[1], 2 * made[2]) if shuffled else made
        result = empty(*shape, self.dtype)
        features, pitch = in_rows(features, self.dtype)
        added, added_pitch = (None, 0) if added is None else in_rows(shaped(added, result), self.dtype)
        task = structs.Convolution(
            *(features.data_ptr(), height, width, channels, packed.outputs, packed.side, stride, packed.address),
            *(None if added is None else added.data_ptr(), result.data_ptr()),
            *(_AFTER[after], shuffled, pitch, added_pitch),
        )
        if modulated is not None:
            steering, _held = self._modulation(features, pitch, *modulated)
            task.modulation = ctypes.pointer(steering)
        self._run("convolution", task)
        return result

    def pack_modulation(self, weights: list[Tensor], biases: list[Tensor], exact: bool = False) -> Packed:
        """Weights and biases of scale1, scale2, shift1 and shift2, 1x1 convolutions, for what `convolution` calls
        `modulated`. exact: for products of float32, or as good."""
        channels, inputs = weights[1].shape[:2]
        values = torch.empty(self._library.hdrunet_packed_modulation(channels, inputs, exact), dtype=torch.float32)
        held = [[each.contiguous() for each in tensors] for tensors in (weights, biases)]
        pointers = ((POINTER * 4)(*(each.data_ptr() for each in tensors)) for tensors in held)
        self._library.hdrunet_pack_modulation(*pointers, channels, inputs, exact, values.data_ptr())
        return Packed("modulation", inputs, 1, channels, values, exact)

    def _modulation(
        self, features: Tensor, pitch: int, condition: Tensor, packed: Packed
    ) -> tuple[structs.Modulation, Tensor]:
        """How features in rows are modulated, and the condition that it points into."""
        inputs, _, _ = fitting(condition, packed, "modulation")
        channels = packed.outputs
        shaped(features, condition[:, :1].expand(-1, channels, -1, -1))
        floats = condition.dtype == torch.float32
        condition, condition_pitch = in_rows(condition, torch.float32 if floats else self.dtype)
        task = structs.Modulation(
            *(features.data_ptr(), condition.data_ptr(), channels, inputs, packed.address),
            *(pitch, condition_pitch, floats, packed.exact),
        )
        return task, condition

    def chain(self, features: Tensor, layers: list[Layer]) -> list[Tensor]:
        """Convolutions one after the other, padded by zeros, all but the first 1x1: (1, C, h, w) float32 -> of each
        that is kept (1, N, h, w)."""
        channels, height, width = fitting(features, layers[0].packed, "layer")
        for (before, *_), (packed, *_) in pairwise(layers):
            belonging(packed, "layer", before.outputs, 1)
        side = layers[0].packed.side
        results = [
            empty(layer.packed.outputs, height, width, torch.float32 if layer.exact else self.dtype)
            if layer.kept
            else None
            for layer in layers
        ]
        if side == 1:
            height, width = 1, height * width
        else:
            features = F.pad(features, (1, 1, 1, 1))
        features = dense(features, torch.float32)
        steps = (structs.Layer * len(layers))()
        for step, (packed, after, _, exact), result in zip(steps, layers, results, strict=True):
            step.inputs, step.outputs = packed.channels * packed.side**2, packed.outputs
            step.after, step.packed = _AFTER[after], packed.address
            step.result, step.floats = None if result is None else result.data_ptr(), exact
        self._run("chain", structs.Chain(features.data_ptr(), height, width, channels, side, steps, len(layers)))
        return [result for result in results if result is not None]

    def narrow(
        self, features: Tensor, packed: Packed, *, added: Tensor | None = None, factors: Tensor | None = None
    ) -> Tensor:
        """A convolution with three outputs, padded by zeros, its result times `factors` plus `added`:
        (1, C, h, w) -> (1, 3, h, w) float32, as these are."""
        channels, height, width = fitting(features, packed, "narrow")
        features, result = dense(features, self.dtype), empty(3, height, width, torch.float32)
        others = [None if each is None else dense(shaped(each, result), torch.float32) for each in (added, factors)]
        pointers = (None if each is None else each.data_ptr() for each in others)
        shape = height, width, channels, packed.side
        self._run("narrow", structs.Narrow(features.data_ptr(), *shape, packed.address, *pointers, result.data_ptr()))
        return result

    def _declare(self, name: str, result: Any, arguments: list[Any]) -> None:
        function = getattr(self._library, f"hdrunet_{name}")
        function.restype, function.argtypes = result, arguments

    def _run(self, name: str, task: ctypes.Structure) -> None:
        asked = ctypes.byref(task)
        team = self._team.having(getattr(self._library, f"hdrunet_{name}_scratch")(asked))
        getattr(self._library, f"hdrunet_{name}")(asked, ctypes.byref(team))


def load(instructions: str | None = None) -> Kernels:
    """Those for a set of instructions, by default the best for float32. Raises HdrunetError, with what can be done
    about it, where there are none; OSError or AttributeError where they are damaged or another version's."""
    return Kernels(instructions or instructions_for_fp32(), Team())


@cache
def kernels(instructions: str | None = None) -> Kernels | None:
    """As `load`, but None where there are none. That those which are there do not fit is a warning in the log."""
    try:
        return load(instructions)
    except HdrunetError:
        return None
    except (OSError, AttributeError) as error:
        name = f"kernels for {instructions}" if instructions else "kernels"
        _log.warning("the %s of this package cannot be loaded, going on without: %s; install it again", name, error)
        return None
