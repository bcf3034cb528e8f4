"""How far a device's forward pass is from the CPU's in float32: looked at before a GPU is trusted with a run."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from ..device import forbid_tf32
from ..network.config import HDRUNetConfig
from ..network.hdrunet import HDRUNet

TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 6e-2}
"""Relative errors that rounding explains, and more: a CPU had 3e-6, 3e-3 and 2.4e-2 (seeds 0 to 2)."""


@torch.inference_mode()
def forward_errors(device: torch.device, config: HDRUNetConfig | None = None, seed: int = 0) -> dict[str, float]:
    """Relative errors, |output - reference| / |reference|, by the names in TOLERANCES; NaN where an output has one.

    fp32 is without TF32, fp16 as conversions round (HDRUNet.halve), bf16 as the training does (autocast). The network
    and the picture, (1, 3, 96, 128) of 0..1, are random, from `seed`.
    """
    generator = torch.Generator().manual_seed(seed)
    reference = HDRUNet(config or HDRUNetConfig()).eval()
    for parameter in reference.parameters():
        # All layers take part: fresh residual blocks and biases hardly do.
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / max(parameter[0].numel(), 4) ** 0.5)
    signal = torch.rand(1, 3, 96, 128, generator=generator)
    expected = reference(signal)
    if device.type == "cuda":
        forbid_tf32()

    def error(run: Callable[[Tensor], Tensor]) -> float:
        output = run(signal.to(device, memory_format=torch.channels_last)).float().cpu()
        return float((output - expected).norm() / expected.norm())

    def network() -> HDRUNet:
        return copy.deepcopy(reference).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    errors = {"fp32": error(network()), "fp16": error(network().halve())}
    with torch.autocast(device.type, torch.bfloat16):
        errors["bf16"] = error(network())
    return errors
