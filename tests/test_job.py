"""The plan: what was asked for becomes what will happen, the same for everyone who asks the same."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from hdrunet_video.errors import OutputError, UsageError
from hdrunet_video.job import Job, Plan, make_plan
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.weights import save_network
from tests.conftest import ffmpeg, needs_openvino


def plan(clip: Path, target: Path, **options: Any) -> Plan:
    return make_plan(Job(clip, target, **options))


def test_a_bare_job(clip: Path, tmp_path: Path) -> None:
    made = plan(clip, tmp_path / "out.mov")
    assert made.preset.name == "prores-hq"
    assert (made.start, made.stop, made.deinterlace) == (0, 10, "off")
    assert (made.mapping.white, made.mapping.peak, made.mapping.display_gamma) == (203, 1000, 2.24)
    assert made.work == tmp_path / ".out.mov.work"
    assert made.assumptions == ()
    assert not made.is_excerpt
    assert list(tmp_path.iterdir()) == []


def test_whole_numbers_are_numbers(clip: Path, tmp_path: Path) -> None:
    """The library's users may write 203 for 203.0: what a farm has finished must still belong to the plan."""
    one = plan(clip, tmp_path / "out.mov", white=200, peak=900, strength=1)
    other = plan(clip, tmp_path / "out.mov", white=200.0, peak=900.0, strength=1.0)
    assert one.identity == other.identity


@pytest.mark.parametrize(
    ("frames", "expected"), [((2, 5), (2, 5)), ((None, 4), (0, 4)), ((7, None), (7, 10)), ((8, 99), (8, 10))]
)
def test_an_excerpt_starts_at_zero(
    clip: Path, tmp_path: Path, frames: tuple[int | None, int | None], expected: tuple[int, int]
) -> None:
    made = plan(clip, tmp_path / "out.mov", frames=frames)
    assert (made.start, made.stop) == expected
    assert made.is_excerpt
    count = expected[1] - expected[0]
    shown = [pts * made.timeline.time_base for pts in made.timeline.pts]
    assert shown == [Fraction(number, 24) for number in range(count)]


def test_segments_are_those_of_the_preset_or_of_the_user(clip: Path, tmp_path: Path) -> None:
    assert len(plan(clip, tmp_path / "out.mov").segments) == 1
    segments = plan(clip, tmp_path / "out.mov", segment_frames=4, frames=(1, None)).segments
    assert [(each.start, each.stop) for each in segments] == [(1, 5), (5, 9), (9, 10)]
    settings = ("segment.frames=6",)
    assert len(plan(clip, tmp_path / "out.mov", settings=settings).segments) == 2


def test_fields_double_the_frames_of_every_segment(tmp_path: Path) -> None:
    path = tmp_path / "interlaced.mpg"
    weave = ("-vf", "interlace", "-flags", "+ildct+ilme", "-c:v", "mpeg2video")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=50:duration=0.4", *weave, path)
    assert plan(path, tmp_path / "out.mov").deinterlace == "frame"
    assert plan(path, tmp_path / "out.mov", deinterlace="off").deinterlace == "off"
    fields = plan(path, tmp_path / "out.mov", deinterlace="field", segment_frames=3)
    count = len(fields.info.pts)
    assert len(fields.timeline.pts) == 2 * count
    assert [fields.output_frames(each) for each in fields.segments][:2] == [(0, 6), (6, 12)]
    assert fields.output_frames(fields.segments[-1])[1] == 2 * count
    assert fields.timeline.frame_rate == 50


def test_linear_light_keeps_everything_unless_told(clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("OpenEXR")
    assert plan(clip, tmp_path / "out.%06d.exr").mapping.peak == 10000
    assert plan(clip, tmp_path / "out.%06d.exr", peak=1000.0).mapping.peak == 1000


def test_a_plan_that_writes_nothing_needs_no_target(clip: Path) -> None:
    assert make_plan(Job(clip, Path("/dev/null"), preset="ffv1"), writes=False).stop == 10
    with pytest.raises(UsageError):
        make_plan(Job(clip, Path("/dev/null"), preset="ffv1"))


def test_the_same_job_has_the_same_identity_wherever_it_is_written(clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(clip.read_bytes())
    first = plan(clip, tmp_path / "a.mov", model="identity").identity
    assert plan(copy, tmp_path / "b.mov", model="identity").identity == first


CHANGES: list[Any] = [
    {"preset": "prores-4444"},
    {"settings": ("color.dither=false",)},
    {"settings": ("video.options.vendor=abcd",)},
    {"model": "hdrunet"},
    {"precision": "fp32"},
    pytest.param({"backend": "openvino"}, marks=needs_openvino),
    {"tile": (512, 512)},
    {"peak": 600.0},
    {"white": 100.0},
    {"display_gamma": 2.4},
    {"strength": 0.5},
    {"frames": (0, 5)},
    {"segment_frames": 3},
    {"deinterlace": "frame"},
    {"matrix": "bt601"},
    {"primaries": "bt470bg"},
    {"range": "full"},
    {"chroma_location": "center"},
    {"keep_going": True},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_anything_that_changes_the_pixels_changes_the_identity(
    clip: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    job = Job(clip, tmp_path / "out.mov", model="identity")
    assert make_plan(replace(job, **change)).identity.plan_id != make_plan(job).identity.plan_id


def test_other_sources_and_weights_have_other_identities(clip: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes() + b"\0")
    ids = {plan(source, tmp_path / "out.mov").identity.plan_id for source in (clip, other)}
    for seed in range(2):
        network = HDRUNet(HDRUNetConfig())
        with __import__("torch").no_grad():
            next(network.parameters()).fill_(seed)
        save_network(network, tmp_path / f"{seed}.safetensors")
        weights = str(tmp_path / f"{seed}.safetensors")
        ids.add(plan(clip, tmp_path / "out.mov", weights=weights).identity.plan_id)
    assert len(ids) == 4


@pytest.mark.parametrize(("peak", "fits"), [(600.0, True), (500.0, False), (400.0, False), (10000.0, True)])
def test_the_peak_must_leave_reference_white_alone(clip: Path, tmp_path: Path, peak: float, fits: bool) -> None:
    if fits:
        assert plan(clip, tmp_path / "out.mov", peak=peak).mapping.knee_nits >= 203
        return
    with pytest.raises(UsageError, match="roll-off"):
        plan(clip, tmp_path / "out.mov", peak=peak)


def test_an_encoder_that_does_not_take_the_pixels_is_said_so(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not take gbrp16le") as caught:
        plan(clip, tmp_path / "out.mov", settings=("video.pixel_format=gbrp16le",))
    assert "yuv422p10le" in caught.value.hint


def test_the_target_may_not_be_a_folder(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mov").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        plan(clip, tmp_path / "out.mov")
