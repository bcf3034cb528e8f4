"""One commented TOML per delivery, and the loader that checks them.

`load_preset("hdr10")` reads a bundled preset, `load_preset("mine.toml")` one of the user's own; `with_settings` applies
`--set key=value`. A Preset that exists is correct: every key is known, of the right type and of an allowed value.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hdrunet_video.color.spec import (
    ChromaLocation,
    ColorSpec,
    Matrix,
    PixelFormat,
    Primaries,
    Range,
    pixel_format,
)
from hdrunet_video.errors import PresetError
from hdrunet_video.presets.schema import TRANSFERS, check
from hdrunet_video.setting import parse_setting

FOLDER = Path(__file__).parent
DEFAULT_BY_EXTENSION = {".mov": "prores-hq", ".mp4": "hdr10", ".mkv": "ffv1", ".exr": "exr"}
"""Preset that is taken for an output of this extension when none is named."""


@dataclass(frozen=True)
class Preset:
    """A delivery: codec, pixels, tags, and how the film is cut into segments. See the TOML files for each key."""

    name: str
    description: str
    extensions: tuple[str, ...]
    """File name extensions that the result may have; the first is the usual one."""
    codec: str
    """FFmpeg's name of the encoder, or `exr` for a sequence of OpenEXR files."""
    pixel_format: str
    transfer: str
    segment_container: str
    """FFmpeg's name of the muxer of segment files: `mov`, `mp4` or `matroska`; `exr` for sequences."""
    segment_frames: int
    codec_tag: str = ""
    dither: bool = False
    static_metadata: str = "container"
    """Where light levels go besides the container: `hevc` SEI, `av1` OBU, or `container` alone."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of the encoder, as FFmpeg names them."""
    bits_per_pixel: float = 0.0
    """What a typical film takes, for --dry-run's estimate; 0 where nobody knows."""

    @property
    def format(self) -> PixelFormat:
        """The pixel format, taken apart."""
        found = pixel_format(self.pixel_format)
        assert found is not None
        return found

    @property
    def segment_extension(self) -> str:
        """Of the files of segments; empty where a segment is a folder."""
        return {"mov": ".mov", "mp4": ".mp4", "matroska": ".mkv", "exr": ""}[self.segment_container]

    @property
    def color(self) -> ColorSpec:
        """The tags of the result, derived from the transfer and the pixel format so that they cannot disagree."""
        rgb = self.format.model == "rgb"
        return ColorSpec(
            matrix=Matrix.RGB if rgb else Matrix.BT2020_NCL,
            primaries=Primaries.BT2020,
            transfer=TRANSFERS[self.transfer],
            range=Range.FULL if rgb else Range.LIMITED,
            # HDR10 and BT.2100 place 4:2:0 chroma on the luma sample at the top left.
            chroma_location=ChromaLocation.TOP_LEFT if self.format.chroma_shift[1] else ChromaLocation.LEFT,
        )


def preset_names() -> list[str]:
    """Names of the bundled presets, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def preset_path(name: str | os.PathLike[str]) -> Path:
    """The file of a bundled preset's name, or of a path that ends in .toml. Raises PresetError with a near miss."""
    text = os.fspath(name)
    if text.endswith(".toml"):
        if not os.path.isfile(text):
            raise PresetError(f"preset file {text} does not exist", "See --list-presets for the bundled ones.")
        return Path(text)
    if text not in preset_names():
        near = difflib.get_close_matches(text, preset_names(), n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise PresetError(f"unknown preset {text!r}", f"{hint}There are {', '.join(preset_names())}, or a .toml file.")
    return FOLDER / f"{text}.toml"


def preset_text(name: str | os.PathLike[str]) -> str:
    """A preset as it is written, comments and all. Raises PresetError."""
    path = preset_path(name)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _not_toml(path, error) from None
    except OSError as error:
        raise PresetError(f"{path} cannot be read: {error.strerror}", "Check its permissions.") from None


def _not_toml(path: Path, error: ValueError) -> PresetError:
    return PresetError(f"{path.name} is not TOML: {error}", "See `--show-preset hdr10` for an example.")


def load_preset(name: str | os.PathLike[str], settings: Iterable[str] = ()) -> Preset:
    """Read and check a preset, with `settings` of the form `table.key=value` laid over it.

    Raises PresetError (65) that names the file, the key and what is allowed.
    """
    path = preset_path(name)
    try:
        document = tomllib.loads(preset_text(name))
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(path, error) from None
    check(document, path.name)
    for setting in settings:
        _lay_over(document, setting)
    check(document, path.name if not settings else f"{path.name} with --set")
    return _preset(document, path.name)


def _lay_over(document: dict[str, Any], setting: str) -> None:
    parts, value, text = parse_setting(setting, PresetError, "video.options.crf=14")
    if parts[:2] == ["video", "options"]:
        value = text
    elif parts == ["name"]:
        raise PresetError("--set cannot change the name of a preset", "Copy it to a file of its own.")
    table = document
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise PresetError(f"--set: {'.'.join(parts)} is not a key of a preset", "--show-preset NAME lists them.")
    table[parts[-1]] = value


def _preset(document: Mapping[str, Any], source: str) -> Preset:
    video, color, segment = document["video"], document["color"], document["segment"]
    options = video.get("options", {})
    for key, value in options.items():
        if isinstance(value, (dict, list)):
            raise PresetError(f"{source}: video.options.{key} must be a text or a number", "")
    values = {
        **{key: document[key] for key in ("name", "description")},
        "extensions": tuple(document["extensions"]),
        **{key: value for key, value in video.items() if key != "options"},
        **color,
        "segment_container": segment["container"],
        "segment_frames": segment["frames"],
        "options": {key: str(value) for key, value in options.items()},
    }
    return Preset(**values)


def as_json(preset: Preset) -> dict[str, Any]:
    """The preset as plain JSON values, for the identity of a plan."""
    values = {each.name: getattr(preset, each.name) for each in fields(preset)}
    return {**values, "extensions": list(preset.extensions), "options": dict(preset.options)}
