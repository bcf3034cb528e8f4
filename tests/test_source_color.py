"""What the source's integers are taken to mean, and which sources are turned away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hdrunet_video.color.primaries import to_bt2020
from hdrunet_video.color.spec import ChromaLocation, ColorSpec, Matrix, Primaries, Range, Transfer, pixel_format
from hdrunet_video.errors import InputError
from hdrunet_video.probe import VideoInfo, probe
from hdrunet_video.source_color import check_is_sdr, source_color

UNTAGGED = ColorSpec(
    Matrix.UNSPECIFIED, Primaries.UNSPECIFIED, Transfer.UNSPECIFIED, Range.UNSPECIFIED, ChromaLocation.UNSPECIFIED
)


@pytest.fixture(scope="module")
def tagged(clip: Path) -> VideoInfo:
    return probe(clip)


@pytest.fixture(scope="module")
def untagged(tagged: VideoInfo) -> VideoInfo:
    return replace(tagged, color=UNTAGGED, width=720, height=480)


def with_format(info: VideoInfo, name: str) -> VideoInfo:
    format = pixel_format(name)
    assert format is not None
    return replace(info, format=format)


def test_complete_tags_are_followed_and_nothing_is_assumed(tagged: VideoInfo) -> None:
    color, assumed = source_color(tagged)
    assert color == ColorSpec(Matrix.BT709, Primaries.BT709, Transfer.BT709, Range.LIMITED, ChromaLocation.LEFT)
    assert assumed == []


@pytest.mark.parametrize(
    ("height", "matrix", "primaries"),
    [
        (1080, Matrix.BT709, Primaries.BT709),
        (720, Matrix.BT709, Primaries.BT709),
        (577, Matrix.BT709, Primaries.BT709),
        (576, Matrix.BT470BG, Primaries.BT470BG),
        (487, Matrix.BT470BG, Primaries.BT470BG),
        (486, Matrix.SMPTE170M, Primaries.SMPTE170M),
        (480, Matrix.SMPTE170M, Primaries.SMPTE170M),
        (240, Matrix.SMPTE170M, Primaries.SMPTE170M),
    ],
)
def test_untagged_video_is_decided_by_its_height_and_said(
    untagged: VideoInfo, height: int, matrix: Matrix, primaries: Primaries
) -> None:
    color, assumed = source_color(replace(untagged, height=height))
    assert color == ColorSpec(matrix, primaries, Transfer.BT709, Range.LIMITED, ChromaLocation.LEFT)
    said = "; ".join(assumed)
    assert f"matrix {matrix.name}" in said
    assert f"{height} lines" in said
    assert f"primaries {primaries.name}" in said
    assert "range LIMITED" in said


def test_tagged_primaries_decide_an_untagged_matrix(untagged: VideoInfo) -> None:
    info = replace(untagged, height=1080, color=replace(UNTAGGED, primaries=Primaries.BT470BG))
    color, assumed = source_color(info)
    assert color.matrix is Matrix.BT470BG
    assert "the primaries" in assumed[0]


def test_a_tagged_matrix_decides_untagged_primaries(untagged: VideoInfo) -> None:
    color, _ = source_color(replace(untagged, color=replace(UNTAGGED, matrix=Matrix.BT709)))
    assert color.primaries is Primaries.BT709


def test_flags_win_over_tags(tagged: VideoInfo) -> None:
    color, assumed = source_color(tagged, "smpte240m", "display-p3", "full", "center")
    assert color == ColorSpec(Matrix.SMPTE240M, Primaries.DISPLAY_P3, Transfer.BT709, Range.FULL, ChromaLocation.CENTER)
    assert assumed == []


@pytest.mark.parametrize(
    ("height", "matrix", "primaries"),
    [
        (577, Matrix.SMPTE170M, Primaries.SMPTE170M),
        (576, Matrix.BT470BG, Primaries.BT470BG),
        (487, Matrix.BT470BG, Primaries.BT470BG),
        (486, Matrix.SMPTE170M, Primaries.SMPTE170M),
    ],
)
def test_bt601_is_that_of_the_line_standard(
    untagged: VideoInfo, height: int, matrix: Matrix, primaries: Primaries
) -> None:
    color, _ = source_color(replace(untagged, height=height), matrix="bt601")
    assert (color.matrix, color.primaries) == (matrix, primaries)


@pytest.mark.parametrize(
    ("name", "expected"), [("yuvj420p", Range.FULL), ("yuv420p", Range.LIMITED), ("gray", Range.FULL)]
)
def test_untagged_range(untagged: VideoInfo, name: str, expected: Range) -> None:
    assert source_color(with_format(untagged, name))[0].range is expected


def test_gray_that_is_tagged_limited_is_limited(untagged: VideoInfo) -> None:
    info = replace(with_format(untagged, "gray"), color=replace(UNTAGGED, range=Range.LIMITED))
    assert source_color(info)[0].range is Range.LIMITED


def test_rgb_has_no_matrix_and_is_full_range(untagged: VideoInfo) -> None:
    color, _ = source_color(with_format(untagged, "rgb24"), matrix="bt709")
    assert (color.matrix, color.primaries, color.range) == (Matrix.RGB, Primaries.BT709, Range.FULL)
    assert source_color(with_format(untagged, "gbrp"), range="limited")[0].range is Range.LIMITED


@pytest.mark.parametrize(("codec", "expected"), [("h264", ChromaLocation.LEFT), ("mpeg1video", ChromaLocation.CENTER)])
def test_untagged_chroma_lies_where_the_codec_puts_it(
    untagged: VideoInfo, codec: str, expected: ChromaLocation
) -> None:
    assert source_color(replace(untagged, codec=codec))[0].chroma_location is expected


@pytest.mark.parametrize("matrix", [Matrix.YCGCO, Matrix.ICTCP, Matrix.BT2020_CL])
def test_a_matrix_that_is_not_supported_is_refused_and_can_be_overridden(tagged: VideoInfo, matrix: Matrix) -> None:
    info = replace(tagged, color=replace(tagged.color, matrix=matrix))
    with pytest.raises(InputError, match=matrix.name) as caught:
        source_color(info)
    assert "--matrix" in caught.value.hint
    assert source_color(info, matrix="bt709")[0].matrix is Matrix.BT709


READABLE = [each for each in Primaries if each not in (Primaries.UNSPECIFIED, Primaries.XYZ)]


@pytest.mark.parametrize("name", ["yuv420p", "gbrp", "gray"])
@pytest.mark.parametrize("primaries", READABLE)
def test_tagged_primaries_are_believed(tagged: VideoInfo, name: str, primaries: Primaries) -> None:
    color, assumed = source_color(replace(with_format(tagged, name), color=replace(tagged.color, primaries=primaries)))
    assert color.primaries is primaries
    assert assumed == []
    assert to_bt2020(primaries).shape == (3, 3)


@pytest.mark.parametrize("name", ["yuv420p", "gbrp"])
def test_xyz_is_refused_and_can_be_overridden(tagged: VideoInfo, name: str) -> None:
    info = replace(with_format(tagged, name), color=replace(tagged.color, primaries=Primaries.XYZ))
    with pytest.raises(InputError, match=r"primaries 10 \(XYZ\)") as caught:
        source_color(info)
    assert "--primaries" in caught.value.hint
    assert source_color(info, primaries="bt709")[0].primaries is Primaries.BT709


@pytest.mark.parametrize("transfer", [Transfer.BT709, Transfer.UNSPECIFIED, Transfer.SRGB, Transfer.SMPTE170M])
def test_sdr_is_taken(tagged: VideoInfo, transfer: Transfer) -> None:
    check_is_sdr(replace(tagged, color=replace(tagged.color, transfer=transfer)), assume_sdr=False)


def refused(tagged: VideoInfo) -> dict[str, VideoInfo]:
    untagged_transfer = replace(tagged.color, transfer=Transfer.UNSPECIFIED)
    return {
        "HDR (transfer 16, PQ)": replace(tagged, color=replace(tagged.color, transfer=Transfer.PQ)),
        "HDR (transfer 18, HLG)": replace(tagged, color=replace(tagged.color, transfer=Transfer.HLG)),
        "Dolby Vision": replace(tagged, dolby_vision=True),
        "mastering metadata": replace(tagged, mastering_display=True, color=untagged_transfer),
        "10 bits": with_format(tagged, "yuv420p10le"),
        "16 bits": with_format(tagged, "rgb48le"),
        "LINEAR": replace(tagged, color=replace(tagged.color, transfer=Transfer.LINEAR)),
    }


@pytest.mark.parametrize(
    "reason",
    [
        "HDR (transfer 16, PQ)",
        "HDR (transfer 18, HLG)",
        "Dolby Vision",
        "mastering metadata",
        "10 bits",
        "16 bits",
        "LINEAR",
    ],
)
def test_what_is_not_8_bit_sdr_is_refused_unless_vouched_for(tagged: VideoInfo, reason: str) -> None:
    info = refused(tagged)[reason]
    with pytest.raises(InputError) as caught:
        check_is_sdr(info, assume_sdr=False)
    assert reason in str(caught.value)
    assert "--assume-sdr" in caught.value.hint
    check_is_sdr(info, assume_sdr=True)
