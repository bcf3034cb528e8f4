"""A plan as a file that other machines can follow: DIR/plan.json, with all its paths relative to DIR.

Document    the file's JSON, proved by its own hash and read without torch
Place       where source, result and weights are on this machine, checked against the document
Plan        the same as on the machine that made it, or a PlanError
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdrunet_video.presets import Preset, as_json

from ..errors import NO_ANSWER, InputError, OutputError, PlanError, RetryError, UsageError, WeightsError, write_error
from ..identity import file_sha256, package_versions
from ..receipts import write_whole

if TYPE_CHECKING:
    from ..job import Job, Plan
    from ..probe import VideoInfo

Document = dict[str, Any]

_FILE = "plan.json"
_FORMAT = 3
_NOT_OF_THE_JOB = ("source", "target", "preset", "settings", "weights", "tune")
_BUNDLED = Path(__file__).parent.parent / "network" / "hdrunet.safetensors"
_ANEW = "Make a new plan: hdrunet-video INPUT OUTPUT --plan DIR -y"


@dataclass(frozen=True)
class Place:
    """Where a plan's files are on this machine."""

    source: Path
    target: Path
    weights: str
    """Empty for the bundled ones, or where the model has none."""


def write_plan(plan: Plan, folder: Path, overwrite: bool, replace: bool) -> Document:
    """Write the plan into `folder`, or find the same there. Raises OutputError, RetryError.

    overwrite: another plan in `folder`, and later the target, may be replaced; replace: the target alone.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, folder) from None
    document = _document(plan, folder, overwrite or replace)
    try:
        there: Document | None = read_plan(folder)
    except (PlanError, RetryError):
        there = None
        if os.path.exists(folder / _FILE) and not overwrite:
            raise OutputError(f"{folder / _FILE} is not a plan of this version", "-y replaces it.") from None
    if there == document:
        return document
    if there is not None and there["plan_id"] != document["plan_id"] and not overwrite:
        raise OutputError(f"{folder} holds the plan of something else", "-y replaces it; or name another --plan.")
    try:
        write_whole(folder / _FILE, json.dumps(document, indent=None) + "\n")
    except OSError as error:
        raise write_error(error, folder / _FILE) from None
    return document


def _document(plan: Plan, folder: Path, overwrite: bool) -> Document:
    from .plan_video import video_as_json

    job, info, identity = plan.job, plan.info, plan.identity
    document = {
        "format": _FORMAT,
        "plan_id": identity.plan_id,
        "source": {
            "path": _relative(info.path, folder),
            "sha256": identity.source_sha256,
            "size": info.size,
            "mtime_ns": info.mtime_ns,
        },
        "weights": {
            "path": _relative(Path(job.weights), folder) if job.weights else "",
            "sha256": identity.weights_sha256,
        },
        "target": _relative(plan.target, folder),
        "overwrite": overwrite,
        "versions": package_versions(plan.preset.codec, job.backend),
        "job": {each.name: getattr(job, each.name) for each in fields(job) if each.name not in _NOT_OF_THE_JOB},
        "preset": as_json(plan.preset),
        "video": video_as_json(info),
        "segments": [
            {"file": f"{segment.name}{plan.preset.segment_extension}", "frames": last - first}
            for segment in plan.segments
            for first, last in (plan.output_frames(segment),)
        ],
    }
    document = json.loads(json.dumps(document))
    return {**document, "sha256": _digest(document)}


def _relative(path: Path, folder: Path) -> str:
    # Not lexically: the parent of a linked folder is not the folder that the link lies in.
    return Path(os.path.relpath(path.parent.resolve() / path.name, folder.resolve())).as_posix()


def _absolute(folder: Path, planned: str) -> Path:
    path = folder / planned
    return path.parent.resolve() / path.name


def _digest(document: Document) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_plan(folder: Path) -> Document:
    """The document in `folder`. Raises RetryError where none is there (yet), PlanError where it is not as written."""
    path = folder / _FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        proof = document.pop("sha256")
        good = proof == _digest(document) and document["format"] == _FORMAT
    except FileNotFoundError:
        raise RetryError(
            f"there is no plan in {folder}",
            "hdrunet-video INPUT OUTPUT --plan DIR makes one; a network file system may show it later.",
        ) from None
    except NotADirectoryError:
        raise UsageError(f"{folder} is not a folder", "Give the one that --plan has made.") from None
    except OSError as error:
        raise RetryError(f"{path} cannot be read: {error.strerror}", "Check its permissions and the network.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise PlanError(f"{path} is damaged, was edited or is of another version", _ANEW)
    return {**document, "sha256": proof}


def find(document: Document, folder: Path, source: Path | None, target: Path | None, weights: str) -> Place:
    """Where the plan's files are: as it says, or where the arguments say. Reads nothing."""
    planned = document["weights"]["path"]
    place = Place(
        source or _absolute(folder, document["source"]["path"]),
        target or _absolute(folder, document["target"]),
        weights or (str(_absolute(folder, planned)) if planned else ""),
    )
    name = Path(document["target"]).name
    if place.target.suffix.lower() != Path(name).suffix.lower():
        raise UsageError(f"the plan is for {name}, and {place.target.name} is another kind of file", _ANEW)
    if document["preset"]["segment_container"] == "exr" and place.target.name != name:
        raise UsageError(f"the files are planned as {name}, not as {place.target.name}", _ANEW)
    return place


