"""The file to write, looked at before any work: its name, its folder, its preset's encoder."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path

from hdrunet_video.presets import Preset, preset_names

from .errors import OutputError, UsageError
from .nvidia import is_nvenc
from .sequence import is_numbered, is_there

JOINING = "joining"
"""In the work folder of a sequence: the frames that are in place are this program's, and not all there."""


def work_folder(target: Path) -> Path:
    """Where segments are until the result is there: hidden, beside it."""
    return target.with_name(f".{target.name}.work")


def is_taken(target: Path) -> bool:
    """Whether something is there that is not to be replaced unasked: not the frames that a run has put in place before
    it was stopped."""
    return is_there(target) and not os.path.isdir(target) and not os.path.exists(work_folder(target) / JOINING)


def check_target(target: Path, preset: Preset) -> None:
    """Raise UsageError where the preset does not write such files, OutputError where the file cannot be written."""
    extension = target.suffix.lower()
    if extension not in preset.extensions:
        raise UsageError(
            f"preset {preset.name} writes {', '.join(preset.extensions)}, not {extension or target.name!r}",
            f"Presets: {', '.join(preset_names())}; see --list-presets.",
        )
    if preset.segment_container == "exr" and not is_numbered(target.name):
        stem = re.sub(r"[._-]*(%\d*d|#+)$", "", target.stem)
        raise UsageError(f"{target.name} needs a frame number", f"For example {stem}.%06d.exr")
    check_folder(target.parent)
    if os.path.isdir(target):
        raise OutputError(f"{target} is a folder", f"Name a file in it, or use -o {target} to write there.")
    check_can_write(preset)


def check_folder(folder: Path) -> None:
    """Raise OutputError where no file can be made in `folder`."""
    if not os.path.isdir(folder):
        raise OutputError(f"the folder {folder} does not exist", f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {folder} may not be written", "Choose another, or change its permissions.")


def check_can_write(preset: Preset) -> None:
    """Raise UsageError where this machine lacks what writes the preset."""
    if preset.codec == "exr":
        _check_exr_installed()
    else:
        _check_encoder(preset)


def _check_encoder(preset: Preset) -> None:
    import av.codec

    try:
        formats = av.codec.Codec(preset.codec, "w").video_formats or []
    except (ValueError, LookupError):
        raise UsageError(
            f"preset {preset.name} needs the encoder {preset.codec}, which this FFmpeg has not",
            "`hdrunet-video --doctor` lists what there is"
            + ("; -p hdr10 encodes on the CPU." if is_nvenc(preset.codec) else "."),
        ) from None
    names = [format.name for format in formats]
    if names and preset.pixel_format not in names:
        raise UsageError(
            f"the encoder {preset.codec} does not take {preset.pixel_format}", f"It takes {', '.join(names)}."
        )


def _check_exr_installed() -> None:
    if find_spec("OpenEXR") is None:
        raise UsageError("the preset exr needs OpenEXR", "pip install 'hdrunet-video[exr]'")


def check_not_the_source(source: Path, target: Path) -> None:
    """Raise UsageError where the file to write is the one to read."""
    try:
        same = target.exists() and os.path.samefile(source, target)
    except OSError:
        same = False
    if same:
        raise UsageError(f"{target} is the input itself", "Name another output.")
