"""The network on an NVIDIA GPU, tried before it is used: is it right, and in which of its ways is it fastest?"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from threading import Timer
from typing import Any

import torch
from torch import Tensor

from ..device import is_out_of_memory
from ..tried import is_fault
from .check import believed, codes
from .cuda import Fused
from .cuda_forward import Forward, Way, has_room_for_strips, supports
from .hdrunet import HDRUNet
from .tiles import Network

TOLERANCE = 0.5
"""Of a 10-bit code of R'G'B' in PQ: how far the result may be from float32's. On the picture of the check, which is
made to be difficult, the bundled weights are off by 0.38, 0.02 on average (in Triton's interpreter)."""
_OLDEST = 8, 0
"""Compute capability of the first GPUs that Triton multiplies matrices on: for others it compiles for hours."""
_PATIENCE = 5.0
"""Seconds that a start may take without a word."""
_PICTURE = 1, 3, 1080, 1920
"""Shape of what tells which way is faster."""
_ROUNDS = 5
_MUCH = 0.8
"""Of the time of what makes other bits: more than two starts on one kind of GPU differ by."""
_NAMES: dict[Way, str] = {"strips": "in strips", "tiles": "in tiles", "cudnn": "by cuDNN"}
_log = logging.getLogger(__name__)


def fused(network: HDRUNet) -> Network | None:
    """The network, float32 and on a CUDA device, as fast as it gets; None where that is not possible or not right,
    which is a warning in the log unless the network's configuration is the reason."""
    if not supports(network.config):
        _log.info("there are no kernels for networks as this one: going on with PyTorch's operators")
        return None
    device = network.stem.weight.device
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < _OLDEST:
        _log.info("there are no kernels for %s: going on with PyTorch's operators", device)
        return None

    def make(way: Way) -> Fused:
        forward = Forward(network, way)
        if device.type == "cuda":  # not Triton's interpreter
            _compile(forward, device)
        return Fused(forward, device)

    ways, usable = _ways(device), list[Fused]()
    with _patience(device):
        for index, way in enumerate(ways):
            others = [each.way for each in usable] + ways[index + 1 :]
            rest = f"those {_NAMES[others[0]]}" if others else "PyTorch's operators in fp16"
            otherwise = f"convolutions {_NAMES[way]} cannot be used on {device}, going on with {rest}"
            # Of cuDNN, whose code for a size is another's choice, it is no news that it is not taken.
            level = logging.INFO if usable and way == "cudnn" else logging.WARNING
            with _memory_only_for(usable, device):
                made = believed(partial(make, way), network, TOLERANCE, _log, otherwise, level)
                if made is not None:
                    usable.append(made)
        with _memory_only_for(usable, device):
            if len(usable) > 1:
                return _fastest(usable, device)
    return usable[0] if usable else None


def _ways(device: torch.device) -> list[Way]:
    """What is tried, the way that is taken unless another is faster first."""
    ways: list[Way] = ["strips", "tiles"] if has_room_for_strips(device) else ["tiles"]
    cudnn: Any = torch.backends.cudnn  # which has no types
    return [*ways, "cudnn"] if device.type == "cuda" and cudnn.enabled and cudnn.is_available() else ways


@contextmanager
def _memory_only_for(usable: list[Fused], device: torch.device) -> Iterator[None]:
    """Where other programs leave no memory for more than what is usable, that will do."""
    try:
        yield
    except RuntimeError as error:
        if not usable or not is_out_of_memory(error):
            raise
        _log.info("no memory on %s to see whether convolutions are faster in another way: %s", device, usable[0].way)


def _compile(forward: Forward, device: torch.device) -> None:
    """What is launched, by as many threads as torch has: one kernel after the other, as they are launched, takes a
    minute. Triton before 3.5 does it in no other way."""
    import triton

    mode = getattr(triton, "AsyncCompileMode", None)
    if mode is None:
        return
    size = HDRUNet.MULTIPLE, HDRUNet.MULTIPLE  # no kernel is compiled for a size
    memory = torch.empty(forward.workspace_bytes(*size), dtype=torch.uint8, device=device)

    def compile_at_once() -> None:
        with ThreadPoolExecutor(torch.get_num_threads()) as threads, mode(threads), torch.cuda.device(device):
            forward.compile(forward.buffers(memory, *size))

    copy_context().run(compile_at_once)  # where one fails, Triton before 3.8 leaves the mode on


def _fastest(ways: list[Fused], device: torch.device) -> Fused:
    """One that makes other bits than the one before only where it is much faster, so that the answer is the same each
    time: a film may be made in several runs."""
    picture = torch.rand(_PICTURE, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        made = {each: output for each in ways if (output := _output(each, picture, ways[0])) is not None}
        rounds = [[_seconds(each, picture, device) for each in made] for _ in range(_ROUNDS)]
    finally:
        for each in ways:
            each.release()
    times = dict(zip(made, map(min, zip(*rounds, strict=True)), strict=True))
    said = ", ".join(f"{_NAMES[each.way]} {seconds:.4f} s" for each, seconds in times.items())
    _log.info("convolutions on %s: %s", device, said)
    best = ways[0]
    for each, seconds in times.items():
        if seconds < times[best] * _share(made[each], made[best]):
            best = each
    return best


def _output(way: Fused, picture: Tensor, first: Fused) -> Tensor | None:
    """What a way makes of the picture, and is captured with; None where it cannot, and is not the first."""
    try:
        way(picture)
        return way(picture)
    except RuntimeError as error:
        if way is first or is_out_of_memory(error) or is_fault(error):
            raise
        _log.info("convolutions %s: %s", _NAMES[way.way], error)
        return None


def _share(made: Tensor, best: Tensor) -> float:
    """Below which share of the time of the best one the other is taken. cuDNN has other code for other sizes, so what
    it makes is looked at here, too."""
    if torch.equal(made, best):
        return 1.0
    return _MUCH if float((codes(made) - codes(best)).abs().max()) <= TOLERANCE else 0.0


def _seconds(network: Network, picture: Tensor, device: torch.device) -> float:
    start = _now(device)
    network(picture)
    return _now(device) - start


def _now(device: torch.device) -> float:
    """Seconds, when all that this thread gave to the device is done."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()  # of the whole device would end another engine's capture
    return time.perf_counter()


@contextmanager
def _patience(device: torch.device) -> Iterator[None]:
    """Says what takes so long: most likely Triton's compiler, which keeps what it has made."""
    said = "still starting on %s: the first time, compiling the kernels can take a minute or two"
    timer = Timer(_PATIENCE, _log.warning, (said, device))
    timer.daemon = True
    if device.type == "cuda":  # not Triton's interpreter
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
