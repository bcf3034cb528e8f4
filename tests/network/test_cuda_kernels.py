"""The kernels equal PyTorch's operators in float64: in Triton's interpreter, or compiled where there is a GPU."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._prims_common import suggest_memory_format

from hdrunet_video.network import cuda_forward
from hdrunet_video.network.check import check_picture
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.cuda import Fused
from hdrunet_video.network.cuda_buffers import buffers, workspace_bytes
from hdrunet_video.network.cuda_forward import Forward, Way, _strips
from hdrunet_video.network.cuda_trial import TOLERANCE
from hdrunet_video.network.hdrunet import PixelModulation
from hdrunet_video.network.weights import load_network
from tests.network.cuda_cases import (
    DEVICE,
    ON_GPU,
    SMALL,
    assert_equal,
    codes,
    computed,
    convolve,
    exact,
    features,
    network_of,
    picture_of,
    planar,
)

pytest.importorskip("triton", reason="Triton is not there for this platform")

WAYS: tuple[Way, ...] = get_args(Way)
ALL = pytest.mark.parametrize("way", WAYS)


def empty(*shape: int) -> Tensor:
    return torch.full(shape, torch.nan, device=DEVICE)


@ALL
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (2, 70), (17, 6)])
def test_equals_float64_at_any_size(size: tuple[int, int], way: Way) -> None:
    network, picture = network_of(), picture_of(*size)
    assert_equal(Fused(Forward(network, way, torch.float32), DEVICE)(picture), exact(network, picture))


@ALL
@pytest.mark.parametrize("weighting", [False, True])
@pytest.mark.parametrize("condition", [False, True])
def test_equals_float64_for_the_ablations(weighting: bool, condition: bool, way: Way) -> None:
    blocks = (2, 1, 0) if way == "tiles" else (0, 2, 1)
    config = HDRUNetConfig(weighting, condition, "spatial", 32, 16, 16, blocks)
    network, picture = network_of(config), picture_of(4, 20)
    assert_equal(computed(network, picture, way), exact(network, picture))


@pytest.mark.parametrize(
    "way",
    [
        "tiles",
        # 64 channels in float32 need 320 KiB of shared memory, which no GPU has.
        pytest.param("strips", marks=pytest.mark.skipif(ON_GPU, reason="needs an interpreter's memory")),
        "cudnn",
    ],
)
def test_equals_float64_with_the_bundled_weights(way: Way) -> None:
    network, picture = load_network(device=DEVICE), check_picture()[..., 10:18, 30:46].to(DEVICE)
    assert_equal(computed(network, picture, way), exact(network, picture))


@ALL
@pytest.mark.parametrize("weights", ["bundled", "random"])
def test_float16_is_within_half_a_code(weights: str, way: Way) -> None:
    network = load_network(device=DEVICE) if weights == "bundled" else network_of(HDRUNetConfig(), seed=3)
    if weights == "random":  # a picture, not the depths of black, where a code is a millionth of the signal
        assert network.weighting is not None
        assert network.to_rgb.bias is not None
        network.to_rgb.weight.mul_(0.1)
        network.to_rgb.bias.fill_(0.7)
        network.weighting.to_weights.weight.mul_(0.1)
    picture = check_picture()[..., 12:28, 30:46].to(DEVICE)
    made = computed(network, picture, way, torch.float16)
    assert float((codes(made) - codes(exact(network, picture))).abs().max()) <= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("way", ["tiles", "cudnn"])
def test_the_bundled_weights_are_believed(way: Way) -> None:
    network, picture = load_network(device=DEVICE), check_picture()[..., :60, :92].to(DEVICE)
    made = computed(network, picture, way, torch.float16)
    error = (codes(made) - codes(exact(network, picture))).abs()
    # Of 75 orders of the sums the largest error was 0.37 on average, and never more than 0.46.
    assert float(error.max()) < TOLERANCE
    assert float(error.mean()) < 0.04


def test_stem() -> None:
    network, picture = network_of(), picture_of(9, 21)
    made = {name: empty(9, 21, 16) for name in ("features", "trunk", "condition", "weighting")}
    forward = Forward(network, "tiles", torch.float32)
    forward._in_tiles("stem", picture.shape, image=picture, N=16, K=16, S=16, **made)
    double, image = network.cpu().double(), picture.cpu().double()
    assert double.condition is not None
    assert double.condition.to_full is not None
    assert double.weighting is not None
    inner = image
    for conv in double.condition.trunk:
        inner = F.leaky_relu(conv(inner), 0.1)
    assert_equal(planar(made["trunk"]), inner)
    first, last = double.condition.to_full
    condition = last(F.leaky_relu(first(inner), 0.1))
    assert_equal(planar(made["condition"]), condition)
    assert_equal(planar(made["features"]), double.stem_modulation(F.relu(double.stem(image)), condition))
    assert_equal(planar(made["weighting"]), F.relu(double.weighting.conv1(image)))


@ALL
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
def test_convolve(stride: int, slope: float, way: Way) -> None:
    network = network_of()
    forward = Forward(network, way, torch.float32)
    source, skip = features(9 * stride, 70 * stride, 16), features(9, 70, 16, seed=1)
    second, condition, modulated = features(9, 70, 16, seed=2), features(9, 70, 16, seed=3), empty(9, 70, 16)
    name, conv = ("encode_full", network.encode_full) if stride == 1 else ("down_half", network.down_half)
    expected = F.leaky_relu(conv.double().cpu()(planar(source)), slope) + planar(skip) + planar(second)
    tensors = {"skip": skip, "second_skip": second, "features": skip, "condition": condition, "modulated": modulated}
    then = {name: forward._weights["stem"][name] for name in ("modulation", "modulation_bias")}
    convolve(forward, name, source, {**tensors, **then}, slope=slope, stride=stride)
    assert_equal(planar(skip), expected)  # written over what was added
    part = network.stem_modulation.double().cpu()
    assert isinstance(part, PixelModulation)
    assert_equal(planar(modulated), part(expected, planar(condition)))


@pytest.mark.parametrize("height", [1, 2, 4, 5, 8, 13])
def test_strips_end_where_the_picture_does(height: int) -> None:
    network, source, memory = network_of(), features(height, 70, 16), features(height + 3, 70, 16, seed=1)
    skip, behind = memory[:height], memory[height:].clone()
    expected = F.relu(network.encode_full.double().cpu()(planar(source))) + planar(skip)
    convolve(Forward(network_of(), "strips", torch.float32), "encode_full", source, {"skip": skip, "features": skip})
    assert_equal(planar(skip), expected)
    assert torch.equal(memory[height:], behind)


@pytest.mark.parametrize("programs", [1, 4, 66, 264])
@pytest.mark.parametrize("width", [1, 64, 480, 1920, 7680])
def test_strips_hold_each_row_once(width: int, programs: int) -> None:
    across = -(-width // 64)
    for height in (*range(1, 30), 270, 540, 1080, 4320):
        rows, strips = _strips(height, width, programs)
        assert rows % 3 == 0  # the loop makes three at a time
        assert strips % across == 0
        assert rows * (strips // across - 1) < height <= rows * (strips // across)


def test_a_strip_is_long_against_its_start() -> None:
    assert _strips(1600, 3840, 264) == (126, 780)  # in three goes; 1320 of 75 rows, in five, are fewer rows in all


@ALL
@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
def test_what_is_not_a_number_stays_so(slope: float, way: Way) -> None:
    source, made = features(3, 9, 16), empty(3, 9, 16)
    source[1, 4, 2] = torch.nan
    convolve(Forward(network_of(), way, torch.float32), "encode_full", source, {"features": made}, slope=slope)
    assert made[:, 3:6].isnan().all()
    # cuDNN's way may be one that spreads it further.
    assert made[:, :3].isfinite().all() or (ON_GPU and way == "cudnn")


@ALL
def test_convolve_and_shuffle(way: Way) -> None:
    network = network_of()
    source, skip, made = features(5, 17, 16), features(10, 34, 16, seed=1), empty(10, 34, 16)
    forward = Forward(network, way, torch.float32)
    convolve(forward, "up_half", source, {"skip": skip, "features": made})
    expected = F.relu(F.pixel_shuffle(network.up_half.double().cpu()(planar(source)), 2)) + planar(skip)
    assert_equal(planar(made), expected)


@pytest.mark.parametrize("size", [(8, 16), (1, 1), (1, 5), (5, 1)])
def test_cudnn_is_given_what_pytorch_takes_for_channels_last(size: tuple[int, int]) -> None:
    """Else it is handed copies, in another order than that of the result."""
    view = cuda_forward.channels_last(features(*size, 16))
    assert suggest_memory_format(view) is torch.channels_last
    assert torch.equal(view[0].permute(1, 2, 0), features(*size, 16))


def test_what_cudnn_cannot_count_is_computed_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    network, source, made = network_of(), features(5, 17, 16), empty(5, 17, 16)
    forward, expected = Forward(network, "cudnn", torch.float32), empty(5, 17, 16)
    convolve(Forward(network, "tiles", torch.float32), "encode_full", source, {"features": expected})
    monkeypatch.setattr(cuda_forward, "_MOST_FOR_CUDNN", source.numel() - 1)
    forward._cudnn = lambda *_: pytest.fail("cuDNN was asked")
    convolve(forward, "encode_full", source, {"features": made})
    assert torch.equal(made, expected)


def test_convolve_and_map() -> None:
    network = network_of()
    source, made = features(12, 40, 16), empty(6, 20, 16)
    convolve(Forward(network, "tiles", torch.float32), "to_half", source, {"mapped": made}, slope=0.1, stride=2)
    assert network.condition is not None
    first, last = network.condition.to_half.double().cpu()
    assert_equal(planar(made), last(F.leaky_relu(first(planar(source)), 0.1)))


@ALL
def test_keep(way: Way) -> None:
    network, picture = network_of(), picture_of(7, 19)
    source, made = features(7, 19, 16), empty(3, 7, 19)
    convolve(Forward(network, way, torch.float32), "keep", source, {"image": picture, "planes": made})
    assert network.weighting is not None
    part = network.weighting.double().cpu()
    inner = F.relu(part.conv3(F.relu(part.conv2(planar(source)))))
    assert_equal(made.unsqueeze(0), part.to_weights(inner) * picture.cpu().double())


@pytest.mark.parametrize(
    ("way", "dtype"), [*product(WAYS, [torch.float32]), *product(["strips", "tiles"], [torch.float16])], ids=str
)
def test_products_and_gather(way: Way, dtype: torch.dtype) -> None:
    """The last convolution keeps float32, whichever type its features are computed from."""
    network, kept = network_of(), features(3, 6, 33, seed=4)
    network.decode_full.weight.copy_(network.decode_full.weight.to(dtype))
    source, products, made = features(6, 33, 16).to(dtype), empty(27, 6, 33), empty(3, 6, 33)
    forward = Forward(network, way, dtype)
    convolve(forward, "decode_full", source, {"planes": products})
    forward._in_tiles("gather", kept.shape, products=products, kept=kept, output=made)
    double = network.double().cpu()
    expected = double.to_rgb(F.relu(double.decode_full(planar(source)))) + kept.cpu().double()
    assert_equal(made.unsqueeze(0), expected)


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")  # the interpreter's
@ALL
def test_what_float16_cannot_hold_is_not_finite(way: Way) -> None:
    network, products = network_of(), empty(27, 3, 9)
    network.decode_full.weight.mul_(10)
    source = features(3, 9, 16).half()
    source[1, 4] = 60000.0
    convolve(Forward(network, way, torch.float16), "decode_full", source, {"planes": products})
    assert not products[:, :, 3:6].isfinite().all()
    assert products[:, :, :3].isfinite().all() or (ON_GPU and way == "cudnn")


def test_buffers_need_their_memory() -> None:
    memory = torch.empty(workspace_bytes(SMALL, 4, 4) - 1, dtype=torch.uint8)
    with pytest.raises(ValueError, match="do not hold"):
        buffers(memory, SMALL, 4, 4, torch.float16)
