"""The bounded background iterator."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from hdrunet_video.prefetch import prefetch


def settled(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 5
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)
    return condition()


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_everything_in_order() -> None:
    assert list(prefetch(range(1000))) == list(range(1000))
    assert list(prefetch([])) == []
    assert list(prefetch([None, 0, None])) == [None, 0, None]


def test_it_runs_ahead_and_no_further_than_its_depth() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    iterator = prefetch(items(), depth=3)
    assert next(iterator) == 0
    # One is used, three wait, one more is made and finds no place.
    assert settled(lambda: len(taken) == 5)
    time.sleep(0.15)
    assert len(taken) == 5
    assert list(iterator) == list(range(1, 100))


def test_an_error_comes_where_its_item_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("third")

    iterator = prefetch(items())
    assert next(iterator) == 1
    assert next(iterator) == 2
    with pytest.raises(ValueError, match="third"):
        next(iterator)
    assert not workers()


def test_interrupts_are_carried() -> None:
    def items() -> Iterator[int]:
        raise KeyboardInterrupt
        yield 1

    with pytest.raises(KeyboardInterrupt):
        next(prefetch(items()))


@pytest.mark.parametrize("leave", ["close", "lose"])
def test_leaving_stops_the_thread_and_closes_the_source_in_it(leave: str) -> None:
    closed: list[str] = []

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(threading.current_thread().name)

    iterator = prefetch(items(), depth=2)
    assert next(iterator) == 0
    assert workers()
    if leave == "close":
        iterator.close()  # type: ignore[attr-defined]
    else:
        del iterator
        gc.collect()
    assert settled(lambda: not workers())
    assert closed == ["prefetch"]


def test_two_in_a_row() -> None:
    iterator = prefetch(number * 2 for number in prefetch(range(50), depth=1))
    assert next(iterator) == 0
    iterator.close()  # type: ignore[attr-defined]
    assert settled(lambda: not workers())
