"""The fused network equals PyTorch's in float64, keeps its memory and its graphs in bounds, and fails aloud.

Without a GPU its kernels run in Triton's interpreter; on one they are compiled, and the tests marked cuda run too.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hdrunet_video.color.convert import Target
from hdrunet_video.color.light import LightMapping
from hdrunet_video.color.spec import ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer
from hdrunet_video.color.tone import to_nits
from hdrunet_video.color.transfer import pq_inverse_eotf
from hdrunet_video.engine import Engine
from hdrunet_video.frame import Frame
from hdrunet_video.network import check, cuda, forward
from hdrunet_video.network.check import check_picture
from hdrunet_video.network.cuda import MOST_GRAPHS, Fused, fused
from hdrunet_video.network.cuda_forward import Forward, buffers, supports, workspace_bytes
from hdrunet_video.network.hdrunet import VARIANTS, HDRUNet, HDRUNetConfig, PixelModulation
from hdrunet_video.network.tiles import choose_tile, run_in_tiles
from hdrunet_video.network.weights import load_network

pytest.importorskip("triton", reason="Triton is not there for this platform")

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if ON_GPU else torch.device("cpu")
SMALL = HDRUNetConfig(channels=16, condition_channels=16, sft_channels=16, blocks=(0, 1, 0))
TILE = {"ROWS": 8, "COLUMNS": 16}


@pytest.fixture(scope="module")
def kernels() -> Any:
    from hdrunet_video.network import cuda_kernels

    return cuda_kernels


def network_of(config: HDRUNetConfig = SMALL, seed: int = 0) -> HDRUNet:
    """Random weights, and biases too, which new networks have not."""
    generator = torch.Generator().manual_seed(seed)
    network = HDRUNet(config).requires_grad_(False).eval()
    for parameter in network.parameters():
        spread = 0.1 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return network.to(DEVICE)


def picture_of(height: int, width: int, seed: int = 1) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def exact(network: HDRUNet, picture: Tensor) -> Tensor:
    """Float64 on the CPU."""
    copy = HDRUNet(network.config).double()
    copy.load_state_dict(network.state_dict())
    with torch.no_grad():
        output: Tensor = copy(picture.cpu().double())
    return output


def assert_equal(made: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(made.cpu().double(), expected, rtol=3e-6, atol=3e-6)


def computed(network: HDRUNet, picture: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """By the launches alone, in memory full of NaN."""
    height, width = picture.shape[-2:]
    memory = torch.full((workspace_bytes(network.config, height, width, dtype),), 255, dtype=torch.uint8)
    given = buffers(memory.to(DEVICE), network.config, height, width, dtype)
    given["image"].copy_(picture)
    Forward(network, dtype)(given)
    return given["output"]


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def planar(values: Tensor) -> Tensor:
    """(H, W, C) -> (1, C, H, W), float64 on the CPU."""
    return values.cpu().double().permute(2, 0, 1).unsqueeze(0)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (2, 70), (37, 6), (12, 20)])
def test_equals_float64_at_any_size(size: tuple[int, int]) -> None:
    network, picture = network_of(), picture_of(*size)
    assert_equal(Fused(Forward(network, torch.float32), DEVICE)(picture), exact(network, picture))


@pytest.mark.parametrize("blocks", [(2, 1, 0), (0, 2, 1)])
@pytest.mark.parametrize("weighting", [False, True])
@pytest.mark.parametrize("condition", [False, True])
def test_equals_float64_for_the_ablations(blocks: tuple[int, int, int], weighting: bool, condition: bool) -> None:
    config = HDRUNetConfig(weighting, condition, "spatial", 32, 16, 16, blocks)
    network, picture = network_of(config), picture_of(4, 20)
    assert_equal(computed(network, picture), exact(network, picture))


def test_equals_float64_with_the_bundled_weights() -> None:
    network, picture = load_network(device=DEVICE), check_picture()[..., 10:26, 30:54].to(DEVICE)
    assert_equal(computed(network, picture), exact(network, picture))


def test_stem(kernels: Any) -> None:
    network, picture = network_of(), picture_of(9, 21)
    weights = Forward(network, torch.float32)._weights
    made = [torch.full((9, 21, 16), torch.nan, device=DEVICE) for _ in range(4)]
    stem = (*weights["stem"], *weights["stem_modulation"], made[0])
    trunk = (*weights["trunk"], *weights["chain"], made[1], made[2])
    weighting = (*weights["weighting"], made[3])
    kernels.stem[4, 1](picture, *stem, *trunk, *weighting, 9, 21, N=16, K=16, S=16, **TILE)
    double, image = network.cpu().double(), picture.cpu().double()
    assert double.condition is not None
    assert double.condition.to_full is not None
    assert double.weighting is not None
    inner = image
    for conv in double.condition.trunk:
        inner = F.leaky_relu(conv(inner), 0.1)
    assert_equal(planar(made[1]), inner)
    condition = double.condition.to_full[1](F.leaky_relu(double.condition.to_full[0](inner), 0.1))
    assert_equal(planar(made[2]), condition)
    assert_equal(planar(made[0]), double.stem_modulation(F.relu(double.stem(image)), condition))
    assert_equal(planar(made[3]), F.relu(double.weighting.conv1(image)))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
def test_convolve(kernels: Any, stride: int, slope: float) -> None:
    network = network_of()
    name, conv = ("encode_full", network.encode_full) if stride == 1 else ("down_half", network.down_half)
    weights = Forward(network, torch.float32)._weights
    source, skip = features(8 * stride, 18 * stride, 16), features(8, 18, 16, seed=1)
    second, condition = features(8, 18, 16, seed=2), features(8, 18, 16, seed=3)
    modulated = torch.full_like(skip, torch.nan)
    expected = F.leaky_relu(conv.double().cpu()(planar(source)), slope) + planar(skip) + planar(second)
    fixed = {"SLOPE": slope, "INPUTS": 16, "C": 16, "S": 16, "STRIDE": stride, "SHUFFLE": False, **TILE}
    modulation = (condition, *weights["stem_modulation"], modulated)
    kernels.convolve[2, 1](source, *weights[name], skip, second, skip, *modulation, 8, 18, **fixed)
    assert_equal(planar(skip), expected)  # written over what it added
    part = network.stem_modulation.double().cpu()
    assert isinstance(part, PixelModulation)
    assert_equal(planar(modulated), part(expected, planar(condition)))


def test_convolve_and_shuffle(kernels: Any) -> None:
    network = network_of()
    weights = Forward(network, torch.float32)._weights
    source, skip = features(5, 17, 16), features(10, 34, 16, seed=1)
    made = torch.full_like(skip, torch.nan)
    fixed = {"SLOPE": 0.0, "INPUTS": 16, "C": 16, "S": 16, "STRIDE": 1, "SHUFFLE": True, **TILE}
    tensors = (source, *weights["up_half"], skip, None, made, None, None, None, None)
    kernels.convolve[2, 4](*tensors, 5, 17, **fixed)
    expected = F.relu(F.pixel_shuffle(network.up_half.double().cpu()(planar(source)), 2)) + planar(skip)
    assert_equal(planar(made), expected)


def test_convolve_linear(kernels: Any) -> None:
    network = network_of()
    weights = Forward(network, torch.float32)._weights
    source, made = features(12, 40, 16), torch.full((6, 20, 16), torch.nan, device=DEVICE)
    kernels.convolve_linear[2, 1](source, *weights["to_half"], made, 6, 20, INPUTS=16, C=16, S=16, STRIDE=2, **TILE)
    part = network.condition
    assert part is not None
    first, last = part.to_half.double().cpu()
    assert_equal(planar(made), last(F.leaky_relu(first(planar(source)), 0.1)))


def test_keep(kernels: Any) -> None:
    network, picture = network_of(), picture_of(7, 19)
    weights = Forward(network, torch.float32)._weights
    source, made = features(7, 19, 16), torch.full((3, 7, 19), torch.nan, device=DEVICE)
    kernels.keep[2, 1](source, *weights["keep"], picture, made, 7, 19, N=16, **TILE)
    part = network.weighting
    assert part is not None
    part = part.double().cpu()
    inner = F.relu(part.conv3(F.relu(part.conv2(planar(source)))))
    assert_equal(made.unsqueeze(0), part.to_weights(inner) * picture.cpu().double())


def test_products_and_gather(kernels: Any) -> None:
    network, kept = network_of(), features(3, 6, 33, seed=4)
    weights = Forward(network, torch.float32)._weights
    source, made = features(6, 33, 16), torch.full((3, 6, 33), torch.nan, device=DEVICE)
    products = torch.full((27, 6, 33), torch.nan, device=DEVICE)
    last, bias = weights["to_rgb"]
    kernels.convolve_products[3, 1](source, *weights["decode_full"], last, products, 6, 33, N=16, **TILE)
    kernels.gather[3, 1](products, bias, kept, made, 6, 33, **TILE)
    double = network.double().cpu()
    expected = double.to_rgb(F.relu(double.decode_full(planar(source)))) + kept.cpu().double()
    assert_equal(made.unsqueeze(0), expected)


def codes(signal: Tensor) -> Tensor:
    """10-bit codes of R'G'B' in PQ, not rounded."""
    return 1023 * pq_inverse_eotf(to_nits(signal.cpu().float(), Primaries.BT709, LightMapping())).double()


