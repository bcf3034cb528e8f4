"""A filter at work: planes of VapourSynth's frames through the engine. The only file here that imports torch."""

from __future__ import annotations

import weakref
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hdrunet_video.color.convert import Target
from hdrunet_video.engine import Engine
from hdrunet_video.frame import Frame
from hdrunet_video.job import load_model

from .properties import STALE, Properties, Written, read, written
from .request import Request

_STREAMS = {"cuda": 3}
"""Frames in the network at once; the CPU does one with all of its cores, as the command line does."""

Planes = tuple[Any, ...]
Result = tuple[list[str], Written]


class Work:
    """The engine of a request, and the threads that drive it: one for each frame that may be in it at once.

    Frames come on all of VapourSynth's threads. Computing on them would give each its own team of OpenMP threads, and
    idle teams spin against the busy one.
    """

    def __init__(self, request: Request) -> None:
        target = Target(request.color, request.format, request.dither, request.mapping.white)
        network = load_model(request.model, request.weights)
        names = ("device", "precision", "backend", "tile")
        options: dict[str, Any] = {name: getattr(request, name) for name in names}
        if request.num_streams is not None:
            options["in_flight"] = request.num_streams
        self.request = request
        self.engine = Engine(network, request.mapping, target, **options)
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        streams = request.num_streams or _STREAMS.get(self.engine.device.type, 1)
        for _ in range(streams):
            # Daemons: the native library waits for its frames before Python ends, and an idle thread holds nothing.
            Thread(target=_serve, args=(self._orders, self.engine, request), name="hdrunet", daemon=True).start()
        # Not at exit: frames that are still asked for then must be served, or their threads would wait for ever.
        weakref.finalize(self, _dismiss, self._orders, streams).atexit = False

    def frame(self, source: Planes, target: Planes, properties: Properties) -> Result:
        """Make a frame in the planes of `target`. See Filter.frame."""
        order = _Order(source, target, properties)
        self._orders.put(order)
        return order.result.result()


@dataclass
class _Order:
    source: Planes
    target: Planes
    properties: Properties
    result: Future[Result] = field(default_factory=Future)


def _serve(orders: SimpleQueue[_Order | None], engine: Engine, request: Request) -> None:
    while (order := orders.get()) is not None:
        try:
            order.result.set_result(_make(engine, request, order))
        except BaseException as error:  # raised where the frame was asked for
            order.result.set_exception(error)
        del order  # it holds VapourSynth's frames


def _dismiss(orders: SimpleQueue[_Order | None], streams: int) -> None:
    for _ in range(streams):
        orders.put(None)


def _make(engine: Engine, request: Request, order: _Order) -> Result:
    assert request.clip.format is not None
    color = read(order.properties, request)
    given = Frame(tuple(map(_tensor, order.source)), request.clip.format, color)
    made = engine(given, tuple(map(_tensor, order.target)))
    return STALE, written(request, color, made.light)


def _tensor(plane: Any) -> Tensor:
    """The plane's own memory."""
    return torch.from_numpy(np.asarray(plane))
