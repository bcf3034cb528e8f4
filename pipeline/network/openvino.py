"""The network in OpenVINO's CPU plugin, where it is installed and asked for: `--backend openvino`.

OpenVINO compiles a model for one size of picture. It computes in float32, or in bfloat16 with float32 sums and, as near
as two bfloat16 numbers come to one of float32, the last convolutions' weights in float32.
"""

from __future__ import annotations

import logging
import sys
from collections import OrderedDict
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from threading import Lock
from typing import Any, Literal

import torch
from torch import Tensor

from ..threads import sharers
from .check import believed
from .hdrunet import HDRUNet, pad_to_multiple
from .openvino_graph import Graph
from .tiles import Network

TOLERANCE = {"fp32": 0.05, "bf16": 16.0}
"""Of a 10-bit code of R'G'B' in PQ: how far the result may be from PyTorch's own operators'."""
MOST_SIZES = 9
"""Sizes that are compiled at the same time: tiles of a picture have at most nine."""
_HINTS = {"fp32": "f32", "bf16": "bf16"}
_ITEM_BYTES = {"fp32": 4, "bf16": 2}
_FEATURES = 6.6
"""Of full size, in memory at the same time: 5.8 to 6.5 were measured at 960x544 and more."""
_ENGINE_BYTES_PER_PIXEL = 160
"""What the engine has of a frame beside the network."""
_TELEMETRY = "openvino_telemetry"
_log = logging.getLogger(__name__)


def compiled(network: HDRUNet, precision: Literal["fp32", "bf16"]) -> Network | None:
    """The network, float32 and on the CPU, in OpenVINO; None where that is not possible or not right, which is a
    warning in the log."""
    otherwise = f"OpenVINO cannot be used in {precision}, going on without it"
    made = believed(partial(Compiled, network, precision), network, TOLERANCE[precision], _log, otherwise)
    if isinstance(made, Compiled):
        made.release()  # what was compiled for the check's picture
    return made


class Compiled:
    """(1, 3, H, W) float32 signal -> (1, 3, H, W) float32 signal, what HDRUNet.forward computes, for inference.

    network: float32, on the CPU. From any number of threads, on as many of the CPU as torch has where this is made; as
    torch does, a call takes the caller's share of them. The first picture of a size takes a second or two more, and
    the features of the last size alone are held on to. Raises ImportError, and what OpenVINO raises.
    """

    backend = "openvino"

    def __init__(self, network: HDRUNet, precision: Literal["fp32", "bf16"]) -> None:
        self._openvino, self._network, self.precision = load(), network, precision
        self._core = _core()
        self._graph = Graph(import_module("openvino.opset13"), precision == "bf16")
        self._threads = torch.get_num_threads()
        self._lock = Lock()
        self._sizes: OrderedDict[tuple[int, int, int], Any] = OrderedDict()
        """What was compiled, by height, width and pictures at once; the one used last is at the end."""

    @property
    def bytes_per_pixel(self) -> int:
        """Memory of a frame from planes to planes, in bytes, by what was measured."""
        channels = max(self._network.config.channels, self._network.config.condition_channels)
        return int(_FEATURES * channels * _ITEM_BYTES[self.precision]) + _ENGINE_BYTES_PER_PIXEL

    def __call__(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        image = pad_to_multiple(image, HDRUNet.MULTIPLE).contiguous()
        output = torch.empty(image.shape)
        request = self._compiled(*image.shape[-2:]).create_infer_request()
        request.set_input_tensor(self._openvino.Tensor(image.numpy(), shared_memory=True))
        request.set_output_tensor(self._openvino.Tensor(output.numpy(), shared_memory=True))
        request.infer()
        return output[..., :height, :width]

    def release(self) -> None:
        """Gives back the memory, for a picture in smaller tiles."""
        with self._lock:
            self._sizes.clear()

    def _compiled(self, height: int, width: int) -> Any:
        at_once = min(sharers(), self._threads)
        key = height, width, at_once
        with self._lock:
            if self._sizes and next(reversed(self._sizes)) != key:
                for other in self._sizes.values():
                    with suppress(RuntimeError):  # another thread's picture is in it
                        other.release_memory()
            self._sizes[key] = made = self._sizes.pop(key, None) or self._compile(*key)
            if len(self._sizes) > MOST_SIZES:
                self._sizes.popitem(last=False)
        return made

    def _compile(self, height: int, width: int, at_once: int) -> Any:
        result, image = self._graph.model(self._network, height, width)
        options = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": at_once,
            "ENABLE_CPU_PINNING": False,  # or processes beside each other would share the first cores
        }
        return self._core.compile_model(self._openvino.Model([result], [image], "hdrunet"), "CPU", options)


@cache
def _core() -> Any:
    """One for the process, until its end.

    Where its CPU plugin is unloaded, it takes the stack for signals back that it has made for the thread that loaded
    it, but cannot tell that thread so if it is another: the next signal that Python handles there ends the process.
    """
    return load().Core()


def load() -> Any:
    """The package, without the part that tells Google Analytics that it was imported, unless that is here already.
    Raises ImportError."""
    if "openvino" in sys.modules or _TELEMETRY in sys.modules:
        return import_module("openvino")
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # as Python has it for what cannot be imported
    try:
        return import_module("openvino")
    finally:
        del sys.modules[_TELEMETRY]
