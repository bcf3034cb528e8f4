"""Our kernels against float64, for each set of instructions that this processor has."""

from __future__ import annotations

import platform
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hdrunet_video.network.native import Layer, Packed, kernels
from hdrunet_video.processor import cpu_flags

_CAPABILITY = torch.backends.cpu.get_cpu_capability()
_SETS = 2 + ("avx512_bf16" in cpu_flags()) if _CAPABILITY.startswith("AVX512") else _CAPABILITY.startswith("AVX2")
PLATFORM = (sys.platform, platform.machine()) == ("linux", "x86_64")
EXPECTED = ("avx2", "avx512", "avx512_bf16")[: _SETS if PLATFORM else 0]
FOUND = {name: found for name in EXPECTED if (found := kernels(name)) is not None}

_KINDS = (("winograd", 16), ("narrow", 3))
sides = st.integers(1, 23)
channels = st.integers(1, 5).map(lambda count: 16 * count)


def features(count: int, height: int, width: int) -> Tensor:
    return torch.randn(1, count, height, width).contiguous(memory_format=torch.channels_last)


def assert_close(found: Tensor, expected: Tensor, instructions: str = "") -> None:
    tolerance = 0.05 if instructions == "avx512_bf16" else 3e-6
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=40, deadline=None)
@given(height=sides, width=sides, inputs=channels, outputs=channels, rectify=st.booleans(), adds=st.booleans())
def test_a_convolution(
    instructions: str, height: int, width: int, inputs: int, outputs: int, rectify: bool, adds: bool
) -> None:
    torch.manual_seed(height)
    image, weight, bias = features(inputs, height, width), torch.randn(outputs, inputs, 3, 3), torch.randn(outputs)
    weight /= (9 * inputs) ** 0.5
    added = features(outputs, height, width) if adds else None
    expected = F.conv2d(image.double(), weight.double(), bias.double(), padding=1)
    expected = (expected.relu() if rectify else expected) + (0 if added is None else added)
    own = FOUND[instructions]
    packed = own.pack("winograd", weight, bias)
    assert_close(own.winograd(image, packed, rectify=rectify, added=added), expected, instructions)


