"""Muon against singular values and AdamW of PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hdrunet_video.training.config import Optimizer
from hdrunet_video.training.muon import orthogonal
from hdrunet_video.training.optimize import make_optimizer

CONFIG = Optimizer(kind="muon", lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)


@pytest.mark.parametrize("shape", [(3, 16, 144), (2, 40, 8), (1, 8, 8)])
def test_all_directions_get_the_same_size(shape: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    matrices = torch.randn(shape, generator=generator, dtype=torch.float64)
    u, sizes, v = torch.linalg.svd(matrices, full_matrices=False)
    matrices = u @ torch.diag_embed(1e-4 * sizes.clamp(min=0.5 * sizes.amax())) @ v
    found = orthogonal(matrices)
    sizes = torch.linalg.svdvals(found)
    assert float(sizes.min()) > 0.6
    assert float(sizes.max()) < 1.3
    cosine = (found * (u @ v)).sum(dim=(-2, -1)) / (found.norm(dim=(-2, -1)) * (u @ v).norm(dim=(-2, -1)))
    assert float(cosine.min()) > 0.97


def test_a_step_has_the_size_of_an_adamw_step() -> None:
    """0.2 times the learning rate, root mean square, whatever the shape and the gradient's size."""
    for shape in [(64, 64, 3, 3), (32, 64, 1, 1), (256, 64, 3, 3)]:
        torch.manual_seed(0)
        weight = nn.Parameter(torch.zeros(shape).contiguous(memory_format=torch.channels_last))
        optimizer = make_optimizer([weight], CONFIG)
        weight.grad = 1e-5 * torch.randn(shape)
        optimizer.step()
        assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.2e-3, rel=0.3)


def test_what_is_no_matrix_steps_as_with_adamw() -> None:
    """But for the weight decay, which biases and the layers from and to R, G and B do without."""
    ours, theirs = ([nn.Parameter(torch.linspace(-1, 1, 12)), nn.Parameter(torch.ones(3, 4))] for _ in range(2))
    optimizers = make_optimizer(ours, CONFIG), torch.optim.AdamW(theirs, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0)
    for turn in range(5):
        torch.manual_seed(turn)
        for one, other in zip(ours, theirs, strict=True):
            one.grad = other.grad = torch.randn_like(one)
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
