"""`--submit slurm` where there is no cluster: stand-ins for Slurm's programs, which do at once what they are told."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.farm.conftest import OPTIONS, Capture, run
from tests.media import sha256

# A job runs when it is submitted: of an array, each number of A-B after the other.
SBATCH = """\
#!/bin/sh
script=$(mktemp); cat > "$script"; numbers=; out=
for word in "$@"; do case $word in
  --array=*-*) numbers=$(seq $(echo "${word#--array=}" | tr - ' ')) ;;
  --array=*) numbers=${word#--array=} ;;
  --output=*) out=${word#--output=} ;;
esac; done
out=$(echo "$out" | sed "s/%A_%a/1_0/; s/%j/2/")
[ -n "$numbers" ] || { sh "$script" > "$out" 2>&1; rm "$script"; echo 2; exit 0; }
for SLURM_ARRAY_TASK_ID in $numbers; do export SLURM_ARRAY_TASK_ID; sh "$script" >> "$out" 2>&1; done
rm "$script"; echo 1
"""


@pytest.fixture
def stand_ins(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("slurm")
    for name, script in (("sbatch", SBATCH), ("squeue", "#!/bin/sh\n")):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr("hdrunet_video.farm.slurm._FOLLOW_SECONDS", 0.1)


@pytest.mark.usefixtures("stand_ins")
def test_a_join_that_fails_is_not_taken_for_an_earlier_one(job: Path, local: Path, capsys: Capture) -> None:
    arguments = (job / "in.mp4", job / "out.mov", "--plan", job / "plan", *OPTIONS, "--submit", "slurm")
    assert run(*arguments) == 0
    assert sha256(job / "out.mov") == sha256(local)
    (job / "out.mov").unlink()
    (job / "plan" / "slurm.json").unlink()
    blocked = job / "sitecustomize.py"  # the join's Python alone: it ends with 65, whatever it is asked
    blocked.write_text(
        "import os, sys\nif '--join' in sys.orig_argv: print('hdrunet-video: error: no'); os._exit(65)\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(job))
        assert run(*arguments) == 65
    assert "error: no" in capsys.readouterr().err
    assert not (job / "out.mov").exists()


def test_without_slurm_nothing_is_left(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(film, tmp_path / "out.mov", *OPTIONS, "--submit", "slurm") == 2
    assert "sbatch is not on this machine" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_who_stops_following_is_told_that_the_jobs_go_on(film: Path, tmp_path: Path) -> None:
    code = (
        "import os, time; from hdrunet_video import cli\n"
        "from hdrunet_video.farm import verbs\n"
        f"verbs.act = lambda *_: (os.kill(os.getpid(), {int(signal.SIGTERM)}), time.sleep(60))\n"
        "import sys; raise SystemExit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, str(film), str(tmp_path / "out.mov"), "--submit", "slurm"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 143
    assert "jobs that were submitted go on" in result.stderr
