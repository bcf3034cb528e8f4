"""torch's threads, shared out among several of ours that compute at once: fewer threads wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

_sharing = threading.Lock()
_here = threading.local()


def shares(threads: int, count: int) -> list[int]:
    """How many of `threads` each of `count` threads has, largest first: at least one, and else all are used."""
    least, larger = divmod(threads, count)
    return [max(1, least + (number < larger)) for number in range(count)]


def sharers() -> int:
    """How many threads share torch's threads with the one that asks, itself included; 1 where nothing is shared."""
    return getattr(_here, "sharers", 1)


@contextmanager
def shared_out(count: int) -> Iterator[Callable[[], None]]:
    """Share out torch's threads among `count` threads, which have to be started inside.

    Each of them first calls what this gives. The caller's own number, and that of any other thread, stays as it is.
    """
    with _sharing:
        threads = torch.get_num_threads()
        left = shares(threads, count)
        all_here = threading.Barrier(count + 1)

        def take() -> None:
            torch.get_num_threads()  # a thread's first question sets its number to that of the process
            torch.set_num_threads(left.pop())
            _here.sharers = count
            all_here.wait()

        try:
            yield take
            all_here.wait()
        except BaseException:
            all_here.abort()
            raise
        finally:
            torch.set_num_threads(threads)  # whichever thread sets its own, sets that of threads to come
