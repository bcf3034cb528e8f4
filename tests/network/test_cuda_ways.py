"""In which way the fused network convolves: those that work, and of these the fastest."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from hdrunet_video.network import check, cuda, cuda_trial
from hdrunet_video.network.cuda import Fused
from hdrunet_video.network.cuda_forward import Forward, Way
from hdrunet_video.network.cuda_trial import fused
from tests.network.cuda_cases import DEVICE, network_of

pytest.importorskip("triton", reason="Triton is not there for this platform")


@pytest.mark.parametrize(
    ("wrong", "taken", "said"),
    [
        (["strips"], "tiles", [f"in strips cannot be used on {DEVICE}, going on with those in tiles"]),
        (["tiles"], "strips", [f"in tiles cannot be used on {DEVICE}, going on with those in strips"]),
        (["cudnn"], "strips", []),
        (
            ["strips", "tiles"],
            "cudnn",
            [f"in strips cannot be used on {DEVICE}, going on with those in tiles", "going on with those by cuDNN"],
        ),
    ],
)
def test_another_way_comes_before_other_operators_aloud(
    wrong: list[Way], taken: Way, said: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(check, "largest_error", lambda made, *_: 9.0 if made.way in wrong else 0.0)
    monkeypatch.setattr(cuda_trial, "_ways", lambda device: ["strips", "tiles", "cudnn"])
    monkeypatch.setattr(cuda_trial, "_fastest", lambda usable, device: usable[0])
    monkeypatch.setattr(cuda_trial, "_PATIENCE", 600.0)
    made = fused(network_of())
    assert isinstance(made, Fused)
    assert made.way == taken
    assert [record.levelname for record in caplog.records] == ["WARNING"] * len(said)
    for record, words in zip(caplog.records, said, strict=True):
        assert f"{words}: it is wrong by" in record.getMessage()


FULL = 0.0
"""Seconds of a way that has no memory."""


@pytest.mark.parametrize(
    ("seconds", "other_bits", "chosen"),
    [
        ({"strips": 0.05, "tiles": 0.01}, [], "tiles"),
        ({"strips": 0.01, "tiles": 0.05}, [], "strips"),
        ({"strips": 0.05, "tiles": 0.045}, ["tiles"], "strips"),
        ({"strips": 0.05, "tiles": 0.045, "cudnn": 0.045}, ["cudnn"], "tiles"),
        ({"strips": 0.05, "tiles": 0.01, "cudnn": 0.02}, ["cudnn"], "tiles"),
        ({"strips": 0.04, "tiles": 0.05, "cudnn": 0.02}, ["cudnn"], "cudnn"),
        ({"tiles": 0.04, "cudnn": 0.02}, ["cudnn"], "cudnn"),
        ({"tiles": 0.04, "cudnn": FULL}, ["cudnn"], "tiles"),
    ],
)
def test_the_faster_way_is_taken_and_much_faster_where_bits_differ(
    seconds: dict[Way, float], other_bits: list[Way], chosen: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Timed(Forward):
        def __call__(self, given: Any) -> None:
            if seconds[self.way] == FULL:
                raise torch.OutOfMemoryError("CUDA out of memory")
            time.sleep(seconds[self.way])
            given["output"].fill_(0.50001 if self.way in other_bits else 0.5)

    monkeypatch.setattr(check, "largest_error", lambda *_: 0.0)
    monkeypatch.setattr(cuda_trial, "_PICTURE", (1, 3, 9, 11))
    monkeypatch.setattr(cuda, "_captured", lambda stream, launches: launches)  # a graph would not sleep
    monkeypatch.setattr(cuda_trial, "_ways", lambda device: list(seconds))
    monkeypatch.setattr(cuda_trial, "Forward", Timed)
    made = fused(network_of())
    assert isinstance(made, Fused)
    assert made.way == chosen
    assert made.backend == ("ours, convolutions cudnn" if chosen == "cudnn" else "ours")
    assert made._memory is None


@pytest.mark.parametrize("wrong", [False, True])
def test_a_way_that_fails_or_is_wrong_at_another_size_is_not_taken(
    wrong: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Timed(Forward):
        def __call__(self, given: Any) -> None:
            if self.way == "tiles":
                time.sleep(0.05)
            elif not wrong:
                raise RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED")
            given["output"].fill_(0.5 if self.way == "tiles" else 0.6)

    caplog.set_level("INFO")
    monkeypatch.setattr(check, "largest_error", lambda *_: 0.0)
    monkeypatch.setattr(cuda_trial, "_PICTURE", (1, 3, 9, 11))
    monkeypatch.setattr(cuda, "_captured", lambda stream, launches: launches)
    monkeypatch.setattr(cuda_trial, "_ways", lambda device: ["tiles", "cudnn"])
    monkeypatch.setattr(cuda_trial, "_compile", lambda forward, device: None)  # which calls it, too
    monkeypatch.setattr(cuda_trial, "Forward", Timed)
    made = fused(network_of())
    assert isinstance(made, Fused)
    assert made.way == "tiles"
    assert ("convolutions by cuDNN: cuDNN error" in caplog.text) is not wrong
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("room", "enabled", "ways"),
    [
        (True, True, ["strips", "tiles", "cudnn"]),
        (False, True, ["tiles", "cudnn"]),
        (True, False, ["strips", "tiles"]),
    ],
)
def test_which_ways_are_tried(room: bool, enabled: bool, ways: list[Way], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_trial, "has_room_for_strips", lambda device: room)
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: True)
    with torch.backends.cudnn.flags(enabled=enabled):
        assert cuda_trial._ways(torch.device("cuda")) == ways
    assert cuda_trial._ways(torch.device("cpu"))[-1] == "tiles"
