"""A filter at work: planes of VapourSynth's frames through the engine. The only file here that imports torch."""

from __future__ import annotations

import threading
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


class Work:
    """The engine of a request, and how many frames may be in it."""

    def __init__(self, request: Request) -> None:
        self.request = request
        target = Target(request.color, request.format, request.dither, request.mapping.white)
        network = load_model(request.model, request.weights)
        options: dict[str, Any] = {"device": request.device, "precision": request.precision, "tile": request.tile}
        if request.num_streams is not None:
            options["in_flight"] = request.num_streams
        self.engine = Engine(network, request.mapping, target, **options)
        streams = request.num_streams or _STREAMS.get(self.engine.device.type, 1)
        self._streams = threading.BoundedSemaphore(streams)

    def frame(
        self, source: tuple[Any, ...], target: tuple[Any, ...], properties: Properties
    ) -> tuple[list[str], Written]:
        """Make a frame in the planes of `target`. See Filter.frame."""
        request = self.request
        assert request.clip.format is not None
        color = read(properties, request)
        given = Frame(tuple(map(_tensor, source)), request.clip.format, color)
        with self._streams:
            made = self.engine(given, tuple(map(_tensor, target)))
        return STALE, written(request, color, made.light)


def _tensor(plane: Any) -> Tensor:
    """The plane's own memory."""
    return torch.from_numpy(np.asarray(plane))
