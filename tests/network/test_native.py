"""Our kernels against float64, for each set of instructions that this processor has."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrunet_video.network.native import Layer, kernel_of
from tests.network.native_cases import AFTER, FOUND, assert_close, features, of, sides, vectors


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=40, deadline=None)
@given(
    height=sides,
    width=st.integers(1, 70),
    inputs=vectors,
    outputs=vectors,
    side=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2]),
    after=st.sampled_from(["none", "relu", "leaky_relu"]),
    adds=st.booleans(),
)
def test_a_convolution(
    instructions: str,
    height: int,
    width: int,
    inputs: int,
    outputs: int,
    side: int,
    stride: int,
    after: str,
    adds: bool,
) -> None:
    torch.manual_seed(height)
    own = FOUND[instructions]
    side = side if own.convolves(side, stride) else 3
    inputs, outputs = inputs * own.multiple, outputs * own.multiple
    image, weight, bias = of(own, inputs, height, width), torch.randn(outputs, inputs, side, side), torch.randn(outputs)
    weight /= (side * side * inputs) ** 0.5
    expected = F.conv2d(image.double(), weight.double(), bias.double(), stride, side // 2)
    added = of(own, *expected.shape[1:]) if adds else None
    expected = AFTER[after](expected) + (0 if added is None else added)
    packed = own.pack(kernel_of(stride), weight, bias)
    found = own.convolution(image, packed, after=after, stride=stride, added=added)
    assert_close(found, expected, instructions, exact=False)


@pytest.mark.parametrize("instructions", FOUND)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(35, 131), (1, 260), (70, 1)])
def test_a_convolution_of_a_larger_picture(size: tuple[int, int], stride: int, instructions: str) -> None:
    """More than threads do at once."""
    torch.manual_seed(3)
    own = FOUND[instructions]
    n = own.multiple
    image, weight, bias = of(own, n, *size), torch.randn(2 * n, n, 3, 3) / (9 * n) ** 0.5, torch.randn(2 * n)
    expected = F.conv2d(image.double(), weight.double(), bias.double(), stride, 1)
    found = own.convolution(image, own.pack(kernel_of(stride), weight, bias), stride=stride)
    assert_close(found, expected, instructions, exact=False)


@pytest.mark.parametrize("instructions", FOUND)
@pytest.mark.parametrize("count", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (5, 6), (9, 131)])
def test_a_convolution_that_is_shuffled(size: tuple[int, int], count: int, instructions: str) -> None:
    torch.manual_seed(1)
    own = FOUND[instructions]
    count *= own.multiple
    image, skip = of(own, count, *size), of(own, count, 2 * size[0], 2 * size[1])
    weight, bias = torch.randn(4 * count, count, 3, 3) / (9 * count) ** 0.5, torch.randn(4 * count)
    expected = F.pixel_shuffle(F.conv2d(image.double(), weight.double(), bias.double(), padding=1), 2).relu() + skip
    order = torch.arange(4 * count).view(count, 4).t().reshape(-1)
    packed = own.pack("convolution", weight[order], bias[order])
    assert_close(
        own.convolution(image, packed, after="relu", shuffled=True, added=skip), expected, instructions, exact=False
    )


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=40, deadline=None)
@given(
    height=sides,
    width=st.integers(1, 110),
    side=st.sampled_from([1, 3]),
    counts=st.lists(vectors, min_size=1, max_size=4),
    inputs=st.integers(1, 20),
)
def test_a_chain(instructions: str, height: int, width: int, side: int, counts: list[int], inputs: int) -> None:
    torch.manual_seed(height)
    own, layers, expected = FOUND[instructions], [], []
    image = features(inputs, height, width)
    result = image.double()
    for index, outputs in enumerate(own.multiple * count for count in counts):
        weight, bias = torch.randn(outputs, inputs, side, side) / (side * side * inputs) ** 0.5, torch.randn(outputs)
        after, kept = ("relu", "leaky_relu", "none")[index % 3], index % 2 == 0 or index == len(counts) - 1
        layers.append(Layer(own.pack("layer", weight, bias), after, kept, exact=index != 2))
        result = AFTER[after](F.conv2d(result, weight.double(), bias.double(), padding=side // 2))
        expected += [(result, index != 2)] if kept else []
        inputs, side = outputs, 1
    for found, (each, exact) in zip(own.chain(image, layers), expected, strict=True):
        assert_close(found, each, instructions, exact)


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=40, deadline=None)
@given(height=sides, width=st.integers(1, 70), side=st.sampled_from([1, 3]), inputs=vectors)
def test_a_convolution_that_makes_colours(instructions: str, height: int, width: int, side: int, inputs: int) -> None:
    torch.manual_seed(height)
    own, others = FOUND[instructions], features(3, height, width)
    inputs *= own.multiple
    image = of(own, inputs, height, width)
    weight, bias = torch.randn(3, inputs, side, side) / (side * side * inputs) ** 0.5, torch.randn(3)
    expected = F.conv2d(image.double(), weight.double(), bias.double(), padding=side // 2)
    packed = own.pack("narrow", weight, bias)
    assert_close(own.narrow(image, packed, added=others), expected + others, instructions)
    assert_close(own.narrow(image, packed, factors=others), expected * others, instructions)


@pytest.mark.parametrize("instructions", FOUND)
@pytest.mark.parametrize("rows", [(3, 11), (3, 4)])
@pytest.mark.parametrize("columns", [(4, 21), (4, 5), (2, 75)])
def test_parts_of_a_larger_picture(instructions: str, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    torch.manual_seed(0)
    own = FOUND[instructions]
    n = own.multiple
    image = of(own, n, 20, 80)
    packed = own.pack("convolution", torch.randn(n, n, 3, 3), torch.randn(n))
    part = image[..., slice(*rows), slice(*columns)]
    dense = part.contiguous(memory_format=torch.channels_last)
    found, expected = (own.convolution(each, packed, added=each) for each in (part, dense))
    assert torch.equal(found, expected)
    strided = own.pack("strided", torch.randn(n, n, 3, 3), torch.randn(n))
    found, expected = (own.convolution(each, strided, stride=2) for each in (part, dense))
    assert torch.equal(found, expected)
    colours = own.pack("narrow", torch.randn(3, n, 3, 3), torch.randn(3))
    found, expected = (own.narrow(each, colours, added=each[:, :3].float()) for each in (part, dense))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("instructions", FOUND)
@pytest.mark.parametrize("stride", [1, 2])
def test_the_bits_do_not_depend_on_the_threads(stride: int, instructions: str) -> None:
    torch.manual_seed(0)
    own = FOUND[instructions]
    image = of(own, 32, 70, 61)
    packed = own.pack(kernel_of(stride), torch.randn(32, 32, 3, 3), torch.randn(32))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(own.convolution(image, packed, after="relu", stride=stride))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("instructions", FOUND)
def test_what_is_not_a_number_stays_so(instructions: str) -> None:
    """A ReLU that made 0 of it would hide broken weights."""
    own = FOUND[instructions]
    n = own.multiple
    image = of(own, n, 4, 4)
    image[0, 3, 1, 1] = float("nan")
    packed = own.pack("convolution", torch.randn(n, n, 3, 3), torch.randn(n))
    assert own.convolution(image, packed, after="relu").isnan().any()
