"""The network in OpenVINO against float64, in any order, from any thread; and what happens where it cannot be had."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hdrunet_video.network import openvino
from hdrunet_video.network.check import largest_error
from hdrunet_video.network.config import VARIANTS, HDRUNetConfig
from hdrunet_video.network.cpu import FusedNetwork
from hdrunet_video.network.forward import place
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.openvino import Compiled
from hdrunet_video.network.weights import load_network
from hdrunet_video.processor import cpu_has_bf16
from hdrunet_video.threads import shared_out
from tests.conftest import needs_openvino
from tests.network.test_cpu import CONFIGS, a_network, in_float64

CPU = torch.device("cpu")
SMALL = HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(0, 1, 0))


@needs_openvino
@pytest.mark.parametrize("size", [(1, 1), (37, 50)])
def test_equals_float64(size: tuple[int, int]) -> None:
    network, picture = a_network(CONFIGS["whole"]), torch.rand(1, 3, *size)
    expected = in_float64(network, picture)
    found = Compiled(network, "fp32")(picture)
    assert found.shape == picture.shape
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < 1e-5 * max(1.0, float(expected.abs().max()))


@needs_openvino
@pytest.mark.parametrize("name", VARIANTS)
def test_all_variants(name: str) -> None:
    sizes = {"channels": 4, "condition_channels": 5, "sft_channels": 3, "blocks": (1, 1, 1)}
    network = a_network(HDRUNetConfig(**{**vars(VARIANTS[name]), **sizes}))
    picture = torch.rand(1, 3, 12, 16)
    expected = in_float64(network, picture)
    assert float((Compiled(network, "fp32")(picture) - expected).abs().max()) < 1e-5 * float(expected.abs().max())


@needs_openvino
def test_the_bundled_weights_in_fp32() -> None:
    network = load_network()
    assert largest_error(Compiled(network, "fp32"), network, CPU) < 0.02  # of a 10-bit code


@needs_openvino
@pytest.mark.skipif(not cpu_has_bf16(), reason="needs a CPU with bf16")
def test_the_bundled_weights_in_bf16() -> None:
    network = load_network()
    error = largest_error(Compiled(network, "bf16"), network, CPU)
    assert 0.05 < error < 10.0


@needs_openvino
def test_the_last_weights_are_not_rounded_in_bf16() -> None:
    """Of 1.001 bfloat16 would make 1. The picture's path through the network rounds nothing else."""
    network = HDRUNet(HDRUNetConfig(channels=1, condition=False, blocks=(0, 0, 0))).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.zero_()
    assert network.weighting is not None
    for conv in (network.stem, network.encode_full, network.decode_full, network.weighting.conv1):
        conv.weight[0, 0, 1, 1] = 1.0
    network.weighting.conv2.weight[0, 0, 1, 1] = 1.0
    network.weighting.conv3.weight[0, 0, 0, 0] = 1.0
    network.weighting.to_weights.weight[:, 0, 0, 0] = 1.001
    network.to_rgb.weight[:, 0, 1, 1] = 1.001
    picture = torch.ones(1, 3, 8, 8)
    torch.testing.assert_close(Compiled(network, "bf16")(picture), 2.002 * picture, rtol=1e-5, atol=0)


@needs_openvino
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bits_depend_on_nothing_that_came_before(precision: Any) -> None:
    network = a_network(SMALL)
    pictures = [torch.rand(1, 3, *size) for size in ((20, 33), (8, 8), (20, 33))]
    alone = [Compiled(network, precision)(picture) for picture in pictures]
    made = Compiled(network, precision)
    for index in (0, 1, 0, 2, 1, 2):
        assert torch.equal(made(pictures[index]), alone[index])
    made.release()
    assert torch.equal(made(pictures[0]), alone[0])


