"""Our kernels for the spatial feature transform, on the way into a convolution, against float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hdrunet_video.network.native import Kernels
from hdrunet_video.network.native_tensors import Packed
from tests.network.native_cases import AFTER, FOUND, assert_close, features, of, sides, vectors


def linear(outputs: int, inputs: int, side: int = 1) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution whose results are about as large as its inputs."""
    return torch.randn(outputs, inputs, side, side) / (side * side * inputs) ** 0.5, torch.randn(outputs)


def packed(own: Kernels, layers: list[tuple[Tensor, Tensor]], exact: bool) -> Packed:
    """Those of scale1, scale2, shift1 and shift2."""
    weights, biases = zip(*layers, strict=True)
    return own.pack_modulation(list(weights), list(biases), exact)


def modulated(image: Tensor, condition: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
    """As the paper has it, in float64."""
    scale, shift = (
        F.conv2d(F.leaky_relu(F.conv2d(condition.double(), *first), 0.1), *second)
        for first, second in (
            [(weight.double(), bias.double()) for weight, bias in pair] for pair in (layers[:2], layers[2:])
        )
    )
    return image.double() * scale + shift


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=60, deadline=None)
@given(
    height=sides,
    width=st.integers(1, 110),
    inputs=st.integers(1, 3),
    channels=st.integers(1, 3),
    outputs=vectors,
    floats=st.booleans(),
    exact=st.booleans(),
    adds=st.booleans(),
    part=st.booleans(),
    after=st.sampled_from(["none", "relu", "leaky_relu"]),
)
def test_a_convolution_of_what_is_modulated(
    instructions: str,
    height: int,
    width: int,
    inputs: int,
    channels: int,
    outputs: int,
    floats: bool,
    exact: bool,
    adds: bool,
    part: bool,
    after: str,
) -> None:
    torch.manual_seed(width)
    own = FOUND[instructions]
    inputs, channels, outputs = (own.multiple * count for count in (inputs, channels, outputs))
    side, beside = 1 if own.tiled and height % 2 else 3, 3 if part else 0
    image = of(own, channels, height + beside, width + 2 * beside)
    condition = features(inputs, *image.shape[-2:], torch.float32 if floats else own.dtype)
    image, condition = (each[..., beside:, beside : beside + width] for each in (image, condition))
    layers = [linear(rows, inputs) for rows in (inputs, channels) * 2]
    weight, bias = linear(outputs, channels, side)
    added = of(own, outputs, height, width) if adds else None
    expected = F.conv2d(modulated(image, condition, layers), weight.double(), bias.double(), padding=side // 2)
    expected = AFTER[after](expected) + (0 if added is None else added)
    convolution, steering = own.pack("convolution", weight, bias), packed(own, layers, exact)
    found = own.convolution(image, convolution, after=after, added=added, modulated=(condition, steering))
    assert_close(found, expected, instructions, exact=False)


@pytest.mark.parametrize("instructions", FOUND)
@pytest.mark.parametrize("size", [(35, 131), (1, 260), (150, 2), (61, 70)])
def test_a_larger_picture(size: tuple[int, int], instructions: str) -> None:
    """More than threads do at once. The lines that one of them keeps are those that all of them make."""
    torch.manual_seed(0)
    own = FOUND[instructions]
    n = own.multiple
    image, condition = of(own, 2 * n, *size), of(own, n, *size)
    layers = [linear(rows, n) for rows in (n, 2 * n) * 2]
    weight, bias = linear(n, 2 * n, 3)
    expected = F.conv2d(modulated(image, condition, layers), weight.double(), bias.double(), padding=1)
    convolution, steering = own.pack("convolution", weight, bias), packed(own, layers, exact=True)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(own.convolution(image, convolution, modulated=(condition, steering)))
    finally:
        torch.set_num_threads(before)
    assert_close(found[0], expected, instructions, exact=False)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=20, deadline=None)
@given(width=st.integers(1, 110), inputs=st.integers(1, 2))
def test_an_exact_modulation_keeps_what_eight_bits_do_not(instructions: str, width: int, inputs: int) -> None:
    """Differences of numbers that bfloat16 has every other one of."""
    torch.manual_seed(width)
    own = FOUND[instructions]
    n = own.multiple
    inputs *= n
    image, condition = of(own, n, 2, width).sign(), 256 + torch.randint(-4, 5, (1, inputs, 2, width)) / 4
    condition = condition.contiguous(memory_format=torch.channels_last)
    same = torch.eye(inputs)[:, :, None, None], torch.zeros(inputs)
    differences = torch.zeros(n, inputs, 1, 1), torch.zeros(n)
    differences[0][:, 0], differences[0][:, 1] = 1, -1
    layers = [same, differences] * 2
    side = 1 if own.tiled else 3
    weight, bias = torch.zeros(n, n, side, side), torch.zeros(n)
    weight[range(n), range(n), side // 2, side // 2] = 1
    convolution, steering = own.pack("convolution", weight, bias), packed(own, layers, exact=True)
    found = own.convolution(image, convolution, modulated=(condition, steering))
    assert_close(found, modulated(image, condition, layers), instructions, exact=False)
