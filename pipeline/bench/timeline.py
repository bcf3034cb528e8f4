"""Who was at work when: spans of threads and of a graphics card's lanes, as a Chrome trace.

Perfetto (ui.perfetto.dev) and chrome://tracing show it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Span:
    """A piece of work."""

    lane: str
    """Who did it: `decode`, `upload`, `compute`, `download`, `encode`."""
    start: float
    """Seconds since the timeline was made."""
    stop: float
    pts: int | None = None
    """Of the frame that it was done to, where that is known."""


class Timeline:
    """Spans from any thread."""

    def __init__(self) -> None:
        self._zero = time.perf_counter()
        self._lock = threading.Lock()
        self._spans: list[Span] = []

    @contextmanager
    def span(self, lane: str, pts: int | None = None) -> Iterator[None]:
        """What is done inside, to the frame of a time, is one span, also where it fails."""
        start = self.now()
        try:
            yield
        finally:
            self.add(lane, start, self.now(), pts)

    def now(self) -> float:
        """Seconds since the timeline was made."""
        return time.perf_counter() - self._zero

    def add(self, lane: str, start: float, stop: float, pts: int | None = None) -> None:
        """A span that was measured elsewhere."""
        with self._lock:
            self._spans.append(Span(lane, start, stop, pts))

    def each[T](self, lane: str, items: Iterable[T]) -> Iterator[T]:
        """The same items; the making of each is a span, of the item's `pts` if it has one."""
        iterator = iter(items)
        try:
            while True:
                start = self.now()
                item = next(iterator, None)
                if item is None:
                    return
                self.add(lane, start, self.now(), getattr(item, "pts", None))
                yield item
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    @property
    def spans(self) -> list[Span]:
        """All so far, by their start."""
        with self._lock:
            return sorted(self._spans, key=lambda span: span.start)

    def busy(self) -> dict[str, float]:
        """Share of the time from the first start to the last stop that each lane was at work."""
        spans = self.spans
        if not spans:
            return {}
        whole = max(span.stop for span in spans) - spans[0].start
        shares: dict[str, float] = {}
        reached: dict[str, float] = {}
        for span in spans:
            begin = max(span.start, reached.get(span.lane, span.start))
            shares[span.lane] = shares.get(span.lane, 0.0) + max(span.stop - begin, 0.0) / whole
            reached[span.lane] = max(span.stop, reached.get(span.lane, span.stop))
        return shares


def chrome_trace(timelines: dict[str, Timeline]) -> bytes:
    """JSON of the trace event format: a process for each timeline, a thread for each lane, times in microseconds."""
    events: list[dict[str, Any]] = []
    for process, (name, timeline) in enumerate(timelines.items(), 1):
        events.append({"ph": "M", "pid": process, "tid": 0, "name": "process_name", "args": {"name": name}})
        lanes: dict[str, int] = {}
        for span in timeline.spans:
            if span.lane not in lanes:
                lanes[span.lane] = len(lanes) + 1
                facts: dict[str, Any] = {"pid": process, "tid": lanes[span.lane], "args": {"name": span.lane}}
                events.append({"ph": "M", "name": "thread_name", **facts})
            where = {"pid": process, "tid": lanes[span.lane], "cat": "stage"}
            microseconds = {"ts": round(span.start * 1e6, 3), "dur": round((span.stop - span.start) * 1e6, 3)}
            frame = {} if span.pts is None else {"args": {"pts": span.pts}}
            events.append({"ph": "X", "name": span.lane, **where, **microseconds, **frame})
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}).encode()
