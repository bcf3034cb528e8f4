"""Compiles each launch of the network, or of the colour path, for a GPU that need not be there, and prints what each
needs on chip.

A program of its own, because Triton is an interpreter in the process of the tests: python -m tests.network.cuda_compile
90 strips, or tiles, or cudnn, or colour. One line of JSON for each launch; see `Needs`.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any, Literal

import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from hdrunet_video.color import cuda_planes, cuda_signal
from hdrunet_video.color.cuda import Kernels
from hdrunet_video.color.light import LightMapping
from hdrunet_video.color.spec import Primaries
from hdrunet_video.network import cuda_kernels
from hdrunet_video.network.cuda_forward import Forward, Way
from hdrunet_video.network.hdrunet import HDRUNet
from tests.color.color_cases import KINDS, TARGETS, frame_of

Launch = tuple[str, Any, dict[str, Any]]
"""Its name, the kernel, and the arguments."""


@dataclass(frozen=True)
class Needs:
    """What a launch, by the name of its kernel and weights, needs on chip, as ptxas says it."""

    name: str
    strips: bool
    shared: int
    """Bytes."""
    registers: int
    """Of a thread."""
    spilled: int
    """Bytes of a thread that are stored for want of registers."""
    serialised: bool
    """ptxas lets each product on the matrix units wait for the one before it: its info C7514."""


class Recorder:
    """Stands for a module of kernels: keeps what is launched, and launches nothing."""

    def __init__(self, kernels: Any) -> None:
        self._kernels = kernels
        self.launches: dict[Any, tuple[Any, dict[str, Any]]] = {}

    def __getattr__(self, name: str) -> Any:
        kernel = getattr(self._kernels, name)
        constants = {each.name for each in kernel.params if each.is_constexpr}

        def launch(**arguments: Any) -> None:
            key = [
                value.dtype if isinstance(value, torch.Tensor) else value if argument in constants else value is None
                for argument, value in arguments.items()
            ]
            self.launches.setdefault((name, *key), (kernel, arguments))

        class Grid:
            def __getitem__(self, grid: Any) -> Any:
                return launch

        return Grid()


class Absent:
    """Stands for Triton's driver where there is no GPU: kernels can be compiled, and not launched."""

    def __init__(self, capability: int) -> None:
        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compiled(kernel: Any, arguments: Mapping[str, Any]) -> tuple[Any, str]:
    """One launch, as Triton compiles it when it sees these arguments, and what ptxas says of it."""
    # Nothing is said of what comes from a cache.
    knobs.nvidia.dump_ptxas_log = knobs.compilation.always_compile = True
    with redirect_stdout(StringIO()) as said:
        made = kernel.warmup(grid=(1,), **arguments)
    return made, said.getvalue()


def network(way: Way) -> Iterator[Launch]:
    """All launches of the paper's network in float16, by the names of their weights."""
    network, recorder = HDRUNet(), Recorder(cuda_kernels)
    forward = Forward(network, way)
    forward._kernels = recorder
    names = {id(tensor): name for name, own in forward._weights.items() for tensor in own.values()}
    memory = torch.empty(forward.workspace_bytes(16, 16), dtype=torch.uint8)
    forward(forward.buffers(memory, 16, 16))
    for kernel, arguments in recorder.launches.values():
        candidates = (arguments.get(name) for name in ("weights", "bias", "stem_weights"))
        weights = next(each for each in candidates if each is not None)
        yield names[id(weights)], kernel, arguments


def colour() -> Iterator[Launch]:
    """All launches of the colour path for sources and targets of each kind, by the names of their kernels."""
    signal, recorders = torch.empty(1, 3, 16, 16), (Recorder(cuda_signal), Recorder(cuda_planes))
    for target, source in itertools.product(TARGETS.values(), (None, signal)):
        path = Kernels(LightMapping(), target, torch.device("cpu"))
        path._signal_kernel = recorders[0].to_signal
        path._planes_kernel, path._finish_kernel = recorders[1].to_planes, recorders[1].finish
        path.to_planes(signal, Primaries.BT709, source)
        for name, color in KINDS:
            path.to_signal(frame_of(name, color, 16, 16))
    for recorder in recorders:
        for (name, *_), (kernel, arguments) in recorder.launches.items():
            yield name, kernel, arguments


def main(capability: str, way: Way | Literal["colour"]) -> None:
    """A line for each launch."""
    driver.set_active(Absent(int(capability)))
    for name, kernel, arguments in colour() if way == "colour" else network(way):
        made, said = compiled(kernel, arguments)
        assert made.asm["cubin"]
        needs = Needs(
            name,
            arguments.get("STRIPS", False),
            made.metadata.shared,
            _number(r"Used (\d+) registers", said),
            _number(r"(\d+) bytes spill stores", said),
            "C7514" in said,
        )
        sys.stdout.write(json.dumps(asdict(needs)) + "\n")


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found, text
    return int(found[1])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])  # type: ignore[arg-type]
