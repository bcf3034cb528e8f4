"""Runs of the training of seconds, and whether two ended alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch

from hdrunet_video import load_network
from hdrunet_video.training.__main__ import main

Tiny = Callable[[str], Path]
COMMAND = [sys.executable, "-m", "hdrunet_video.training"]


def run(config: Path, *settings: str, resume: bool = False) -> int:
    return main([str(config), *(f"--set={each}" for each in settings), *(["--resume"] if resume else [])])


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_network(path).state_dict())


def same(first: Path, second: Path) -> bool:
    one, two = tensors(first), tensors(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
