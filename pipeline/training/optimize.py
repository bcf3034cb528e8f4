"""The optimizer, its learning rate, and the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .config import Optimizer, Schedule
from .muon import Muon


def make_optimizer(parameters: Iterable[nn.Parameter], config: Optimizer) -> torch.optim.Optimizer:
    """Adam, AdamW with the weight decay, or Muon."""
    if config.kind == "muon":
        return Muon(parameters, config.lr, config.betas, config.weight_decay)
    kind = torch.optim.AdamW if config.kind == "adamw" else torch.optim.Adam
    return kind(list(parameters), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)


def learning_rate(config: Optimizer, schedule: Schedule, part: float, iteration: int) -> float:
    """The rate of a step. part: how much of the run is over, 0..1; iteration: counted from 0."""
    part = min(max(part, 0.0), 1.0)
    rate = config.lr
    if schedule.kind == "steps":
        rate *= schedule.factor ** sum(part >= step for step in schedule.steps)
    elif schedule.kind == "cosine":
        rate *= schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * part)) / 2
    if iteration < schedule.warmup:
        rate *= (iteration + 1) / schedule.warmup
    return rate


class Average:
    """Exponential moving average of weights: a <- d a + (1 - d) w, with d rising from 0.1 to the decay at first."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, iteration: int) -> None:
        """After the step of an iteration, counted from 0."""
        decay = min(self.decay, (1 + iteration) / (10 + iteration)) if self.decay else 0.0
        values: dict[str, Tensor] = network.state_dict()
        mine = list(self.weights.values())
        torch._foreach_lerp_(mine, [values[name] for name in self.weights], 1 - decay)
