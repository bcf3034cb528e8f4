"""How processes end, with frames in flight or without: the right exit code, no hang, no crash."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import vapoursynth as vs

from hdrunet_video.plugin.formats import clip_of
from hdrunet_video.plugin.request import make_request
from hdrunet_video.plugin.work import Work

from .conftest import BIN, python, vspipe

BUSY = """
import sys, threading, time
import vapoursynth as vs
from vapoursynth import core
core.num_threads = 4
clip = core.std.BlankClip(format=vs.RGB24, width=96, height=64, length=200, keep=True)
made = core.hdrunet.Reconstruct(clip, num_streams=2)
made.get_frame(0)
pending = [made.get_frame_async(n) for n in range(1, 30)]
"""
# Ends while the first of twelve frames is being made, or is waiting for its network; says what becomes of each.
ENDS_EARLY = """
import os, sys, threading, time
import vapoursynth as vs
from vapoursynth import core
from hdrunet_video.plugin import work
core.num_threads = 12
reached = threading.Event()

def wait():
    os.write(1, b"waited\\n")
    reached.set()
    time.sleep(0.5)

def network(signal):
    if sys.argv[1] == "making":
        wait()
    return signal

def load(*_):
    if sys.argv[1] == "loading":
        wait()
    return network

work.load_model = load
clip = core.std.BlankClip(format=vs.RGB24, width=16, height=16, length=12)
made = core.hdrunet.Reconstruct(clip, num_streams=1)
for n in range(12):
    made.get_frame_async(n).add_done_callback(lambda done: os.write(1, f"{done.exception()}\\n".encode()))
reached.wait()
"""
# Several cores, made and freed as editors do for every run of a script.
CORES = """
import gc, sys
import vapoursynth as vs

class Editor(vs.EnvironmentPolicy):
    def on_policy_registered(self, api):
        self.api, self.now = api, None
    def on_policy_cleared(self):
        self.now = None
    def get_current_environment(self):
        return self.now
    def set_environment(self, environment):
        before, self.now = self.now, environment
        return before
    def is_alive(self, environment):
        return environment is not None

editor = Editor()
vs.register_policy(editor)
for run in range(4):
    editor.now = editor.api.create_environment()
    clip = vs.core.std.BlankClip(format=vs.RGB24, width=16, height=16, length=20)
    made = vs.core.hdrunet.Reconstruct(clip, model="identity")
    assert made.get_frame(run).props["_Transfer"] == 16
    pending = [made.get_frame_async(n) for n in range(20)]
    del clip, made
    for future in pending:
        future.result()
    pending = future = None
    editor.api.destroy_environment(editor.now)
    editor.now = None
    gc.collect()
print("done")
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit(7)", 7),
        ("del made, clip, pending; sys.exit(0)", 0),
        ("threading.Thread(target=made.get_frame, args=(150,), daemon=True).start(); time.sleep(0.05)", 0),
        ("raise SystemExit", 0),
        ("1 / 0", 1),
    ],
    ids=["exit", "freed", "daemon", "system-exit", "exception"],
)
def test_the_end_of_python_with_frames_in_flight(end: str, code: int) -> None:
    done = python(BUSY + end)
    assert done.returncode == code, done.stderr
    assert ("ZeroDivisionError" in done.stderr) == (code == 1)


@pytest.mark.parametrize("when", ["making", "loading"])
def test_frames_that_were_not_begun_are_not_waited_for(when: str) -> None:
    done = python(ENDS_EARLY, when)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines.count("waited") == 1  # one frame, which had begun, or one network
    assert lines.count("None") == (1 if when == "making" else 0)
    refused = [line for line in lines if "Python is shutting down, so no more frames are made" in line]
    assert len(refused) == (11 if when == "making" else 12), lines


def test_cores_come_and_go() -> None:
    done = python(CORES)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_ctrl_c_in_python() -> None:
    code = (
        BUSY + "print('ready', flush=True)\nfor future in pending: future.result()\nwhile True: made.get_frame(100)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
    assert "KeyboardInterrupt" in errors


SCRIPT = """
import sys
import vapoursynth as vs
from vapoursynth import core
clip = core.std.BlankClip(format=vs.YUV420P8, width=64, height=48, length={length})
{more}
core.hdrunet.Reconstruct(clip, model="identity", format=vs.YUV420P10).set_output()
print("torch" in sys.modules, file=sys.stderr)
"""


def script(folder: Path, more: str = "", length: int = 5) -> Path:
    path = folder / "script.vpy"
    path.write_text(SCRIPT.format(more=more, length=length))
    return path


def test_vspipe(tmp_path: Path) -> None:
    info = vspipe(script(tmp_path), "--info")
    assert info.returncode == 0, info.stderr
    assert b"Format Name: YUV420P10" in info.stdout
    assert b"False" in info.stderr  # torch was not imported
    frames = vspipe(script(tmp_path), "-c", "y4m", "-s", "1", "-e", "3", "-")
    assert frames.returncode == 0, frames.stderr
    assert len(frames.stdout.split(b"FRAME\n", 1)[1]) == 3 * (64 * 48 * 3) + 2 * len(b"FRAME\n")


def test_vspipe_says_which_frame_failed(tmp_path: Path) -> None:
    hdr = "clip = core.std.Splice([clip, clip.std.SetFrameProps(_Transfer=16)])"
    failed = vspipe(script(tmp_path, hdr), "-")
    assert failed.returncode == 1
    # Several frames are asked for at once: which of the five is told first is not said.
    assert re.search(rb"Reconstruct: frame [5-9]: it is already HDR \(transfer 16, PQ\)\.", failed.stderr)
    refused = vspipe(script(tmp_path, "clip = core.hdrunet.Reconstruct(clip, peak=100.0)"), "--info")
    assert refused.returncode == 1
    assert b"vapoursynth.Error: Reconstruct: peak 100 must lie above white 203" in refused.stderr


def test_vspipe_and_sys_exit_in_the_script(tmp_path: Path) -> None:
    path = script(tmp_path, "core.hdrunet.Reconstruct(clip).set_output(); sys.exit(5)")
    assert vspipe(path, "--info").returncode not in (0, -signal.SIGSEGV, -signal.SIGABRT)


def test_vspipe_interrupted(tmp_path: Path) -> None:
    with subprocess.Popen(
        [BIN / "vspipe", script(tmp_path, length=100_000), "--progress", "--"], stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        seen = b""
        while b"Frame: 1" not in seen:
            seen += (more := process.stderr.read(1))
            assert more, seen
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert time.monotonic() - started < 10
        assert process.returncode in (0, 1, 130, -signal.SIGINT)


def test_vspipe_whose_reader_leaves(tmp_path: Path) -> None:
    with subprocess.Popen(
        [BIN / "vspipe", script(tmp_path, length=100_000), "-"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1000)
        process.stdout.close()
        process.wait(timeout=30)
        assert process.returncode not in (-signal.SIGSEGV, -signal.SIGABRT)


def test_the_threads_of_a_filter_end_with_it() -> None:
    """They held its network until later; where Python ended meanwhile, that was a crash, with exit code 134."""
    request = make_request(clip_of(16, 16, vs.RGB, vs.INTEGER, 8, 0, 0), {"model": ["identity"], "num_streams": [2]})
    before = set(threading.enumerate())
    work = Work(request, 4, threading.Event())
    threads = set(threading.enumerate()) - before
    assert len(threads) == 2
    del work
    assert not any(thread.is_alive() for thread in threads)
