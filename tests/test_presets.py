"""Presets: those that come along are right, those that users write are checked word by word."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av.codec
import pytest
import torch

from hdrunet_video.color.spec import ChromaLocation, Matrix, Primaries, Range, Transfer
from hdrunet_video.errors import PresetError
from hdrunet_video.nvidia import is_nvenc
from hdrunet_video.presets import DEFAULT_BY_EXTENSION, load_preset, preset_names, preset_path

NAMES = ["av1", "exr", "ffv1", "hdr10", "hdr10-nvenc", "hlg", "png16", "prores-4444", "prores-hq"]


def test_the_presets_that_come_along() -> None:
    assert preset_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_preset_can_be_encoded(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert preset.description
    assert preset_path(name).read_text().startswith("# ")
    if preset.codec == "exr":
        pytest.importorskip("OpenEXR")
        return
    codec = av.codec.Codec(preset.codec, "w")
    assert preset.pixel_format in [format.name for format in codec.video_formats or []]
    context = av.CodecContext.create(preset.codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt, context.time_base = 128, 128, preset.pixel_format, Fraction(1, 24)
    context.options = dict(preset.options)
    if is_nvenc(preset.codec) and not torch.cuda.is_available():
        pytest.skip("NVENC needs an NVIDIA GPU")
    context.open()
    assert context.is_open


@pytest.mark.parametrize(("extension", "name"), DEFAULT_BY_EXTENSION.items())
def test_the_default_of_an_extension_writes_it(extension: str, name: str) -> None:
    assert extension in load_preset(name).extensions


@pytest.mark.parametrize(
    ("name", "transfer", "matrix", "full", "location"),
    [
        ("hdr10", Transfer.PQ, Matrix.BT2020_NCL, Range.LIMITED, ChromaLocation.TOP_LEFT),
        ("hlg", Transfer.HLG, Matrix.BT2020_NCL, Range.LIMITED, ChromaLocation.TOP_LEFT),
        ("av1", Transfer.PQ, Matrix.BT2020_NCL, Range.LIMITED, ChromaLocation.TOP_LEFT),
        ("prores-hq", Transfer.PQ, Matrix.BT2020_NCL, Range.LIMITED, ChromaLocation.LEFT),
        ("png16", Transfer.PQ, Matrix.RGB, Range.FULL, ChromaLocation.LEFT),
        ("ffv1", Transfer.PQ, Matrix.RGB, Range.FULL, ChromaLocation.LEFT),
        ("exr", Transfer.LINEAR, Matrix.RGB, Range.FULL, ChromaLocation.LEFT),
    ],
)
def test_tags_follow_from_transfer_and_pixels(
    name: str, transfer: Transfer, matrix: Matrix, full: Range, location: ChromaLocation
) -> None:
    color = load_preset(name).color
    assert (color.transfer, color.matrix, color.range, color.chroma_location) == (transfer, matrix, full, location)
    assert color.primaries is Primaries.BT2020


@pytest.mark.parametrize(
    ("before", "after", "says", "hint"),
    [
        ("codec =", "codek =", "unknown key 'video.codek'", "'video.codec'"),
        ("[video.options]", "[video.option]", "unknown key 'video.option'", "'video.options'"),
        ("[segment]", "[segmnt]", "segmnt", "segment"),
        ("frames = 1000", "frames = '1000'", "segment.frames must be a whole number, not '1000'", ""),
        ("frames = 1000", "frames = true", "segment.frames must be a whole number, not True", ""),
        ("frames = 1000", "frames = 0", "segment.frames must be from 1", ""),
        ("frames = 1000", "", "segment.frames is missing", "--show-preset"),
        ("dither = false", "dither = 1", "color.dither must be true or false, not 1", ""),
        ('transfer = "pq"', 'transfer = "pg"', "color.transfer cannot be 'pg'", "pq, hlg, linear"),
        ('transfer = "pq"', 'transfer = "linear"', "'linear'", "exr"),
        ('"yuv420p10le"', '"yuv420p"', "video.pixel_format cannot be 'yuv420p'", "yuv420p10le"),
        ('"yuv420p10le"', "420", "video.pixel_format must be a text, not 420", ""),
        ('codec = "libx265"', "", "video.codec is missing", "--show-preset"),
        ('name = "hdr10"', "name = [", "is not TOML", "--show-preset"),
        ('[".mp4", ".mkv", ".mov"]', "[]", "extensions must be of .mov, .mp4, .mkv", ""),
        ('[".mp4", ".mkv", ".mov"]', '["mp4"]', "extensions must be of", ""),
        ('[".mp4", ".mkv", ".mov"]', '[".m4v"]', "extensions must be of .mov, .mp4, .mkv, not ['.m4v']", ""),
        ('[".mp4", ".mkv", ".mov"]', '[".mp4", ".exr"]', "extensions must be of", ""),
        ('static_metadata = "hevc"', 'static_metadata = "av1"', "needs the encoder libsvtav1", "container"),
        ('container = "mp4"', 'container = "exr"', "only go together", "exr"),
        ("crf = 16", "crf = [16]", "video.options.crf must be a text or a number", ""),
        ("[color]", "[[color]]", "[color] must be a table", ""),
    ],
)
def test_an_error_names_file_and_key(before: str, after: str, says: str, hint: str, tmp_path: Path) -> None:
    text = preset_path("hdr10").read_text()
    assert text.count(before) == 1
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(before, after))
    with pytest.raises(PresetError) as caught:
        load_preset(path)
    assert str(caught.value).startswith("mine.toml")
    assert says in str(caught.value)
    assert hint in caught.value.hint


def test_a_preset_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(preset_path("hdr10").read_text().replace("crf = 16", "crf = 20"))
    assert load_preset(str(path)).options["crf"] == "20"


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PresetError, match=r"mine.toml is not TOML"):
        load_preset(path)


@pytest.mark.parametrize(("name", "near"), [("hrd10", "hdr10"), ("prores", "prores-hq"), ("zzz", "")])
def test_an_unknown_name_is_told_its_neighbour(name: str, near: str) -> None:
    with pytest.raises(PresetError, match=name) as caught:
        load_preset(name)
    assert (f"Did you mean '{near}'" in caught.value.hint) == bool(near)
    assert all(known in caught.value.hint for known in NAMES)


def test_a_path_is_not_a_name() -> None:
    with pytest.raises(PresetError, match="unknown preset"):
        load_preset("../presets/hdr10")
    with pytest.raises(PresetError, match="does not exist"):
        load_preset("nowhere/mine.toml")


def test_settings_lie_over_the_preset() -> None:
    preset = load_preset("hdr10", ["video.options.crf=14", "segment.frames=48", "color.dither=true"])
    assert (preset.options["crf"], preset.segment_frames, preset.dither) == ("14", 48, True)
    assert preset.options["preset"] == load_preset("hdr10").options["preset"]
    assert load_preset("hdr10", ["video.pixel_format=yuv422p10le"]).pixel_format == "yuv422p10le"
    equals = "frame-threads=1:hdr10=1"
    assert load_preset("hdr10", [f"video.options.x265-params={equals}"]).options["x265-params"] == equals


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("crf", "not key=value"),
        ("=5", "not key=value"),
        ("crf=14", "unknown key 'crf'"),
        ("video.codek=libx264", "unknown key 'video.codek'"),
        ("segment.frames=many", "segment.frames must be a whole number"),
        ("color.transfer=gamma", "color.transfer cannot be 'gamma'"),
        ("video.codec.x=1", "video.codec.x"),
        ("color=1", "[color] must be a table"),
        ("video.options=1", "video.options"),
        ("name=mine", "name"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, says: str) -> None:
    with pytest.raises(PresetError) as caught:
        load_preset("hdr10", [setting])
    assert says in str(caught.value)
