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
_SHARE = 0.1
"""Of what goes into a ReLU, how much is to come out, in absolute values; half of what is as often above 0 as below."""


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
        # Not by mean and deviation: a channel that is just shut, but now and then by far, has a large deviation.
        into, through = sample.abs().mean(dim=(0, 2, 3)), sample.clamp(min=0).mean(dim=(0, 2, 3))
        self._seen.append(F.relu(_SHARE * into - through).sum())

    def penalty(self) -> Tensor:
        """Sum over channels of max(0, 0.1 * mean(|z|) - mean(max(z, 0))) of the z of the last forward pass."""
        total = torch.stack(self._seen).sum()
        self._seen.clear()
        return total
