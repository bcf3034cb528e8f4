"""Several frames at once on a CPU, each with its share of the threads: fewer threads wait for each other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from .frame import Frame

_sharing = threading.Lock()


@contextmanager
def shared_out(count: int) -> Iterator[Callable[[], None]]:
    """Share out torch's threads among `count` threads, which have to be started inside.

    Each of them first calls what this gives. The caller's own number, and that of any other thread, stays as it is.
    """
    with _sharing:
        threads = torch.get_num_threads()
        share = max(1, threads // count)
        all_here = threading.Barrier(count + 1)

        def take() -> None:
            torch.get_num_threads()  # a thread's first question sets its number to that of the process
            torch.set_num_threads(share)
            all_here.wait()

        try:
            yield take
            all_here.wait()
        except BaseException:
            all_here.abort()
            raise
        finally:
            torch.set_num_threads(threads)  # whichever thread sets its own, sets that of threads to come


def compute_at_once(compute: Callable[[Frame], Frame], frames: Iterable[Frame], count: int) -> Iterator[Frame]:
    """compute(frame) of each frame, `count` at a time and in order; at most `count` + 1 are taken ahead.

    Where one fails, all before it are given first, and then its error is raised. torch's threads are shared out; the
    caller's own number stays as it is.
    """
    pool = ThreadPoolExecutor(count, "frame")
    pending: deque[Future[Frame]] = deque()
    failure: Exception | None = None
    try:
        with shared_out(count) as take:
            for _ in range(count):
                pool.submit(take)
        source = iter(frames)
        while True:
            try:
                frame = next(source, None)
            except Exception as error:
                failure = error
                break
            if frame is None:
                break
            pending.append(pool.submit(compute, frame))
            del frame
            if len(pending) > count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if failure is not None:
            raise failure
    finally:
        failure = None  # or its traceback and this frame would keep each other, and the planes, alive
        pool.shutdown(cancel_futures=True)