@pytest.mark.parametrize("instructions", FOUND)
@pytest.mark.parametrize("count", [16, 48, 64])
@pytest.mark.parametrize("size", [(1, 1), (5, 6), (9, 131)])
def test_a_convolution_that_is_shuffled(size: tuple[int, int], count: int, instructions: str) -> None:
    torch.manual_seed(1)
    image, skip = features(count, *size), features(count, 2 * size[0], 2 * size[1])
    weight, bias = torch.randn(4 * count, count, 3, 3) / (9 * count) ** 0.5, torch.randn(4 * count)
    expected = F.pixel_shuffle(F.conv2d(image.double(), weight.double(), bias.double(), padding=1), 2).relu() + skip
    order = torch.arange(4 * count).view(count, 4).t().reshape(-1)
    own = FOUND[instructions]
    packed = own.pack("winograd", weight[order], bias[order])
    assert_close(own.winograd(image, packed, rectify=True, shuffled=True, added=skip), expected, instructions)


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=40, deadline=None)
@given(
    height=sides,
    width=st.integers(1, 110),
    side=st.sampled_from([1, 3]),
    counts=st.lists(st.integers(1, 5).map(lambda count: 16 * count), min_size=1, max_size=4),
    inputs=st.integers(1, 20),
)
def test_a_chain(instructions: str, height: int, width: int, side: int, counts: list[int], inputs: int) -> None:
    torch.manual_seed(height)
    image, own, layers, expected = features(inputs, height, width), FOUND[instructions], [], []
    result = image.double()
    for index, outputs in enumerate(counts):
        weight, bias = torch.randn(outputs, inputs, side, side) / (side * side * inputs) ** 0.5, torch.randn(outputs)
        after, kept = ("relu", "leaky_relu", "none")[index % 3], index % 2 == 0 or index == len(counts) - 1
        layers.append(Layer(own.pack("layer", weight, bias), after, kept))
        result = F.conv2d(result, weight.double(), bias.double(), padding=side // 2)
        result = {"relu": F.relu, "leaky_relu": lambda it: F.leaky_relu(it, 0.1), "none": lambda it: it}[after](result)
        expected += [result] if kept else []
        inputs, side = outputs, 1
    for found, each in zip(own.chain(image, layers), expected, strict=True):
        assert_close(found, each)


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=40, deadline=None)
@given(height=sides, width=sides, side=st.sampled_from([1, 3]), inputs=channels)
def test_a_convolution_that_makes_colours(instructions: str, height: int, width: int, side: int, inputs: int) -> None:
    torch.manual_seed(height)
    image, own, others = features(inputs, height, width), FOUND[instructions], features(3, height, width)
    weight, bias = torch.randn(3, inputs, side, side) / (side * side * inputs) ** 0.5, torch.randn(3)
    expected = F.conv2d(image.double(), weight.double(), bias.double(), padding=side // 2)
    packed = own.pack("narrow", weight, bias)
    assert_close(own.narrow(image, packed, added=others), expected + others)
    assert_close(own.narrow(image, packed, factors=others), expected * others)


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=40, deadline=None)
@given(height=sides, width=sides, inputs=channels, outputs=channels)
def test_a_modulation(instructions: str, height: int, width: int, inputs: int, outputs: int) -> None:
    torch.manual_seed(width)
    image, condition = features(outputs, height, width), features(inputs, height, width)
    weights = [torch.randn(rows, inputs, 1, 1) / inputs**0.5 for rows in (inputs, outputs) * 2]
    biases = [torch.randn(rows) for rows in (inputs, outputs) * 2]
    layers = [(weight.double(), bias.double()) for weight, bias in zip(weights, biases, strict=True)]
    scale, shift = (
        F.conv2d(F.leaky_relu(F.conv2d(condition.double(), *first), 0.1), *second)
        for first, second in (layers[:2], layers[2:])
    )
    own = FOUND[instructions]
    found = own.modulate(image, condition, own.pack_modulation(weights, biases))
    assert_close(found, image.double() * scale + shift, instructions)


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=20, deadline=None)
@given(width=st.integers(1, 110), inputs=channels, outputs=channels)
def test_a_modulation_of_small_whole_numbers_loses_nothing(
    instructions: str, width: int, inputs: int, outputs: int
) -> None:
    """Whatever its products are of: these numbers are exact in eight bits."""
    torch.manual_seed(width)

    def whole(*shape: int) -> Tensor:
        return torch.randint(-1, 2, shape).float()

    own, image, condition = FOUND[instructions], whole(1, outputs, 2, width), whole(1, inputs, 2, width)
    first, second = whole(inputs, inputs, 1, 1), whole(outputs, inputs, 1, 1)
    biases = [whole(inputs) + inputs + 1, whole(outputs)]  # so that the leaky ReLU has nothing to do
    hidden = F.conv2d(condition.double(), first.double(), biases[0].double())
    scaled = F.conv2d(hidden, second.double(), biases[1].double())
    found = own.modulate(image, condition, own.pack_modulation([first, second] * 2, biases * 2))
    assert torch.equal(found.double(), image * scaled + scaled)


