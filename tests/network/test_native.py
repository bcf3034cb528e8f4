"""Our kernels against float64, for each set of instructions that this processor has."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hdrunet_video.network import cpu
from hdrunet_video.network.cpu import FusedNetwork
from hdrunet_video.network.forward import place
from hdrunet_video.network.native import Kernels, Layer, kernels
from tests.network.test_cpu import CONFIGS, CPU, a_network

_SETS = {"DEFAULT": 0, "AVX2": 1, "AVX512": 2}.get(torch.backends.cpu.get_cpu_capability(), 0)
FOUND = {name: found for name in ("avx2", "avx512")[:_SETS] if (found := kernels(name)) is not None}
pytestmark = pytest.mark.skipif(not FOUND, reason="the package was installed without a compiler, or for another CPU")

ROOT = Path(__file__).parents[2]
_KINDS = (("winograd", 16), ("narrow", 3))
sides = st.integers(1, 23)
channels = st.integers(1, 5).map(lambda count: 16 * count)


def features(count: int, height: int, width: int) -> Tensor:
    return torch.randn(1, count, height, width).contiguous(memory_format=torch.channels_last)


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=3e-6 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=40, deadline=None)
@given(height=sides, width=sides, inputs=channels, outputs=channels, rectify=st.booleans(), adds=st.booleans())
def test_a_convolution(
    instructions: str, height: int, width: int, inputs: int, outputs: int, rectify: bool, adds: bool
) -> None:
    torch.manual_seed(height)
    image, weight, bias = features(inputs, height, width), torch.randn(outputs, inputs, 3, 3), torch.randn(outputs)
    weight /= (9 * inputs) ** 0.5
    added = features(outputs, height, width) if adds else None
    expected = F.conv2d(image.double(), weight.double(), bias.double(), padding=1)
    expected = (expected.relu() if rectify else expected) + (0 if added is None else added)
    own = FOUND[instructions]
    packed = own.pack("winograd", weight, bias)
    assert_close(own.winograd(image, packed, rectify=rectify, added=added), expected)


@pytest.mark.parametrize("instructions", FOUND)
@pytest.mark.parametrize("count", [16, 48, 64])
@pytest.mark.parametrize("size", [(1, 1), (5, 6), (9, 131)])
def test_a_convolution_that_is_shuffled(size: tuple[int, int], count: int, instructions: str) -> None:
    torch.manual_seed(1)
    image, skip = features(count, *size), features(count, 2 * size[0], 2 * size[1])
    weight, bias = torch.randn(4 * count, count, 3, 3) / (9 * count) ** 0.5, torch.randn(4 * count)
    expected = F.pixel_shuffle(F.conv2d(image.double(), weight.double(), bias.double(), padding=1), 2).relu() + skip
    order = torch.arange(4 * count).view(count, 4).t().reshape(-1)
    own = FOUND[instructions]
    packed = own.pack("winograd", weight[order], bias[order])
    assert_close(own.winograd(image, packed, rectify=True, shuffled=True, added=skip), expected)


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=40, deadline=None)
@given(
    height=sides,
    width=st.integers(1, 110),
    side=st.sampled_from([1, 3]),
    counts=st.lists(st.integers(1, 5).map(lambda count: 16 * count), min_size=1, max_size=4),
    inputs=st.integers(1, 20),
)
def test_a_chain(instructions: str, height: int, width: int, side: int, counts: list[int], inputs: int) -> None:
    torch.manual_seed(height)
    image, own, layers, expected = features(inputs, height, width), FOUND[instructions], [], []
    result = image.double()
    for index, outputs in enumerate(counts):
        weight, bias = torch.randn(outputs, inputs, side, side) / (side * side * inputs) ** 0.5, torch.randn(outputs)
        after, kept = ("relu", "leaky_relu", "none")[index % 3], index % 2 == 0 or index == len(counts) - 1
        layers.append(Layer(own.pack("layer", weight, bias), after, kept))
        result = F.conv2d(result, weight.double(), bias.double(), padding=side // 2)
        result = {"relu": F.relu, "leaky_relu": lambda it: F.leaky_relu(it, 0.1), "none": lambda it: it}[after](result)
        expected += [result] if kept else []
        inputs, side = outputs, 1
    for found, each in zip(own.chain(image, layers), expected, strict=True):
        assert_close(found, each)


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=40, deadline=None)
@given(height=sides, width=sides, side=st.sampled_from([1, 3]), inputs=channels)
def test_a_convolution_that_makes_colours(instructions: str, height: int, width: int, side: int, inputs: int) -> None:
    torch.manual_seed(height)
    image, own, others = features(inputs, height, width), FOUND[instructions], features(3, height, width)
    weight, bias = torch.randn(3, inputs, side, side) / (side * side * inputs) ** 0.5, torch.randn(3)
    expected = F.conv2d(image.double(), weight.double(), bias.double(), padding=side // 2)
    packed = own.pack("narrow", weight, bias)
    assert_close(own.narrow(image, packed, added=others), expected + others)
    assert_close(own.narrow(image, packed, factors=others), expected * others)


@pytest.mark.parametrize("instructions", FOUND)
@settings(max_examples=40, deadline=None)
@given(height=sides, width=sides, inputs=channels, outputs=channels)
def test_a_modulation(instructions: str, height: int, width: int, inputs: int, outputs: int) -> None:
    torch.manual_seed(width)
    image, condition = features(outputs, height, width), features(inputs, height, width)
    weights = [torch.randn(rows, inputs, 1, 1) / inputs**0.5 for rows in (inputs, outputs) * 2]
    biases = [torch.randn(rows) for rows in (inputs, outputs) * 2]
    layers = [(weight.double(), bias.double()) for weight, bias in zip(weights, biases, strict=True)]
    scale, shift = (
        F.conv2d(F.leaky_relu(F.conv2d(condition.double(), *first), 0.1), *second)
        for first, second in (layers[:2], layers[2:])
    )
    own = FOUND[instructions]
    found = own.modulate(image, condition, own.pack_modulation(weights, biases))
    assert_close(found, image.double() * scale + shift)


@pytest.mark.parametrize("instructions", FOUND)
@pytest.mark.parametrize("rows", [(3, 11), (3, 4)])
@pytest.mark.parametrize("columns", [(4, 21), (4, 5)])
def test_parts_of_a_larger_picture(instructions: str, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    torch.manual_seed(0)
    own, image = FOUND[instructions], features(16, 20, 30)
    packed = own.pack("winograd", torch.randn(16, 16, 3, 3), torch.randn(16))
    part = image[..., slice(*rows), slice(*columns)]
    dense = part.contiguous(memory_format=torch.channels_last)
    found, expected = (own.winograd(each, packed, rectify=False, added=each) for each in (part, dense))
    assert torch.equal(found, expected)
    modulation = own.pack_modulation([torch.randn(16, 16, 1, 1)] * 4, [torch.randn(16)] * 4)
    found, expected = (own.modulate(each, each, modulation) for each in (part, dense))
    assert torch.equal(found, expected)
    colours = own.pack("narrow", torch.randn(3, 16, 3, 3), torch.randn(3))
    found, expected = (own.narrow(each, colours, added=each[:, :3]) for each in (part, dense))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("instructions", FOUND)
def test_the_bits_do_not_depend_on_the_threads(instructions: str) -> None:
    torch.manual_seed(0)
    own, image = FOUND[instructions], features(32, 70, 61)
    packed = own.pack("winograd", torch.randn(32, 32, 3, 3), torch.randn(32))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(own.winograd(image, packed, rectify=True))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("instructions", FOUND)
def test_what_is_not_a_number_stays_so(instructions: str) -> None:
    """A ReLU that made 0 of it would hide broken weights."""
    own, image = FOUND[instructions], features(16, 4, 4)
    image[0, 3, 1, 1] = float("nan")
    packed = own.pack("winograd", torch.randn(16, 16, 3, 3), torch.randn(16))
    assert own.winograd(image, packed, rectify=True).isnan().any()


@pytest.mark.parametrize("instructions", FOUND)
def test_other_numbers_than_float32_are_refused(instructions: str) -> None:
    """Their memory would be read as what it is not."""
    own = FOUND[instructions]
    packed = own.pack("winograd", torch.randn(16, 16, 3, 3), torch.randn(16))
    with pytest.raises(TypeError, match="float64"):
        own.winograd(features(16, 4, 4).double(), packed, rectify=True)


@pytest.mark.parametrize("instructions", FOUND)
def test_tensors_that_do_not_belong_together_are_refused(instructions: str) -> None:
    """Memory beyond the smaller one would be read."""
    own, image, other = FOUND[instructions], features(16, 4, 4), features(16, 4, 3)
    packed, colours = (own.pack(name, torch.randn(n, 16, 3, 3), torch.randn(n)) for name, n in _KINDS)
    modulation = own.pack_modulation([torch.randn(16, 16, 1, 1)] * 4, [torch.randn(16)] * 4)
    for call in (
        lambda: own.winograd(image, packed, rectify=True, added=other),
        lambda: own.winograd(image, packed, rectify=True, shuffled=True, added=image),
        lambda: own.modulate(image, other, modulation),
        lambda: own.narrow(image, colours, factors=other[:, :3]),
    ):
        with pytest.raises(ValueError, match="where one of"):
            call()


def test_a_library_of_another_version_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "_hdrunet_kernels_other.so").symlink_to(safetensors._safetensors_rust.__file__)
    (tmp_path / "_hdrunet_kernels_damaged.so").write_bytes(b"no library")
    monkeypatch.syspath_prepend(tmp_path)
    source = 'extern "C" long hdrunet_interface() { return -1; }'
    built = ["g++", "-shared", "-x", "c++", "-", "-o", str(tmp_path / "_hdrunet_kernels_older.so")]
    subprocess.run(built, input=source, text=True, check=True)
    for name, why in (
        ("other", "undefined symbol"),
        ("damaged", "file too short"),
        ("older", "another version of the package built them"),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert kernels(name) is None
        assert "cannot be loaded, going on with oneDNN's: " in caplog.text
        assert why in caplog.text


def test_a_network_says_whether_it_is_computed_by_them() -> None:
    for name, backend in (("of our kernels", "ours"), ("of some of our kernels", "ours"), ("whole", "onednn")):
        assert getattr(place(a_network(CONFIGS[name]), CPU, "fp32"), "backend", "") == backend


def test_without_threads_like_theirs_onednn_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdrunet_video.network.native.ctypes.CDLL", lambda name: object())
    assert kernels.__wrapped__() is None


def test_where_they_were_not_built_onednn_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "kernels", lambda: None)
    network, picture = a_network(CONFIGS["of our kernels"]), torch.rand(1, 3, 9, 14)
    placed = place(network, CPU, "fp32")
    assert isinstance(placed, FusedNetwork)
    assert placed.backend == "onednn"
    assert torch.allclose(placed(picture), network(picture), atol=1e-5)


def test_where_they_are_wrong_onednn_goes_on_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = Kernels.winograd
    monkeypatch.setattr(Kernels, "winograd", lambda self, *given, **named: right(self, *given, **named) * 1.01)
    network, picture = a_network(CONFIGS["of our kernels"]), torch.rand(1, 3, 9, 14)
    with caplog.at_level(logging.WARNING):
        placed = place(network, CPU, "fp32")
    assert isinstance(placed, FusedNetwork)
    assert placed.backend == "onednn"
    assert torch.allclose(placed(picture), network(picture), atol=1e-5)
    assert "going on with oneDNN's: it is wrong by" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_each_compiler_makes_kernels_that_are_right(compiler: str, tmp_path: Path) -> None:
    """They were a crash by clang's once: in a process of their own."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    folders = ["--build-lib", tmp_path / "lib", "--build-temp", tmp_path / "temp"]
    build = [sys.executable, "setup.py", "-q", "build_ext", *folders]
    subprocess.run(build, cwd=ROOT, env=os.environ | {"CXX": compiler}, check=True)
    assert len(list((tmp_path / "lib").glob("_hdrunet_kernels_*.so"))) == 2
    path = os.pathsep.join([str(tmp_path / "lib"), os.environ.get("PYTHONPATH", "")])
    test = [sys.executable, "-m", "pytest", "-n", "0", "-m", "not slow", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(test, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
