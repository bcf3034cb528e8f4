"""Which code computes a network: the fastest that is right on the device.

eager      PyTorch's own operators, channels_last: any device, the reference of the others
cuda       Triton kernels in CUDA graphs: fp16 on CUDA
onednn     fused convolutions on tiles that stay in the caches: fp32 and bf16 on the CPU
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from . import cuda, onednn
from .hdrunet import HDRUNet
from .tiles import Network

Precision = Literal["fp32", "fp16", "bf16"]


def place(network: Network, device: torch.device, precision: Precision) -> Network:
    """(1, 3, H, W) signal -> (1, 3, H, W) signal on the device: a copy where `network` is a module, for inference.

    What is no HDRUNet gets plain float32, what is no module is left as it is.
    """
    if not isinstance(network, nn.Module):
        return network
    own = copy.deepcopy(network).requires_grad_(False).eval().to(device)
    if not isinstance(own, HDRUNet):
        return own
    if device.type == "cuda" and precision == "fp16":
        return cuda.fused(own.float()) or eager(own.halve())
    if device.type == "cpu" and precision != "fp16":
        return onednn.fused(own.float(), precision) or eager(own)
    return eager(own.halve() if precision == "fp16" else own.float())


def eager(network: HDRUNet) -> Network:
    """PyTorch's operators, one after the other."""
    network = network.to(memory_format=torch.channels_last)

    def run(signal: Tensor) -> Tensor:
        output: Tensor = network(signal.contiguous(memory_format=torch.channels_last))
        return output

    return run
