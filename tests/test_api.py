"""The library: `convert`, `frames` and the short public list."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import hdrunet_video
from hdrunet_video.errors import InputError, OutputError, UsageError
from tests.media import convert, decoded_rgb, frame_times, sha256


def test_convert_is_the_command(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = hdrunet_video.convert(clip, str(tmp_path / "library.mov"), model="identity", preset="prores-hq")
    assert (report.target, report.frames, report.resumed, report.bad_frames) == (tmp_path / "library.mov", 10, 0, 0)
    assert report.warnings == ()
    assert 0 < report.light.average_nits < report.light.max_nits <= 203.1
    convert(clip, tmp_path / "command.mov")
    assert sha256(tmp_path / "library.mov") == sha256(tmp_path / "command.mov")
    assert capsys.readouterr() == ("", "")


def test_convert_does_not_overwrite_unless_told(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mov"
    target.write_text("precious")
    with pytest.raises(OutputError, match="exists") as caught:
        hdrunet_video.convert(clip, target, model="identity")
    assert "overwrite=True" in caught.value.hint
    assert target.read_text() == "precious"
    hdrunet_video.convert(clip, target, model="identity", overwrite=True)
    assert len(frame_times(target)) == 10


def test_convert_does_not_overwrite_frames_unless_told(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.%06d.exr"
    (tmp_path / "out.000001.exr").write_text("precious")
    with pytest.raises(OutputError, match="exists"):
        hdrunet_video.convert(clip, target, model="identity", frames=(0, 2))
    assert (tmp_path / "out.000001.exr").read_text() == "precious"
    hdrunet_video.convert(clip, target, model="identity", frames=(0, 2), overwrite=True)
    assert (tmp_path / "out.000001.exr").read_bytes().startswith(b"\x76\x2f\x31\x01")


def test_convert_does_not_ask_to_overwrite_its_source(clip: Path) -> None:
    with pytest.raises(UsageError, match="is the input itself"):
        hdrunet_video.convert(clip, clip, model="identity")


def test_errors_are_ours(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        hdrunet_video.convert(tmp_path / "none.mp4", tmp_path / "out.mov", model="identity")
    with pytest.raises(UsageError):
        hdrunet_video.convert(clip, tmp_path / "out.mov", model="identity", peak=300.0)
    with pytest.raises(hdrunet_video.HdrunetError):
        next(hdrunet_video.frames(tmp_path / "none.mp4"))
    assert list(tmp_path.iterdir()) == []


def test_frames_are_those_of_the_file(clip: Path, tmp_path: Path) -> None:
    convert(clip, tmp_path / "out.mkv")
    frames = list(hdrunet_video.frames(clip, model="identity"))
    found = np.stack([np.stack([plane.numpy() for plane in frame.planes], axis=-1) for frame in frames])
    assert found.dtype == np.uint16
    assert np.array_equal(found, decoded_rgb(tmp_path / "out.mkv"))
    assert all(frame.light is not None and frame.light.max_nits > 50 for frame in frames)
    assert [frame.pts for frame in frames] == sorted({frame.pts for frame in frames})


def test_frames_can_be_left_early(clip: Path) -> None:
    iterator = hdrunet_video.frames(clip, model="identity", frames=(2, 8), preset="hdr10")
    first = next(iterator)
    assert (first.format.name, len(first.planes)) == ("yuv420p10le", 3)
    iterator.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_the_public_list() -> None:
    for name in hdrunet_video.__all__:
        found = getattr(hdrunet_video, name)
        assert callable(found), name
        assert found.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = hdrunet_video.nonsense
