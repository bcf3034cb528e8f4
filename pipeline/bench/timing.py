"""How long things take, in turns: round by round, so that a busy machine is busy for all of them alike."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..host import give_freed_memory_back

_cuda: Any = torch.cuda  # whose events have no types
_ROUND_SECONDS = 0.2
"""A round on CUDA repeats its call up to this long: NVML counts energy ten times a second or so."""


class OwnTime(float):
    """What a call returns that has timed itself: seconds of one of its frames."""


@dataclass(frozen=True)
class Measured:
    """What one thing took."""

    seconds: tuple[float, ...]
    """Of one call, one a round."""
    peak_bytes: int | None = None
    """Memory that it needs, what it holds from one call to the next included: of the device, on the CPU of the
    process; None: not known."""
    joules: float | None = None
    """Of one call, by the whole graphics card; None where NVML does not tell."""
    own_time: bool = False
    """True where the call has timed itself, and is not repeated within a round."""
    held_bytes: int = 0
    """What torch has allocated since on CUDA, and still has."""

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


class Budget:
    """Seconds that are shared out between pieces of work by their weights, but for what is reserved for some."""

    def __init__(
        self, seconds: float, weights: float, reserved: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._end, self._weights, self._reserved, self._clock = clock() + seconds, weights, reserved, clock

    def share(self, weight: float, reserved: float = 0.0) -> float:
        """Seconds for the next piece: what earlier pieces left over is in it, and what they overran is not."""
        left = max(self._end - self._clock() - self._reserved, 0.0)
        seconds = left * weight / max(self._weights, weight)
        self._weights -= weight
        self._reserved -= reserved
        return seconds + reserved


def interleave(
    calls: Mapping[str, Callable[[], object]],
    device: torch.device,
    seconds: float,
    most_rounds: int = 15,
    failed: Callable[[str, Exception], None] | None = None,
    held: Mapping[str, int] | None = None,
) -> dict[str, Measured]:
    """Warm each call up, then time all of them in turns until `seconds` are over, for one round at least. Every other
    round goes backwards: what a call leaves behind is not always to the same one's cost.

    A call that fails is left out from there on, and told to `failed`; without `failed` its error is raised.
    held: bytes that a call holds already, which count as its memory.
    """
    started = time.monotonic()
    alive, repeats = dict(calls), dict.fromkeys(calls, 1)
    holds = dict.fromkeys(calls, 0) | dict(held or {})
    times: dict[str, list[float]] = {name: [] for name in calls}
    peaks: dict[str, list[int | None]] = {name: [] for name in calls}
    joules: dict[str, list[float | None]] = {name: [] for name in calls}
    meter = Meter(device)
    for turn in range(most_rounds + 1):
        order = list(alive.items())
        for name, call in order if turn % 2 == 0 else reversed(order):
            try:
                taken = meter.run(call, repeats[name], warm_up=turn == 0)
            except Exception as error:
                if failed is None:
                    raise
                failed(name, error)
                del alive[name]
                continue
            if turn == 0:
                if device.type == "cpu":  # later, memory that has been kept since hides what is taken
                    peaks[name].append(taken.peak_bytes)
                holds[name] += taken.held_bytes
                if device.type == "cuda" and not taken.own_time:
                    repeats[name] = max(1, min(100, round(_ROUND_SECONDS / max(taken.seconds[0], 1e-6))))
                continue
            times[name].append(taken.seconds[0])
            peaks[name].append(taken.peak_bytes)
            joules[name].append(taken.joules)
        spent = time.monotonic() - started
        if not alive or (turn >= 1 and spent * (turn + 2) / (turn + 1) > seconds):
            break
    return {
        name: Measured(tuple(times[name]), _most(peaks[name], holds[name]), _middle(joules[name])) for name in alive
    }


class Meter:
    """Runs a call and says what it took: events on CUDA, the clock on the CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._energy = Energy(device)

    def run(self, call: Callable[[], object], repeats: int = 1, warm_up: bool = False) -> Measured:
        """`repeats` calls, one after the other; what is returned is of one."""
        if warm_up:
            give_freed_memory_back()
        before = reset_peak(self._device)
        energy = self._energy.joules()
        on = self._on_cuda if self._device.type == "cuda" else _on_cpu
        seconds = on(call, repeats, warm_up)
        used = self._energy.joules()
        peak = read_peak(self._device)
        return Measured(
            (seconds,),
            None if before is None or peak is None else max(peak - before, 0),
            None if energy is None or used is None else (used - energy) / repeats,
            isinstance(seconds, OwnTime),
            max((in_use(self._device) or 0) - (before or 0), 0) if self._device.type == "cuda" else 0,
        )

    def _on_cuda(self, call: Callable[[], object], repeats: int, warm_up: bool) -> float:
        if warm_up:
            result = call()
            if isinstance(result, OwnTime):
                return result
            for _ in range(2):  # compilers, cuDNN's choice of kernels, clocks
                call()
        start, stop = _cuda.Event(enable_timing=True), _cuda.Event(enable_timing=True)
        torch.cuda.synchronize(self._device)
        start.record()
        for _ in range(repeats):
            result = call()
        stop.record()
        stop.synchronize()
        return result if isinstance(result, OwnTime) else float(start.elapsed_time(stop)) / 1e3 / repeats


def _on_cpu(call: Callable[[], object], repeats: int, warm_up: bool) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        result = call()
    return result if isinstance(result, OwnTime) else (time.perf_counter() - started) / repeats


def time_each(items: Iterable[object], count: int) -> OwnTime:
    """Seconds of one of `count` items, which are taken and let go."""
    started = time.perf_counter()
    for _ in items:
        pass
    return OwnTime((time.perf_counter() - started) / count)


class Energy:
    """Energy that a graphics card has taken, by NVML; nothing where there is no card or no nvidia-ml-py."""

    def __init__(self, device: torch.device) -> None:
        self._nvml: Any = None
        if device.type != "cuda":
            return
        with suppress(Exception):  # not installed, or a driver that does not tell
            import pynvml

            pynvml.nvmlInit()
            uuid = f"GPU-{_cuda.get_device_properties(device).uuid}"
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid.encode())
            pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
            self._nvml = pynvml

    def joules(self) -> float | None:
        """Since the driver was loaded."""
        if self._nvml is None:
            return None
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3


def in_use(device: torch.device) -> int | None:
    """Memory in use, bytes: of torch's allocator on CUDA, else of the process; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def reset_peak(device: torch.device) -> int | None:
    """Forget the peak and return what is in use, bytes; None where the system does not let us."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return in_use(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return in_use(device)


def read_peak(device: torch.device) -> int | None:
    """The most that was in use since reset_peak, bytes: of torch's allocator on CUDA, else of the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return None


def _most(values: list[int | None], held: int) -> int | None:
    return max((value + held for value in values if value is not None), default=None)


def _middle(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
