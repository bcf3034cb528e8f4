"""Signals: whatever a library is computing, SIGINT and SIGTERM end the process within two seconds, and tidily."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from .receipts import delete_own_temporaries

_GRACE_SECONDS = 1.0


def interruptible[T](say_stopped: Callable[[int], None], act: Callable[[Callable[[], bool]], T]) -> T:
    """The result of `act`, which runs in a thread and is given a function that says whether to stop.

    On a signal the process ends with 128 + its number; half-written files are deleted, and `say_stopped` is told.
    """
    stop = threading.Event()
    received: list[int] = []
    outcome: list[T | BaseException] = []

    def worker() -> None:
        try:
            outcome.append(act(stop.is_set))
        except BaseException as error:  # handed to the main thread
            outcome.append(error)

    def on_signal(number: int, _: object) -> None:
        received.append(number)
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        thread = threading.Thread(target=worker, name="run", daemon=True)
        thread.start()
        while thread.is_alive() and not received:
            thread.join(0.1)
        if received:
            _leave(say_stopped, thread, received[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    return result


def _leave(say_stopped: Callable[[int], None], thread: threading.Thread, number: int) -> None:
    """End the process now: a convolution of a large frame cannot be interrupted, only left."""
    until = time.monotonic() + _GRACE_SECONDS
    while thread.is_alive() and time.monotonic() < until:
        thread.join(0.05)
    delete_own_temporaries()
    say_stopped(number)
    sys.stderr.flush()
    os._exit(128 + number)
