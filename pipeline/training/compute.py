"""The device of a process, its precision, its random state, and the other processes of the run."""

from __future__ import annotations

import os
import random
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ..cgroup import cores
from ..device import forbid_tf32, limit_threads
from ..errors import ConfigError
from ..processor import cpu_has_bf16
from .config import Compute

_PATIENCE = timedelta(days=1)
"""For the process that makes ready what all need."""


@dataclass(frozen=True)
class Worker:
    """This process among those that torchrun has started; one of one without torchrun."""

    rank: int
    world: int
    device: torch.device
    dtype: torch.dtype | None
    """What autocast rounds to; None: nothing is rounded."""
    patient: Any = None
    """The processes as a group that waits longer than they do for each other's steps; None where there is one."""

    @property
    def first(self) -> bool:
        """True for the one process that writes files and speaks."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[Any]:
        """For forward passes. The network keeps its output convolutions in float32 by itself."""
        return torch.autocast(self.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    def wait_for_all(self) -> None:
        """Until every process is here, for hours if need be."""
        if self.world > 1:
            dist.barrier(self.patient)

    def agree(self, number: int, seconds: float) -> tuple[int, float]:
        """The largest of the processes' numbers, and the first one's seconds: clocks begin and go apart."""
        if self.world == 1:
            return number, seconds
        together = torch.tensor([number, seconds if self.first else 0.0], dtype=torch.float64, device=self.device)
        dist.all_reduce(together, dist.ReduceOp.MAX)
        return int(together[0]), float(together[1])

    def mean(self, value: Tensor) -> Tensor:
        """The mean of the processes' numbers."""
        if self.world > 1:
            dist.all_reduce(value)
            value = value / self.world
        return value

    def leave(self) -> None:
        """The processes part."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()


def start(config: Compute) -> Worker:
    """Choose the device and meet the other processes. Raises ConfigError where there is no such device."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    device = _device(config.device, world)
    forbid_tf32()  # what is to be float32, as the output convolutions, is so with all its bits
    if device.type == "cpu":
        torch.set_num_threads(config.threads or _cores())
    else:
        limit_threads()
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = False  # its choice differs from run to run, and with it the bits
        torch.backends.cudnn.deterministic = True
    if world > 1 and not dist.is_initialized():
        cuda = device.type == "cuda"
        dist.init_process_group("nccl" if cuda else "gloo", device_id=device if cuda else None)
    dtype = _dtype(config.precision, device)
    if world == 1:
        return Worker(0, 1, device, dtype)
    return Worker(dist.get_rank(), world, device, dtype, dist.new_group(backend="gloo", timeout=_PATIENCE))


def _cores() -> int:
    """Those for this process, shared with the run's other processes on this machine."""
    return max(cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


def _device(name: str, world: int) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"compute.device cannot be {name!r}", "there are auto, cpu, cuda and cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"compute.device cannot be {name!r}", "there are auto, cpu, cuda and cuda:N")
    if device.type == "cuda":
        index = int(os.environ.get("LOCAL_RANK", "0")) if world > 1 else device.index or 0
        if index >= torch.cuda.device_count():
            raise ConfigError(f"compute.device: there is no GPU {index}", "--set compute.device=cpu")
        device = torch.device("cuda", index)
    return device


def _dtype(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "fp32":
        return None
    if precision == "fp16":
        if device.type == "cpu":
            raise ConfigError("compute.precision fp16 needs a GPU", "--set compute.precision=bf16")
        return torch.float16
    if precision == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if cpu_has_bf16() else None


def seed_all(seed: int) -> None:
    """Every generator of this process; samples have generators of their own."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's generators: nothing else that a step does is random."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Put `random_state` back; another kind of device than then keeps its own."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
