"""Our kernels for the spatial feature transform, alone and on the way into a convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.network.native_cases import FOUND, TOLERANCE, assert_close, features, of, sides, vectors


@pytest.mark.parametrize("instructions", [name for name, own in FOUND.items() if own.tiled])
@settings(max_examples=40, deadline=None)
@given(
    height=sides,
    width=st.integers(1, 110),
    floats=st.booleans(),
    exact=st.booleans(),
    adds=st.booleans(),
    side=st.sampled_from([1, 3]),
    part=st.booleans(),
)
def test_a_convolution_of_what_is_modulated(
    instructions: str, height: int, width: int, floats: bool, exact: bool, adds: bool, side: int, part: bool
) -> None:
    """In one go it is the same, to the bit, as one after the other."""
    torch.manual_seed(width)
    own = FOUND[instructions]
    n, beside = own.multiple, 3 if part else 0
    image = of(own, 2 * n, height + beside, width + 2 * beside)
    condition = features(n, *image.shape[-2:], torch.float32 if floats else own.dtype)
    image, condition = (each[..., beside:, beside : beside + width] for each in (image, condition))
    weights = [torch.randn(rows, n, 1, 1) / n**0.5 for rows in (n, 2 * n) * 2]
    modulation = own.pack_modulation(weights, [torch.randn(rows) for rows in (n, 2 * n) * 2], exact)
    packed = own.pack("convolution", torch.randn(n, 2 * n, side, side), torch.randn(n))
    added = of(own, n, height, width) if adds else None
    found = own.convolution(image, packed, added=added, modulated=(condition, modulation))
    assert torch.equal(found, own.convolution(own.modulate(image, condition, modulation), packed, added=added))


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=40, deadline=None)
@given(
    height=sides,
    width=st.integers(1, 110),
    inputs=st.integers(1, 2),
    outputs=vectors,
    floats=st.booleans(),
    exact=st.booleans(),
)
def test_a_modulation(
    instructions: str, height: int, width: int, inputs: int, outputs: int, floats: bool, exact: bool
) -> None:
    torch.manual_seed(width)
    own = FOUND[instructions]
    inputs, outputs = inputs * own.multiple, outputs * own.multiple
    image, condition = of(own, outputs, height, width), of(own, inputs, height, width)
    condition = features(inputs, height, width) if floats else condition
    weights = [torch.randn(rows, inputs, 1, 1) / inputs**0.5 for rows in (inputs, outputs) * 2]
    biases = [torch.randn(rows) for rows in (inputs, outputs) * 2]
    layers = [(weight.double(), bias.double()) for weight, bias in zip(weights, biases, strict=True)]
    scale, shift = (
        F.conv2d(F.leaky_relu(F.conv2d(condition.double(), *first), 0.1), *second)
        for first, second in (layers[:2], layers[2:])
    )
    expected = image.double() * scale + shift
    found = own.modulate(image, condition, own.pack_modulation(weights, biases, exact))
    if exact and own.dtype == torch.bfloat16:  # right but for how the result is rounded
        error = (found - expected).abs() - expected.abs() / 256
        assert float(error.max()) < TOLERANCE[instructions] * max(1.0, float(expected.abs().max()))
    else:
        assert_close(found, expected, instructions, exact)


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=20, deadline=None)
@given(width=st.integers(1, 110), inputs=st.integers(1, 2), outputs=vectors)
def test_a_modulation_of_small_whole_numbers_loses_nothing(
    instructions: str, width: int, inputs: int, outputs: int
) -> None:
    """Whatever its products are of: these numbers are exact in eight bits."""
    torch.manual_seed(width)
    own = FOUND[instructions]
    inputs, outputs = inputs * own.multiple, outputs * own.multiple

    def whole(*shape: int) -> Tensor:
        return torch.randint(-1, 2, shape).float()

    image, condition = whole(1, outputs, 2, width), whole(1, inputs, 2, width)
    first, second = whole(inputs, inputs, 1, 1), whole(outputs, inputs, 1, 1)
    biases = [whole(inputs) + inputs + 1, whole(outputs)]  # so that the leaky ReLU has nothing to do
    hidden = F.conv2d(condition.double(), first.double(), biases[0].double())
    scaled = F.conv2d(hidden, second.double(), biases[1].double())
    packed = own.pack_modulation([first, second] * 2, biases * 2)
    found = own.modulate(image.to(own.dtype), condition.to(own.dtype), packed)
    expected, step = image * scaled + scaled, 2**-8 if own.dtype == torch.bfloat16 else 0
    assert bool(
        ((found - expected).abs() <= expected.abs() * step).all()
    )  # the result is rounded, either way if between
