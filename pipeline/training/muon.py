"""Muon (Jordan et al., 2024) for convolutions, and AdamW without weight decay for what is no matrix.

torch.optim.Muon takes nothing but matrices. Here a convolution of (out, in, 3, 3) is a matrix of out x 9 in, those of
one shape are worked on together, and the size of a step is AdamW's (Liu et al., arXiv 2502.16982), so that one learning
rate serves both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_MOMENTUM = 0.95
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_SIZE = 0.2
"""Root mean square of AdamW's steps, in units of the learning rate."""
_SMALL = 8
"""A matrix with fewer rows or columns has too few directions to make equal."""


class Muon(torch.optim.Optimizer):
    """Matrices step along the nearest orthogonal matrix of their momentum; all else as AdamW does."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float], decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
            others: list[Tensor] = []
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                matrix = parameter.ndim > 1 and min(len(parameter), parameter[0].numel()) >= _SMALL
                (alike[tuple(parameter.shape)] if matrix else others).append(parameter)
            for parameters in alike.values():
                self._orthogonal(parameters, group)
            if others:
                self._adam(others, group)

    def _orthogonal(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [_gradient(each) for each in parameters]
        momenta = [self._state(each, "momentum") for each in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - _MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, _MOMENTUM)
        steps = orthogonal(torch.stack([each.flatten(1) for each in ahead]))
        size = _SIZE * max(steps.shape[-2:]) ** 0.5
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        changes = [step.view(parameter.shape) for step, parameter in zip(steps, parameters, strict=True)]
        torch._foreach_add_(parameters, changes, alpha=-group["lr"] * size)

    def _adam(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [_gradient(each) for each in parameters]
        first, second = ([self._state(each, name) for each in parameters] for name in ("first", "second"))
        low, high = group["betas"]
        torch._foreach_lerp_(first, gradients, 1 - low)
        torch._foreach_mul_(second, high)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - high)
        # Counted once for all, because all are there at each step.
        count = self.state[parameters[0]]["count"] = self.state[parameters[0]].get("count", 0) + 1
        root = torch._foreach_sqrt(second)
        torch._foreach_div_(root, (1 - high**count) ** 0.5)
        torch._foreach_add_(root, 1e-8)
        torch._foreach_addcdiv_(parameters, first, root, -group["lr"] / (1 - low**count))

    def _state(self, parameter: Tensor, name: str) -> Tensor:
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        value: Tensor = state[name]
        return value


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad.contiguous()


def orthogonal(matrices: Tensor) -> Tensor:
    """(B, rows, columns) -> matrices with the same directions and singular values of about 1 (0.7 to 1.2), by five
    steps of Newton and Schulz. bfloat16 inside: the result is a direction, not a number."""
    x = matrices.to(torch.bfloat16)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_STEPS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
