"""The fused network keeps its memory and its graphs in bounds, and fails aloud; on a GPU it is right.

Without one, its kernels run in Triton's interpreter.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from hdrunet_video.color.convert import Target
from hdrunet_video.color.light import LightMapping
from hdrunet_video.color.spec import ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer
from hdrunet_video.engine import Engine
from hdrunet_video.frame import Frame
from hdrunet_video.network import check, cuda, forward
from hdrunet_video.network.check import check_picture
from hdrunet_video.network.cuda import MOST_GRAPHS, Fused, fused
from hdrunet_video.network.cuda_forward import Forward, supports, workspace_bytes
from hdrunet_video.network.hdrunet import VARIANTS, HDRUNet, HDRUNetConfig
from hdrunet_video.network.tiles import choose_tile, run_in_tiles
from hdrunet_video.network.weights import load_network
from tests.network.cuda_cases import DEVICE, ON_GPU, SMALL, codes, exact, network_of, picture_of

pytest.importorskip("triton", reason="Triton is not there for this platform")


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


def gentle() -> HDRUNet:
    """Like a trained one: its output is near its input, where a code is not so fine that float16 is coarse."""
    network = network_of()
    assert network.weighting is not None
    network.weighting.to_weights.weight.mul_(0.1)
    network.weighting.to_weights.bias.fill_(1.0)
    network.to_rgb.weight.mul_(0.1)
    return network


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
    network = gentle()
    made = forward.place(network, torch.device("cuda"), "fp16")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.records[0].name == "hdrunet_video.network.cuda"
    assert "going on with PyTorch's operators in fp16" in caplog.text
    assert re.search(reason, caplog.records[0].getMessage())
    picture = picture_of(8, 8)
    torch.testing.assert_close(made(picture), network(picture), rtol=0, atol=0.02)
    assert not torch.equal(made(picture), network(picture))


@pytest.mark.parametrize(("weight", "reason"), [(1e6, "wrong by inf"), (1e4, "wrong by [0-9]+")])
def test_where_float16_will_not_do_it_goes_on_in_float32_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, weight: float, reason: str
) -> None:
    monkeypatch.setattr(cuda, "Forward", Missing)
    monkeypatch.setattr(HDRUNet, "to", lambda self, *_, **__: self)
    network = gentle()
    network.encode_full.weight.mul_(weight)
    network.down_half.weight.mul_(1 / weight)
    made = forward.place(network, torch.device("cuda"), "fp16")
    kernels, halved = (record.getMessage() for record in caplog.records)
    assert "going on with PyTorch's operators in fp16: No module" in kernels
    assert re.search(f"fp16 cannot be used on .*, going on with PyTorch's operators in fp32: it is {reason}", halved)
    picture = picture_of(8, 8)
    torch.testing.assert_close(made(picture), network(picture), rtol=1e-3, atol=1e-3)


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
        for size in ((90, 160), (90, 160), (1, 1), (180, 320), (90, 160), (90, 160), (90, 160), (33, 2000)):
            picture = picture_of(*size)
            output = made(picture)
            assert float((codes(output) - codes(exact(load_network(), picture))).abs().max()) <= 0.5
        assert not caplog.records

    @pytest.mark.parametrize("strips", [False, True])
    def test_graphs_and_tiles_give_the_same_bits(self, strips: bool) -> None:
        made = Fused(Forward(load_network(device=DEVICE), strips=strips), DEVICE)
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


class Hungry:
    """A network that holds memory: it has none for more than 200 pixels until it is told to let go."""

    halo, bytes_per_pixel = (4, 4), 1000

    def __init__(self) -> None:
        self.released = 0

    def __call__(self, signal: Tensor) -> Tensor:
        if not self.released:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return signal

    def release(self) -> None:
        self.released += 1


def test_the_engine_asks_a_network_for_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Hungry()
    source = ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.BT709, Range.FULL)
    pixels = PixelFormat("RGB24", "rgb", 8)
    target = Target(ColorSpec(Matrix.RGB, Primaries.BT2020, Transfer.PQ, Range.FULL), PixelFormat("RGB48", "rgb", 16))
    engine = Engine(network, LightMapping(), target, device="cpu")
    monkeypatch.setattr("hdrunet_video.engine.total_memory", lambda _: 2 * 1000 * 100 * 100)
    assert engine.tile_for(100, 100) is None
    assert engine.tile_for(104, 100) is not None
    planes = torch.zeros(3, 100, 100, dtype=torch.uint8)
    assert engine(Frame(tuple(planes), pixels, source, 0)).planes[0].shape == (100, 100)
    assert network.released == 1


# An H100 has 227 KiB for two programs that compute strips; other GPUs since the RTX 30 series have 99 KiB for one.
@pytest.mark.slow
@pytest.mark.parametrize(("capability", "way"), [("90", "strips"), ("90", "tiles"), ("89", "tiles")])
def test_kernels_compile_for_gpus_that_are_not_here(capability: str, way: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.network.cuda_compile", capability, way]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=900)
    needed = [(int(shared), strips == "True") for shared, strips in map(str.split, run.stdout.splitlines())]
    assert len(needed) == 15
    assert any(strips for _, strips in needed) is (way == "strips")
    assert all(shared <= (113 if strips else 99) << 10 for shared, strips in needed)


def test_triton_is_loaded_where_it_is_used_only() -> None:
    code = "import sys, hdrunet_video.engine; print('hdrunet_video.network.cuda_kernels' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
