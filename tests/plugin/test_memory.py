"""Nothing is lost: memory after many frames, filters and errors, beside that of VapourSynth's own std.Expr."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from .conftest import python

CODE = """
import gc, json, sys
import vapoursynth as vs
from vapoursynth import core

core.num_threads = 4
clip = core.std.BlankClip(format=vs.RGBS, width=160, height=120, length=100_000)

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

def measure(make):
    made = make(clip)
    for n, frame in enumerate(made[:150].frames(prefetch=6, close=True)): pass
    before = resident()
    for n, frame in enumerate(made[150:550].frames(prefetch=6, close=True)): pass
    return resident() - before

def reconstruct(clip):
    return core.hdrunet.Reconstruct(clip, model="identity", num_streams=2)

frames = {"expr": measure(lambda clip: core.std.Expr(clip, "x 0.5 *")), "reconstruct": measure(reconstruct)}
small = core.std.BlankClip(format=vs.RGB24, width=16, height=16, length=4)
bad = reconstruct(small.std.SetFrameProps(_Transfer=16))

def again(count):
    for n in range(count):
        try: bad.get_frame(n % 4)
        except vs.Error: pass
        try: core.hdrunet.Reconstruct(small, peak=1.0)
        except vs.Error: pass
        reconstruct(small).get_frame(n % 4)

again(50)
before = resident()
again(100)
print(json.dumps(frames | {"filters": resident() - before}))
"""

FAILING = """
import gc
import vapoursynth as vs
from vapoursynth import core
clip = core.std.BlankClip(format=vs.RGBS, width=320, height=240, length=30).std.SetFrameProps(_Transfer=16)
made = core.hdrunet.Reconstruct(clip, model="identity")

def fail(n):
    try:
        made.get_frame(n)
    except vs.Error:
        return
    raise AssertionError

fail(0)
gc.collect()
gc.disable()
before = core.used_cache_size
for n in range(1, 30):
    fail(n)
core.clear_cache()
print(core.used_cache_size - before)
"""


def test_memory_does_not_grow() -> None:
    # Freed frame buffers go back to the system at once, so that what is kept is what is lost.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120, env=environment, check=True
    )
    grown = json.loads(done.stdout)
    # 400 frames of 0.2 MiB, 100 filters, 200 errors: one thing lost each time would be far more.
    assert grown["reconstruct"] < grown["expr"] + 10, grown
    assert grown["filters"] < 5, grown


def test_frames_that_fail_leave_nothing_behind() -> None:
    """Without Python's collector, which comes by when it likes."""
    done = python(FAILING)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
