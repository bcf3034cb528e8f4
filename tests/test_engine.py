"""The engine: frames in, frames out, of any size and format, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from hdrunet_video import device
from hdrunet_video.baselines import MODELS
from hdrunet_video.color.convert import to_planes, to_signal
from hdrunet_video.color.spec import ColorSpec, Matrix, Primaries, Range, Transfer
from hdrunet_video.color.tone import measure, to_nits
from hdrunet_video.engine import Engine
from hdrunet_video.errors import UsageError
from hdrunet_video.frame import Frame
from hdrunet_video.network import cpu
from hdrunet_video.network.weights import load_network
from tests.engines import MAPPING, PQ, PQ_TARGET, RGB, SDR, YUV, engine_of, sdr_frame, small_network


def test_frame_is_what_the_parts_make() -> None:
    network, frame = small_network(), sdr_frame(25, 17, pts=1234)
    with torch.no_grad():
        nits = to_nits(network(to_signal(frame)), Primaries.BT709, MAPPING)
    result = engine_of(network)(frame)
    assert result.pts == 1234
    assert result.format is PQ_TARGET.format
    assert result.color is PQ
    assert result.light is not None
    assert [result.light.max_nits, result.light.average_nits] == pytest.approx(measure(nits).tolist(), rel=1e-4)
    for plane, expected in zip(result.planes, to_planes(nits, PQ_TARGET), strict=True):
        assert plane.dtype is torch.uint16
        assert plane.device.type == "cpu"
        assert (plane.int() - expected.int()).abs().max() <= 1
        assert not plane.is_inference()


def test_bundled_network_makes_hdr() -> None:
    engine = engine_of(load_network())
    ramp = torch.linspace(16, 235, 64).round().to(torch.uint8).expand(32, 64)
    neutral = torch.full((16, 32), 128, dtype=torch.uint8)
    result = engine(Frame((ramp, neutral, neutral), YUV, SDR))
    assert result.light is not None
    assert 203.5 < result.light.max_nits <= 1000
    assert 5 < result.light.average_nits < 203
    assert (engine.device.type, engine.precision, engine.tiling.tile) == ("cpu", "fp32", "auto")


def test_active_picture_without_its_bars() -> None:
    white = tuple(torch.full((12, 8), 255, dtype=torch.uint8) for _ in range(3))
    for plane in white:
        plane[:4] = 0
    frame = Frame(white, RGB, ColorSpec(Matrix.RGB, Primaries.BT709, Transfer.BT709, Range.FULL))
    for active, average in ((None, 203 * 8 / 12), ((4, 12, 0, 8), 203)):
        light = engine_of(MODELS["identity"](), active=active)(frame).light
        assert light is not None
        assert light.average_nits == pytest.approx(average, rel=1e-3)
        assert light.max_nits == pytest.approx(203, rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "fp16"}, {"precision": "fp8"}, {"tile": "large"}, {"tile": (3, 100)}, {"tile": (8,)},
        {"in_flight": 0}, {"backend": "tensorrt"},
    ],
)  # fmt: skip
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        engine_of(small_network(), **options)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_it_says_what_it_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Receipts and `--describe` take it from there: what was asked for is not always right."""
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: True)
    network = small_network()
    assert [engine_of(each, precision="bf16").precision for each in (lambda signal: signal, nn.ReLU())] == ["fp32"] * 2
    assert engine_of(small_network(modulation="map"), precision="bf16").precision == "fp32"
    monkeypatch.setattr(cpu, "TOLERANCE", {"fp32": 1e9, "bf16": 1e9})
    fused = "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "fp32"
    assert [engine_of(network, precision=name).precision for name in ("fp32", "bf16")] == ["fp32", fused]
    monkeypatch.setattr(cpu, "TOLERANCE", {"fp32": 1e9, "bf16": -1.0})
    assert engine_of(network, precision="bf16").precision == "fp32"


def test_unknown_device() -> None:
    with pytest.raises(UsageError) as caught:
        Engine(small_network(), MAPPING, PQ_TARGET, device="tpu")
    assert "cpu" in caught.value.hint


def test_stream_is_lazy_ordered_and_closes() -> None:
    taken: list[int] = []

    def source() -> Iterator[Frame]:
        for pts in range(9):
            taken.append(pts)
            yield sdr_frame(pts=pts)

    engine = engine_of(small_network())
    stream = engine.stream(source())
    assert taken == []
    assert [next(stream).pts, next(stream).pts] == [0, 1]
    assert taken == [0, 1]
    stream.close()  # type: ignore[attr-defined]
    assert not torch.is_inference_mode_enabled()
    assert [frame.pts for frame in engine.stream(source())] == list(range(9))


def test_frames_of_different_sizes_and_formats() -> None:
    engine = engine_of(small_network())
    frames = [sdr_frame(24, 16), sdr_frame(1, 1), sdr_frame(7, 33, pixels=RGB), sdr_frame(24, 16)]
    assert [(out.width, out.height) for out in engine.stream(frames)] == [(24, 16), (1, 1), (7, 33), (24, 16)]


def test_the_network_given_stays_as_it_is() -> None:
    network = small_network().train()
    engine_of(network)(sdr_frame())
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.encode_full.weight.is_contiguous()


def test_identity_in_the_container() -> None:
    signal = torch.rand(1, 3, 5, 7)
    assert MODELS["identity"]()(signal) is signal
