"""Compiles each launch of the network for a GPU that need not be there, and prints what each needs on chip.

A program of its own, because Triton is an interpreter in the process of the tests: python -m tests.network.cuda_compile
90 strips. One line for each launch: bytes of shared memory, and the argument that says what is computed in strips.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from hdrunet_video.network import cuda_kernels
from hdrunet_video.network.cuda_forward import Forward, buffers, workspace_bytes
from hdrunet_video.network.hdrunet import HDRUNet

OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion")
TYPES = {torch.float16: "*fp16", torch.float32: "*fp32"}


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
            self.launches[name, *key] = kernel, arguments

        class Grid:
            def __getitem__(self, grid: Any) -> Any:
                return launch

        return Grid()


def compiled(kernel: Any, arguments: dict[str, Any], target: GPUTarget) -> Any:
    """One launch, as Triton would compile it when it sees these arguments."""
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
    return triton.compile(ASTSource(kernel, signature, fixed, aligned), target=target, options=options)


def main(capability: str, way: str) -> None:
    """All launches of the paper's network in float16."""
    network, recorder = HDRUNet(), Recorder()
    forward = Forward(network, strips=way == "strips")
    forward._kernels = recorder
    memory = torch.empty(workspace_bytes(network.config, 16, 16), dtype=torch.uint8)
    forward(buffers(memory, network.config, 16, 16, torch.float16))
    for kernel, arguments in recorder.launches.values():
        made = compiled(kernel, arguments, GPUTarget("cuda", int(capability), 32))
        assert made.asm["cubin"]
        sys.stdout.write(f"{made.metadata.shared} {arguments.get('STRIPS', False)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
