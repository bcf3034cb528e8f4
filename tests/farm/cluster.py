"""A real Slurm cluster on this machine: munged, slurmctld and two slurmd, from Debian's packages."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")

_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=8
CryptoType=crypto/munge
SlurmctldPort={controller}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdTimeout=10
SlurmdParameters=config_overrides
KillWait=5
GresTypes=gpu
SchedulerParameters=requeue_delay=0,sched_interval=2,bf_interval=2
{nodes}
PartitionName=main Nodes={first},{second} Default=YES MaxTime=INFINITE State=UP
PartitionName=other Nodes={second} MaxTime=INFINITE State=UP
"""
_NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=2000 Gres=gpu:1\n"


def is_possible() -> bool:
    """Whether the programs are installed and this user may start them."""
    return os.geteuid() == 0 and all(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in PROGRAMS)


class Cluster:
    """Two nodes with one processor and one pretended GPU each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._daemons = folder, dict[str, subprocess.Popen[bytes]]()
        # Of our own, so that no process of another cluster is ever taken for one of these.
        self.nodes = [f"t{os.getpid()}{letter}" for letter in "ab"]
        host = socket.gethostname()
        ports = [_free_port() for _ in range(3)]
        nodes = "".join(
            _NODE.format(name=name, host=host, port=port) for name, port in zip(self.nodes, ports, strict=False)
        )
        for name in ("state", *(f"spool-{name}" for name in self.nodes)):
            (folder / name).mkdir()
        first, second = self.nodes
        values = {"host": host, "folder": folder, "controller": ports[2], "first": first, "second": second}
        (folder / "slurm.conf").write_text(_CONF.format(**values, nodes=nodes))
        (folder / "gres.conf").write_text(f"NodeName={first},{second} Name=gpu File=/dev/zero\n")
        (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (folder / "munge.key").chmod(0o400)
        folder.chmod(0o711)
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def start(self) -> None:
        """Start all daemons and wait for both nodes."""
        folder = self.folder
        munge = [f"--{name}={folder}/munge.{end}" for name, end in (("socket", "sock"), ("pid-file", "pid"))]
        munge += [f"--{name}={folder}/munge.{end}" for name, end in (("log-file", "log"), ("seed-file", "seed"))]
        self._start("munged", ["munged", "--foreground", "--force", f"--key-file={folder}/munge.key", *munge])
        wait_for((folder / "munge.sock").exists)
        self._start("slurmctld", ["slurmctld", "-D", "-c"])
        for name in self.nodes:
            self.start_node(name)
        wait_for(lambda: self.idle_nodes() == len(self.nodes))

    def start_node(self, name: str) -> None:
        """Start one slurmd."""
        self._start(name, ["slurmd", "-D", "-N", name])

    def idle_nodes(self) -> int:
        """How many nodes wait for work."""
        found = self.run("sinfo", "--noheader", "--Node", "--format=%N %t", "--partition=main").stdout
        return sum(line.endswith(" idle") for line in found.splitlines())

    def _start(self, name: str, command: list[str]) -> None:
        path = f"{os.environ['PATH']}:/usr/sbin"
        with (self.folder / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                [str(shutil.which(command[0], path=path)), *command[1:]],
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """One of Slurm's commands."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)

    def queue(self) -> dict[str, str]:
        """State and node by job, array tasks apart: {"12_3": "R w1"}."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i %t %N").stdout.splitlines()
        return {job: state for job, _, state in (line.strip().partition(" ") for line in lines)}

    def kill_node(self, name: str) -> None:
        """As if its power was cut: slurmd, the step daemons and all that they have started, with SIGKILL."""
        daemon, started = self._daemons.pop(name), self._processes(name)
        steps = {pid for pid in map(_parent, started) if _command(pid).startswith("slurmstepd")}
        for pid in (daemon.pid, *steps, *started):
            _kill(pid)
        daemon.wait()

    def _processes(self, name: str) -> set[int]:
        """Processes that were started as part of a job on a node of this cluster."""
        found = set()
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                facts = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if f"SLURMD_NODENAME={name}".encode() in facts:
                found.add(int(path.parent.name))
        return found

    def stop(self) -> None:
        """Cancel what runs and end the daemons."""
        self.run("scancel", "--user=root")
        until = time.monotonic() + 20
        while self.queue() and time.monotonic() < until:
            time.sleep(0.2)
        for name in (*self.nodes, "slurmctld", "munged"):
            if (daemon := self._daemons.get(name)) is not None:
                daemon.terminate()
                try:
                    daemon.wait(20)
                except subprocess.TimeoutExpired:
                    daemon.kill()
        for name in self.nodes:
            for pid in self._processes(name):
                _kill(pid)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster that runs."""
    made = Cluster(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def wait_for(happens: Callable[[], object], seconds: float = 180) -> None:
    """Until something is true; the test fails where it does not come."""
    until = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 1


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
