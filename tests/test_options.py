"""Flags become jobs."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from hdrunet_video import options
from hdrunet_video.errors import UsageError
from hdrunet_video.job import Job


def jobs(*arguments: str) -> list[dict[str, Any]]:
    return options.jobs(options.parser().parse_args(arguments))


def test_a_bare_command_line_is_a_job_of_defaults() -> None:
    assert [Job(**each) for each in jobs("in.mp4", "out.mov")] == [Job(Path("in.mp4"), Path("out.mov"))]


def test_every_field_of_a_job_has_a_flag() -> None:
    (job,) = jobs("in.mp4", "out.mov")
    assert set(job) == {each.name for each in fields(Job)}


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        (("-p", "hlg"), "preset", "hlg"),
        (("--set", "a=1", "--set", "b=2"), "settings", ("a=1", "b=2")),
        (("--frames", "3:9"), "frames", (3, 9)),
        (("--frames", ":9"), "frames", (None, 9)),
        (("--frames", "3:"), "frames", (3, None)),
        (("--frames", ":"), "frames", (None, None)),
        (("--peak", "600"), "peak", 600.0),
        (("--white", "100"), "white", 100.0),
        (("--display-gamma", "2.4"), "display_gamma", 2.4),
        (("--strength", "0.5"), "strength", 0.5),
        (("--matrix", "bt601"), "matrix", "bt601"),
        (("--primaries", "bt470bg"), "primaries", "bt470bg"),
        (("--range", "full"), "range", "full"),
        (("--chroma-location", "topleft"), "chroma_location", "topleft"),
        (("--deinterlace", "field"), "deinterlace", "field"),
        (("--assume-sdr",), "assume_sdr", True),
        (("--keep-going",), "keep_going", True),
        (("--weights", "w.pth"), "weights", "w.pth"),
        (("--model", "identity"), "model", "identity"),
        (("--decoder", "nvdec"), "decoder", "nvdec"),
        (("--device", "cuda:1"), "device", "cuda:1"),
        (("--precision", "fp16"), "precision", "fp16"),
        (("--backend", "openvino"), "backend", "openvino"),
        (("--tile", "512x256"), "tile", (512, 256)),
        (("--tile", "off"), "tile", "off"),
        (("--segment-frames", "7"), "segment_frames", 7),
    ],
)
def test_a_flag_sets_its_field_alone(flags: tuple[str, ...], field: str, value: object) -> None:
    (plain,), (job,) = jobs("in.mp4", "out.mov"), jobs("in.mp4", "out.mov", *flags)
    assert job == {**plain, field: value}


def test_many_inputs_go_into_a_folder() -> None:
    pairs = [(job["source"], job["target"]) for job in jobs("a.mp4", "x/b.avi", "-o", "graded", "-p", "hdr10")]
    assert pairs == [(Path("a.mp4"), Path("graded/a.mp4")), (Path("x/b.avi"), Path("graded/b.mp4"))]
    assert [job["target"] for job in jobs("a.mp4", "-o", "graded")] == [Path("graded/a.mov")]
    assert [job["target"] for job in jobs("a.mp4", "-o", "g", "-p", "exr")] == [Path("g/a.%06d.exr")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "0 given"),
        (("in.mp4",), "1 given"),
        (("a.mp4", "b.mp4", "c.mov"), "3 given"),
        (("-o", "graded"), "at least one input"),
        (("x/a.mp4", "y/a.mkv", "-o", "graded"), "both become"),
        (("in.mp4", "out.mov", "-y", "-n"), "-y and -n"),
        (("in.mp4", "out.mov", "-q", "-v"), "-q and -v"),
        (("in.mp4", "out.mov", "--frames", "abc"), "--frames 'abc'"),
        (("in.mp4", "out.mov", "--frames", "5"), "--frames '5'"),
        (("in.mp4", "out.mov", "--frames=-5:9"), "--frames '-5:9'"),
        (("in.mp4", "out.mov", "--tile", "512"), "--tile '512'"),
    ],
)
def test_what_contradicts_itself_is_refused(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        jobs(*arguments)
    assert says in str(caught.value)
    assert caught.value.hint


def test_the_output_may_not_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder") as caught:
        jobs("in.mp4", str(tmp_path))
    assert "-o" in caught.value.hint
