"""The file to write, looked at before any work: its name, its folder, its preset's encoder."""

from __future__ import annotations

import difflib
import os
import re
from importlib.util import find_spec
from pathlib import Path

from hdrunet_video.presets import Preset, preset_names
from hdrunet_video.presets.schema import MUXERS

from .errors import OutputError, PresetError, UsageError
from .nvidia import is_nvenc
from .sequence import is_numbered, is_there

JOINING = "joining"
"""In the work folder of a sequence, with the job that frames were put in place for, and not all yet."""


def work_folder(target: Path) -> Path:
    """Where segments are until the result is there: hidden, beside it."""
    return target.with_name(f".{target.name}.work")


def is_taken(target: Path, job: str = "") -> bool:
    """Whether something is there that is not to be replaced unasked: not the frames that a run of the same job has put
    in place before it was stopped."""
    if not is_there(target) or os.path.isdir(target):
        return False
    try:
        return not job or (work_folder(target) / JOINING).read_text(encoding="utf-8", errors="replace") != job
    except OSError:
        return True


def check_target(target: Path, preset: Preset) -> None:
    """Raise UsageError or PresetError where the preset writes no such files, OutputError where none can be written."""
    extension = target.suffix.lower()
    if extension not in preset.extensions:
        raise UsageError(
            f"preset {preset.name} writes {', '.join(preset.extensions)}, not {extension or target.name!r}",
            f"Presets: {', '.join(preset_names())}; see --list-presets.",
        )
    if preset.segment_container == "exr" and not is_numbered(target.name):
        stem = re.sub(r"[._-]*(%\d*d|#+)$", "", target.stem)
        raise UsageError(f"{target.name} needs a frame number", f"For example {stem}.%06d.exr")
    check_free(target)
    check_can_write(preset)
    if extension in MUXERS:
        for container in dict.fromkeys((preset.segment_container, MUXERS[extension])):
            _check_holds(container, preset)


def check_free(target: Path) -> None:
    """Raise OutputError where no file of this name can be made."""
    check_folder(target.parent)
    if os.path.isdir(target):
        raise OutputError(f"{target} is a folder", f"Name a file in it, or use -o {target} to write there.")


def check_folder(folder: Path) -> None:
    """Raise OutputError where no file can be made in `folder`."""
    if not os.path.isdir(folder):
        raise OutputError(f"the folder {folder} does not exist", f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {folder} may not be written", "Choose another, or change its permissions.")


def check_can_write(preset: Preset) -> None:
    """Raise UsageError where this machine lacks what writes the preset, PresetError where that has not its options."""
    if preset.codec == "exr":
        _check_options(preset, ["compression"], [])
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
    options = av.CodecContext.create(preset.codec, "w").supported_options
    _check_options(preset, [each.name for each in options.private], [each.name for each in options.generic])


def _check_options(preset: Preset, own: list[str], general: list[str]) -> None:
    """Raise PresetError where the encoder has not an option: it would be left out without a word."""
    for key in preset.options:
        if key not in own and key not in general:
            near = difflib.get_close_matches(key, [*own, *general], n=1)
            raise PresetError(
                f"the encoder {preset.codec} has no option {key!r}",
                f"Did you mean {near[0]!r}?" if near else f"Its own are {', '.join(own)}.",
            )


def _check_holds(container: str, preset: Preset) -> None:
    """Raise PresetError where a container does not take the codec or its tag: the join, a film later, would fail."""
    import av
    import av.error

    try:
        # A copy of a stream, as the join writes: encoders would put their own tag over the preset's.
        with (
            av.open(os.devnull, "w", format=container) as coded,
            av.open(os.devnull, "w", format=container) as joined,
        ):
            stream = coded.add_stream(preset.codec, rate=24)
            copy = joined.add_stream_from_template(stream, opaque=True)
            if container != "matroska":  # which takes no tag, and some headers only from an encoder that has begun
                if preset.codec_tag:
                    copy.codec_context.codec_tag = preset.codec_tag
                joined.start_encoding()
    except (av.error.FFmpegError, ValueError):
        tagged = f" with the tag {preset.codec_tag!r}" if preset.codec_tag else ""
        raise PresetError(
            f"preset {preset.name}: the container {container} does not take {preset.codec}{tagged}",
            "Change its extensions or segment.container" + (", or leave out video.codec_tag." if tagged else "."),
        ) from None


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
