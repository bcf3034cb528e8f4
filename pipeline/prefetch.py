"""A bounded background iterator: the next item is made while the last one is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable


def prefetch[T](items: Iterable[T], depth: int = 4) -> Generator[T, None, None]:
    """Iterate `items` in a thread of its own, at most `depth` ahead. Errors arrive where the item would have.

    Closing the iterator, or losing it, stops the thread before its next item.
    """
    ready: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(depth)
    stopped = threading.Event()

    def offer(item: T | None, error: BaseException | None, last: bool) -> None:
        while not stopped.is_set():
            try:
                ready.put((item, error, last), timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                offer(item, None, False)
                if stopped.is_set():
                    return
            offer(None, None, True)
        except BaseException as error:  # carried to the consumer, which raises it
            offer(None, error, True)
        finally:
            # A generator holds open files: they are closed in the thread that used them.
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = ready.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]  # None is only sent with `last` or with an error
            item = None
    finally:
        stopped.set()
        thread.join()
