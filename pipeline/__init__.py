"""hdrunet-video: 8-bit SDR video to HDR with HDRUNet (Chen et al., CVPRW 2021).

    import hdrunet_video

    hdrunet_video.convert("in.mp4", "out.mov", preset="prores-hq")
    for frame in hdrunet_video.frames("in.mp4", frames=(0, 24)):
        print(frame.pts, frame.light.max_nits)
    network = hdrunet_video.load_network()

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import convert, frames
    from .errors import HdrunetError
    from .frame import Frame, LightLevels
    from .network.weights import load_network
    from .run import Report

__version__ = "0.1.0"
__all__ = [
    "Frame",
    "HdrunetError",
    "LightLevels",
    "Report",
    "convert",
    "frames",
    "load_network",
]

_HOMES = {
    "Frame": ".frame",
    "HdrunetError": ".errors",
    "LightLevels": ".frame",
    "Report": ".run",
    "convert": ".api",
    "frames": ".api",
    "load_network": ".network.weights",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
