"""What is minimised. Outputs and targets are (B, 3, H, W) signal, non-linear, 1.0 = SDR white, unbounded."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..metrics.light import GAMMA
from ..metrics.psnr import MU
from .config import Loss
from .steady import unsteadiness

_LEAST = 1e-5
"""Added to a mean squared error before its logarithm."""


def in_domain(signal: Tensor, kind: str) -> Tensor:
    """The signal itself, or its tanh: a sun that is ten times too bright must not outweigh the picture."""
    return torch.tanh(signal) if kind.startswith("tanh") else signal


def distance(difference: Tensor, kind: str) -> Tensor:
    """|d| or d^2 of each element."""
    return difference.square() if kind.endswith("l2") else difference.abs()


def reconstruction(output: Tensor, target: Tensor, loss: Loss) -> Tensor:
    """mean(w * distance(T(output) - T(target))), w = 1 + highlights * tanh(max(target - 1, 0)); and the gradient's, and
    the mu-law's."""
    difference = in_domain(output, loss.kind) - in_domain(target, loss.kind)
    values = distance(difference, loss.kind)
    if loss.highlights:
        values = values * (1 + loss.highlights * torch.tanh((target - 1).clamp(min=0)))
    total = values.mean()
    if loss.gradient:
        across, down = difference.diff(dim=-1).abs().mean(), difference.diff(dim=-2).abs().mean()
        total = total + loss.gradient * (across + down)
    if loss.mu:
        total = total + loss.mu * (mu_law(output) - mu_law(target)).abs().mean()
    if loss.psnr:
        total = total + loss.psnr * (decibels(output, target) + decibels(mu_law(output), mu_law(target))) / 2
    return total


def decibels(output: Tensor, target: Tensor) -> Tensor:
    """Mean over samples of log10 of the mean squared error: a tenth of the PSNR, its sign turned (Chen et al., NAFNet,
    arXiv 2204.04676). 50 dB and more are all the same."""
    return torch.log10((output - target).square().mean(dim=(1, 2, 3)) + _LEAST).mean()


def mu_law(signal: Tensor) -> Tensor:
    """log(1 + mu L) / log(1 + mu) of the light L = max(signal, 0) ** 2.24, 1.0 = SDR white, mu = 5000.

    The compression of PSNR-mu (NTIRE 2021) without its norm and its tanh, so that the sun still counts.
    """
    return torch.log1p(MU * signal.clamp(min=0) ** GAMMA) / math.log1p(MU)


def steadiness(output: Tensor, target: Tensor, motion: Tensor, loss: Loss) -> Tensor:
    """mean(distance(d)) of what should be 0 in T(signal), and with `psnr` its decibels, of (B, 2, 3, H, W)."""
    assert loss.steady != "none"
    pair = in_domain(output, loss.kind), in_domain(target, loss.kind)
    difference, seen = unsteadiness(*pair, motion, loss.steady)
    count = (3 * seen.sum(dim=(1, 2, 3))).clamp(min=1)
    total = (distance(difference, loss.kind) * seen).sum() / count.sum()
    if loss.psnr:
        for pair in ((output, target), (mu_law(output), mu_law(target))):
            difference, seen = unsteadiness(*pair, motion, loss.steady)
            errors = (difference.square() * seen).sum(dim=(1, 2, 3)) / count
            total = total + loss.psnr * torch.log10(errors + _LEAST).mean() / 2
    return total


def total_loss(output: Tensor, target: Tensor, motion: Tensor, loss: Loss) -> tuple[Tensor, dict[str, Tensor]]:
    """The number to minimise, and its parts, of (B, F, 3, H, W) outputs and targets.

    With F = 2: (1 - a) * reconstruction + a * steadiness. Of a `transform` pair the second frame is not reconstructed:
    its noise is a means to an end, as published.
    """
    frames = 1 if loss.steady_pairs == "transform" else output.shape[1]
    rebuilt = reconstruction(output[:, :frames].flatten(0, 1), target[:, :frames].flatten(0, 1), loss)
    parts = {"reconstruction": rebuilt.detach()}
    if output.shape[1] == 1:
        return rebuilt, parts
    steady = steadiness(output, target, motion, loss)
    parts["steadiness"] = steady.detach()
    return (1 - loss.steady_weight) * rebuilt + loss.steady_weight * steady, parts
