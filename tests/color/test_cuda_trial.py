"""How the kernels of the colour path are tried, and what happens where they do not work."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hdrunet_video.color import cuda, cuda_trial
from hdrunet_video.color.cuda import Kernels
from hdrunet_video.color.cuda_trial import fused
from hdrunet_video.color.light import LightMapping
from hdrunet_video.color.path import Operators
from hdrunet_video.color.spec import Matrix, Range
from hdrunet_video.color.tone import Active
from hdrunet_video.engine import Engine
from hdrunet_video.errors import UsageError
from tests.color.color_cases import DEVICE, KINDS, TARGETS, frame_of
from tests.engines import PQ_TARGET, SDR, as_on_cuda, sdr_frame, small_network

pytest.importorskip("triton", reason="Triton is not there for this platform")
pytestmark = pytest.mark.filterwarnings("ignore:divide by zero encountered")  # the interpreter's, of log(0)


def engines(mapping: LightMapping, **options: Any) -> tuple[Engine, Engine]:
    """With operators, and with kernels where there are frames in flight."""
    network = small_network()
    plain, other = (Engine(network, mapping, PQ_TARGET, device="cpu", **options) for _ in range(2))
    other.color_path = fused(Operators(mapping, PQ_TARGET), DEVICE)
    return plain, as_on_cuda(other)


on_cpu = pytest.mark.skipif(DEVICE.type == "cuda", reason="is what the engine does there anyway")


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("name", TARGETS)
def test_right_kernels_pass(name: str, strength: float, caplog: pytest.LogCaptureFixture) -> None:
    path = fused(Operators(LightMapping(strength=strength), TARGETS[name]), DEVICE)
    assert not isinstance(path, Operators)
    assert not caplog.records


def test_right_kernels_pass_for_frames_of_many_kinds(caplog: pytest.LogCaptureFixture) -> None:
    operators = Operators(LightMapping(), PQ_TARGET)
    path = fused(operators, DEVICE)
    for name, color in KINDS[::3]:
        frame = frame_of(name, color, 10, 6)
        torch.testing.assert_close(path.to_signal(frame), operators.to_signal(frame), rtol=0, atol=2e-6)
    assert not caplog.records


def spoil(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Kernels whose planes are changed by `change`."""
    right = Kernels.to_planes

    def wrong(self: Kernels, *given: Any) -> tuple[Tensor, ...]:
        made = right(self, *given)
        change(made)
        return made

    monkeypatch.setattr(Kernels, "to_planes", wrong)


def two_codes_off(made: tuple[Tensor, ...]) -> None:
    made[0][3, 4] = made[0][3, 4].int() - 2


def some_off(made: tuple[Tensor, ...]) -> None:
    made[1][::4] = (made[1][::4].int() ^ 1).to(torch.uint16)


def darker(made: tuple[Tensor, ...]) -> None:
    made[-1][1] *= 0.999


def not_finite(made: tuple[Tensor, ...]) -> None:
    made[-1][2] = 0.0


def broken(made: tuple[Tensor, ...]) -> None:
    raise RuntimeError("PassManager::run failed\nmore")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (two_codes_off, "their planes are off by 2 of a 10-bit code"),
        (some_off, "their planes are off by 1 of a 10-bit code, on average by 0.2"),
        (darker, "their light levels are"),
        (not_finite, "their light levels are"),
        (broken, "PassManager::run failed$"),
    ],
)
def test_wrong_planes_are_made_by_operators_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, change: Any, reason: str
) -> None:
    spoil(monkeypatch, change)
    operators = Operators(LightMapping(), PQ_TARGET)
    assert fused(operators, DEVICE) is operators
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "hdrunet_video.color.cuda_trial")
    assert "kernels for the light mapping cannot be used" in record.getMessage()
    assert "going on with PyTorch's operators" in record.getMessage()
    assert re.search(reason, record.getMessage())


@pytest.mark.parametrize("spoiled", ["goal", "high"])
@pytest.mark.parametrize(
    "mapping",
    [
        LightMapping(),
        LightMapping(peak=4000.0),
        LightMapping(peak=9000.0),
        LightMapping(white=50.0, display_gamma=1.0),
        LightMapping(strength=0.1),
    ],
)
def test_the_roll_off_is_tried(monkeypatch: pytest.MonkeyPatch, mapping: LightMapping, spoiled: str) -> None:
    right = cuda._light
    monkeypatch.setattr(cuda, "_light", lambda *given: right(*given) | {spoiled: float(right(*given)[spoiled]) * 0.98})
    operators = Operators(mapping, PQ_TARGET)
    assert fused(operators, DEVICE) is operators


@pytest.mark.parametrize(
    "mapping",
    [
        LightMapping(peak=10000.0),
        LightMapping(white=1000.0, display_gamma=3.0, peak=4000.0),
        LightMapping(white=50.0, display_gamma=1.0, peak=400.0),
        LightMapping(peak=9000.0, strength=0.05),
    ],
)
@pytest.mark.parametrize("name", ["pq 420 dithered", "pq rgb", "linear"])
def test_right_kernels_pass_for_other_mappings(
    name: str, mapping: LightMapping, caplog: pytest.LogCaptureFixture
) -> None:
    assert not isinstance(fused(Operators(mapping, TARGETS[name]), DEVICE), Operators)
    assert not caplog.records


