"""The name of what computes."""

from __future__ import annotations

import pytest
import torch

from hdrunet_video.hardware import hardware_name


def test_machines_that_hide_instructions_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their frames in bf16 differ, though the processor's name is the same."""
    found = []
    for flags in (frozenset({"avx2"}), frozenset({"avx512_bf16"}), frozenset({"avx512_bf16", "amx_bf16"})):
        monkeypatch.setattr("hdrunet_video.processor.cpu_flags", lambda flags=flags: flags)
        found.append(hardware_name.__wrapped__(torch.device("cpu")))
    assert len(set(found)) == 3
    assert found[2].endswith(" amx_bf16 avx512_bf16")
