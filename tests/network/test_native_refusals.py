"""What our kernels do not take: its memory would be read as what it is not, or beyond its end."""

from __future__ import annotations

import pytest
import torch

from hdrunet_video.network.native import Layer, Packed
from tests.network.native_cases import FOUND, features, of


@pytest.mark.parametrize("instructions", FOUND)
def test_numbers_of_other_kinds_are_refused(instructions: str) -> None:
    """Their memory would be read as what it is not."""
    own = FOUND[instructions]
    n = own.multiple
    packed = own.pack("convolution", torch.randn(n, n, 3, 3), torch.randn(n))
    for other in {torch.float64, torch.float32, torch.bfloat16} - {own.dtype}:
        with pytest.raises(TypeError, match=str(other)):
            own.convolution(features(n, 4, 4, other), packed)


@pytest.mark.parametrize("instructions", FOUND)
def test_convolutions_that_there_are_no_kernels_for_are_refused(instructions: str) -> None:
    """Another one would be computed, or more than there is room for."""
    own = FOUND[instructions]
    n = own.multiple
    image, strided = of(own, n, 4, 4), own.pack("strided", torch.randn(n, n, 3, 3), torch.randn(n))
    modulation = own.pack_modulation([torch.randn(n, n, 1, 1)] * 4, [torch.randn(n)] * 4)
    with pytest.raises(ValueError, match="5x5"):
        own.pack("convolution", torch.randn(n, n, 5, 5), torch.randn(n))
    for stride, steering in ((2, (image, modulation)), (3, None)):
        with pytest.raises(ValueError, match=f"there is no kernel for such: stride {stride}"):
            own.convolution(image, strided, stride=stride, modulated=steering)
    if not own.tiled:
        with pytest.raises(ValueError, match="1x1"):
            own.pack("convolution", torch.randn(n, n, 1, 1), torch.randn(n))


@pytest.mark.parametrize("instructions", FOUND)
def test_tensors_that_do_not_belong_together_are_refused(instructions: str) -> None:
    """Memory beyond the smaller one would be read."""
    own = FOUND[instructions]
    n = own.multiple
    image, other = of(own, n, 4, 4), of(own, n, 4, 3)
    kinds = (("convolution", n), ("narrow", 3))
    packed, colours = (own.pack(name, torch.randn(count, n, 3, 3), torch.randn(count)) for name, count in kinds)
    modulation = own.pack_modulation([torch.randn(n, n, 1, 1)] * 4, [torch.randn(n)] * 4)
    for call in (
        lambda: own.convolution(image, packed, after="relu", added=other),
        lambda: own.convolution(image, packed, after="relu", shuffled=True, added=image),
        lambda: own.convolution(image, packed, modulated=(other, modulation)),
        lambda: own.narrow(image, colours, factors=other[:, :3]),
    ):
        with pytest.raises(ValueError, match="where one of"):
            call()


@pytest.mark.parametrize("instructions", FOUND)
def test_weights_of_other_channels_are_refused(instructions: str) -> None:
    """Memory beyond them, or beyond what lies between two layers, would be read."""
    own = FOUND[instructions]
    n = own.multiple
    wide, narrow = of(own, 4 * n, 4, 4), of(own, n, 4, 4)

    def packed(kernel: str, inputs: int, outputs: int, side: int = 1) -> Packed:
        return own.pack(kernel, torch.randn(outputs, inputs, side, side), torch.randn(outputs))

    def layers(*each: Packed) -> list[Layer]:
        return [Layer(weights, "none", True) for weights in each]

    square, layer = packed("convolution", n, n, 3), packed("layer", n, n)
    modulation = own.pack_modulation([torch.randn(n, n, 1, 1)] * 4, [torch.randn(n)] * 4)
    for call in (
        lambda: own.convolution(wide, square, after="relu"),
        lambda: own.convolution(narrow, layer, after="relu"),
        lambda: own.narrow(wide, packed("narrow", n, 3)),
        lambda: own.narrow(wide, packed("narrow", n, 3, 3)),
        lambda: own.chain(wide.float(), layers(layer)),
        lambda: own.chain(narrow.float(), layers(layer, packed("layer", 4 * n, n))),
        lambda: own.chain(narrow.float(), layers(layer, packed("layer", n, n, 3))),
        lambda: own.convolution(narrow, square, stride=2),
        lambda: own.convolution(narrow, square, modulated=(wide, modulation)),
        lambda: own.convolution(wide, packed("convolution", 4 * n, n, 3), modulated=(narrow, modulation)),
        lambda: own.convolution(narrow, square, modulated=(narrow, layer)),
    ):
        with pytest.raises(ValueError, match=r"where (those for|one of)"):
            call()
