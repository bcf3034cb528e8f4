"""`--submit slurm`: an array of tasks and a join after it, by sbatch; then watching both until the result is there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import HdrunetError, PlanError, RetryError, UsageError, write_error
from ..progress import Progress
from ..receipts import read_receipt, write_whole
from .joined import joined_sha256
from .plan_file import Document
from .tasks import Done, all_receipts, receipt_of

_MOST_TASKS = 1000
"""Slurm's MaxArraySize is 1001 unless an administrator changed it."""
_FOLLOW_SECONDS = 2.0
_JOBS = "slurm.json"
_NOT_FOR_THE_JOIN = ("--gres", "--gpu", "-G", "--dependency", "-d", "--array", "-a", "--tres-per", "--exclusive")

# The program gets SIGTERM whether Slurm sends it to all processes or to the shell alone. 75 means that another try may
# do: Slurm's own way, RequeueExit, is the administrator's.
_SCRIPT = """\
#!/bin/sh
trap 'kill -TERM "$child" 2>/dev/null' TERM
attempt() {{
  "$@" & child=$!
  wait "$child"; code=$?
  while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
}}
{numbers}for pause in 5 30 0; do
  attempt {command}
  [ "$code" -eq 75 ] || break
  sleep "$pause"
done
echo "exit code $code"
exit "$code"
"""
_NUMBERS = """\
first=$((SLURM_ARRAY_TASK_ID * {per_task}))
last=$((first + {per_task} - 1))
[ "$last" -lt {count} ] || last={last}
"""


@dataclass(frozen=True)
class Jobs:
    """Slurm's numbers of what was submitted."""

    plan_id: str
    tasks: str
    """Of the array; empty where only the join was left."""
    join: str


def check_installed() -> None:
    """Raise UsageError where Slurm's programs are not on this machine."""
    for program in ("sbatch", "squeue"):
        if shutil.which(program) is None:
            raise UsageError(f"{program} is not on this machine", "Submit from a machine of the cluster.")


