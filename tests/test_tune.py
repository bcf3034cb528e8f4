"""How many frames at once: measured once, remembered, and without a change of a byte."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from hdrunet_video import tune as tuning
from hdrunet_video.job import Job, make_plan
from hdrunet_video.network.cpu import FusedNetwork
from hdrunet_video.network.forward import place
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.tune import cache_file, candidates, choose, tune
from tests.engines import engine_of, small_network
from tests.media import convert, sha256


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own; returns the file in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.platform", "linux")
    return tmp_path / "cache" / "hdrunet-video" / "tuning.json"


@pytest.fixture
def faster(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine on which two frames at once are fastest; the list holds what was tried."""
    tried: list[int] = []
    real = tuning.choose

    def fake(seconds_a_frame: Callable[[int], float], candidates: list[int]) -> int:
        def seconds(count: int) -> float:
            tried.append(count)
            return {1: 2.0, 2: 1.0}.get(count, 3.0) + 0 * seconds_a_frame(count)

        return real(seconds, candidates)

    monkeypatch.setattr(tuning, "choose", fake)
    return tried


def test_choose_goes_up_until_two_in_a_row_do_not_help() -> None:
    seconds = {1: 4.0, 2: 3.0, 3: 3.1, 4: 2.0, 6: 1.99, 8: 1.98, 12: 0.1}
    assert choose(seconds.__getitem__, seconds) == 4
    assert choose({1: 4.0, 2: 3.0, 3: math.inf, 4: 2.0}.__getitem__, [1, 2, 3, 4]) == 4
    assert choose(lambda count: 1.0, [1, 2]) == 1
    assert choose(lambda count: 1.0 / count, [1]) == 1


