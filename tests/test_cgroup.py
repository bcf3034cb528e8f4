"""Limits of containers and batch jobs, in made-up trees of control groups, and what keeps to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from hdrunet_video import cgroup
from hdrunet_video.bench.__main__ import main as bench
from hdrunet_video.bench.machine import free_memory
from hdrunet_video.cli import main
from hdrunet_video.device import limit_threads, total_memory
from hdrunet_video.media import open_media, video_stream
from hdrunet_video.training.__main__ import main as training
from hdrunet_video.training.compute import start
from hdrunet_video.training.config import Compute

Limits = Callable[..., None]
NONE_V1 = 2**63 - 4096
STAT = "anon 1\ninactive_file {}\nactive_file 7\n"


@pytest.fixture(autouse=True)
def limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Limits]:
    """Gives this process the groups of the first argument and the files of the rest."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    root, membership = tmp_path / "cgroup", tmp_path / "membership"
    monkeypatch.setattr(cgroup, "ROOT", root)
    monkeypatch.setattr(cgroup, "MEMBERSHIP", membership)

    def make(groups: str, files: dict[str, object]) -> None:
        membership.write_text(groups)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")

    total_memory.cache_clear()
    yield make
    total_memory.cache_clear()


def test_no_groups_no_limits() -> None:
    """As on macOS and Windows."""
    assert cgroup.cpu_quota() is cgroup.memory_limit() is cgroup.memory_left() is None
    assert 1 <= cgroup.cores() <= (os.cpu_count() or 1)


def test_version_2_takes_the_least_of_group_and_parents(limits: Limits) -> None:
    """A Kubernetes pod whose container has less memory than the pod, and no quota of its own."""
    files = {
        "pods/cpu.max": "max 100000",
        "pods/memory.max": "max",
        "pods/pod1/cpu.max": "250000 100000",
        "pods/pod1/memory.max": 8000,
        "pods/pod1/memory.current": 7000,
        "pods/pod1/memory.stat": STAT.format(1500),
        "pods/pod1/main/cpu.max": "max 100000",
        "pods/pod1/main/memory.max": 5000,
        "pods/pod1/main/memory.current": 1000,
        "pods/pod1/main/memory.stat": STAT.format(400),
        "pods/other/memory.max": 1,
    }
    limits("0::/pods/pod1/main\n", files)
    assert cgroup.cpu_quota() == 2.5
    assert cgroup.memory_limit() == 5000
    assert cgroup.memory_left() == 8000 - (7000 - 1500)


def test_version_1_takes_the_least_of_group_and_parents(limits: Limits) -> None:
    """A job of Slurm: the job has memory, its step the same or more; the quota is on the step."""
    step = "slurm/job_1/step_0"
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": -1,
        "cpu,cpuacct/cpu.cfs_period_us": 100000,
        f"cpu,cpuacct/{step}/cpu.cfs_quota_us": 75000,
        f"cpu,cpuacct/{step}/cpu.cfs_period_us": 50000,
        "memory/memory.limit_in_bytes": NONE_V1,
        "memory/slurm/job_1/memory.limit_in_bytes": 3000,
        "memory/slurm/job_1/memory.usage_in_bytes": 2500,
        "memory/slurm/job_1/memory.stat": "inactive_file 1\ntotal_inactive_file 600",
        f"memory/{step}/memory.limit_in_bytes": NONE_V1,
    }
    limits(f"9:name=systemd:/x\n4:memory:/{step}\n3:cpuset:/\n2:cpu,cpuacct:/{step}\n0::/x\n", files)
    assert cgroup.cpu_quota() == 1.5
    assert cgroup.memory_limit() == 3000
    assert cgroup.memory_left() == 3000 - (2500 - 600)


@pytest.mark.parametrize("path", ["/docker/0123abc", "/", "/../other"])
def test_a_container_sees_its_own_group_as_the_root(limits: Limits, path: str) -> None:
    """Whatever path it is told: the host's, its own, or one outside of what it sees."""
    limits(f"0::{path}\n", {"cpu.max": "400000 100000", "memory.max": 4096, "../other/memory.max": 1})
    assert cgroup.cpu_quota() == 4.0
    assert cgroup.memory_limit() == 4096
    files = {"cpu/cpu.cfs_quota_us": 300000, "cpu/cpu.cfs_period_us": 100000, "memory/memory.limit_in_bytes": 2048}
    limits(f"2:cpuacct,cpu:{path}\n1:memory:{path}\n", files)
    assert cgroup.cpu_quota() == 3.0
    assert cgroup.memory_limit() == 2048


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}),
        ("0::/\n", {"cpu.max": "many", "memory.max": "", "memory.current": 1}),
        ("0::/\n", {"cpu.max": "100000 0"}),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": -1, "cpu/cpu.cfs_period_us": 100000}),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": 100000}),
        ("1:memory:/\n", {"memory/memory.limit_in_bytes": NONE_V1}),
        ("", {"cpu.max": "100000 100000", "memory.max": 1}),
        ("nonsense\n:\n::\n\n", {}),
    ],
)
def test_what_says_nothing_is_no_limit(limits: Limits, groups: str, files: dict[str, object]) -> None:
    limits(groups, files)
    assert cgroup.cpu_quota() is cgroup.memory_limit() is cgroup.memory_left() is None


