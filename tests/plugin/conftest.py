"""VapourSynth in this process and in others, and clips to give to the filter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import vapoursynth as vs
from vapoursynth import core

BIN = Path(sys.executable).parent

if not hasattr(core, "hdrunet"):
    pytest.skip("the plugin is not installed: hdrunet-video --doctor says why", allow_module_level=True)


@pytest.fixture(scope="session", autouse=True)
def _own_configuration(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing in the home of who runs the tests: vspipe notes down which Python it uses, and tunings are remembered."""
    for name in ("CONFIG", "CACHE"):
        os.environ[f"XDG_{name}_HOME"] = str(tmp_path_factory.mktemp(name.lower()))
    if str(BIN) not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"


@contextmanager
def at_most(threads: int) -> Iterator[None]:
    """VapourSynth with this many threads."""
    before = core.num_threads
    core.num_threads = threads
    try:
        yield
    finally:
        core.num_threads = before


def vspipe(script: Path, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run vspipe as a user does."""
    return subprocess.run([BIN / "vspipe", script, *arguments], capture_output=True, timeout=120, check=False)


def python(code: str, *arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python of its own, where every warning is an error."""
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def blank(format: int, width: int = 32, height: int = 24, length: int = 8, **options: Any) -> vs.VideoNode:
    """A clip of one colour."""
    return core.std.BlankClip(format=format, width=width, height=height, length=length, **options)


def filled(clip: vs.VideoNode, values: Callable[[int, int, tuple[int, int]], npt.NDArray[Any]]) -> vs.VideoNode:
    """The clip with planes of values(frame, plane, (rows, columns))."""

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        for plane in range(frame.format.num_planes):
            target = np.asarray(frame[plane])
            target[:] = values(n, plane, target.shape)
        return frame

    return core.std.ModifyFrame(clip, clip, fill)


def noise(format: int, width: int = 32, height: int = 24, length: int = 8) -> vs.VideoNode:
    """A clip whose every frame is other noise, of its format's whole range."""
    clip = blank(format, width, height, length)
    bits, is_float = clip.format.bits_per_sample, clip.format.sample_type == vs.FLOAT
    chroma_is_signed = is_float and clip.format.color_family == vs.YUV

    def values(n: int, plane: int, shape: tuple[int, int]) -> npt.NDArray[Any]:
        random = np.random.default_rng([n, plane])
        if is_float:
            return random.random(shape) - (0.5 if chroma_is_signed and plane else 0.0)
        return random.integers(0, 1 << bits, shape)

    return filled(clip, values)


def planes(frame: vs.VideoFrame) -> list[npt.NDArray[Any]]:
    """Copies of a frame's planes."""
    return [np.array(frame[plane]) for plane in range(frame.format.num_planes)]


def same(one: list[npt.NDArray[Any]], other: list[npt.NDArray[Any]]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def refusal(ask: Callable[[], Any]) -> str:
    """The text of the vs.Error that is raised."""
    with pytest.raises(vs.Error) as caught:
        ask()
    return str(caught.value)