def test_candidates_fit_in_threads_and_memory(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = place(small_network(), torch.device("cpu"), "fp32")
    assert isinstance(network, FusedNetwork)
    needed = network.bytes_per_pixel
    engine = engine_of(small_network())
    monkeypatch.setattr("hdrunet_video.tiling.total_memory", lambda device: 2 * 100 * 64 * 48 * needed)
    assert candidates(engine, 64, 48) == [1, 2, 3, 4]
    torch.set_num_threads(12)
    assert candidates(engine, 64, 48) == [1, 2, 3, 4, 6, 8, 12]
    torch.set_num_threads(64)
    assert candidates(engine, 64, 48) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
    monkeypatch.setattr("hdrunet_video.tiling.total_memory", lambda device: 2 * 7 * 64 * 48 * needed)
    assert candidates(engine, 64, 48) == [1, 2, 3, 4, 6]
    monkeypatch.setattr("hdrunet_video.tiling.total_memory", lambda device: 2 * 250 * 250 * needed)
    assert engine.tiling.of(400, 400) is not None
    assert candidates(engine, 400, 400) == [1]


def test_unequal_shares_count_for_what_each_makes(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six threads and memory for four frames: 2, 2, 1 and 1 threads make more than 2, 2 and 2, by clocks that tell of
    each thread how long it has computed."""
    torch.set_num_threads(6)
    engine, clock = engine_of(small_network(), tile="off"), threading.local()
    monkeypatch.setattr(engine.tiling, "frames_that_fit", lambda width, height: 4)
    monkeypatch.setattr(tuning.time, "perf_counter", lambda: getattr(clock, "now", 0.0))
    together = threading.Barrier(4, timeout=20)
    exact = engine._exact

    def compute(signal: torch.Tensor) -> torch.Tensor:
        if engine.at_once == 4:
            together.wait()
        clock.now = getattr(clock, "now", 0.0) + {6: 1.0, 3: 1.8, 2: 2.4, 1: 4.0}[torch.get_num_threads()]
        return exact(signal)

    engine._exact = compute
    assert tune(engine, 24, 16, redo=True) == 4


def test_a_measurement_that_takes_longer_needs_a_longer_film(threads: int, faster: list[int]) -> None:
    torch.set_num_threads(32)
    assert tune(engine_of(small_network()), 64, 48, frames=300) == 1
    assert not faster
    assert tune(engine_of(small_network()), 64, 48, frames=400) == 2


def test_measured_once_and_remembered(threads: int, faster: list[int], cache: Path) -> None:
    engine = engine_of(small_network())
    assert tune(engine, 64, 48, frames=10) == 1  # too short a film to measure for
    assert not cache.exists()
    assert tune(engine, 64, 48, frames=1000) == engine.at_once == 2
    assert faster == [1, 2, 1, 2, 2, 3, 2, 3, 2, 4, 2, 4]
    other = engine_of(small_network())
    assert tune(other, 64, 48) == other.at_once == 2
    assert tune(other, 64, 50, frames=10) == 2  # another shape is not known: left as it is
    assert len(faster) == 12
    assert tune(other, 64, 48, redo=True) == 2
    assert len(faster) == 24
    assert list(json.loads(cache.read_text()).values()) == [2]
    assert [path.name for path in cache.parent.iterdir()] == ["tuning.json"]


def test_what_was_measured_of_one_network_is_not_said_of_another(threads: int, faster: list[int]) -> None:
    """Nor of the same one in PyTorch's operators, nor where torch is kept from instructions of the processor."""
    assert tune(engine_of(small_network()), 64, 48, redo=True) == 2
    other = HDRUNet(replace(small_network().config, blocks=(2, 1, 1)))
    assert tune(engine_of(other), 64, 48) == 1
    eager = engine_of(small_network())
    eager._exact = eager._fast = place(nn.Identity(), eager.device, "fp32")
    assert tune(eager, 64, 48) == 1
    assert torch.backends.cpu.get_cpu_capability() in tuning._key(eager, 64, 48)


def test_frames_in_flight_on_cuda_are_chosen(faster: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(small_network(), tile="off")
    monkeypatch.setattr(tuning, "_key", lambda *_: "a card")
    engine.device = torch.device("cuda:0")  # its frames are still computed by the CPU
    assert tune(engine, 64, 48, redo=True) == engine.in_flight == 2
    assert engine.at_once == 1


def test_what_changes_a_bit_is_not_taken(threads: int) -> None:
    engine = engine_of(small_network())
    exact = engine._exact
    calls: list[float] = []

    def differs(signal: torch.Tensor) -> torch.Tensor:
        """Very fast with two threads or fewer, and wrong."""
        calls.append(1)
        if torch.get_num_threads() < 4:
            return signal
        time.sleep(0.1)
        return exact(signal)

    engine._exact = differs
    assert tune(engine, 24, 16, redo=True) == 1
    assert len(calls) > 3


def test_one_wrong_frame_of_several_is_enough(threads: int) -> None:
    """Of three frames at once one has two threads, and two have one."""
    engine = engine_of(small_network())
    exact = engine._exact

    def differs(signal: torch.Tensor) -> torch.Tensor:
        if torch.get_num_threads() == 1:
            return signal
        time.sleep(0.1 if engine.at_once < 3 else 0.0)
        return exact(signal)

    engine._exact = differs
    assert tune(engine, 24, 16, redo=True) in (1, 2)


def test_running_out_of_memory_leaves_the_tile_as_it_was(threads: int) -> None:
    """And no more frames are tried than were too many."""
    engine = engine_of(small_network())
    exact, tried = engine._exact, set[int]()

    def hungry(signal: torch.Tensor) -> torch.Tensor:
        tried.add(engine.at_once)
        if torch.get_num_threads() < 4 and signal.shape[-1] > 200:
            raise MemoryError
        return exact(signal)

    engine._exact = engine._fast = hungry
    assert tune(engine, 400, 60, redo=True) == 1
    assert engine.tiling.tile == "auto"
    assert tried == {1, 2}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1]",
        b"7",
        b'{"KEY": "2"}',
        b'{"KEY": 0}',
        b'{"KEY": 33}',
        b'{"KEY": true}',
        b"[" * 10**5,
    ],
)
def test_files_that_are_not_ours_are_ignored(content: bytes, cache: Path, faster: list[int], threads: int) -> None:
    engine = engine_of(small_network())
    cache.parent.mkdir(parents=True)
    cache.write_bytes(content.replace(b"KEY", tuning._key(engine, 64, 48).encode()))
    assert tune(engine, 64, 48) == 1
    assert tune(engine, 64, 48, frames=1000) == 2
    assert tune(engine_of(small_network()), 64, 48) == 2


def test_as_many_as_may_be_chosen_are_remembered(cache: Path) -> None:
    engine = engine_of(small_network())
    cache.parent.mkdir(parents=True)
    cache.write_text(json.dumps({tuning._key(engine, 64, 48): 32}))
    assert tune(engine, 64, 48) == 32


def test_no_folder_no_file(tmp_path: Path, faster: list[int], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")
    assert tune(engine_of(small_network()), 64, 48, redo=True) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]

    def no_home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert cache_file() is None
    assert tune(engine_of(small_network()), 64, 48, redo=True) == 2


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/hdrunet-video/tuning.json"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/hdrunet-video/tuning.json"),
        ("darwin", {}, "/home/me/Library/Caches/hdrunet-video/tuning.json"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/hdrunet-video/tuning.json"),
    ],
)
def test_where_it_is_remembered(
    platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache_file()) == expected


def test_a_film_has_the_same_bytes_and_the_same_plan(
    clip: Path, tmp_path: Path, faster: list[int], threads: int, cache: Path
) -> None:
    frames = ("--frames", "0:3")
    convert(clip, tmp_path / "plain.mkv", *frames, model="hdrunet")
    convert(clip, tmp_path / "tuned.mkv", *frames, "--tune", model="hdrunet")
    assert faster
    assert cache.exists()
    assert sha256(tmp_path / "plain.mkv") == sha256(tmp_path / "tuned.mkv")
    ids = {make_plan(Job(clip, tmp_path / "x.mkv", tune=each)).identity.plan_id for each in (False, True)}
    assert len(ids) == 1