def test_more_than_the_limit_may_be_used(limits: Limits) -> None:
    """Where a limit was lowered, for a while: nothing is left then."""
    limits("0::/\n", {"memory.max": 1000, "memory.current": 5000, "memory.stat": STAT.format(10)})
    assert cgroup.memory_left() == 0


def test_the_memory_of_a_container_is_all_there_is(limits: Limits) -> None:
    files = {"a/memory.max": 3 << 20, "a/memory.current": 2 << 20, "a/memory.stat": STAT.format(1 << 20)}
    limits("0::/a\n", files)
    assert total_memory(torch.device("cpu")) == 3 << 20
    assert 0 < free_memory(torch.device("cpu")) <= 2 << 20


def test_cores_are_those_of_the_quota_rounded_up(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    for quota, cores in ((50_000, 1), (100_000, 1), (250_000, 3), (9_900_000, 64)):
        limits("0::/\n", {"cpu.max": f"{quota} 100000"})
        assert cgroup.cores() == cores


def test_threads_are_lowered_and_never_raised(limits: Limits, threads: int) -> None:
    seen = []
    for quota in ("max", "800000", "250000", "350000"):
        limits("0::/\n", {"cpu.max": f"{quota} 100000"})
        limit_threads()
        seen.append(torch.get_num_threads())
    assert seen == [threads, threads, 3, 3]


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_threads_that_the_user_asked_for_stay(
    limits: Limits, threads: int, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    limits("0::/\n", {"cpu.max": "100000 100000"})
    monkeypatch.setenv(name, "4")
    limit_threads()
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("way", ["convert", "bench", "evaluate"])
def test_commands_keep_to_the_quota(limits: Limits, threads: int, tmp_path: Path, clip: Path, way: str) -> None:
    """Whatever becomes of them: what the last two are told to do is refused later."""
    limits("0::/\n", {"cpu.max": "150000 100000"})
    if way == "convert":
        main([str(clip), str(tmp_path / "out.mov"), "--model", "identity", "--frames", "0:1"])
    elif way == "bench":
        bench(["--device", "none"])
    else:
        training(["evaluate", "identity", "--pairs", str(tmp_path / "none")])
    assert torch.get_num_threads() == 2


def test_tasks_of_a_farm_keep_to_the_quota(limits: Limits, threads: int, tmp_path: Path, clip: Path) -> None:
    plan = str(tmp_path / "plan")
    assert main([str(clip), str(tmp_path / "out.mov"), "--model", "identity", "--plan", plan]) == 0
    limits("0::/\n", {"cpu.max": "150000 100000"})
    assert main(["--plan", plan, "--segments", "0"]) == 0
    with ThreadPoolExecutor(1) as later:  # the task's own thread is not this one
        assert later.submit(torch.get_num_threads).result() == 2


def test_training_keeps_to_the_quota(limits: Limits, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the processes that torchrun starts on a machine share."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    limits("0::/\n", {"cpu.max": "650000 100000"})
    for processes, share in (("1", 7), ("2", 3)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        start(Compute(device="cpu"))
        assert torch.get_num_threads() == share


def test_decoders_keep_to_the_quota(limits: Limits, clip: Path) -> None:
    def decoder_threads() -> int:
        with open_media(clip) as container:
            return video_stream(container, clip).codec_context.thread_count

    assert decoder_threads() == 0  # FFmpeg's own choice
    limits("0::/\n", {"cpu.max": "100000 100000"})
    assert decoder_threads() == 2


def test_doctor_says_what_the_quota_is(limits: Limits, threads: int, capsys: pytest.CaptureFixture[str]) -> None:
    limits("0::/\n", {"cpu.max": "150000 100000"})
    assert main(["--doctor"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if " cpu  " in line)
    assert "2 threads" in line
    assert "quota of 1.5 CPUs" in line