def submit(document: Document, folder: Path, sbatch: list[str], per_task: int | None, device: str) -> Jobs:
    """Submit the tasks that have segments to do, and the join. Jobs that are still in the queue are found again.

    sbatch: flags for sbatch; those for GPUs are not for the join. Raises UsageError, RetryError.
    """
    there = _read_jobs(folder, document["plan_id"])
    if there is not None and _is_queued(there.join):
        return there
    flags = [word for text in sbatch for word in shlex.split(text)]
    folder = folder.resolve()
    count = len(document["segments"])
    per_task = per_task or -(-count // _MOST_TASKS)
    missing = {number // per_task for number in range(count) if receipt_of(document, folder, number) is None}
    try:
        (folder / "log").mkdir(exist_ok=True)
    except OSError as error:
        raise write_error(error, folder / "log") from None
    name, program = Path(document["target"]).name, [sys.executable, "-m", "hdrunet_video", "--plan", str(folder)]
    tasks = ""
    if missing:
        command = shlex.join([*program, *(["--device", device] if device else [])]) + ' --segments "$first-$last"'
        numbers = _NUMBERS.format(per_task=per_task, count=count, last=count - 1)
        script = _SCRIPT.format(numbers=numbers, command=command)
        tasks = _sbatch(name, folder / "log" / "%A_%a.out", [f"--array={_ranges(missing)}", *flags], script)
    script = _SCRIPT.format(numbers="", command=shlex.join([*program, "--join"]))
    # Not afterok: a task that failed and was requeued would cancel the join for good. The join asks the receipts.
    after = [f"--dependency=afterany:{tasks}"] if tasks else []
    try:
        join = _sbatch(f"{name} join", folder / "log" / "join-%j.out", [*_for_the_join(flags), *after], script)
    except HdrunetError:
        if tasks:
            subprocess.run(["scancel", tasks], check=False)
        raise
    jobs = Jobs(document["plan_id"], tasks, join)
    with suppress(OSError):  # only the submitter's way back to them
        write_whole(folder / _JOBS, json.dumps(asdict(jobs)) + "\n")
    return jobs


def follow(
    document: Document, folder: Path, target: Path, jobs: Jobs, progress: Progress, cancelled: Callable[[], bool]
) -> Done:
    """Wait until the join has ended; then the result, or the error that kept it from being made."""
    frames = [segment["frames"] for segment in document["segments"]]
    done = set(_with_receipt(document, folder, set()))
    progress.begin(target.name, sum(frames), sum(frames[number] for number in done))
    try:
        queued = True
        while queued:
            for _ in range(int(_FOLLOW_SECONDS / 0.1)):
                if cancelled():
                    raise KeyboardInterrupt
                time.sleep(0.1)
            queued = _is_queued(jobs.join)
            for number in _with_receipt(document, folder, done):
                done.add(number)
                progress.advance(frames[number])
    finally:
        progress.end()
    if not _has_joined(document, folder, jobs):
        _explain(document, folder, jobs)
    return Done(f"{target}: {sum(frames)} frames joined", {"output": str(target), "frames": sum(frames)})


def _has_joined(document: Document, folder: Path, jobs: Jobs) -> bool:
    """Whether this join, not one of before, has made the result."""
    with suppress(OSError):
        log = (folder / "log" / f"join-{jobs.join}.out").read_text(errors="replace")
        if codes := re.findall(r"^exit code (\d+)$", log, re.MULTILINE):
            return bool(codes[-1] == "0")
    return joined_sha256(document, folder) is not None  # --sbatch may have sent the log elsewhere


def _with_receipt(document: Document, folder: Path, known: set[int]) -> Iterator[int]:
    for number, segment in enumerate(document["segments"]):
        if number not in known:
            receipt = read_receipt((folder / segment["file"]).with_suffix(".json"))
            if receipt is not None and receipt.plan_id == document["plan_id"]:
                yield number


def _explain(document: Document, folder: Path, jobs: Jobs) -> None:
    """Raise what the logs and the receipts say about a join that did not come."""
    logs = [log.read_text(errors="replace") for log in sorted((folder / "log").glob(f"join-{jobs.join}.out"))]
    if jobs.tasks:
        logs += [log.read_text(errors="replace") for log in sorted((folder / "log").glob(f"{jobs.tasks}_*.out"))]
    said = [line for log in logs for line in log.splitlines() if "error: " in line]
    where = f"The logs are in {folder / 'log'}; the same command goes on."
    if any("\nexit code 65\n" in log or "\nexit code 2\n" in log for log in logs) and said:
        raise PlanError(said[-1].partition("error: ")[2], where)
    all_receipts(document, folder)
    raise RetryError("the join did not finish" + (f": {said[0].partition('error: ')[2]}" if said else ""), where)


def _sbatch(name: str, log: Path, flags: list[str], script: str) -> str:
    """Submit a script and return its job number."""
    folder = str(log.parent).replace("%", "%%")
    command = ["sbatch", "--parsable", f"--job-name={name}", "--requeue", "--open-mode=append"]
    command += [f"--output={folder}/{log.name}", *flags]
    result = subprocess.run(command, input=script, capture_output=True, text=True)
    if result.returncode:
        said = " ".join(result.stderr.split()).removeprefix("sbatch: ").removeprefix("error: ")
        if "contact" in said or "Socket timed out" in said:
            raise RetryError(f"sbatch: {said}", "The same command submits again.")
        raise UsageError(f"sbatch: {said}", "Check the flags after --sbatch.")
    return result.stdout.strip().partition(";")[0]


def _is_queued(job: str) -> bool:
    """Whether a job is waiting or running. Where the controller does not answer, it is believed to be."""
    command = ["squeue", "--noheader", f"--jobs={job}", "--format=%i"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        return "Invalid job id" not in result.stderr
    return bool(result.stdout.strip())


def _read_jobs(folder: Path, plan_id: str) -> Jobs | None:
    try:
        jobs = Jobs(**json.loads((folder / _JOBS).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return jobs if jobs.plan_id == plan_id else None


def _for_the_join(flags: list[str]) -> list[str]:
    """The flags without those that only the tasks need. A word without a dash belongs to the flag before it."""
    kept: list[str] = []
    keep = True
    for word in flags:
        if word.startswith("-"):
            keep = not word.startswith(_NOT_FOR_THE_JOIN)
        if keep:
            kept.append(word)
    return kept


def _ranges(numbers: set[int]) -> str:
    """`0-3,7` of {0, 1, 2, 3, 7}."""
    text = ""
    for number in sorted(numbers):
        if re.search(rf"(^|[,-]){number - 1}$", text):
            text = f"{text.removesuffix(f'-{number - 1}')}-{number}"
        else:
            text += f"{',' if text else ''}{number}"
    return text
