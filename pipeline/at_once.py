"""Several frames at once on a CPU, each with its share of the threads: fewer threads wait for each other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from .frame import Frame


def compute_at_once(compute: Callable[[Frame], Frame], frames: Iterable[Frame], count: int) -> Iterator[Frame]:
    """compute(frame) of each frame, `count` at a time and in order; at most `count` + 1 are taken ahead.

    Where one fails, all before it are given first, and then its error is raised. torch's threads are shared out; the
    caller's own number stays as it is.
    """
    threads = torch.get_num_threads()
    share = max(1, threads // count)
    pool = ThreadPoolExecutor(count, "frame", initializer=_take, initargs=(share,))
    pending: deque[Future[Frame]] = deque()
    failure: Exception | None = None
    try:
        # All threads are made now: torch keeps the number that was set last for threads that begin later.
        all_here = threading.Barrier(count)
        list(pool.map(lambda _: all_here.wait(), range(count)))
        torch.set_num_threads(threads)
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


def _take(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.get_num_threads()  # a thread's first question fixes its number; until then it is that of the process
