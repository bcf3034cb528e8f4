"""Which networks run fused, how the kernels are checked, and what happens where they do not work."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from hdrunet_video.errors import UsageError
from hdrunet_video.network import check, cuda_trial, forward
from hdrunet_video.network.check import check_picture
from hdrunet_video.network.config import VARIANTS, HDRUNetConfig
from hdrunet_video.network.cuda import Fused
from hdrunet_video.network.cuda_forward import Forward, Way, supports
from hdrunet_video.network.cuda_trial import fused
from hdrunet_video.network.hdrunet import HDRUNet
from tests.network.cuda_cases import Inverse, network_of, picture_of

pytest.importorskip("triton", reason="Triton is not there for this platform")


@pytest.mark.parametrize("name", VARIANTS)
def test_which_variants_have_kernels(name: str, caplog: pytest.LogCaptureFixture) -> None:
    config = VARIANTS[name]
    assert supports(config) is (name not in ("sft-map", "sft-channel"))
    if not supports(config):
        assert fused(HDRUNet(config)) is None
        assert not caplog.records
        with pytest.raises(ValueError, match="no kernels"):
            Forward(HDRUNet(config), "tiles")


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

    def __init__(self, network: HDRUNet, way: Way) -> None:
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
    def __init__(self, network: HDRUNet, way: Way) -> None:
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
    monkeypatch.setattr(cuda_trial, "Forward", kernels)
    monkeypatch.setattr(HDRUNet, "to", lambda self, *_, **__: self)  # there may be no such device
    network = gentle()
    made = forward.place(network, torch.device("cuda"), "fp16")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.records[0].name == "hdrunet_video.network.cuda_trial"
    assert "going on with PyTorch's operators in fp16" in caplog.text
    assert re.search(reason, caplog.records[0].getMessage())
    picture = picture_of(8, 8).cpu()
    torch.testing.assert_close(made(picture), network(picture), rtol=0, atol=0.02)
    assert not torch.equal(made(picture), network(picture))
    assert getattr(made, "precision", "") == "fp16"


@pytest.mark.parametrize(("weight", "reason"), [(1e6, "wrong by inf"), (1e4, "wrong by [0-9]+")])
def test_where_float16_will_not_do_it_goes_on_in_float32_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, weight: float, reason: str
) -> None:
    monkeypatch.setattr(cuda_trial, "Forward", Missing)
    monkeypatch.setattr(HDRUNet, "to", lambda self, *_, **__: self)
    network = gentle()
    network.encode_full.weight.mul_(weight)
    network.down_half.weight.mul_(1 / weight)
    made = forward.place(network, torch.device("cuda"), "fp16")
    kernels, halved = (record.getMessage() for record in caplog.records)
    assert getattr(made, "precision", "") == "fp32"  # what receipts say
    assert "going on with PyTorch's operators in fp16: No module" in kernels
    assert re.search(f"fp16 cannot be used on .*, going on with PyTorch's operators in fp32: it is {reason}", halved)
    picture = picture_of(8, 8).cpu()
    torch.testing.assert_close(made(picture), network(picture), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported later",
        "Triton Error [CUDA]: unspecified launch failure",
    ],
)
def test_a_device_that_kernels_have_broken_is_no_reason_to_try_again(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    class Faulty(Wrong):
        def __call__(self, given: Any) -> None:
            raise RuntimeError(said)

    monkeypatch.setattr(cuda_trial, "Forward", Faulty)
    with pytest.raises(UsageError, match=said.splitlines()[0].replace("[", r"\[")) as caught:
        fused(network_of())
    assert "--precision fp32" in caught.value.hint


def test_no_memory_for_the_check_is_no_fault_of_the_kernels(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor a reason for other code, which needs more, and makes other bits."""

    class Hungry(Wrong):
        def __call__(self, given: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(cuda_trial, "Forward", Hungry)
    with pytest.raises(torch.OutOfMemoryError):
        fused(network_of())
    assert not caplog.records


def test_the_check_lets_right_kernels_pass(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(check, "check_picture", lambda: picture_of(3, 5))
    monkeypatch.setattr(cuda_trial, "_PATIENCE", 600.0)
    assert isinstance(fused(network_of()), Fused)
    assert not caplog.records


def test_the_check_looks_at_all_of_the_range() -> None:
    picture = check_picture()
    assert torch.equal(picture * 255, (picture * 255).round())
    assert (picture.amin(), picture.amax()) == (0.0, 1.0)
    assert picture.unique().numel() > 200
    assert all(side % HDRUNet.MULTIPLE for side in picture.shape[-2:])


def test_triton_is_loaded_where_it_is_used_only() -> None:
    code = "import sys, hdrunet_video.engine; print('hdrunet_video.network.cuda_kernels' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_gpus_that_triton_does_not_multiply_matrices_on_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its compiler would work for hours, without a word."""
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(cuda_trial, "believed", lambda *_: pytest.fail("they were tried"))
    with FakeTensorMode(), torch.device("cuda:0"):
        network = HDRUNet()
    assert fused(network) is None


def test_a_start_that_takes_long_says_why(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with cuda_trial._patience(torch.device("cuda:1")):
        pass
    assert not caplog.records
    monkeypatch.setattr(cuda_trial, "_PATIENCE", 0.01)
    with cuda_trial._patience(torch.device("cuda:1")):
        deadline = time.monotonic() + 10
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "still starting on cuda:1" in caplog.text