def check(document: Document, place: Place, whole: bool = False) -> None:
    """Refuse (65) where this machine has other versions, other weights or another source than the plan.

    A source of the planned size and time is believed; `whole` reads all of it.
    """
    planned, here = document["versions"], package_versions(document["preset"]["codec"], document["job"]["backend"])
    if planned != here:
        differences = [
            f"{name} {planned.get(name)}, here {here[name]}" for name in here if planned.get(name) != here[name]
        ]
        raise PlanError(
            f"the plan was made with {'; '.join(differences)}",
            "Install the same versions on all machines, or plan anew.",
        )
    if document["weights"]["sha256"]:
        weights = Path(place.weights or _BUNDLED)
        try:
            same = file_sha256(weights) == document["weights"]["sha256"]
        except OSError as error:
            raise WeightsError(f"{weights}: the weights cannot be read: {error.strerror}", "--weights FILE") from None
        if not same:
            raise PlanError(f"{weights} are other weights than those of the plan", _ANEW)
    _check_source(document["source"], place.source, whole)


def _check_source(planned: dict[str, Any], source: Path, whole: bool) -> None:
    try:
        facts = source.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise InputError(f"{source} is not a regular file", "Give the film: hdrunet-video FILE --plan DIR ...")
        same = facts.st_size == planned["size"]
        if same and (whole or facts.st_mtime_ns != planned["mtime_ns"]):
            same = file_sha256(source) == planned["sha256"]
    except OSError as error:
        if error.errno in NO_ANSWER:
            raise RetryError(
                f"{source} cannot be read: {error.strerror}", "Check the disk or the network; try again."
            ) from None
        raise InputError(
            f"the plan's source {source} cannot be read here: {error.strerror}",
            "Say where it is on this machine: hdrunet-video FILE --plan DIR ...",
        ) from None
    if not same:
        raise PlanError(f"{source} is not the file that was planned", _ANEW)


def restore(document: Document, place: Place, device: str = "") -> Plan:
    """The plan, ready to run; `device` instead of the plan's. Raises PlanError where it would be another here."""
    plan = decided(document, place, device)
    status = place.source.stat()  # a copy has a time of its own
    plan = replace(plan, info=replace(plan.info, size=status.st_size, mtime_ns=status.st_mtime_ns))
    if plan.identity.plan_id != document["plan_id"]:
        raise PlanError("this machine would make other bytes than those of the plan: its FFmpeg differs", _ANEW)
    return plan


def decided(document: Document, place: Place, device: str = "") -> Plan:
    """The plan without a look at the source, the weights and what this machine can do: enough to verify a result.

    Raises PlanError where another version of this program has settings that this one has not.
    """
    from ..job import decide

    try:
        job, preset, info = _parts(document, place, device)
    except (TypeError, KeyError, ValueError):
        planned = document["versions"]["hdrunet-video"]
        raise PlanError(f"the plan was made with hdrunet-video {planned}, which has other settings", _ANEW) from None
    return decide(job, preset, info, document["source"]["sha256"])


def _parts(document: Document, place: Place, device: str) -> tuple[Job, Preset, VideoInfo]:
    from ..job import Job
    from .plan_video import video_from_json

    kept = document["job"]
    tile = kept["tile"]
    job = Job(
        **{
            **kept,
            "source": place.source,
            "target": place.target,
            "preset": document["preset"]["name"],
            "weights": place.weights,
            "device": device or kept["device"],
            "tile": tile if isinstance(tile, str) else tuple(tile),
            "frames": tuple(kept["frames"]),
        }
    )
    preset = Preset(**{**document["preset"], "extensions": tuple(document["preset"]["extensions"])})
    return job, preset, video_from_json(document["video"], place.source)
