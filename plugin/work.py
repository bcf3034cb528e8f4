"""A filter at work: planes of VapourSynth's frames through the engine. The only file here that imports torch."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event, Thread, current_thread
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hdrunet_video.color.convert import Target
from hdrunet_video.engine import Engine
from hdrunet_video.engines import load_model
from hdrunet_video.errors import HdrunetError
from hdrunet_video.frame import Frame
from hdrunet_video.host import give_freed_memory_back, release_team
from hdrunet_video.threads import shared_out
from hdrunet_video.tune import tune

from .properties import STALE, Properties, Written, read, written
from .request import Request

_IDLE = 10.0
"""Seconds without a frame after which a filter gives back the memory that it keeps for the next."""
Planes = tuple[Any, ...]
Result = tuple[list[str], Written]


class Work:
    """The engine of a request, and the threads that drive it: one for each frame that may be in it at once.

    Frames come on all of VapourSynth's threads. Computing on them would give each its own team of OpenMP threads, and
    idle teams spin against the busy one.

    most: threads of VapourSynth's core. Each waits for one frame, so more than that are never in the engine.
    ending: once set, frames that were not begun fail.
    """

    def __init__(self, request: Request, most: int, ending: Event) -> None:
        self.request = request
        self.engine = _make_engine(request)
        self.engine.concurrency = streams = min(self.engine.concurrency, most)
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        on_cpu = self.engine.device.type == "cpu"
        with shared_out(streams) if on_cpu else nullcontext(lambda: None) as begin:
            serve = (begin, self._orders, self.engine, request, ending)
            # Daemons: the native library waits for its frames before Python ends, and an idle thread holds nothing.
            threads = [Thread(target=_serve, args=serve, name="hdrunet", daemon=True) for _ in range(streams)]
            for thread in threads:
                thread.start()
        # Not at exit: frames that are still asked for then must be served, or their threads would wait for ever.
        weakref.finalize(self, _dismiss, self._orders, threads).atexit = False

    def frame(self, source: Planes, target: Planes, properties: Properties) -> Result:
        """Make a frame in the planes of `target`. See Filter.frame."""
        order = _Order(source, target, properties)
        self._orders.put(order)
        try:
            return order.result.result()
        finally:
            del order  # or an error, its traceback and this would keep each other, and the frames, alive


def _make_engine(request: Request) -> Engine:
    target = Target(request.color, request.format, request.dither, request.mapping.white)
    network = load_model(request.model, request.weights)
    options: dict[str, Any] = {name: getattr(request, name) for name in ("device", "precision", "backend", "tile")}
    engine = Engine(network, request.mapping, target, **options)
    if request.num_streams is not None:
        engine.concurrency = request.num_streams
    elif request.model == "hdrunet":
        tune(engine, request.clip.width, request.clip.height)  # only what is remembered: it measures for whole films
    release_team()  # the checks of the network have started one, and frames are made by other threads
    return engine


@dataclass
class _Order:
    source: Planes
    target: Planes
    properties: Properties
    result: Future[Result] = field(default_factory=Future)


def _serve(
    begin: Callable[[], None], orders: SimpleQueue[_Order | None], engine: Engine, request: Request, ending: Event
) -> None:
    begin()
    while (order := _next(orders, engine)) is not None:
        try:
            if ending.is_set():
                raise HdrunetError("Python is shutting down")
            order.result.set_result(_make(engine, request, order.source, order.target, order.properties))
        except BaseException as error:  # raised where the frame was asked for
            order.result.set_exception(error)
        del order  # it holds VapourSynth's frames


def _next(orders: SimpleQueue[_Order | None], engine: Engine) -> _Order | None:
    """Waited for with the memory of the last frame at hand, but not for long: a preview has many filters."""
    try:
        return orders.get(timeout=_IDLE)
    except Empty:
        engine.release()
        give_freed_memory_back()
        return orders.get()


def _dismiss(orders: SimpleQueue[_Order | None], threads: list[Thread]) -> None:
    for _ in threads:
        orders.put(None)
    # Waited for: they give the engine's memory back, and where Python ends meanwhile, PyTorch ends the process. Once it
    # is ending they never wake.
    for thread in threads:
        if thread is not current_thread() and not sys.is_finalizing():
            thread.join()


def _make(engine: Engine, request: Request, source: Planes, target: Planes, properties: Properties) -> Result:
    assert request.clip.format is not None
    color = read(properties, request)
    given = Frame(tuple(map(_tensor, source)), request.clip.format, color)
    made = engine(given, tuple(map(_tensor, target)))
    return STALE, written(request, color, made.light)


def _tensor(plane: Any) -> Tensor:
    """The plane's own memory."""
    return torch.from_numpy(np.asarray(plane))
