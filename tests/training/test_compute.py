"""What a process takes of its machine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.training.compute import start
from hdrunet_video.training.config import Compute
from hdrunet_video.training.evaluation.models import load_models
from hdrunet_video.training.progress import strip
from hdrunet_video.training.validate import Pair


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    threads, tf32 = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = tf32


def test_threads_are_those_of_the_cores_that_it_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 5, 6}, raising=False)
    start(Compute(device="cpu"))
    assert torch.get_num_threads() == 5
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # as torchrun says
    start(Compute(device="cpu"))
    assert torch.get_num_threads() == 2
    start(Compute(device="cpu", threads=3))
    assert torch.get_num_threads() == 3


def test_float32_has_all_its_bits() -> None:
    """Graphics cards would round what convolutions multiply to 10 bits."""
    torch.backends.cudnn.allow_tf32 = True
    start(Compute(device="cpu"))
    assert not torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    load_models(["identity"])
    assert not torch.backends.cudnn.allow_tf32


def test_held_out_pictures_go_through_a_network_on_a_gpu() -> None:
    """Without one: tensors without numbers, which are refused where those of two devices meet."""
    with FakeTensorMode():
        with torch.device("cuda:0"):
            network = HDRUNet(HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(1, 1, 1)))
        x, y = torch.rand(2, 1, 3, 16, 20).split(1)
        shown = strip(Pair("a", x[0], y[0]), network, torch.device("cuda:0"))
        assert (shown.device.type, shown.shape) == ("cpu", (3, 16, 60))
