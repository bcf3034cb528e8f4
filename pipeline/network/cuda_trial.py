"""The network on an NVIDIA GPU, tried before it is used: are the kernels right, and which of their ways is faster?"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from threading import Timer

import torch
from torch import Tensor

from ..device import is_out_of_memory
from .check import believed
from .cuda import Fused
from .cuda_buffers import buffers, workspace_bytes
from .cuda_forward import Forward, has_room_for_strips, supports
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

    def way(strips: bool, otherwise: str) -> Fused | None:
        def make() -> Fused:
            forward = Forward(network, strips=strips)
            if device.type == "cuda":  # not Triton's interpreter
                _compile(forward, device)
            return Fused(forward, device)

        return believed(make, network, TOLERANCE, _log, otherwise)

    with _patience(device):
        strips = None
        if has_room_for_strips(device):
            strips = way(True, f"convolutions in strips cannot be used on {device}, going on with tiles")
        if strips is None:
            otherwise = f"the fused network cannot be used on {device}, going on with PyTorch's operators in fp16"
            return way(False, otherwise)
        try:
            tiles = way(False, f"convolutions in tiles cannot be used on {device}, going on with strips")
            return strips if tiles is None else _faster(strips, tiles, device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return strips  # in what other programs leave, there is no way to see


def _compile(forward: Forward, device: torch.device) -> None:
    """What is launched, by as many threads as torch has: one kernel after the other, as they are launched, takes a
    minute. Triton before 3.5 does it in no other way."""
    import triton

    mode = getattr(triton, "AsyncCompileMode", None)
    if mode is None:
        return
    size = HDRUNet.MULTIPLE, HDRUNet.MULTIPLE  # no kernel is compiled for a size
    memory = torch.empty(workspace_bytes(forward.config, *size, forward.dtype), dtype=torch.uint8, device=device)

    def compile_at_once() -> None:
        with ThreadPoolExecutor(torch.get_num_threads()) as threads, mode(threads), torch.cuda.device(device):
            forward.compile(buffers(memory, forward.config, *size, forward.dtype))

    copy_context().run(compile_at_once)  # where one fails, Triton before 3.8 leaves the mode on


def _faster(first: Fused, second: Fused, device: torch.device) -> Fused:
    """The second only where it makes the same bits, because a film may be made in several runs."""
    picture = torch.rand(_PICTURE, generator=torch.Generator().manual_seed(0)).to(device)
    ways = first, second
    try:
        made, other = (each(picture) for each in ways)
        for each in ways:
            each(picture)  # is captured
        rounds = [[_seconds(each, picture, device) for each in ways] for _ in range(_ROUNDS)]
    finally:
        for each in ways:
            each.release()
    times = dict(zip(ways, map(min, zip(*rounds, strict=True)), strict=True))
    _log.info("convolutions on %s: %s", device, ", ".join(f"{each.way} {times[each]:.4f} s" for each in ways))
    return second if times[second] < times[first] and torch.equal(made, other) else first


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
