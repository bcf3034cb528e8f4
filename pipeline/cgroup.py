"""What a container or a batch job may take of its machine: the limits of this process's control groups.

Linux alone has them, in version 1 (a tree of folders for each controller), 2 (one tree), or both. A limit of a group
holds for all groups inside it: Docker sets it on the container's own group, Kubernetes and Slurm on parents as well.
Nothing here raises: what cannot be read counts as no limit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

ROOT = Path("/sys/fs/cgroup")
"""Where the trees are mounted."""
MEMBERSHIP = Path("/proc/self/cgroup")
"""The groups of this process: `0::/group` in version 2, `4:cpu,cpuacct:/group` in version 1."""
_NO_LIMIT = 1 << 62
"""Version 1 says nearly 2**63, rounded down to whole pages, where memory has no limit."""


def cores() -> int:
    """Cores that this process can keep busy: those that it may run on, and no more than its quota, rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return allowed if quota is None else min(allowed, math.ceil(quota))


def cpu_quota() -> float | None:
    """CPUs' worth of time that this process may take, shared with all in its groups; more than 0. None: no quota."""
    return _least("cpu", _quota_v1, _quota_v2)


def memory_limit() -> int | None:
    """Bytes that this process may have, shared with all in its groups. None: no limit."""
    return _least("memory", _limit_v1, _limit_v2)


def memory_left() -> int | None:
    """Bytes until the nearest of the limits, 0 or more; cached files not used lately count as free. None: no limit."""
    return _least("memory", _left_v1, _left_v2)


def _least[T: (int, float)](
    controller: str, version_1: Callable[[Path], T | None], version_2: Callable[[Path], T | None]
) -> T | None:
    """The least of what the process's groups and their parents say."""
    found: list[T] = []
    for group, version in _groups(controller):
        with suppress(OSError, ValueError):  # not there, as at the root, or "max"
            value = (version_1 if version == 1 else version_2)(group)
            if value is not None:
                found.append(value)
    return min(found, default=None)


def _groups(controller: str) -> Iterator[tuple[Path, int]]:
    """(folder, version) of the process's groups and of all their parents, whether they are there or not.

    A container sees its own group as the root of the tree, but may be told the path that the host knows: that of
    parents that are not there, and of the root, which is.
    """
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except (OSError, ValueError):
        return
    for number, names, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if number == "0" and not names:
            top, version = ROOT, 2
        elif controller in names.split(","):
            top, version = ROOT / names, 1
            if not top.is_dir():
                top = ROOT / controller
        else:
            continue
        relative = PurePosixPath(path.lstrip("/"))
        if ".." in relative.parts:  # a group outside of what this container sees
            relative = PurePosixPath()
        for each in (relative, *relative.parents):
            yield top / each, version


def _quota_v1(group: Path) -> float | None:
    quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    return quota / period if quota > 0 and period > 0 else None


def _quota_v2(group: Path) -> float | None:
    quota, period = map(int, (group / "cpu.max").read_text().split())
    return quota / period if quota > 0 and period > 0 else None


def _limit_v1(group: Path) -> int | None:
    limit = int((group / "memory.limit_in_bytes").read_text())
    return limit if limit < _NO_LIMIT else None


def _limit_v2(group: Path) -> int | None:
    return int((group / "memory.max").read_text())


def _left_v1(group: Path) -> int | None:
    return _left(group, _limit_v1(group), "memory.usage_in_bytes", "total_inactive_file")


def _left_v2(group: Path) -> int | None:
    return _left(group, _limit_v2(group), "memory.current", "inactive_file")


def _left(group: Path, limit: int | None, usage: str, idle: str) -> int | None:
    if limit is None:
        return None
    used = int((group / usage).read_text())
    facts = (group / "memory.stat").read_text().split()
    return max(0, limit - max(0, used - int(facts[facts.index(idle) + 1])))