@pytest.mark.parametrize("weights", ["bundled", "random"])
def test_float16_is_within_half_a_code(weights: str) -> None:
    network = load_network(device=DEVICE) if weights == "bundled" else network_of(HDRUNetConfig(), seed=3)
    if weights == "random":  # a picture, not the depths of black, where a code is a millionth of the signal
        network.to_rgb.weight.mul_(0.1)
        network.to_rgb.bias.fill_(0.7)
        network.weighting.to_weights.weight.mul_(0.1)
    picture = check_picture()[..., 12:28, 30:46].to(DEVICE)
    made = computed(network, picture, torch.float16)
    assert float((codes(made) - codes(exact(network, picture))).abs().max()) <= 0.5


class Recorder:
    """Stands for CUDA graphs: says what was captured and replayed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.captured, self.replayed = error, 0, 0

    def __call__(self, launches: Callable[[], None]) -> Callable[[], None]:
        if self.error is not None:
            raise self.error
        self.captured += 1

        def replay() -> None:
            self.replayed += 1
            launches()

        return replay


class Inverse(Forward):
    """1 - image, in the buffers of the real thing."""

    def __init__(self, config: HDRUNetConfig = SMALL) -> None:
        self.config, self.dtype = config, torch.float16

    def __call__(self, given: Any) -> None:
        given["output"].copy_(1 - given["image"])


def asked(made: Fused, height: int, width: int) -> None:
    picture = picture_of(height, width, seed=height * width)
    assert torch.equal(made(picture), 1 - picture)


def test_a_size_gets_its_graph_at_the_second_picture() -> None:
    recorder = Recorder()
    made = Fused(Inverse(), DEVICE, recorder)
    for width, captured, replayed in ((8, 0, 0), (8, 1, 1), (8, 1, 2), (6, 1, 3), (5, 1, 4), (4, 1, 4), (4, 2, 5)):
        asked(made, 8, width)
        assert (recorder.captured, recorder.replayed) == (captured, replayed)


def test_graphs_are_bounded_and_the_oldest_goes_first() -> None:
    recorder = Recorder()
    made = Fused(Inverse(), DEVICE, recorder)
    asked(made, 4, 400)  # so that the memory does not grow
    for width in range(4, 4 * MOST_GRAPHS + 20, 4):
        asked(made, 4, width)
        asked(made, 4, width)
        asked(made, 4, 4)
    assert len(made._graphs) == MOST_GRAPHS
    captured = recorder.captured
    asked(made, 4, 4)
    assert recorder.captured == captured
    for _ in range(2):
        asked(made, 4, 8)
    assert recorder.captured == captured + 1


def test_graphs_go_with_the_memory_they_write_to() -> None:
    recorder = Recorder()
    made = Fused(Inverse(), DEVICE, recorder)
    for _ in range(2):
        asked(made, 4, 4)
    asked(made, 16, 16)
    for _ in range(2):
        asked(made, 4, 4)
    assert recorder.captured == 2
    made.release()
    asked(made, 4, 4)
    assert recorder.captured == 2


def test_the_output_is_the_callers_own() -> None:
    made = Fused(Inverse(), DEVICE, Recorder())
    first = [made(picture_of(4, 4)) for _ in range(3)]
    made(picture_of(4, 4, seed=9))
    assert all(torch.equal(each, 1 - picture_of(4, 4)) for each in first)


@pytest.mark.parametrize("error", [RuntimeError("operation not permitted"), torch.OutOfMemoryError("out of memory")])
def test_without_graphs_it_goes_on_aloud(caplog: pytest.LogCaptureFixture, error: Exception) -> None:
    made = Fused(Inverse(), DEVICE, Recorder(error))
    for _ in range(3):
        asked(made, 4, 8)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "one by one" in caplog.text
    assert str(error) in caplog.text


def test_out_of_memory_leaves_it_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    made, empty = Fused(Inverse(), DEVICE, Recorder()), torch.empty

    def limited(size: Any, **options: Any) -> Tensor:
        if isinstance(size, int) and size > 200_000:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return empty(size, **options)

    monkeypatch.setattr(torch, "empty", limited)
    for _ in range(3):
        asked(made, 8, 8)
        with pytest.raises(torch.OutOfMemoryError):
            made(picture_of(200, 200))
        assert made._memory is None
    asked(made, 8, 8)


def test_memory_of_a_4k_frame_and_of_its_tiles() -> None:
    config, gib, pixels = HDRUNetConfig(), 2**30, 3840 * 2160
    needed = Fused(Inverse(config), DEVICE).bytes_per_pixel
    own = workspace_bytes(config, 2160, 3840)
    assert own <= 4 * gib
    assert own < pixels * needed <= 5 * gib
    rest = pixels * needed - own
    tile = choose_tile(3840, 2160, (96, 92), (2 * gib - rest) * pixels // own)
    assert tile == (1280, 2160)
    assert workspace_bytes(config, 2160, 1280 + 188) + rest <= 2 * gib


def test_buffers_need_their_memory() -> None:
    with pytest.raises(ValueError, match="do not hold"):
        buffers(torch.empty(1000, dtype=torch.uint8), SMALL, 4, 4, torch.float16)


@pytest.mark.parametrize("name", VARIANTS)
def test_which_variants_have_kernels(name: str, caplog: pytest.LogCaptureFixture) -> None:
    config = VARIANTS[name]
    assert supports(config) is (name not in ("sft-map", "sft-channel"))
    if not supports(config):
        assert fused(HDRUNet(config)) is None
        assert not caplog.records
        with pytest.raises(ValueError, match="no kernels"):
            Forward(HDRUNet(config))


@pytest.mark.parametrize("change", [{"channels": 48}, {"sft_channels": 8}, {"blocks": (1, 0, 1)}])
def test_networks_without_kernels(change: dict[str, Any]) -> None:
    assert not supports(HDRUNetConfig(**change))


class Wrong(Inverse):
    """Kernels that do not work."""

    def __init__(self, network: HDRUNet) -> None:
        super().__init__(network.config)

    def __call__(self, given: Any) -> None:
        given["output"].fill_(0.5)


class NotFinite(Wrong):
    def __call__(self, given: Any) -> None:
        given["output"].fill_(torch.nan)


class Broken(Wrong):
    def __call__(self, given: Any) -> None:
        raise RuntimeError("PassManager::run failed\nmore")


class Missing(Wrong):
    def __init__(self, network: HDRUNet) -> None:
        raise ModuleNotFoundError("No module named 'triton'")


@pytest.mark.parametrize(
    ("kernels", "reason"),
    [
        (Wrong, "wrong by [0-9]+"),
        (NotFinite, "wrong by inf"),
        (Broken, "PassManager::run failed$"),
        (Missing, "No module named 'triton'"),
    ],
)
def test_falls_back_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kernels: type[Forward], reason: str
) -> None:
    monkeypatch.setattr(cuda, "Forward", kernels)
    monkeypatch.setattr(HDRUNet, "to", lambda self, *_, **__: self)  # there may be no such device
    network = network_of()
    made = forward.place(network, torch.device("cuda"), "fp16")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.records[0].name == "hdrunet_video.network.cuda"
    assert "going on with PyTorch's operators" in caplog.text
    assert re.search(reason, caplog.records[0].getMessage())
    picture = picture_of(8, 8)
    torch.testing.assert_close(made(picture), network(picture), rtol=0, atol=0.02)


def test_the_check_lets_right_kernels_pass(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(check, "check_picture", lambda: picture_of(3, 5))
    assert isinstance(fused(network_of()), Fused)
    assert not caplog.records


def test_the_check_looks_at_all_of_the_range() -> None:
    picture = check_picture()
    assert torch.equal(picture * 255, (picture * 255).round())
    assert (picture.amin(), picture.amax()) == (0.0, 1.0)
    assert picture.unique().numel() > 200
    assert all(side % HDRUNet.MULTIPLE for side in picture.shape[-2:])


@pytest.mark.cuda
@pytest.mark.skipif(not ON_GPU, reason="needs an NVIDIA GPU")
class TestOnAGpu:
    """With CUDA graphs, streams and the compiled kernels."""

    def test_the_bundled_network_is_fused(self, caplog: pytest.LogCaptureFixture) -> None:
        made = forward.place(load_network(), DEVICE, "fp16")
        assert isinstance(made, Fused)
        for size in ((90, 160), (90, 160), (1, 1), (720, 1280), (90, 160), (90, 160), (90, 160), (33, 2000)):
            picture = picture_of(*size)
            output = made(picture)
            assert float((codes(output) - codes(exact(load_network(), picture))).abs().max()) <= 0.5
        assert not caplog.records

    def test_graphs_and_tiles_give_the_same_bits(self) -> None:
        network = load_network(device=DEVICE)
        made = Fused(Forward(network), DEVICE)
        picture = picture_of(300, 500)
        first, second, third = (made(picture) for _ in range(3))
        assert torch.equal(first, second)
        assert torch.equal(first, third)
        assert None not in made._graphs.values()
        assert torch.equal(run_in_tiles(made, picture, (200, 300), (96, 92)), first)

    def test_memory_is_what_was_counted(self) -> None:
        made = Fused(Forward(load_network(device=DEVICE)), DEVICE)
        picture = picture_of(1080, 1920)
        made(picture)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        made.release()
        held = before - torch.cuda.memory_allocated()
        assert held == pytest.approx(workspace_bytes(HDRUNetConfig(), 1080, 1920), rel=0.001)
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        for _ in range(3):
            made(picture)
        assert torch.cuda.max_memory_allocated() - start <= 1080 * 1920 * made.bytes_per_pixel

    def test_threads_get_the_bits_of_a_single_one(self) -> None:
        source = ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.BT709, Range.FULL)
        target = ColorSpec(Matrix.RGB, Primaries.BT2020, Transfer.PQ, Range.FULL)
        planes = torch.randint(0, 256, (12, 3, 180, 320), dtype=torch.uint8)
        pixels = PixelFormat("RGB24", "rgb", 8)
        frames = [Frame(tuple(each), pixels, source, pts) for pts, each in enumerate(planes)]

        def engine() -> Engine:
            wanted = Target(target, PixelFormat("RGB48", "rgb", 16))
            return Engine(load_network(), LightMapping(), wanted, device="cuda")

        one, many = engine(), engine()
        alone = [one(frame) for frame in frames]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(many, frames))
        streamed = list(engine().stream(frames))
        for a, b, c in zip(alone, together, streamed, strict=True):
            assert all(map(torch.equal, a.planes, b.planes))
            assert all(map(torch.equal, a.planes, c.planes))


def test_triton_is_loaded_where_it_is_used_only() -> None:
    code = "import sys, hdrunet_video.engine; print('hdrunet_video.network.cuda_kernels' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
