"""Memory that is kept, what is not searched for garbage, and teams of OpenMP threads that are not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from hdrunet_video.host import release_team, without_real_time

_TASKS = "/proc/self/task"
_FREED = """
import ctypes, sys
from pathlib import Path
import torch
from hdrunet_video.host import give_freed_memory_back, keep_freed_memory

def resident():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) >> 10

if not hasattr(ctypes.CDLL(None), "mallopt"):
    sys.exit("no glibc")
if sys.argv[1] == "keep":
    keep_freed_memory()
before = resident()
held = [torch.ones(20 << 20, dtype=torch.uint8) for _ in range(10)]
held.clear()
print(resident() - before)
give_freed_memory_back()
print(resident() - before)
"""
_HUGE = """
import torch
import hdrunet_video.engine
from hdrunet_video.command import exit_code_of

def huge():
    maps = torch.ones(64 << 20, dtype=torch.uint8)
    with open("/proc/self/smaps_rollup", encoding="ascii") as rollup:
        (line,) = (line for line in rollup if line.startswith("AnonHugePages:"))
    print(int(line.split()[1]) >> 10)
    return int(maps[0]) - 1

raise SystemExit(exit_code_of("huge", huge))
"""
_COLLECTED = """
import gc, sys
from hdrunet_video.cli import main

searches = []
gc.callbacks.append(lambda *_: searches.append("torch" in sys.modules and not gc.get_freeze_count()))
main(["good.mp4", "out.mov", "--model", "identity", "--dry-run", "-q"])
print(len(searches) > 0, any(searches), gc.isenabled(), gc.get_freeze_count() > 100_000)
"""
_POLICY = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def test_what_torch_is_made_of_is_not_searched_for_garbage(here: Path) -> None:
    run = subprocess.run([sys.executable, "-c", _COLLECTED], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "True False True True"


@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's OpenMP lets a thread end its team")
def test_a_team_ends_and_comes_back(threads: int) -> None:
    """The threads of this process are those of the system; the sums are the same with a new team."""
    values, seen = torch.arange(1 << 20, dtype=torch.float64), []

    def compute_twice() -> None:
        for _ in range(2):
            before = set(os.listdir(_TASKS))
            total = int(values.mul(2).sum())
            team = set(os.listdir(_TASKS)) - before
            release_team()
            seen.append((total, len(team), team & set(os.listdir(_TASKS))))

    thread = threading.Thread(target=compute_twice)
    thread.start()
    thread.join()
    assert seen == [((1 << 20) * ((1 << 20) - 1), threads - 1, set())] * 2


def test_nothing_to_release_is_no_error() -> None:
    release_team()
    release_team()


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told to keep memory")
def test_memory_that_was_freed_is_there_for_the_next_frame() -> None:
    """What the system says that a process has after 200 MiB were filled and freed."""
    left = {}
    for keep in ("keep", "as it is"):
        result = subprocess.run([sys.executable, "-c", _FREED, keep], capture_output=True, text=True)
        if "no glibc" in result.stderr:
            pytest.skip("only glibc is told to keep memory")
        assert result.returncode == 0, result.stderr
        left[keep] = [int(line) for line in result.stdout.split()]
    assert max(left["as it is"]) < 100, left
    assert left["keep"][1] < 100 < 190 < left["keep"][0], left


@pytest.mark.skipif(not _POLICY.exists() or "[madvise]" not in _POLICY.read_text(), reason="the system decides alone")
@pytest.mark.parametrize(("wish", "given"), [(None, True), ("0", False)], ids=["nothing said", "refused by the user"])
def test_feature_maps_lie_in_huge_pages(monkeypatch: pytest.MonkeyPatch, wish: str | None, given: bool) -> None:
    """What the system says of 64 MiB in a command of ours."""
    if wish is None:
        monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    else:
        monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", wish)
    result = subprocess.run([sys.executable, "-c", _HUGE], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (int(result.stdout) > 8) == given, result.stdout


_ENCODE = """
import os, sys, threading, torch
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from hdrunet_video.presets import load_preset
from hdrunet_video.writer import Writer, WriterSpec

seen, opened = set(), threading.Event()
def watch():
    while not opened.is_set():
        for thread in os.listdir("/proc/self/task"):
            with suppress(OSError):
                seen.add(os.sched_getscheduler(int(thread)))

watching = threading.Thread(target=watch)
watching.start()
writer = Writer(Path(sys.argv[1]), WriterSpec(load_preset("av1"), 64, 64, Fraction(1), Fraction(24), 1000.0))
assert len(os.listdir("/proc/self/task")) > 4, "the encoder has no threads"
opened.set()
watching.join()
writer.abandon()
print(seen)
"""


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="SVT-AV1 takes what root may have on Linux")
def test_an_encoder_takes_no_real_time_priority(tmp_path: Path) -> None:
    """Programs that are started later would have it too, and whatever spins in one of them would stop the machine."""
    result = subprocess.run([sys.executable, "-c", _ENCODE, tmp_path / "a.mp4"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{ {os.SCHED_OTHER} }\n"


def capabilities() -> int:
    """Effective ones of this thread, as the system says it."""
    status = Path("/proc/thread-self/status").read_text()
    return int(status.split("CapEff:")[1].split()[0], 16)


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_real_time_can_be_had_again_afterwards() -> None:
    before = capabilities()
    with without_real_time():
        assert capabilities() == before & ~(1 << 23)
    assert capabilities() == before
