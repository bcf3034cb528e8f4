"""ReLUs that let nothing through learn nothing any more: a penalty that opens them again.

Light is never negative, so the gradients of a layer's weights point along one mean direction, and Adam makes full steps
of them however small they are: without this, most channels of the U-Net were shut after 2000 iterations at 4e-4.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..network.hdrunet import HDRUNet

_PART = 4
"""One sample of so many is looked at: statistics cost time."""


class Openness:
    """Watches what goes into the ReLUs of the U-Net, and says how far channels are from letting something through."""

    def __init__(self, network: HDRUNet) -> None:
        self._seen: list[Tensor] = []
        blocks = [*network.encoder, *network.bottleneck, *network.decoder]
        convolutions: list[nn.Module] = [block.get_submodule("conv1") for block in blocks]
        convolutions += [network.stem, network.encode_full, network.down_half, network.down_quarter]
        convolutions += [network.up_half, network.up_full, network.decode_full]
        for each in convolutions:
            each.register_forward_hook(self._look)

    def _look(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        if not torch.is_grad_enabled():
            return
        # A copy, because the ReLU works in place.
        sample = output[::_PART].to(torch.float32, copy=True)
        spread, mean = torch.var_mean(sample, dim=(0, 2, 3), correction=0)
        self._seen.append(F.relu(-(mean + (spread + 1e-12).sqrt())).sum())

    def penalty(self) -> Tensor:
        """Sum over channels of max(0, -(mean + deviation)) of the last forward pass; 0 where a sixth is let through."""
        total = torch.stack(self._seen).sum()
        self._seen.clear()
        return total
