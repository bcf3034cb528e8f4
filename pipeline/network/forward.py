"""Which code computes a network: the fastest that is right on the device.

eager      PyTorch's own operators, channels_last: any device, the reference of the others
cuda       Triton kernels in CUDA graphs: fp16 on CUDA
cpu        our kernels and oneDNN's fused convolutions, on tiles: fp32 and bf16 on the CPU
openvino   OpenVINO's CPU plugin: fp32 and bf16 on the CPU, where it is asked for
"""

from __future__ import annotations

import copy
import logging
from typing import Literal

import torch
from torch import Tensor, nn

from . import cpu, cuda_trial, openvino
from .check import believed
from .hdrunet import HDRUNet
from .tiles import Network

Precision = Literal["fp32", "fp16", "bf16"]
TOLERANCE = 2.0
"""Of a 10-bit code of R'G'B' in PQ: how far float16 in PyTorch's operators may be from float32. They round more often
than the kernels do: 1.15 was measured on the bundled weights, on a CPU."""
_log = logging.getLogger(__name__)


def place(network: Network, device: torch.device, precision: Precision, backend: str = "auto") -> Network:
    """(1, 3, H, W) signal -> (1, 3, H, W) signal on the device: a copy where `network` is a module, for inference.

    What is no HDRUNet gets plain float32, what is no module is left as it is. backend: `auto`, or `openvino`. What
    computes an HDRUNet has attributes `precision`, which is not the one asked for where that one will not do, and
    `backend`, whose code it is.
    """
    if not isinstance(network, nn.Module):
        return network
    own = copy.deepcopy(network).requires_grad_(False).eval().to(device)
    if not isinstance(own, HDRUNet):
        return own
    own.float()
    if precision == "fp16":
        fused = cuda_trial.fused(own) if device.type == "cuda" else None
        return fused or _halved(own) or Eager(own)
    if device.type == "cpu":
        asked = openvino.compiled(own, precision) if backend == "openvino" else None
        return asked or cpu.fused(own, precision) or Eager(own)
    return Eager(own)


def _halved(network: HDRUNet) -> Network | None:
    """PyTorch's operators in float16, which is a matter of the weights as well as of the device."""
    otherwise = f"fp16 cannot be used on {network.stem.weight.device}, going on with PyTorch's operators in fp32"
    return believed(lambda: Eager(copy.deepcopy(network).halve()), network, TOLERANCE, _log, otherwise)


class Eager:
    """PyTorch's operators, one after the other: signal -> signal, as `place` says."""

    backend = "pytorch"

    def __init__(self, network: HDRUNet) -> None:
        self._network = network.to(memory_format=torch.channels_last)
        self.precision: Precision = "fp16" if network.stem.weight.dtype is torch.float16 else "fp32"

    def __call__(self, signal: Tensor) -> Tensor:
        output: Tensor = self._network(signal.contiguous(memory_format=torch.channels_last))
        return output
