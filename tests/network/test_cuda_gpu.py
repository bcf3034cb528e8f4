"""The fused network on a GPU, with CUDA graphs, streams and the compiled kernels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import pytest
import torch

from hdrunet_video.color.convert import Target
from hdrunet_video.color.light import LightMapping
from hdrunet_video.color.spec import ColorSpec, Matrix, PixelFormat, Primaries, Range, Transfer
from hdrunet_video.engine import Engine
from hdrunet_video.frame import Frame
from hdrunet_video.network import forward
from hdrunet_video.network.cuda import Fused
from hdrunet_video.network.cuda_forward import Forward, Way
from hdrunet_video.network.cuda_trial import TOLERANCE
from hdrunet_video.network.tiles import run_in_tiles
from hdrunet_video.network.weights import load_network
from tests.network.cuda_cases import DEVICE, ON_GPU, codes, exact, picture_of

pytest.importorskip("triton", reason="Triton is not there for this platform")

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not ON_GPU, reason="needs an NVIDIA GPU")]


def test_the_bundled_network_is_fused(caplog: pytest.LogCaptureFixture) -> None:
    made = forward.place(load_network(), DEVICE, "fp16")
    assert isinstance(made, Fused)
    for size in ((90, 160), (90, 160), (1, 1), (180, 320), (90, 160), (90, 160), (90, 160), (33, 2000)):
        picture = picture_of(*size)
        output = made(picture)
        assert float((codes(output) - codes(exact(load_network(), picture))).abs().max()) <= TOLERANCE
    assert [record for record in caplog.records if "still starting" not in record.getMessage()] == []


@pytest.mark.parametrize("way", get_args(Way))
def test_graphs_and_tiles_give_the_same_bits(way: Way) -> None:
    made = Fused(Forward(load_network(device=DEVICE), way), DEVICE)
    picture = picture_of(300, 500)
    first, second, third = (made(picture) for _ in range(3))
    assert torch.equal(first, second)
    assert torch.equal(first, third)
    assert None not in made._graphs.values()
    tiles = run_in_tiles(made, picture, (200, 300), (96, 92))
    if way == "cudnn":  # which has other code for other sizes
        assert float((codes(tiles) - codes(first)).abs().max()) <= TOLERANCE
    else:
        assert torch.equal(tiles, first)


def test_strips_make_the_bits_of_tiles() -> None:
    """Where they do not, the faster of both is not taken."""
    ways = [Fused(Forward(load_network(device=DEVICE), way), DEVICE) for way in ("strips", "tiles")]
    for size in ((300, 500), (67, 2000)):
        first, second = (made(picture_of(*size)) for made in ways)
        assert torch.equal(first, second)


@pytest.mark.parametrize("way", ["tiles", "cudnn"])
def test_two_engines_capture_at_once(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """As two filters of one script do at their second frame."""
    ways = [Fused(Forward(load_network(device=DEVICE), way), DEVICE) for _ in range(2)]
    picture = picture_of(180, 320)
    expected = [made(picture) for made in ways]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            assert all(map(torch.equal, pool.map(lambda made: made(picture), ways), expected))
    assert not caplog.records
    assert all(None not in made._graphs.values() and made._failures == 0 for made in ways)


@pytest.mark.parametrize("way", ["tiles", "cudnn"])
def test_memory_is_what_was_counted(way: Way) -> None:
    forward = Forward(load_network(device=DEVICE), way)
    made = Fused(forward, DEVICE)
    picture = picture_of(1080, 1920)
    made(picture)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    made.release()
    held = before - torch.cuda.memory_allocated()
    assert held == pytest.approx(forward.workspace_bytes(1080, 1920), rel=0.001)
    torch.cuda.reset_peak_memory_stats()
    start = torch.cuda.memory_allocated()
    for _ in range(3):
        made(picture)
    assert torch.cuda.max_memory_allocated() - start <= 1080 * 1920 * made.bytes_per_pixel


def test_threads_get_the_bits_of_a_single_one() -> None:
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
