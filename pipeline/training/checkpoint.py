"""The files of a run. Each appears complete or not at all, so a run that is killed at any moment keeps its last ones.

`last.state` is all that a run needs to go on: tensors, numbers and texts, read without running what a file says.
`last.safetensors` and `best.safetensors` are networks for `load_network`, with how they were made in their notes.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigError, OutputError
from ..network.hdrunet import HDRUNet
from ..network.weights import save_network
from .cache import write_error
from .config import Config

STATE, LAST, BEST = "last.state", "last.safetensors", "best.safetensors"
_FORMAT = 1


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Replace last.state. Raises RetryError where the disk is full, OutputError otherwise; the old one stays."""
    path = folder / STATE
    unfinished = path.with_name(f".{STATE}.{os.getpid()}.part")
    try:
        with open(unfinished, "wb") as file:
            torch.save({**state, "format": _FORMAT}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:
        unfinished.unlink(missing_ok=True)
        cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
        if not isinstance(cause, OSError):
            raise OutputError(f"{path} cannot be written: {str(error).splitlines()[0]}", "is the disk full?") from error
        raise write_error(cause, path) from None


def load_state(folder: Path, config: Config, data: str) -> dict[str, Any]:
    """last.state of a run of this configuration and these data. Raises ConfigError that says what differs."""
    path = folder / STATE
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        known, found = state["essence"], state["data"]
        if state["format"] != _FORMAT:
            raise ValueError(f"it has format {state['format']}")
    except Exception as error:  # whatever bytes provoke in a loader, the answer is the same
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ConfigError(f"{path} cannot be resumed: {reason}", "start anew in another run.output") from None
    for key, value in config.essence().items():
        if known.get(key) != value:
            raise ConfigError(
                f"{path} was made with {key} = {known.get(key)!r}, not {value!r}",
                "go on with the configuration that the run began with, or start anew in another run.output",
            )
    if found != data:
        raise ConfigError(
            f"{path} was made with other pictures, or another split of them",
            "go on with the data that the run began with, or start anew in another run.output",
        )
    return dict(state)


def save_weights(network: HDRUNet, path: Path, config: Config, data: str, **notes: str) -> None:
    """A network with the configuration, the git revision and the hash of the data in its notes."""
    save_network(network, path, training=config.as_json(), data_sha256=data, revision=revision(), **notes)


@cache
def revision() -> str:
    """The git revision of this code, with `-dirty` where files differ from it; `unknown` outside a checkout.
    It is asked for once, when a run begins: the files may change while it lasts."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