@pytest.mark.parametrize("instructions", FOUND)
@pytest.mark.parametrize("rows", [(3, 11), (3, 4)])
@pytest.mark.parametrize("columns", [(4, 21), (4, 5)])
def test_parts_of_a_larger_picture(instructions: str, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    torch.manual_seed(0)
    own, image = FOUND[instructions], features(16, 20, 30)
    packed = own.pack("winograd", torch.randn(16, 16, 3, 3), torch.randn(16))
    part = image[..., slice(*rows), slice(*columns)]
    dense = part.contiguous(memory_format=torch.channels_last)
    found, expected = (own.winograd(each, packed, rectify=False, added=each) for each in (part, dense))
    assert torch.equal(found, expected)
    modulation = own.pack_modulation([torch.randn(16, 16, 1, 1)] * 4, [torch.randn(16)] * 4)
    found, expected = (own.modulate(each, each, modulation) for each in (part, dense))
    assert torch.equal(found, expected)
    colours = own.pack("narrow", torch.randn(3, 16, 3, 3), torch.randn(3))
    found, expected = (own.narrow(each, colours, added=each[:, :3]) for each in (part, dense))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("instructions", FOUND)
def test_the_bits_do_not_depend_on_the_threads(instructions: str) -> None:
    torch.manual_seed(0)
    own, image = FOUND[instructions], features(32, 70, 61)
    packed = own.pack("winograd", torch.randn(32, 32, 3, 3), torch.randn(32))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(own.winograd(image, packed, rectify=True))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("instructions", FOUND)
def test_what_is_not_a_number_stays_so(instructions: str) -> None:
    """A ReLU that made 0 of it would hide broken weights."""
    own, image = FOUND[instructions], features(16, 4, 4)
    image[0, 3, 1, 1] = float("nan")
    packed = own.pack("winograd", torch.randn(16, 16, 3, 3), torch.randn(16))
    assert own.winograd(image, packed, rectify=True).isnan().any()


@pytest.mark.parametrize("instructions", FOUND)
def test_other_numbers_than_float32_are_refused(instructions: str) -> None:
    """Their memory would be read as what it is not."""
    own = FOUND[instructions]
    packed = own.pack("winograd", torch.randn(16, 16, 3, 3), torch.randn(16))
    with pytest.raises(TypeError, match="float64"):
        own.winograd(features(16, 4, 4).double(), packed, rectify=True)


@pytest.mark.parametrize("instructions", FOUND)
def test_tensors_that_do_not_belong_together_are_refused(instructions: str) -> None:
    """Memory beyond the smaller one would be read."""
    own, image, other = FOUND[instructions], features(16, 4, 4), features(16, 4, 3)
    packed, colours = (own.pack(name, torch.randn(n, 16, 3, 3), torch.randn(n)) for name, n in _KINDS)
    modulation = own.pack_modulation([torch.randn(16, 16, 1, 1)] * 4, [torch.randn(16)] * 4)
    for call in (
        lambda: own.winograd(image, packed, rectify=True, added=other),
        lambda: own.winograd(image, packed, rectify=True, shuffled=True, added=image),
        lambda: own.modulate(image, other, modulation),
        lambda: own.narrow(image, colours, factors=other[:, :3]),
    ):
        with pytest.raises(ValueError, match="where one of"):
            call()


@pytest.mark.parametrize("instructions", FOUND)
def test_weights_of_other_channels_are_refused(instructions: str) -> None:
    """Memory beyond them, or beyond what lies between two layers, would be read."""
    own, wide, narrow = FOUND[instructions], features(64, 4, 4), features(16, 4, 4)

    def packed(kernel: str, inputs: int, outputs: int, side: int = 1) -> Packed:
        return own.pack(kernel, torch.randn(outputs, inputs, side, side), torch.randn(outputs))

    def layers(*each: Packed) -> list[Layer]:
        return [Layer(weights, "none", True) for weights in each]

    square, layer = packed("winograd", 16, 16, 3), packed("layer", 16, 16)
    modulation = own.pack_modulation([torch.randn(16, 16, 1, 1)] * 4, [torch.randn(16)] * 4)
    for call in (
        lambda: own.winograd(wide, square, rectify=True),
        lambda: own.winograd(narrow, layer, rectify=True),
        lambda: own.narrow(wide, packed("narrow", 16, 3)),
        lambda: own.narrow(wide, packed("narrow", 16, 3, 3)),
        lambda: own.chain(wide, layers(layer)),
        lambda: own.chain(narrow, layers(layer, packed("layer", 64, 16))),
        lambda: own.chain(narrow, layers(layer, packed("layer", 16, 16, 3))),
        lambda: own.modulate(narrow, wide, modulation),
        lambda: own.modulate(wide, narrow, modulation),
        lambda: own.modulate(narrow, narrow, layer),
    ):
        with pytest.raises(ValueError, match=r"where (those for|one of)"):
            call()
