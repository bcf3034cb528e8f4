"""core.hdrunet.Reconstruct: the VapourSynth filter. VapourSynth finds it by itself; nothing has to be imported.

For editors, which cannot know VapourSynth's plugins, this is `vapoursynth.core` with the filter's signature:

    from hdrunet_video.plugin import core

    clip = core.hdrunet.Reconstruct(clip)

The native library (native/) holds arguments, frames and lifetime; bridge.py is what it calls.
"""

from __future__ import annotations

from typing import Any

__all__ = ["core"]


def __getattr__(name: str) -> Any:
    if name == "core":  # not imported above: the library imports this package for its bridge alone
        from vapoursynth import core

        return core
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
