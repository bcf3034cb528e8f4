"""`--submit slurm` on a real cluster, with the faults that real clusters have. `pytest -m slurm` runs these."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hdrunet_video.cli import main
from tests.conftest import ffmpeg
from tests.farm.cluster import Cluster, cluster, is_possible, wait_for
from tests.media import BT709, sha256

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not is_possible(), reason="needs slurmctld, slurmd, slurm-client, munge, and root"),
]

NETWORK = ("--segment-frames", "30")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("slurm")) as made:
        yield made


@pytest.fixture(scope="module")
def slow(clips: Path) -> Path:
    """A film whose segments take seconds, so that a fault can hit in the middle of one: four of thirty frames."""
    path = clips / "slow.mp4"
    source = ("-f", "lavfi", "-i", "testsrc2=size=160x96:rate=24:duration=5", "-f", "lavfi", "-i", "sine=duration=5")
    ffmpeg(*source, "-pix_fmt", "yuv420p", "-c:v", "libx264", *BT709, "-c:a", "aac", path)
    return path


@pytest.fixture(scope="module")
def slow_local(slow: Path, clips: Path) -> Path:
    target = clips / "slow-local.mov"
    assert main([str(slow), str(target), *NETWORK, "-q"]) == 0
    return target


def submitted(
    slurm: Cluster, *arguments: str | Path, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Our command, which follows what it has submitted."""
    return subprocess.Popen(
        [sys.executable, "-m", "hdrunet_video", *map(str, arguments), "--submit", "slurm"],
        env={**slurm.environment, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(command: subprocess.Popen[str], code: int) -> str:
    output, _ = command.communicate(timeout=300)
    assert command.returncode == code, output
    return output


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(".seg_*.part*")]


def both_nodes_are_writing(slurm: Cluster, folder: Path) -> bool:
    nodes = {state.split()[1] for state in slurm.queue().values() if state.startswith("R ")}
    return nodes == set(slurm.nodes) and len(parts(folder)) == 2


def test_a_node_dies_in_the_middle_of_a_segment(slurm: Cluster, slow: Path, slow_local: Path, tmp_path: Path) -> None:
    target, folder = tmp_path / "out.mov", tmp_path / "out.mov.farm"
    command = submitted(slurm, slow, target, *NETWORK)
    wait_for(lambda: both_nodes_are_writing(slurm, folder))
    slurm.kill_node(slurm.nodes[1])
    try:
        assert "120 frames joined" in said(command, 0)
    finally:
        slurm.start_node(slurm.nodes[1])
    assert sha256(target) == sha256(slow_local)
    assert parts(folder) == [], "what the dead node had begun is swept up"
    assert main(["--plan", str(folder), "--verify", "-q"]) == 0
    wait_for(lambda: slurm.idle_nodes() == 2)


FAIL_ONCE = """\
import os, sys
from pathlib import Path

if "--segments" in sys.orig_argv:
    mark = Path(os.environ["FAIL_ONCE"]) / sys.orig_argv[-1]
    if not mark.exists():
        mark.touch()
        os._exit(75)
"""


def test_every_segment_exits_75_once_and_one_is_requeued(
    slurm: Cluster, slow: Path, slow_local: Path, tmp_path: Path
) -> None:
    target, folder = tmp_path / "out.mov", tmp_path / "out.mov.farm"
    for name in ("hook", "marks"):
        (tmp_path / name).mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(FAIL_ONCE)
    environment = {"PYTHONPATH": str(tmp_path / "hook"), "FAIL_ONCE": str(tmp_path / "marks")}
    command = submitted(slurm, slow, target, *NETWORK, environment=environment)
    wait_for(lambda: both_nodes_are_writing(slurm, folder))
    running = [job for job, state in slurm.queue().items() if state.startswith("R ")]
    assert slurm.run("scontrol", "requeue", running[0]).returncode == 0
    begun = f".seg_{int(running[0].rpartition('_')[2]):06}."
    # SIGTERM is answered within seconds, and nothing half-written stays.
    wait_for(lambda: not any(name.startswith(begun) for name in parts(folder)), 30)
    assert "120 frames joined" in said(command, 0)
    assert sorted(path.name for path in (tmp_path / "marks").iterdir()) == ["0-0", "1-1", "2-2", "3-3"]
    logs = "\n".join(path.read_text() for path in (folder / "log").iterdir())
    assert "stopped; finished segments are kept" in logs
    assert sha256(target) == sha256(slow_local)


def test_the_submitter_may_go_and_come_back(slurm: Cluster, film: Path, local: Path, tmp_path: Path) -> None:
    target, folder = tmp_path / "out.mov", tmp_path / "out.mov.farm"
    arguments = (film, target, "--model", "identity", "--segment-frames", "6", "--per-task", "2")
    flags = ("--sbatch=--gres=gpu:1 --partition other", "--json")
    first = submitted(slurm, *arguments, *flags)
    wait_for((folder / "slurm.json").exists)
    first.send_signal(signal.SIGINT)
    said(first, 130)
    jobs = json.loads((folder / "slurm.json").read_text())
    array = slurm.run("scontrol", "show", "job", jobs["tasks"]).stdout
    join = slurm.run("scontrol", "show", "job", jobs["join"]).stdout
    assert re.search(r"TresPerNode=.*gpu:1", array)
    assert not re.search(r"TresPerNode=.*gpu", join), "the join needs no GPU"
    assert "Partition=other" in array
    assert "Partition=other" in join
    detached = json.loads(said(submitted(slurm, *arguments, *flags, "--detach"), 0).splitlines()[-1])
    assert (detached["tasks"], detached["join"]) == (jobs["tasks"], jobs["join"])
    events = [json.loads(line) for line in said(submitted(slurm, *arguments, "--json"), 0).splitlines()]
    assert events[-1]["output"] == str(target)
    assert sha256(target) == sha256(local)
    assert len(list((folder / "log").glob(f"{jobs['tasks']}_*.out"))) == 3
    assert json.loads((folder / "slurm.json").read_text()) == jobs, "nothing was submitted twice"


def test_only_what_is_missing_is_submitted(slurm: Cluster, job: Path, local: Path) -> None:
    for number in (1, 4):
        (job / "plan" / f"seg_{number:06}.json").unlink()
    code = [job / "in.mp4", job / "out.mov", "--plan", job / "plan", "--model", "identity", "--segment-frames", "6"]
    said(submitted(slurm, *code), 0)
    assert sorted(path.name.partition("_")[2] for path in (job / "plan" / "log").glob("*_*.out")) == ["1.out", "4.out"]
    assert sha256(job / "out.mov") == sha256(local)


def test_a_task_that_refuses_ends_the_job_with_65(slurm: Cluster, film: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.mp4", tmp_path / "out.mov"
    source.write_bytes(film.read_bytes())
    hold = slurm.run("sbatch", "--parsable", "--array=0-1", "--output=/dev/null", "--wrap", "exec sleep 600").stdout
    wait_for(lambda: slurm.idle_nodes() == 0)
    command = submitted(slurm, source, target, "--model", "identity")
    wait_for((tmp_path / "out.mov.farm" / "slurm.json").exists)
    os.truncate(source, 2000)
    slurm.run("scancel", hold.strip())
    assert "in.mp4 is not the file that was planned" in said(command, 65)
    assert not target.exists()


@pytest.mark.parametrize(("flags", "says"), [("--partition=none", "invalid partition"), ("--no-such-flag", "no-such")])
def test_what_sbatch_refuses(slurm: Cluster, film: Path, tmp_path: Path, flags: str, says: str) -> None:
    command = submitted(slurm, film, tmp_path / "out.mov", "--model", "identity", f"--sbatch={flags}")
    assert says in said(command, 2)
    assert slurm.queue() == {}
