"""Frame properties: read, written, removed and kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs
from vapoursynth import core

from .conftest import blank, noise, planes, refusal, same


def reconstruct(clip: vs.VideoNode, **options: Any) -> vs.VideoNode:
    return core.hdrunet.Reconstruct(clip, model="identity", **options)


def test_what_is_written_for_pq() -> None:
    props = reconstruct(noise(vs.RGB24), peak=600).get_frame(2).props
    assert (props["_Matrix"], props["_Range"], props["_Transfer"], props["_Primaries"]) == (0, 1, 16, 9)
    assert "_ChromaLocation" not in props
    assert props["MasteringDisplayPrimariesX"] == [0.680, 0.265, 0.150]
    assert props["MasteringDisplayPrimariesY"] == [0.320, 0.690, 0.060]
    assert (props["MasteringDisplayWhitePointX"], props["MasteringDisplayWhitePointY"]) == (0.3127, 0.3290)
    assert (props["MasteringDisplayMinLuminance"], props["MasteringDisplayMaxLuminance"]) == (0.0001, 600.0)
    assert (props["ContentLightLevelMax"], props["ContentLightLevelAverage"]) == (600, 0)
    assert 0 < props["HDRUNetFALL"] < props["HDRUNetMaxCLL"] <= 600


@pytest.mark.parametrize(
    ("options", "tags"),
    [
        ({"format": vs.YUV420P10}, (9, 0, 16, 9, 2)),
        ({"format": vs.YUV422P10}, (9, 0, 16, 9, 0)),
        ({"format": vs.YUV444P16}, (9, 0, 16, 9, None)),
        ({"output": "hlg"}, (0, 1, 18, 9, None)),
        ({"output": "hlg", "format": vs.YUV420P10}, (9, 0, 18, 9, 2)),
        ({"output": "linear"}, (0, 1, 8, 9, None)),
        ({"output": "signal"}, (0, 1, 1, 6, None)),
    ],
)
def test_tags_of_each_output(options: dict[str, Any], tags: tuple[int | None, ...]) -> None:
    props = reconstruct(noise(vs.YUV420P8), **options).get_frame(0).props
    names = ("_Matrix", "_Range", "_Transfer", "_Primaries", "_ChromaLocation")
    assert tuple(props.get(name) for name in names) == tags
    assert ("MasteringDisplayMaxLuminance" in props) == (tags[2] == 16)
    assert ("HDRUNetMaxCLL" in props) == (tags[2] != 1)


def test_stale_ones_go_and_others_stay() -> None:
    stale = {"_ChromaLocation": 0, "ICCProfile": b"profile", "HDR10Plus": b"x"}
    stale |= {"ContentLightLevelMax": 4000, "MasteringDisplayMinLuminance": 0.5}
    kept = {"_DurationNum": 1001, "_DurationDen": 24000, "_AbsoluteTime": 1.5, "Name": "é", "_PictType": b"B"}
    kept |= {"_SARNum": 4, "_SARDen": 3, "List": [1, 2, 3], "_FieldBased": 0, "_SceneChangeNext": 1}
    clip = noise(vs.YUV444P8).std.SetFrameProps(**stale, **kept)
    props = dict(reconstruct(clip, output="hlg").get_frame(1).props)
    assert not {*stale} & {*props}
    for name, value in kept.items():
        assert props[name] in (value, value.decode() if isinstance(value, bytes) else value)


def test_light_levels_are_those_of_the_frame() -> None:
    """Grey of a known light: BT.709 code 180 of full range."""
    clip = blank(vs.GRAY8, color=180).std.SetFrameProps(_Range=1)
    nits = 203 * (180 / 255) ** 2.24
    props = reconstruct(clip).get_frame(0).props
    assert math.isclose(props["HDRUNetMaxCLL"], nits, rel_tol=1e-4)
    assert math.isclose(props["HDRUNetFALL"], nits, rel_tol=1e-4)


@pytest.mark.parametrize(
    ("props", "options"),
    [
        ({"_Matrix": 1}, {"matrix_in": "bt709", "primaries_in": "bt709"}),
        ({"_Matrix": 1}, {"matrix_in": "709", "primaries_in": "709"}),
        ({"_Matrix": 5}, {"matrix_in": "bt470bg"}),
        ({"_Range": 1}, {"range_in": "full"}),
        ({"_Range": 0}, {}),
        ({"_Primaries": 9}, {"primaries_in": "bt2020"}),
        ({"_ChromaLocation": 1}, {"chroma_location_in": "center"}),
        ({"_ChromaLocation": 2}, {"chroma_location_in": "topleft"}),
        ({"_Matrix": 2, "_Transfer": 2, "_Primaries": 2}, {}),
        ({"_Matrix": 3, "_Transfer": 3, "_Primaries": 0, "_ChromaLocation": 77}, {}),  # reserved
        ({"_Transfer": 11}, {}),  # xvYCC
        ({"_FieldBased": 0, "_Transfer": 1}, {}),
    ],
)
def test_a_property_is_the_argument_of_its_name(props: dict[str, int], options: dict[str, str]) -> None:
    clip = noise(vs.YUV420P8)
    tagged = reconstruct(clip.std.SetFrameProps(**props)).get_frame(3)
    told = reconstruct(clip, **options).get_frame(3)
    assert same(planes(tagged), planes(told))
    untagged = reconstruct(clip).get_frame(3)
    means_nothing_new = not options
    assert same(planes(tagged), planes(untagged)) == means_nothing_new
    # What is given is stronger than what the frame says.
    says = {"matrix_in": ("_Matrix", 6), "primaries_in": ("_Primaries", 6), "range_in": ("_Range", 0)}
    says["chroma_location_in"] = ("_ChromaLocation", 0)
    contrary = dict(says[name] for name in options)
    if contrary:
        lying = clip.std.SetFrameProps(**contrary)
        assert same(planes(reconstruct(lying, **options).get_frame(3)), planes(told))


def test_primaries_that_no_argument_names_are_believed() -> None:
    """Red of the rarer primaries, and that of BT.2020 that it is; see test_primaries.py of the colours."""
    red = blank(vs.RGBS, color=[1.0, 0, 0])
    for primaries, expected in ((8, 0.8280657516735249), (11, 0.7117832306885635), (22, 0.6495566958741417)):
        frame = reconstruct(red.std.SetFrameProps(_Primaries=primaries), output="linear").get_frame(0)
        assert math.isclose(float(np.asarray(frame[0]).max()), expected, rel_tol=1e-4)


def test_untagged_frames_go_by_their_height() -> None:
    for height, matrix in ((480, "smpte170m"), (576, "bt470bg"), (578, "bt709")):
        clip = noise(vs.YUV444P8, 8, height, 1)
        told = reconstruct(clip, matrix_in=matrix, primaries_in=matrix)
        assert same(planes(reconstruct(clip).get_frame(0)), planes(told.get_frame(0)))


def test_untagged_grey_is_what_core_resize_takes_it_for() -> None:
    luma = core.std.ShufflePlanes(noise(vs.YUV420P8), 0, vs.GRAY)
    assert same(planes(reconstruct(luma).get_frame(0)), planes(reconstruct(luma, range_in="limited").get_frame(0)))
    by_resize = reconstruct(luma.resize.Bicubic(format=vs.RGBS), output="linear").get_frame(0)
    for ours, theirs in zip(planes(reconstruct(luma, output="linear").get_frame(0)), planes(by_resize), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_properties_may_change_from_frame_to_frame() -> None:
    clip = noise(vs.YUV420P8)
    mixed = core.std.Splice([clip[:4].std.SetFrameProps(_Matrix=1), clip[4:].std.SetFrameProps(_Transfer=16)])
    made = reconstruct(mixed)
    assert "frame 4: it is already HDR" in refusal(lambda: made.get_frame(4))
    assert same(planes(made.get_frame(3)), planes(reconstruct(clip, matrix_in="bt709").get_frame(3)))


@pytest.mark.parametrize(
    ("props", "says"),
    [
        ({"_Transfer": 16}, "it is already HDR (transfer 16, PQ). Call a tone mapper such as core.placebo.Tonemap"),
        ({"_Transfer": 18}, "it is already HDR (transfer 18, HLG). Call a tone mapper such as core.placebo.Tonemap"),
        ({"_Transfer": 9}, "it has transfer 9 (LOG_100), which is not SDR video. Call a tone mapper"),
        ({"_Transfer": 8}, 'Call core.resize.Bicubic(clip, transfer_in_s="linear", transfer_s="709") first'),
        ({"MasteringDisplayMaxLuminance": 1000.0}, "it carries HDR mastering metadata. Call a tone mapper"),
        ({"DolbyVisionRPU": b"rpu"}, "it is already HDR (Dolby Vision). Call a tone mapper"),
    ],
)
def test_hdr_is_refused_unless_vouched_for(props: dict[str, Any], says: str) -> None:
    clip = noise(vs.YUV420P8).std.SetFrameProps(**props)
    text = refusal(lambda: reconstruct(clip).get_frame(6))
    assert text.startswith("Reconstruct: frame 6: ")
    assert says in text
    assert "assume_sdr=1" in text
    plain = reconstruct(noise(vs.YUV420P8)).get_frame(6)
    assert same(planes(reconstruct(clip, assume_sdr=True).get_frame(6)), planes(plain))


@pytest.mark.parametrize(
    ("props", "says"),
    [
        ({"_FieldBased": 1}, "interlaced (_FieldBased 1). Call a deinterlacer such as core.bwdif.Bwdif(clip, field=3)"),
        ({"_FieldBased": 2}, "or core.std.SetFieldBased(clip, 0) if it is progressive"),
        (
            {"_Matrix": 10},
            "it has matrix 10 (BT2020_CL), which is not supported. If the tag is wrong, say which it is:",
        ),
        ({"_Primaries": 10}, "it has primaries 10 (XYZ), which are not supported. If the tag is wrong, say which they"),
    ],
)
def test_other_frames_that_cannot_be_taken(props: dict[str, int], says: str) -> None:
    clip = noise(vs.YUV420P8).std.SetFrameProps(**props)
    assert says in refusal(lambda: reconstruct(clip).get_frame(0))
