"""Checkpoints under the published names and shapes, written out from the paper's table."""

from __future__ import annotations

import torch
from torch import Tensor

State = dict[str, Tensor]


def published_state(seed: int, blocks: tuple[int, int, int] = (2, 8, 2)) -> State:
    """A random checkpoint under the published names, of a size that keeps the output of the order of 1."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}

    def conv(name: str, inputs: int, outputs: int, size: int) -> None:
        spread = (inputs * size * size) ** -0.5
        state[name + ".weight"] = torch.randn(outputs, inputs, size, size, generator=generator) * spread
        state[name + ".bias"] = torch.randn(outputs, generator=generator) * 0.1

    def sft(name: str) -> None:
        for kind in ("scale", "shift"):
            conv(f"{name}.SFT_{kind}_conv0", 32, 32, 1)
            conv(f"{name}.SFT_{kind}_conv1", 32, 64, 1)

    for name, inputs, outputs, size in (
        ("mask_est.0", 3, 64, 3), ("mask_est.2", 64, 64, 3), ("mask_est.4", 64, 64, 1), ("mask_est.6", 64, 3, 1),
        ("cond_first.0", 3, 64, 3), ("cond_first.2", 64, 64, 1), ("cond_first.4", 64, 64, 1),
        ("CondNet1.0", 64, 64, 1), ("CondNet1.2", 64, 32, 1), ("CondNet2.0", 64, 64, 3),
        ("CondNet2.2", 64, 32, 1), ("CondNet3.0", 64, 64, 3), ("CondNet3.2", 64, 32, 3),
        ("conv_first", 3, 64, 3), ("HR_conv1", 64, 64, 3), ("down_conv1", 64, 64, 3), ("down_conv2", 64, 64, 3),
        ("up_conv1.0", 64, 256, 3), ("up_conv2.0", 64, 256, 3), ("HR_conv2", 64, 64, 3), ("conv_last", 64, 3, 3),
    ):  # fmt: skip
        conv(name, inputs, outputs, size)
    sft("SFT_layer1")
    sft("SFT_layer2")
    for trunk, count in zip((1, 2, 3), blocks, strict=True):
        for block in range(count):
            for half in (1, 2):
                sft(f"recon_trunk{trunk}.{block}.sft{half}")
                conv(f"recon_trunk{trunk}.{block}.conv{half}", 64, 64, 3)
                state[f"recon_trunk{trunk}.{block}.conv{half}.weight"] *= 0.3
    return state
