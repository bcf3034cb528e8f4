"""Spans and the trace that shows them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from hdrunet_video.bench.timeline import Timeline, chrome_trace


def test_busy_counts_what_overlaps_once() -> None:
    timeline = Timeline()
    for lane, start, stop in [("a", 0, 4), ("a", 2, 5), ("b", 5, 10), ("a", 3, 4), ("b", 9, 10)]:
        timeline.add(lane, start, stop)
    assert timeline.busy() == pytest.approx({"a": 0.5, "b": 0.5})
    assert Timeline().busy() == {}


def test_each_passes_items_on_and_closes() -> None:
    closed = []

    def numbers() -> Iterator[int]:
        try:
            yield from range(5)
        finally:
            closed.append(True)

    timeline = Timeline()
    items = timeline.each("decode", numbers())
    assert [next(items), next(items)] == [0, 1]
    items.close()  # type: ignore[attr-defined]
    assert closed == [True]
    assert [span.lane for span in timeline.spans] == ["decode", "decode"]


def test_a_span_that_fails_is_a_span() -> None:
    timeline = Timeline()
    with pytest.raises(ZeroDivisionError), timeline.span("compute"):
        _ = 1 / 0
    (span,) = timeline.spans
    assert 0 <= span.start <= span.stop


def test_chrome_trace() -> None:
    """The fields that the trace event format asks of complete (X) and metadata (M) events."""
    first, second = Timeline(), Timeline()
    first.add("decode", 0.001, 0.002)
    threads = [threading.Thread(target=first.add, args=("encode", 0.002 + n, 0.5 + n)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    second.add("decode", 0.0, 1.0)
    trace = json.loads(chrome_trace({"64x48": first, "128x96": second}))
    events: list[dict[str, Any]] = trace["traceEvents"]
    work = [event for event in events if event["ph"] == "X"]
    assert len(work) == 5
    assert work[0] | {"cat": ""} == {
        **{"ph": "X", "name": "decode", "pid": 1, "tid": 1, "cat": ""},
        **{"ts": 1000.0, "dur": 1000.0},
    }
    names = {(event["pid"], event["tid"]): event["args"]["name"] for event in events if event["ph"] == "M"}
    assert names == {(1, 0): "64x48", (1, 1): "decode", (1, 2): "encode", (2, 0): "128x96", (2, 1): "decode"}
    assert all(names[event["pid"], event["tid"]] == event["name"] for event in work)
