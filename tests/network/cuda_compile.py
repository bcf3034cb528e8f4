"""Compiles each launch of the network for a GPU that need not be there, and prints what each needs on chip.

A program of its own, because Triton is an interpreter in the process of the tests: python -m tests.network.cuda_compile
90 strips. One line of JSON for each launch; see `Needs`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from hdrunet_video.network import cuda_kernels
from hdrunet_video.network.cuda_forward import Forward, buffers, workspace_bytes
from hdrunet_video.network.hdrunet import HDRUNet

OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion")
TYPES = {torch.float16: "*fp16", torch.float32: "*fp32"}


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
    """Stands for the module of the kernels: keeps what is launched, and launches nothing."""

    def __init__(self) -> None:
        self.launches: dict[Any, tuple[Any, dict[str, Any]]] = {}

    def __getattr__(self, name: str) -> Any:
        kernel = getattr(cuda_kernels, name)

        def launch(**arguments: Any) -> None:
            key = [value.dtype if isinstance(value, torch.Tensor) else value for value in arguments.values()]
            sizes = ("height", "width", "rows")
            key = [None if argument in sizes else each for argument, each in zip(arguments, key, strict=True)]
            self.launches.setdefault((name, *key), (kernel, arguments))

        class Grid:
            def __getitem__(self, grid: Any) -> Any:
                return launch

        return Grid()


def compiled(kernel: Any, arguments: Mapping[str, Any], target: GPUTarget) -> tuple[Any, str]:
    """One launch, as Triton would compile it when it sees these arguments, and what ptxas says of it."""
    options = {name: arguments[name] for name in OPTIONS}
    constants = {each.name for each in kernel.params if each.is_constexpr}
    signature, fixed, aligned = {}, {}, {}
    for index, name in enumerate(kernel.arg_names):
        value = arguments[name]
        if name in constants or value is None:
            signature[name], fixed[name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name], aligned[index,] = TYPES[value.dtype], [["tt.divisibility", 16]]
        else:
            signature[name] = "i32"
    source = ASTSource(kernel, signature, fixed, aligned)
    # Nothing is said of what comes from a cache.
    knobs.nvidia.dump_ptxas_log = knobs.compilation.always_compile = True
    with redirect_stdout(StringIO()) as said:
        made = triton.compile(source, target=target, options=options)
    return made, said.getvalue()


def main(capability: str, way: str) -> None:
    """All launches of the paper's network in float16."""
    network, recorder = HDRUNet(), Recorder()
    forward = Forward(network, strips=way == "strips")
    forward._kernels = recorder
    names = {id(tensor): name for name, own in forward._weights.items() for tensor in own.values()}
    memory = torch.empty(workspace_bytes(network.config, 16, 16), dtype=torch.uint8)
    forward(buffers(memory, network.config, 16, 16, torch.float16))
    for kernel, arguments in recorder.launches.values():
        made, said = compiled(kernel, arguments, GPUTarget("cuda", int(capability), 32))
        assert made.asm["cubin"]
        weights = next(arguments[name] for name in ("weights", "bias", "stem_weights") if name in arguments)
        needs = Needs(
            names[id(weights)],
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
    main(*sys.argv[1:])