@needs_openvino
def test_several_threads_at_once() -> None:
    made = Compiled(a_network(SMALL), "fp32")
    pictures = [torch.rand(1, 3, 20 + 4 * (index % 3), 33) for index in range(24)]
    expected = [made(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(made, pictures))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@needs_openvino
def test_the_input_is_left_alone_and_the_output_is_the_callers_own() -> None:
    made, picture = Compiled(a_network(SMALL), "fp32"), torch.rand(1, 3, 8, 12)
    before = picture.clone()
    first = made(picture)
    kept = first.clone()
    made(1 - picture)
    assert torch.equal(picture, before)
    assert torch.equal(first, kept)


@needs_openvino
def test_few_sizes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "MOST_SIZES", 2)
    made = Compiled(a_network(SMALL), "fp32")
    for width in (4, 8, 4, 12):
        made(torch.rand(1, 3, 4, width))
    assert [width for _, width, _ in made._sizes] == [4, 12]


@needs_openvino
def test_no_more_threads_than_torch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, asked = torch.get_num_threads(), list[dict[str, Any]]()
    try:
        torch.set_num_threads(4)
        made = Compiled(a_network(SMALL), "fp32")
        made._core = SimpleNamespace(
            compile_model=lambda model, device, options: asked.append(options) or SimpleNamespace(release_memory=int)
        )
        made._compiled(8, 8)
        for count in (2, 3, 8):
            with ThreadPoolExecutor(count) as pool:
                with shared_out(count) as take:
                    for _ in range(count):
                        pool.submit(take)
                list(pool.map(made._compiled, [8] * count, [8] * count))
    finally:
        torch.set_num_threads(threads)
    assert [(each["INFERENCE_NUM_THREADS"], each["NUM_STREAMS"]) for each in asked] == [(4, 1), (4, 2), (4, 3), (4, 4)]


@needs_openvino
def test_nothing_is_told_to_anyone(tmp_path: Path) -> None:
    """By itself the package reports its import to Google Analytics, and keeps an identity in the user's home."""
    code = "from hdrunet_video.network.openvino import load; load(); import sys; print([*sys.modules])"
    environment = {**os.environ, "HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "'openvino'" in run.stdout
    assert "'openvino_telemetry'" not in run.stdout
    assert list(tmp_path.iterdir()) == []


@needs_openvino
def test_it_is_used_where_it_is_asked_for() -> None:
    network, picture = a_network(SMALL), torch.rand(1, 3, 9, 14)
    assert isinstance(place(network, CPU, "fp32"), FusedNetwork)
    placed = place(network, CPU, "fp32", "openvino")
    assert isinstance(placed, Compiled)
    assert torch.allclose(placed(picture), network(picture), atol=1e-5)


@needs_openvino
def test_a_wrong_result_is_not_believed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    right = Compiled.__call__
    monkeypatch.setattr(Compiled, "__call__", lambda self, image: right(self, image) * 1.01)
    with caplog.at_level(logging.WARNING):
        placed = place(a_network(SMALL), CPU, "fp32", "openvino")
    assert isinstance(placed, FusedNetwork)
    assert [record.name for record in caplog.records] == ["hdrunet_video.network.openvino"]
    assert "OpenVINO cannot be used in fp32, going on without it: it is wrong by" in caplog.text


def test_without_the_package_it_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level(logging.WARNING):
        placed = place(a_network(SMALL), CPU, "fp32", "openvino")
    assert isinstance(placed, FusedNetwork)
    assert "import of openvino halted" in caplog.text


@needs_openvino
def test_signals_are_handled_after_a_network_has_gone_in_another_thread() -> None:
    code = """
import gc, os, signal, threading
import torch
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.openvino import Compiled
small = HDRUNet(HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(1, 1, 1))).eval()
networks = [Compiled(small, "fp32")]
with torch.no_grad():
    networks[0](torch.rand(1, 3, 8, 8))
def drop():
    networks.clear()
    gc.collect()
other = threading.Thread(target=drop)
other.start()
other.join()
signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "handled\n"), run.stderr
