"""Devices and precisions by name, and what their errors mean."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from hdrunet_video.device import device_errors, is_out_of_memory, resolve_device, resolve_precision, total_memory
from hdrunet_video.errors import RetryError, UsageError


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA error: unspecified launch failure"), RetryError),
        (RuntimeError("Triton Error [CUDA]: unspecified launch failure"), RetryError),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), RetryError),
        (RuntimeError("CUDA error: out of memory"), RetryError),
        (torch.OutOfMemoryError("CUDA out of memory."), RetryError),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), RetryError),
        (RuntimeError("CUDA error: no kernel image is available for execution on the device"), UsageError),
        (RuntimeError("shapes do not match"), RuntimeError),
        (RuntimeError(""), RuntimeError),
        (KeyError("bug"), KeyError),
    ],
)
def test_device_errors(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected) as caught, device_errors():
        raise error
    assert type(caught.value) is expected
    if isinstance(caught.value, RetryError):
        assert caught.value.exit_code == 75
        assert caught.value.hint


def test_out_of_memory_of_the_cpu() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    for status in ("ALLOC_FAILED", "INTERNAL_ERROR_HOST_ALLOCATION_FAILED", "INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"):
        assert is_out_of_memory(RuntimeError(f"cuDNN error: CUDNN_STATUS_{status}"))
    assert is_out_of_memory(RuntimeError("Exception from allocator.cpp:79:\nstd::bad_alloc"))  # OpenVINO's
    assert is_out_of_memory(RuntimeError("could not create a primitive"))  # what oneDNN says then
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a convolution"))
    assert not is_out_of_memory(RuntimeError("other"))
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


def test_devices(cards: Callable[[int], None]) -> None:
    cards(0)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0", "gpu", "", "cuda:", "cuda:-1", "CPU", "mps"):
        with pytest.raises(UsageError) as caught:
            resolve_device(name)
        assert caught.value.hint == "--device takes auto, cpu on this machine"
    cards(2)
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda", 0)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="no device cuda:2") as caught:
        resolve_device("cuda:2")
    assert caught.value.hint == "--device takes auto, cpu, cuda:0, cuda:1 on this machine"


def test_precisions() -> None:
    cpu, card = torch.device("cpu"), torch.device("cuda:0")
    assert [resolve_precision("auto", device) for device in (cpu, card)] == ["fp32", "fp16"]
    assert [resolve_precision("fp32", device) for device in (cpu, card)] == ["fp32", "fp32"]
    assert resolve_precision("fp16", card) == "fp16"
    for name, device in (("fp16", cpu), ("bf16", card), ("", cpu)):
        with pytest.raises(UsageError) as caught:
            resolve_precision(name, device)
        assert caught.value.hint


def test_memory_does_not_depend_on_what_is_free() -> None:
    assert total_memory(torch.device("cpu")) == total_memory(torch.device("cpu")) > 1 << 28


@pytest.mark.parametrize(
    "setting",
    [
        "backends.cudnn.allow_tf32 = True",
        "backends.cudnn.conv.fp32_precision = 'ieee'",
        "backends.fp32_precision = 'tf32'",
        "set_float32_matmul_precision('high')",
    ],
)
def test_tf32_is_forbidden_whatever_a_script_has_set(setting: str) -> None:
    """torch has older and newer names for it, and refuses some that are mixed."""
    if not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("this torch has the older names alone")
    said = "torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision"
    code = f"import torch; torch.{setting}; from hdrunet_video.device import forbid_tf32; forbid_tf32(); print({said})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "ieee ieee\n"
