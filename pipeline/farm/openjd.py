"""`--submit openjd DIR`: a job bundle of Open Job Description (2023-09), with the plan inside.

DIR/template.json holds the steps, DIR/plan the plan and later the segments. `openjd run DIR/template.json` does it on
one machine; DIR/parameter_values.json and DIR/asset_references.json are what `deadline bundle submit DIR` adds.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from ..errors import OutputError, write_error
from ..receipts import write_whole
from .plan_file import Document, Place

_FILES = ("template.json", "parameter_values.json", "asset_references.json")
_GRACE_SECONDS = 15

# exec, so that a signal reaches the program. An empty Source means that all files are where the plan says.
_SCRIPT = """\
set -eu
python=$1 plan=$2 source=$3 target=$4 weights=$5; shift 5
set -- --plan "$plan" --progress openjd ${weights:+--weights "$weights"} "$@"
[ -z "$source" ] || set -- "$source" ${target:+"$target"} "$@"
if [ -x "$python" ]; then exec "$python" -m hdrunet_video "$@"; fi
exec hdrunet-video "$@"
"""


def check_free(bundle: Path) -> None:
    """Raise OutputError where a bundle of another program would be overwritten."""
    theirs = [name for name in _FILES if os.path.exists(bundle / name)]
    if theirs and not os.path.exists(bundle / "plan"):
        raise OutputError(f"{bundle / theirs[0]} is not of this program", "Name another folder for the bundle.")


def write_bundle(document: Document, place: Place, bundle: Path, per_task: int, device: str) -> None:
    """Write the bundle around the plan in `bundle`/plan. Raises OutputError, RetryError."""
    values = {
        "Plan": bundle.resolve() / "plan",
        "Source": place.source.resolve(),
        "Target": place.target.resolve(),
        **({"Weights": Path(place.weights).resolve()} if place.weights else {}),
    }
    inputs = [str(values[name]) for name in ("Source", "Weights") if name in values]
    references = {
        "inputs": {"filenames": inputs, "directories": [str(values["Plan"])]},
        "outputs": {"directories": sorted({str(values["Plan"]), str(values["Target"].parent)})},
    }
    parameters = [{"name": name, "value": str(value)} for name, value in values.items()]
    contents = (
        template(document, per_task, device),
        {"parameterValues": parameters},
        {"assetReferences": references},
    )
    for name, content in zip(_FILES, contents, strict=True):
        try:
            write_whole(bundle / name, json.dumps(content, indent=2) + "\n")
        except OSError as error:
            raise write_error(error, bundle / name) from None


def template(document: Document, per_task: int, device: str) -> dict[str, Any]:
    """The job template: a step of tasks over the segments' numbers, and the join that depends on it."""
    numbers = f"0-{len(document['segments']) - 1}"
    segment: dict[str, Any] = {"name": "Segment", "type": "INT", "range": numbers}
    if per_task > 1:
        chunks = {"defaultTaskCount": per_task, "rangeConstraint": "CONTIGUOUS"}
        segment = {"name": "Segment", "type": "CHUNK[INT]", "range": numbers, "chunks": chunks}
    on = device or document["job"]["device"]
    gpus = 0 if on.split(",")[0] == "cpu" else len(on.split(","))
    name = Path(document["target"]).name.replace("{", "").replace("}", "")
    tasks = ["--segments", "{{Task.Param.Segment}}", *(["--device", device] if device else [])]
    needs = {"hostRequirements": {"amounts": [{"name": "amount.worker.gpu", "min": gpus}]}} if gpus else {}
    return {
        "specificationVersion": "jobtemplate-2023-09",
        **({"extensions": ["TASK_CHUNKING"]} if per_task > 1 else {}),
        "name": f"hdrunet-video {name}"[:128],
        "parameterDefinitions": [
            _path("Plan", "DIRECTORY", "INOUT", "plan", "The plan, and what the tasks make."),
            _path("Source", "FILE", "IN", "", "The film, where it is not where the plan says."),
            _path("Target", "FILE", "OUT", "", "The result, where it is not where the plan says; needs Source."),
            _path("Weights", "FILE", "IN", "", "The weights, where they are not where the plan says."),
            {
                "name": "Python",
                "type": "STRING",
                "default": sys.executable,
                "description": "Where this is no program, hdrunet-video must be on the worker's PATH.",
            },
        ],
        "steps": [
            {
                "name": "Segments",
                **needs,
                "parameterSpace": {"taskParameterDefinitions": [segment]},
                "script": _step(tasks),
            },
            {"name": "Join", "dependencies": [{"dependsOn": "Segments"}], "script": _step(["--join"])},
        ],
    }


def _path(name: str, kind: str, flow: str, default: str, description: str) -> dict[str, str]:
    facts = {"name": name, "type": "PATH", "objectType": kind, "dataFlow": flow}
    return {**facts, "default": default, "description": description}


def _step(arguments: list[str]) -> dict[str, Any]:
    parameters = [f"{{{{Param.{name}}}}}" for name in ("Python", "Plan", "Source", "Target", "Weights")]
    return {
        "actions": {
            "onRun": {
                "command": "sh",
                "args": ["{{Task.File.Run}}", *parameters, *arguments],
                "cancelation": {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": _GRACE_SECONDS},
            }
        },
        "embeddedFiles": [{"name": "Run", "type": "TEXT", "data": _SCRIPT}],
    }
