"""Calls in turns, and a budget that is shared out."""

from __future__ import annotations

import pytest
import torch

from hdrunet_video.bench.timing import Budget, Energy, interleave, read_peak, reset_peak

CPU = torch.device("cpu")


def test_calls_take_turns() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    measured = interleave(calls, CPU, seconds=10.0, most_rounds=3)
    assert "".join(order) == "abccba" * 2  # one to warm up
    assert all(len(taken.seconds) == 3 for taken in measured.values())


def test_one_round_in_any_case() -> None:
    assert len(interleave({"a": lambda: None}, CPU, seconds=0.0)["a"].seconds) == 1


def test_errors_without_someone_to_tell() -> None:
    with pytest.raises(ZeroDivisionError):
        interleave({"a": lambda: 1 / 0}, CPU, seconds=0.0)


def test_budget_is_shared_by_weight_and_what_is_left_over_goes_on() -> None:
    now = 0.0
    budget = Budget(60.0, weights=6.0, clock=lambda: now)
    assert budget.share(1.0) == pytest.approx(10.0)
    now = 4.0  # six seconds less than it had
    assert budget.share(2.0) == pytest.approx(56.0 * 2 / 5)
    now = 90.0
    assert budget.share(3.0) == 0.0


def test_what_is_reserved_is_not_shared_out() -> None:
    now = 0.0
    budget = Budget(60.0, weights=2.0, reserved=20.0, clock=lambda: now)
    assert budget.share(1.0, 20.0) == pytest.approx(20.0 + 40.0 / 2)
    now = 40.0
    assert budget.share(1.0) == pytest.approx(20.0)


def test_peak_of_a_large_tensor() -> None:
    before = reset_peak(CPU)
    if before is None:
        pytest.skip("this system does not let a process reset its peak")
    torch.ones(1 << 26, dtype=torch.uint8)
    peak = read_peak(CPU)
    assert peak is not None
    assert peak - before > 0.9 * (1 << 26)


def test_no_card_no_energy() -> None:
    assert Energy(CPU).joules() is None
