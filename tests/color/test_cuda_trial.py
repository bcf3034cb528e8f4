"""How the kernels of the colour path are tried, and what happens where they do not work."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hdrunet_video.color import cuda_trial
from hdrunet_video.color.cuda import Kernels
from hdrunet_video.color.cuda_trial import fused
from hdrunet_video.color.light import LightMapping
from hdrunet_video.color.path import Operators
from hdrunet_video.color.spec import Matrix, Range
from hdrunet_video.errors import UsageError
from tests.color.color_cases import DEVICE, KINDS, SDR, TARGETS, frame_of
from tests.engines import PQ_TARGET, as_on_cuda, engine_of, sdr_frame, small_network

pytest.importorskip("triton", reason="Triton is not there for this platform")
pytestmark = pytest.mark.filterwarnings("ignore:divide by zero encountered")  # the interpreter's, of log(0)


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("name", TARGETS)
def test_right_kernels_pass(name: str, strength: float, caplog: pytest.LogCaptureFixture) -> None:
    path = fused(Operators(LightMapping(strength=strength), TARGETS[name]), DEVICE)
    assert not isinstance(path, Operators)
    assert not caplog.records


def test_right_kernels_pass_for_every_kind_of_frame(caplog: pytest.LogCaptureFixture) -> None:
    operators = Operators(LightMapping(), PQ_TARGET)
    path = fused(operators, DEVICE)
    for name, color in KINDS:
        frame = frame_of(name, color, 10, 6)
        torch.testing.assert_close(path.to_signal(frame), operators.to_signal(frame), rtol=0, atol=1e-6)
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
    made[0][3, 4] = made[0][3, 4].int() + 2 if int(made[0][3, 4]) < 800 else made[0][3, 4].int() - 2


def some_off(made: tuple[Tensor, ...]) -> None:
    made[1][::4] = (made[1][::4].int() ^ 1).to(torch.uint16)


def darker(made: tuple[Tensor, ...]) -> None:
    made[-1][1] *= 0.999


def broken(made: tuple[Tensor, ...]) -> None:
    raise RuntimeError("PassManager::run failed\nmore")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (two_codes_off, "their planes are off by 2"),
        (some_off, "their planes are off by 1, on average by 0"),
        (darker, "their light levels are"),
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
            torch.testing.assert_close(path.to_signal(frame), operators.to_signal(frame), rtol=0, atol=1e-6)
    assert calls == ["yuv420p", "yuv420p", "yuv422p", "yuv420p"]  # tried and used, tried, used
    (record,) = caplog.records
    assert "the kernel for yuv422p cannot be used" in record.getMessage()
    assert "their signal is off by 0.0001" in record.getMessage()


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


@pytest.mark.skipif(DEVICE.type == "cuda", reason="is what the engine does there anyway")
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_the_engine_makes_the_same_frames_with_them(strength: float, caplog: pytest.LogCaptureFixture) -> None:
    network, mapping = small_network(), LightMapping(strength=strength)
    frames = [sdr_frame(20 + pts % 2, 12, pts) for pts in range(3)]
    plain, other = engine_of(network), as_on_cuda(engine_of(network))
    plain.mapping = other.mapping = mapping
    plain.color = Operators(mapping, PQ_TARGET)
    other.color = fused(plain.color, DEVICE)
    with caplog.at_level(logging.WARNING):
        results = list(other.stream(frames))
    assert not caplog.records
    for result, expected in zip(results, plain.stream(frames), strict=True):
        assert (result.pts, result.format, result.color) == (expected.pts, expected.format, expected.color)
        for one, another in zip(result.planes, expected.planes, strict=True):
            assert (one.int() - another.int()).abs().max() <= 1
        assert result.light is not None
        assert expected.light is not None
        assert result.light.max_nits == pytest.approx(expected.light.max_nits, rel=1e-4)
        assert result.light.average_nits == pytest.approx(expected.light.average_nits, rel=1e-4)