@on_cpu
@pytest.mark.parametrize("active", [(70, 80, 0, 72), (0, 20, 80, 90)])
def test_films_with_bars_are_made_by_kernels(active: Active, caplog: pytest.LogCaptureFixture) -> None:
    plain, other = engines(LightMapping(), active=active)
    made, expected = (each(sdr_frame(90, 80)).light for each in (other, plain))
    assert made is not None
    assert expected is not None
    assert made.average_nits == pytest.approx(expected.average_nits, rel=3e-4)
    assert other.color_path.backend == "ours"
    assert not caplog.records


def test_without_triton_it_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'triton'")

    monkeypatch.setattr(cuda_trial, "Kernels", missing)
    assert isinstance(fused(Operators(LightMapping(), PQ_TARGET), DEVICE), Operators)
    assert "No module named 'triton'" in caplog.text


def test_a_device_that_kernels_have_broken_is_no_reason_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(made: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")

    spoil(monkeypatch, faulty)
    with pytest.raises(UsageError, match=r"the kernels do not work .*: CUDA error: an illegal") as caught:
        fused(Operators(LightMapping(), PQ_TARGET), DEVICE)
    assert caught.value.hint == "give --device cpu"


def test_a_kind_of_frame_that_is_wrong_leaves_others_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right, calls = Kernels.to_signal, []

    def wrong(self: Kernels, frame: Any) -> Tensor:
        calls.append(frame.format.name)
        return right(self, frame) + (1e-4 if frame.format.name == "yuv422p" else 0)

    monkeypatch.setattr(Kernels, "to_signal", wrong)
    operators = Operators(LightMapping(), PQ_TARGET)
    path = fused(operators, DEVICE)
    frames = {name: frame_of(name, SDR, 10, 6) for name in ("yuv420p", "yuv422p")}
    for _ in range(2):
        for frame in frames.values():
            torch.testing.assert_close(path.to_signal(frame), operators.to_signal(frame), rtol=0, atol=2e-6)
    assert calls == ["yuv420p", "yuv420p", "yuv422p", "yuv420p"]  # tried and used, tried, used
    (record,) = caplog.records
    assert "the kernel for yuv422p cannot be used" in record.getMessage()
    assert "their signal is off by 0.0001" in record.getMessage()
    assert path.backend == "pytorch"


def test_no_memory_for_the_trial_of_a_frame_is_no_fault_of_the_kernels(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine takes smaller tiles, and tries again."""
    right, calls = Kernels.to_signal, []

    def hungry(self: Kernels, frame: Any) -> Tensor:
        calls.append(frame)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return right(self, frame)

    monkeypatch.setattr(Kernels, "to_signal", hungry)
    path = fused(Operators(LightMapping(), PQ_TARGET), DEVICE)
    with pytest.raises(torch.OutOfMemoryError):
        path.to_signal(frame_of("yuv420p", SDR, 10, 6))
    path.to_signal(frame_of("yuv420p", SDR, 10, 6))
    assert path.backend == "ours"
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("yuv444p", {"matrix": Matrix.YCGCO}, "YCGCO"),
        ("yuv420p", {"matrix": Matrix.RGB}, "G, B and R"),
        ("yuv420p", {"range": Range.UNSPECIFIED}, "not specified"),
    ],
)
def test_a_fault_of_the_frame_is_none_of_the_kernels(
    name: str, change: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = fused(Operators(LightMapping(), PQ_TARGET), DEVICE)
    with pytest.raises(ValueError, match=words):
        path.to_signal(frame_of(name, replace(SDR, **change), 8, 8))
    assert not caplog.records


@on_cpu
@pytest.mark.parametrize(("strength", "tile"), [(0.0, "off"), (0.5, "off"), (0.5, (16, 8)), (1.0, (16, 8))])
def test_the_engine_makes_the_same_frames_with_them(
    strength: float, tile: Any, caplog: pytest.LogCaptureFixture
) -> None:
    plain, other = engines(LightMapping(strength=strength), tile=tile)
    frames = [sdr_frame(*size) for size in ((20, 12), (21, 12), (22, 17))]
    results = list(other.stream(frames))
    assert not caplog.records
    for result, expected in zip(results, plain.stream(frames), strict=True):
        assert (result.pts, result.format, result.color) == (expected.pts, expected.format, expected.color)
        for one, another in zip(result.planes, expected.planes, strict=True):
            assert (one.int() - another.int()).abs().max() <= 1
        assert result.light is not None
        assert expected.light is not None
        assert result.light.max_nits == pytest.approx(expected.light.max_nits, rel=3e-4)
        assert result.light.average_nits == pytest.approx(expected.light.average_nits, rel=3e-4)


@pytest.mark.parametrize(("device", "expected"), [("cpu", "onednn"), ("cuda", "onednn, colour ours")])
def test_an_engine_says_whose_code_converts_colour_on_cuda(device: str, expected: str) -> None:
    """Receipts do: frames of one code can differ from those of the other in the last bit."""
    _, engine = engines(LightMapping())
    engine.device = torch.device(device)
    assert engine.backend == expected
