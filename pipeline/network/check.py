"""How far code that computes a network is from the network itself, on a picture that has everything."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..color.light import LightMapping
from ..color.spec import Primaries
from ..color.tone import to_nits
from ..color.transfer import pq_inverse_eotf
from ..tried import tried
from .hdrunet import HDRUNet
from .tiles import Network

_CODES = 1023


def believed[N: Network](
    make: Callable[[], N],
    reference: HDRUNet,
    tolerance: float,
    log: logging.Logger,
    otherwise: str,
    level: int = logging.WARNING,
) -> N | None:
    """What `make` makes where it is within `tolerance`, in 10-bit codes, of the reference on the reference's device.
    Else None and a line in `log`; see `tried`."""
    device = reference.stem.weight.device

    def fault(made: N) -> str | None:
        error = largest_error(made, reference, device)
        return None if error <= tolerance else f"it is wrong by {error:.2f} of a 10-bit code"

    return tried(make, fault, device, log, otherwise, "--precision fp32, or --device cpu", level)


@torch.no_grad()
def largest_error(network: Network, reference: HDRUNet, device: torch.device) -> float:
    """Of a test picture, after the whole light mapping, in 10-bit codes of R'G'B' in PQ; infinite where the result is
    not finite. Three times, because a graph is made at the second and used again at the third.

    On CUDA only after device.forbid_tf32: what the reference multiplies is to have all its bits."""
    picture = check_picture().to(device)
    expected = codes(reference(picture))
    error = 0.0
    for _ in range(3):
        output = network(picture)
        if not bool(output.isfinite().all()):
            return float("inf")
        error = max(error, float((codes(output) - expected).abs().max()))
    return error


def check_picture() -> Tensor:
    """(1, 3, 61, 93) signal of 8-bit codes: ramps through all greys, noise, and edges between saturated colours."""
    generator = torch.Generator().manual_seed(0)
    height, width = 20, 93
    ramp = torch.linspace(0, 1, width).expand(3, height, width)
    noise = torch.rand(3, height, width, generator=generator)
    blocks = torch.randint(0, 2, (1, 3, 3, 12), generator=generator).to(torch.float32)
    edges = F.interpolate(blocks, (height + 1, width), mode="nearest")[0]
    return (torch.cat((ramp, noise, edges), dim=1).unsqueeze(0) * 255).round() / 255


def codes(signal: Tensor) -> Tensor:
    """(1, 3, H, W) signal of a network -> 10-bit codes of R'G'B' in PQ after the whole light mapping, not rounded."""
    nits = to_nits(signal.to(torch.float32), Primaries.BT709, LightMapping())
    return pq_inverse_eotf(nits).to(torch.float64) * _CODES
