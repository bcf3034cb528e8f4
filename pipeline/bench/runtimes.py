"""The network in other people's runtimes, as they are meant to be used: exported once, run in float32 or as named.

Each builder takes what `portable` returns, the padded picture's (1, 3, H, W) and a device, and returns a callable on
such pictures. It imports its packages itself: what is not installed is an ImportError.
"""

from __future__ import annotations

import copy
import logging
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError
from ..network.hdrunet import HDRUNet, PixelModulation
from ..network.tiles import Network

Builder = Callable[[nn.Module, tuple[int, ...], torch.device], Network]


class _Modulation(nn.Module):
    """PixelModulation in operators that every converter knows; its `+ 1` is in a bias."""

    def __init__(self, original: PixelModulation) -> None:
        super().__init__()
        self.scale1, self.scale2 = original.scale1, original.scale2
        self.shift1, self.shift2 = original.shift1, original.shift2
        assert self.scale2.bias is not None
        self.scale2.bias.data += 1

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        scale: Tensor = self.scale2(F.leaky_relu(self.scale1(condition), 0.1))
        shift: Tensor = self.shift2(F.leaky_relu(self.shift1(condition), 0.1))
        return features * scale + shift


class _Portable(nn.Module):
    """HDRUNet on pictures whose sides are multiples of 4, without a pad or a crop."""

    def __init__(self, network: HDRUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, signal: Tensor) -> Tensor:
        added = self.network.reconstruct(signal)
        weighting = self.network.weighting
        return (signal if weighting is None else weighting(signal) * signal) + added


def portable(network: HDRUNet) -> nn.Module:
    """A copy of the network that converters take; equal up to float rounding."""
    network = copy.deepcopy(network).float().eval().requires_grad_(False)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, PixelModulation):
                setattr(module, name, _Modulation(child))
    return _Portable(network)


def onnx_runtime(network: nn.Module, shape: tuple[int, ...], device: torch.device) -> Network:
    """ONNX Runtime, float32, on the CPU or by its CUDA provider."""
    import onnxruntime

    provider = "CUDAExecutionProvider" if device.type == "cuda" else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise UsageError(f"this onnxruntime has no {provider}", "pip install onnxruntime-gpu")
    with TemporaryDirectory() as folder, _quiet():
        path = str(Path(folder) / "network.onnx")
        example = (torch.zeros(shape),)
        names: dict[str, Any] = {"input_names": ["signal"], "output_names": ["output"]}
        torch.onnx.export(network, example, path, dynamo=True, verbose=False, **names)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=[provider])

    def run(signal: Tensor) -> Tensor:
        output = torch.empty_like(signal)
        binding, where = session.io_binding(), (device.type, device.index or 0, "float32")
        binding.bind_input("signal", *where, tuple(signal.shape), signal.data_ptr())
        binding.bind_output("output", *where, tuple(output.shape), output.data_ptr())
        if device.type == "cuda":  # it computes on a stream of its own
            torch.cuda.current_stream(device).synchronize()
        session.run_with_iobinding(binding)
        return output

    return run


def ncnn(network: nn.Module, shape: tuple[int, ...], device: torch.device) -> Network:
    """ncnn on the CPU, float32, converted by pnnx."""
    import ncnn
    import pnnx

    only_cpu(device)
    made = ncnn.Net()
    made.opt.num_threads = torch.get_num_threads()
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(made.opt, f"use_{option}", False)
    with TemporaryDirectory() as folder, _quiet():
        trace: Any = torch.jit.trace
        trace(network, torch.zeros(shape)).save(str(Path(folder) / "network.pt"))
        size = f"inputshape=[{','.join(map(str, shape))}]"
        command = [pnnx.EXEC_PATH, "network.pt", size, "fp16=0"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        made.load_param(str(Path(folder) / "network.ncnn.param"))
        made.load_model(str(Path(folder) / "network.ncnn.bin"))

    def run(signal: Tensor) -> Tensor:
        extractor = made.create_extractor()
        extractor.input("in0", ncnn.Mat(signal[0].numpy()))
        status, output = extractor.extract("out0")
        if status != 0:
            raise RuntimeError(f"ncnn gave status {status}")
        return torch.from_numpy(output.numpy()).unsqueeze(0).clone()  # the memory is the extractor's

    return run


def tensorrt(network: nn.Module, shape: tuple[int, ...], device: torch.device) -> Network:
    """TensorRT by torch_tensorrt, float16 inside."""
    import torch_tensorrt

    if device.type != "cuda":
        raise UsageError("TensorRT runs on CUDA only", "give --device cuda")
    half = network.to(device)
    example = torch_tensorrt.Input(shape, dtype=torch.float32)
    with _quiet():
        compiled: Network = torch_tensorrt.compile(
            half, ir="dynamo", inputs=[example], enabled_precisions={torch.float16, torch.float32}
        )
    return compiled


def only_cpu(device: torch.device) -> None:
    """Raises UsageError on other devices."""
    if device.type != "cpu":
        raise UsageError("is run on the CPU only here", "give --device cpu")


@contextmanager
def _quiet() -> Iterator[None]:
    """Converters warn of what is to change in their own next version, and log what they could use besides."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
