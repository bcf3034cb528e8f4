"""What the tests of our kernels share: the kernels that there are, features for them, and how close they come."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor

from hdrunet_video.network.native import Kernels, kernels
from hdrunet_video.network.native_library import BF16, FP32
from hdrunet_video.processor import cpu_flags

PLATFORM = (sys.platform, platform.machine()) == ("linux", "x86_64")
EMULATED = "HDRUNET_TEST_EMULATED" in os.environ
"""Whether the libraries do without instructions beyond AVX2: under sanitizers (sanitize.sh)."""


def _expected() -> list[str]:
    """The sets of instructions that torch uses here, and those for bfloat16 that go with them."""
    capability = torch.backends.cpu.get_cpu_capability().lower()
    if not PLATFORM or not capability.startswith(FP32):
        return []
    if EMULATED:
        return [*FP32, *BF16]
    if capability.startswith("avx2"):
        return ["avx2"]
    return [*FP32, *(name for name in BF16 if name in cpu_flags())]


EXPECTED = _expected()
FOUND = {name: found for name in EXPECTED if (found := kernels(name)) is not None}

AFTER: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda values: values,
    "relu": F.relu,
    "leaky_relu": lambda values: F.leaky_relu(values, 0.1),
}
sides = st.integers(1, 23)
vectors = st.integers(1, 5)
"""Of channels."""


def features(count: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """(1, count, height, width), normally distributed."""
    return torch.randn(1, count, height, width).to(dtype).contiguous(memory_format=torch.channels_last)


def of(own: Kernels, channels: int, height: int, width: int) -> Tensor:
    """Features as these kernels take them."""
    return features(channels, height, width, own.dtype)


TOLERANCE = {"amx_bf16": 1e-4}
"""Of what is to be exact: sums of two bfloat16 keep 16 bits of a float32."""


def assert_close(found: Tensor, expected: Tensor, instructions: str, exact: bool = True) -> None:
    """As close as these instructions come. exact: with products of float32, or as good, and a float32 result."""
    tolerance = TOLERANCE.get(instructions, 3e-6) if exact or instructions not in BF16 else 0.05
    assert found.dtype == (torch.float32 if exact else FOUND[instructions].dtype)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance * max(1.0, float(expected.abs().max())))
