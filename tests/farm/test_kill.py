"""kill -9 of any task at any moment. HDRUNET_VIDEO_KILLS=100 pytest tests/farm/test_kill.py does it a hundred times."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from hdrunet_video.cli import main
from tests.farm.cluster import wait_for
from tests.media import sha256

KILLS = int(os.environ.get("HDRUNET_VIDEO_KILLS", "4"))


def test_killed_at_random_moments(film: Path, tmp_path: Path) -> None:
    moments = random.Random(os.environ.get("HDRUNET_VIDEO_SEED", "farm"))
    options = ("--model", "identity", "--segment-frames", "5", "-q", "-p", "hdr10")
    local, target, folder = tmp_path / "local.mp4", tmp_path / "out.mp4", tmp_path / "plan"
    assert main([str(film), str(local), *options]) == 0
    assert main([str(film), str(target), "--plan", str(folder), *options]) == 0
    verbs = [("--segments", "0-3"), ("--segments", "2-5"), ("--segments", "all"), ("--join",)]
    killed = writing = 0
    while killed < KILLS or not writing:
        old = set(tmp_path.rglob(".*.part*"))  # what those that were killed have left
        tasks = [start(folder, *moments.choice(verbs)) for _ in range(2)]
        if moments.random() < 0.7:  # most of a task's life is loading torch: wait for what matters
            wait_for(lambda: all(task.poll() is not None for task in tasks) or set(tmp_path.rglob(".*.part*")) - old)  # noqa: B023
            time.sleep(moments.uniform(0, 0.1))
            writing += len(set(tmp_path.rglob(".*.part*")) - old)
        else:
            time.sleep(moments.uniform(0, 3))
        for task in tasks:
            task.kill()
            killed += task.wait() == -signal.SIGKILL
        assert not target.exists() or sha256(target) == sha256(local), "a file that exists is complete"
        forget(folder, target, moments)
    assert start(folder, "--segments", "all").wait(120) == 0
    assert start(folder, "--join").wait(120) == 0
    assert sha256(target) == sha256(local)
    assert start(folder, "--verify").wait(120) == 0
    assert [path.name for path in tmp_path.rglob(".*")] == []


def start(folder: Path, *verb: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hdrunet_video", "--plan", str(folder), "-q", *verb]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def forget(folder: Path, target: Path, moments: random.Random) -> None:
    """Undo some of the work, so that there is always something to be killed at."""
    target.unlink(missing_ok=True)
    for path in sorted(folder.glob("seg_*")):
        if moments.random() < 0.5:
            path.unlink()
