"""Several frames at once on a CPU, each with its share of the threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from .frame import Frame
from .threads import shared_out, shares


def compute_at_once(compute: Callable[[Frame], Frame], frames: Iterable[Frame], count: int) -> Iterator[Frame]:
    """compute(frame) of each frame, `count` at a time and in order.

    torch's threads are shared out; the caller's own number stays as it is. At most `count` + 1 frames are taken ahead,
    and one more for each larger share. Where one fails, all before it are given first, and then its error is raised.
    """
    parts = shares(torch.get_num_threads(), count)
    # While a small share is at the frame that is next in order, the larger ones take another each.
    ahead = count + sum(part > parts[-1] for part in parts)
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
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if failure is not None:
            raise failure
    finally:
        failure = None  # or its traceback and this frame would keep each other, and the planes, alive
        pool.shutdown(cancel_futures=True)
