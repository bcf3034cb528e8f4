"""Channels that are shut are noticed, and opened again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.training.alive import Openness

SMALL = HDRUNetConfig(channels=6, condition_channels=4, sft_channels=4, blocks=(1, 1, 1))


def a_network() -> tuple[HDRUNet, torch.Tensor]:
    torch.manual_seed(3)
    return HDRUNet(SMALL), torch.rand(4, 3, 16, 20)


def test_the_penalty_is_the_distance_of_what_goes_into_the_relus() -> None:
    network, picture = a_network()
    with torch.no_grad():
        network.stem.bias.copy_(torch.tensor([-9.0, 0.0, -5.0, 0.0, 0.0, 0.0]))
    openness = Openness(network)
    network(picture)
    alone = openness.penalty().item()
    with torch.no_grad():
        network.stem.bias.zero_()
    network(picture)
    without = openness.penalty().item()
    before = network.stem(picture[:1]).detach().double().numpy()[0, [0, 2]]  # one sample of four is looked at
    shut = before + np.array([-9.0, -5.0])[:, None, None]
    expected = (0.1 * np.abs(shut).mean(axis=(1, 2)) - np.maximum(shut, 0).mean(axis=(1, 2))).sum()
    # Later layers see other features in the two cases: what they add differs by little.
    assert alone - without == pytest.approx(expected, rel=0.05)


def test_a_shut_channel_opens_again() -> None:
    network, picture = a_network()
    with torch.no_grad():
        network.decode_full.bias.fill_(-2.0)
    openness = Openness(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    network(picture)
    first = openness.penalty()
    assert first > 1
    for _ in range(40):
        optimizer.zero_grad()
        network(picture)
        openness.penalty().backward()
        optimizer.step()
    opened = []
    network.decode_full.register_forward_hook(lambda module, inputs, output: opened.append((output > 0).clone()))
    with torch.no_grad():
        network(picture)
    assert opened[0].any(dim=-1).any(dim=-1).all()


def test_validation_is_not_watched() -> None:
    network, picture = a_network()
    openness = Openness(network)
    network(picture)
    expected = openness.penalty().item()
    with torch.inference_mode():
        network(picture - 5)
    network(picture)
    assert openness.penalty().item() == expected
