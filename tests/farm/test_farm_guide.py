"""The README's section on farms, followed line by line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hdrunet_video.cli import main
from tests.conftest import ffmpeg
from tests.farm.cluster import cluster, is_possible
from tests.media import sha256

README = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## On a farm\n")[2].partition("\n## ")[0]
BLOCKS: list[str] = re.findall(r"^```sh\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
PROGRAMS = Path(sys.executable).parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a tiny in.mp4."""
    source = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=24:duration=0.21")
    ffmpeg(*source, "-pix_fmt", "yuv420p", "-c:v", "libx264", tmp_path / "in.mp4")
    return tmp_path


def follow(block: str, folder: Path, environment: dict[str, str]) -> None:
    path = f"{PROGRAMS}:{environment['PATH']}"
    subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=folder, env={**environment, "PATH": path}, check=True)
    assert main([str(folder / "in.mp4"), str(folder / "local.mov"), "-q"]) == 0
    assert sha256(folder / "out.mov") == sha256(folder / "local.mov")


def test_there_are_blocks_to_follow() -> None:
    assert [sum(word in block for block in BLOCKS) for word in ("--verify", "slurm", "openjd run")] == [1, 1, 1]


@pytest.mark.parametrize("block", [block for block in BLOCKS if "slurm" not in block])
def test_block_by_block(block: str, folder: Path) -> None:
    if "openjd" in block and not shutil.which("openjd", path=str(PROGRAMS)):
        pytest.skip("needs openjd-cli, of the extra [test]")
    follow(block, folder, dict(os.environ))


@pytest.mark.slurm
@pytest.mark.skipif(not is_possible(), reason="needs slurmctld, slurmd, slurm-client, munge, and root")
def test_slurm(folder: Path) -> None:
    (folder / "cluster").mkdir()
    with cluster(folder / "cluster") as made:
        (block,) = [block for block in BLOCKS if "slurm" in block]
        follow(block, folder, made.environment)
