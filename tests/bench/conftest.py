"""A machine that was not measured, and a network that is quick anywhere."""

from __future__ import annotations

import pytest
import torch

from hdrunet_video.bench.machine import Machine
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet

MACHINE = Machine(
    date="2026-01-01 00:00",
    device="a processor",
    kind="cpu",
    threads=1,
    memory_bytes=1 << 34,
    load=0.5,
    torch="2.15",
    package="0.1.0",
    system="Linux, Python 3.12",
    processors=2,
    libraries={"av": "19.0"},
    flops={"fp32": 1e11, "bf16": 4e11},
    bandwidth=1e10,
)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """What every test takes for this machine, so that none has to measure it."""
    monkeypatch.setattr("hdrunet_video.bench.machine.examine", lambda device: MACHINE)
    return MACHINE


@pytest.fixture
def network() -> HDRUNet:
    """Four channels, a block at each size."""
    torch.manual_seed(0)
    config = HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(1, 1, 1))
    return HDRUNet(config).eval().requires_grad_(False)
