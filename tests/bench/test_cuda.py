"""What is measured on CUDA, by a card whose clock goes on by a second at each event."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import count
from typing import Any

import pytest
import torch

from hdrunet_video.bench.timeline import Timeline
from hdrunet_video.bench.timing import Meter, OwnTime, interleave
from hdrunet_video.bench.traced import TracedRuntime
from hdrunet_video.in_flight import CudaRuntime

CARD = torch.device("cuda:0")


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count()

    class Event:
        def __init__(self, **_: bool) -> None:
            self.seconds = 0

        def record(self, *_: Any) -> None:
            self.seconds = next(clock)

        def synchronize(self) -> None: ...

        def elapsed_time(self, other: Event) -> float:
            return 1e3 * (other.seconds - self.seconds)

    class Stream:
        def __init__(self, device: torch.device) -> None: ...

        def wait_stream(self, other: object) -> None: ...

        def synchronize(self) -> None: ...

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1500)


def test_events_time_calls() -> None:
    calls: list[int] = []
    taken = Meter(CARD).run(lambda: calls.append(1), repeats=4)
    assert (taken.seconds, taken.peak_bytes, taken.joules) == ((0.25,), 500, None)
    assert len(calls) == 4


def test_memory_that_is_held_from_call_to_call_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    held = 0

    def keeps() -> None:
        nonlocal held
        held = 4000

    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1000 + held)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1000 + held + 500)
    measured = interleave({"keeps": keeps, "a": lambda: None}, CARD, seconds=0.0, held={"a": 70})
    assert {name: taken.peak_bytes for name, taken in measured.items()} == {"keeps": 4500, "a": 570}


def test_calls_that_time_themselves_are_not_repeated() -> None:
    calls: list[str] = []

    def own() -> OwnTime:
        calls.append("own")
        return OwnTime(0.001)

    measured = interleave({"own": own, "a": lambda: calls.append("a")}, CARD, seconds=0.0)
    assert measured["own"].seconds == (0.001,)
    assert calls.count("own") == 2
    assert calls.count("a") == 5  # three to warm up and one to see how long it takes, then the round


def test_lanes_are_traced_by_their_events() -> None:
    timeline = Timeline()
    runtime = TracedRuntime(CudaRuntime(CARD), timeline)
    with runtime.on("upload"):
        pass
    with pytest.raises(ZeroDivisionError), runtime.on("compute"):
        _ = 1 / 0
    assert timeline.spans == []  # no event is asked before it has happened
    runtime.drain()
    runtime.drain()
    spans = [(span.lane, round(span.stop - span.start, 6)) for span in timeline.spans]
    assert spans == [("upload", 1.0), ("compute", 1.0)]
    assert timeline.spans[1].start - timeline.spans[0].start == pytest.approx(2.0)
