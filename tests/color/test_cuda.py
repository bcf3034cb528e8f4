"""The kernels of the colour path do what the standards and PyTorch's operators do: in Triton's interpreter, or compiled
where there is a GPU."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hdrunet_video.color.convert import Target
from hdrunet_video.color.cuda import Kernels
from hdrunet_video.color.light import LightMapping
from hdrunet_video.color.path import Operators
from hdrunet_video.color.spec import ColorSpec, Matrix, Primaries, Range, Transfer
from hdrunet_video.color.tone import Active
from hdrunet_video.frame import Frame
from tests.color.color_cases import DEVICE, HLG, KINDS, RGB, TARGETS, frame_of, named
from tests.engines import LINEAR, PQ, SDR

pytest.importorskip("triton", reason="Triton is not there for this platform")
pytestmark = pytest.mark.filterwarnings("ignore:divide by zero encountered")  # the interpreter's, of log(0)

CODE = 0.02
"""Allowed error in codes of 10 bits."""
LIGHT = 3e-4
"""Allowed relative error of light: 0.03 of a code. In the roll-off the operators have up to 7e-5 of it."""
SIGNAL = 2e-6
"""Allowed error of a signal: on a GPU a quotient may be off by two units in the last place."""
MAPPING = LightMapping()
SIZES = [(1, 1), (2, 3), (7, 5), (33, 40)]


def kernels(target: Target, mapping: LightMapping = MAPPING) -> Kernels:
    return Kernels(mapping, target, DEVICE)


def signal_of(height: int, width: int, seed: int = 0) -> Tensor:
    """What a network makes: beyond 0..1 on both sides."""
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    return (noise * 2.2 - 0.2).to(DEVICE)


def largest(made: Tensor, expected: Tensor) -> float:
    return float((made.cpu().double() - expected.cpu().double()).abs().max())


def assert_same_planes(made: tuple[Tensor, ...], expected: tuple[Tensor, ...], target: Target) -> None:
    """Up to CODE, and where they are integers to the rounding."""
    assert [plane.shape for plane in made] == [plane.shape for plane in expected]
    assert [plane.dtype for plane in made] == [plane.dtype for plane in expected]
    for plane, wanted in zip(made, expected, strict=True):
        assert plane.is_contiguous()
        if target.format.is_float:
            torch.testing.assert_close(plane, wanted, rtol=LIGHT, atol=2e-5)
        else:
            error = CODE * 2 ** (target.format.depth - 10)
            assert largest(plane, wanted) <= math.ceil(error)
            assert float((plane.double() - wanted.double()).abs().mean()) <= max(error, 1 / plane.numel())


SOURCES = {
    "end_to_end": SDR,
    "525": ColorSpec(Matrix.SMPTE170M, Primaries.SMPTE170M, Transfer.SMPTE170M, Range.LIMITED),
    "625": ColorSpec(Matrix.BT470BG, Primaries.BT470BG, Transfer.BT709, Range.LIMITED),
}


@pytest.mark.parametrize("group", SOURCES)
@pytest.mark.parametrize(("name", "color"), [("pq", PQ), ("hlg", HLG)])
def test_coded_colours_become_the_expected_codes(
    vectors: dict[str, Any], group: str, name: str, color: ColorSpec
) -> None:
    rows = vectors["end_to_end_601"][group] if group.isdigit() else vectors[group]
    coded = torch.tensor([row["ycc8"] for row in rows], dtype=torch.uint8, device=DEVICE)
    frame = Frame(tuple(plane[None] for plane in coded.T), named("yuv444p"), SOURCES[group])
    path = kernels(Target(color, named("yuv444p16le")))
    signal = path.to_signal(frame)
    assert largest(signal[0, :, 0].T, torch.tensor([row["rgb"] for row in rows]).clamp(0, 1)) <= SIGNAL
    *planes, _ = path.to_planes(signal, frame.color.primaries)
    exact = torch.tensor([row[f"{name}10f"] for row in rows], dtype=torch.float64)
    assert largest(torch.stack([plane[0].double() / 64 for plane in planes], dim=1), exact) <= CODE + 0.5 / 64


@pytest.mark.parametrize(("name", "color"), [("pq", PQ), ("hlg", HLG)])
def test_what_the_network_makes_becomes_the_expected_codes(
    vectors: dict[str, Any], name: str, color: ColorSpec
) -> None:
    """Beyond white, where the roll-off is."""
    rows = vectors["end_to_end_y"]
    signal = torch.tensor([row["y"] for row in rows], device=DEVICE).T[None, :, None].contiguous()
    *planes, _ = kernels(Target(color, named("yuv444p16le"))).to_planes(signal, Primaries.BT709)
    exact = torch.tensor([row[f"{name}10f"] for row in rows], dtype=torch.float64)
    assert largest(torch.stack([plane[0].double() / 64 for plane in planes], dim=1), exact) <= CODE + 0.5 / 64


@pytest.mark.parametrize(("name", "color"), KINDS, ids=lambda each: each if isinstance(each, str) else "")
def test_signal_is_that_of_the_operators(name: str, color: ColorSpec) -> None:
    target = Target(PQ, named("yuv420p10le"))
    path, operators = kernels(target), Operators(MAPPING, target)
    for size in SIZES:
        frame = frame_of(name, color, *size)
        made, expected = path.to_signal(frame), operators.to_signal(frame)
        assert made.shape == expected.shape
        assert largest(made, expected) <= SIGNAL


@pytest.mark.parametrize("strength", [1.0, 0.3])
@pytest.mark.parametrize("name", TARGETS)
def test_planes_are_those_of_the_operators(name: str, strength: float) -> None:
    target, mapping = TARGETS[name], LightMapping(strength=strength)
    path, operators = kernels(target, mapping), Operators(mapping, target)
    for width, height in SIZES:
        source = signal_of(height, width, seed=1) if mapping.blends else None
        given = signal_of(height, width), Primaries.SMPTE170M, source
        kept = [tensor.clone() for tensor in given if isinstance(tensor, Tensor)]
        *made, report = path.to_planes(*given)
        *expected, wanted = operators.to_planes(*given)
        assert_same_planes(tuple(made), tuple(expected), target)
        torch.testing.assert_close(report, wanted, rtol=LIGHT, atol=0)
        assert all(map(torch.equal, kept, (tensor for tensor in given if isinstance(tensor, Tensor))))


@pytest.mark.parametrize(
    "mapping",
    [
        LightMapping(peak=10000.0),  # which has no roll-off
        LightMapping(white=100.0, peak=600.0, display_gamma=2.4),
        LightMapping(peak=4000.0, display_gamma=1.0),
    ],
)
def test_planes_of_other_mappings(mapping: LightMapping) -> None:
    target = Target(replace(PQ, **RGB), named("gbrp16le"))
    given = signal_of(33, 40) * 3, Primaries.BT709
    *made, report = kernels(target, mapping).to_planes(*given)
    *expected, wanted = Operators(mapping, target).to_planes(*given)
    assert_same_planes(tuple(made), tuple(expected), target)
    torch.testing.assert_close(report, wanted, rtol=LIGHT, atol=0)


def test_grey_keeps_neutral_chroma_and_black_is_left_alone() -> None:
    ramp = torch.linspace(0, 1.5, 200, device=DEVICE).expand(1, 3, 66, 200).contiguous()
    for color in (PQ, HLG):
        target = Target(color, named("yuv420p10le"), dither=True)
        luma, *chroma, _ = kernels(target).to_planes(ramp, Primaries.BT709)
        assert all((plane.int() == 512).all() for plane in chroma)
        assert (luma[:, 0].int() == 64).all()


@pytest.mark.parametrize("active", [None, (3, 30, 0, 40), (10, 11, 39, 40), (-5, 90, 7, 8)])
def test_light_levels(active: Active | None) -> None:
    """The largest of all pixels, and the mean over the active picture, of max(R, G, B); in float64."""
    target, signal = Target(LINEAR, named("gbrpf32le"), white=1.0), signal_of(33, 40)
    *planes, report = kernels(target).to_planes(signal, Primaries.BT709, active=active)
    brightest = torch.stack([plane.cpu().double() for plane in planes]).amax(dim=0)
    top, bottom, left, right = active or (0, 33, 0, 40)
    part = brightest[max(top, 0) : bottom, left:right]
    expected = torch.stack((brightest.max(), part.mean(), torch.tensor(1.0, dtype=torch.float64)))
    torch.testing.assert_close(report.cpu(), expected, rtol=1e-6, atol=0)


def test_an_active_picture_must_have_pixels() -> None:
    path = kernels(Target(PQ, named("yuv420p10le")))
    with pytest.raises(ValueError, match="is empty"):
        path.to_planes(signal_of(33, 40), Primaries.BT709, active=(0, 4, 40, 44))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [(0, 0, 0), (1, 16, 20), (2, 32, 39)])
def test_what_is_not_finite_is_told_and_made_light_of(value: float, place: tuple[int, int, int]) -> None:
    target = Target(LINEAR, named("gbrpf32le"))
    signal = signal_of(33, 40)
    signal[0, *place] = value
    *made, report = kernels(target).to_planes(signal, Primaries.BT709)
    *expected, _ = Operators(MAPPING, target).to_planes(signal, Primaries.BT709)
    assert report[2] == 0.0
    assert_same_planes(tuple(made), tuple(expected), target)


class Noted(TorchDispatchMode):
    """Which of PyTorch's operators are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_else_is_launched(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """One kernel makes the signal, two the planes; the rest of what is done is memory and views."""

    class Launched:
        given: ClassVar[list[dict[str, Any]]] = []

        def __getitem__(self, grid: object) -> Any:
            return lambda **arguments: Launched.given.append(arguments)

    path = kernels(TARGETS[name])
    for kernel in ("_signal_kernel", "_planes_kernel", "_finish_kernel"):
        monkeypatch.setattr(path, kernel, Launched())
    frame, signal = frame_of("yuv420p", SDR, 33, 21), signal_of(21, 33)
    path.to_planes(signal, Primaries.BT709)  # keeps the matrix
    Launched.given.clear()
    with Noted() as noted:
        path.to_signal(frame)
        path.to_planes(signal, Primaries.BT709)
    assert len(Launched.given) == 3
    assert noted.names <= {"aten::empty.memory_format", "aten::unbind.int", "aten::select.int"}
    # Or Triton would make another program for some sizes.
    tensors = [each for given in Launched.given for each in given.values() if isinstance(each, Tensor)]
    assert all(tensor.data_ptr() % 16 == 0 for tensor in tensors)


@pytest.mark.parametrize("programs", [1, 511, 512, 513, 1300])
def test_parts_of_any_number_of_programs_make_one_report(programs: int) -> None:
    path = kernels(Target(LINEAR, named("gbrpf32le")))
    parts = torch.rand(3, programs, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    parts[2, : programs // 2] = 1.0
    report = path._finish(parts, 21, (None,) * 4, 8, 20).cpu()
    expected = parts.cpu().double()
    assert report[0] == expected[0].max()
    assert float(report[1]) == pytest.approx(float(expected[1].sum()) / 21, rel=1e-12)
    assert report[2] == expected[2].min()
