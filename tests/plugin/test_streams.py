"""How many frames are in work at once, with how many threads: only speed depends on it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import vapoursynth as vs
from torch import Tensor
from vapoursynth import core

from hdrunet_video import tune as tuning
from hdrunet_video.engine import Engine
from hdrunet_video.plugin import work

from .conftest import at_most, blank, planes, python

SHARES = """
import gc, hashlib, json, os, threading, time
import numpy as np
import torch
import vapoursynth as vs
from vapoursynth import core
from hdrunet_video.baselines import MODELS
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet

torch.set_num_threads(4)
torch.manual_seed(0)
config = HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(1, 1, 1))
network = HDRUNet(config).eval()
clip = core.std.BlankClip(format=vs.RGB24, width=70, height=46, length=6)

def fill(n, f):
    made = f.copy()
    for plane in range(3):
        np.asarray(made[plane])[:] = np.random.default_rng([n, plane]).integers(0, 256, (46, 70))
    return made

clip = core.std.ModifyFrame(clip, clip, fill)
made = {}
for streams, core.num_threads in ((1, 6), (2, 6), (3, 6), (4, 6), (100_000, 2)):
    seen = []
    def watched(signal):
        seen.append(torch.get_num_threads())
        time.sleep(0.02)  # so that each stream has its frames
        return network(signal)
    MODELS["identity"] = lambda: watched
    digest = hashlib.sha256()
    for frame in core.hdrunet.Reconstruct(clip, model="identity", num_streams=streams).frames(prefetch=12):
        for plane in range(3):
            digest.update(np.ascontiguousarray(frame[plane]))
    ours = [thread for thread in threading.enumerate() if thread.name == "hdrunet"]
    made[streams] = digest.hexdigest(), len(ours), sorted(set(seen))
    gc.collect()  # VapourSynth's iterator of frames
    for thread in ours:
        thread.join(20)
fresh = []
thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
thread.start()
thread.join()
print(json.dumps({"made": made, "others": fresh}))
"""

QUOTA = """
import os, sys
from pathlib import Path
os.environ.pop("OMP_NUM_THREADS", None)
os.environ.pop("MKL_NUM_THREADS", None)
import vapoursynth as vs
from vapoursynth import core
from hdrunet_video import cgroup

cgroup.ROOT, cgroup.MEMBERSHIP = Path(sys.argv[1]), Path(sys.argv[1]) / "membership"
cgroup.MEMBERSHIP.write_text("0::/")
(cgroup.ROOT / "cpu.max").write_text("100000 100000")
if sys.argv[2] == "script":
    import torch
    torch.set_num_threads(3)
core.hdrunet.Reconstruct(core.std.BlankClip(format=vs.RGB24, width=16, height=16), model="identity").get_frame(0)
import torch
print(torch.get_num_threads())
"""


class Counting:
    """The identity, which knows how many frames came and how many were in it at once."""

    halo = (0, 0)

    def __init__(self) -> None:
        self.now = self.most = self.frames = 0
        self.lock = threading.Lock()

    def __call__(self, signal: Tensor) -> Tensor:
        with self.lock:
            self.now, self.frames = self.now + 1, self.frames + 1
            self.most = max(self.most, self.now)
        threading.Event().wait(0.01)
        with self.lock:
            self.now -= 1
        return signal


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """Takes the place of all of them."""
    counting = Counting()
    monkeypatch.setattr(work, "load_model", lambda *_: counting)
    return counting


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in a cache folder of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tuning.sys, "platform", "linux")
    return tmp_path / "hdrunet-video" / "tuning.json"


@pytest.fixture
def remember(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Engine, int], None]:
    """As if `hdrunet-video --tune` had found this number for films of 32x24."""

    def tune(engine: Engine, count: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(tuning, "choose", lambda seconds, candidates: count)
            tuning.tune(engine, 32, 24, redo=True)

    return tune


def engine_of(clip: vs.VideoNode, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Engine:
    """Makes all the clip's frames; the engine that made them."""
    made: list[Engine] = []
    real = work._make_engine

    def make(request: Any) -> Engine:
        made.append(real(request))
        return made[-1]

    with monkeypatch.context() as patch, at_most(6):
        patch.setattr(work, "_make_engine", make)
        assert len(list(core.hdrunet.Reconstruct(clip, **options).frames(prefetch=12))) == len(clip)
    return made[0]


def test_bytes_and_shares_of_the_threads() -> None:
    done = python(SHARES)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    digests, there, shares = zip(*said["made"].values(), strict=True)
    assert len(set(digests)) == 1
    assert there == (1, 2, 3, 4, 2)  # a core with two threads has two frames in work, whatever was asked for
    assert shares == ([4], [2], [1, 2], [1], [2])
    assert said["others"] == [4]


@pytest.mark.parametrize(("whose", "threads"), [("filter", 1), ("script", 3)])
def test_a_container_has_threads_for_its_quota(tmp_path: Path, whose: str, threads: int) -> None:
    """A script that has loaded torch itself keeps the number that it has chosen."""
    done = python(QUOTA, tmp_path, whose)
    assert (done.returncode, done.stdout) == (0, f"{threads}\n"), done.stderr


def test_what_was_remembered_is_the_default(
    network: Counting, remember: Callable[[Engine, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = blank(vs.RGB24, length=24)
    remember(engine_of(clip[:1], monkeypatch, device="cpu"), 3)
    for options, most in (({}, 3), ({"num_streams": 2}, 2), ({"model": "identity"}, 1), ({"tile": [64, 64]}, 1)):
        network.most = 0
        engine_of(clip, monkeypatch, device="cpu", **options)
        assert network.most == most, options
    network.most = 0
    engine_of(blank(vs.RGB24, 34, 24), monkeypatch, device="cpu")
    assert network.most == 1


def test_nothing_is_measured(network: Counting, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = blank(vs.RGB24, length=300)[:5]  # long enough a film for the command line to measure
    assert engine_of(clip, monkeypatch, device="cpu").concurrency == 1
    assert network.frames == 5
    assert not cache.exists()


def test_frames_in_flight_on_cuda(
    network: Counting, remember: Callable[[Engine, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnCuda(Engine):
        """Says that it is on CUDA; its frames are computed by the CPU."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.device = torch.device("cuda:0")

    monkeypatch.setattr(work, "Engine", OnCuda)
    monkeypatch.setattr(tuning, "_key", lambda *_: "a card")
    clip = blank(vs.RGB24, length=24)
    engine = engine_of(clip, monkeypatch, device="cpu", tile=0)
    assert (engine.in_flight, engine.at_once, network.most) == (3, 1, 3)
    remember(engine, 4)
    engine = engine_of(clip, monkeypatch, device="cpu", tile=0)
    assert (engine.in_flight, engine.at_once, network.most) == (4, 1, 4)


def test_an_idle_filter_gives_its_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_IDLE", 0.05)
    released = threading.Event()

    class Watched(Engine):
        def release(self) -> None:
            released.set()

    monkeypatch.setattr(work, "Engine", Watched)
    made = core.hdrunet.Reconstruct(blank(vs.RGB24), model="identity")
    before = [plane.tobytes() for plane in planes(made.get_frame(0))]
    assert released.wait(10)
    assert [plane.tobytes() for plane in planes(made.get_frame(0))] == before
