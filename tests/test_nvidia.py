"""NVDEC and NVENC: what is refused at the door, and the way of NVDEC's pictures, which a CPU lays out here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

import hdrunet_video
from hdrunet_video import nvidia
from hdrunet_video.cli import main
from hdrunet_video.errors import UsageError
from hdrunet_video.frame import Frame
from hdrunet_video.job import Job, make_plan
from hdrunet_video.media import open_media
from hdrunet_video.presets import load_preset, preset_path
from hdrunet_video.probe import VideoInfo, probe
from hdrunet_video.reader import Reader
from hdrunet_video.writer import to_picture
from tests.conftest import NVIDIA_DRIVER, ffmpeg

Capture = pytest.CaptureFixture[str]
without_gpu = pytest.mark.skipif(NVIDIA_DRIVER, reason="there is an NVIDIA GPU")


@without_gpu
@pytest.mark.parametrize(
    ("flags", "says", "hint"),
    [
        (("--decoder", "nvdec"), "--decoder nvdec cannot decode", "Leave out --decoder"),
        (("-p", "hdr10-nvenc"), "the encoder hevc_nvenc does not start here for 64x48", "-p hdr10 encodes on the CPU"),
    ],
)
def test_without_a_gpu_it_is_refused_before_any_work(
    clip: Path, tmp_path: Path, capsys: Capture, flags: tuple[str, ...], says: str, hint: str
) -> None:
    for dry_run in ((), ("--dry-run",)):
        assert main([str(clip), str(tmp_path / "out.mov"), *flags, *dry_run]) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 2
        assert says in said[0]
        assert "there is no NVIDIA GPU" in said[0]
        assert hint in said[1]
    assert list(tmp_path.iterdir()) == []


@without_gpu
def test_as_a_library(clip: Path) -> None:
    with pytest.raises(UsageError, match="--decoder nvdec cannot decode"):
        next(hdrunet_video.frames(clip, decoder="nvdec"))
    with pytest.raises(UsageError, match="unknown decoder 'gpu'"):
        next(hdrunet_video.frames(clip, decoder="gpu"))


def test_an_encoder_that_this_ffmpeg_has_not(clip: Path, tmp_path: Path, capsys: Capture) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text(preset_path("hdr10-nvenc").read_text().replace("hevc_nvenc", "vvc_nvenc"))
    assert main([str(clip), str(tmp_path / "out.mp4"), "-p", str(preset)]) == 2
    said = capsys.readouterr().err
    assert "needs the encoder vvc_nvenc, which this FFmpeg has not" in said
    assert "-p hdr10 encodes on the CPU" in said


def test_what_nvdec_does_not_do(clip: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide.mkv"
    ffmpeg("-i", clip, "-pix_fmt", "yuv422p", "-c:v", "libx264", "-frames:v", "2", wide)
    with pytest.raises(UsageError, match=r"takes 4:2:0 video, and .*wide\.mkv is yuv422p"):
        make_plan(Job(wide, tmp_path / "out.mov", decoder="nvdec"))
    with pytest.raises(UsageError, match="does not go with deinterlacing"):
        make_plan(Job(clip, tmp_path / "out.mov", decoder="nvdec", deinterlace="frame"))


def test_nvdec_is_that_of_the_device(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def no_gpu(kind: str, device: str, **_: object) -> None:
        asked.append((kind, device))
        raise RuntimeError("not here")

    monkeypatch.setattr(nvidia, "HWAccel", no_gpu)
    for device in ("cuda:1", "cuda", "auto", "cpu"):
        with pytest.raises(UsageError, match="not here"):
            make_plan(Job(clip, tmp_path / "out.mov", decoder="nvdec", device=device))
    info = probe(clip)
    with (
        pytest.raises(UsageError, match="not here"),
        Reader(info, info.color, 0, 1, "off", False, "nvdec", "cuda:2") as one,
    ):
        next(iter(one))
    assert asked == [("cuda", "1"), ("cuda", "0"), ("cuda", "0"), ("cuda", "0"), ("cuda", "2")]


@pytest.fixture
def laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In NVDEC's place: the software decoder, whose planes are laid out as NVDEC's are, bit by bit."""

    @contextmanager
    def opened(info: VideoInfo, device: str) -> Iterator[InputContainer]:
        with open_media(info.path) as container:
            yield container

    original = Reader._decode

    def decode(reader: Reader, packet: Packet[VideoStream]) -> list[VideoFrame]:
        pictures = original(reader, packet)
        if reader.decoder == "software":
            return pictures
        return [picture.reformat(format=nvidia.DECODED[picture.format.name]) for picture in pictures]

    monkeypatch.setattr(nvidia, "_open_for_nvdec", opened)
    monkeypatch.setattr(Reader, "_decode", decode)


@pytest.mark.usefixtures("laid_out")
@pytest.mark.parametrize(("start", "stop"), [(0, 10), (6, 9)])
def test_its_pictures_are_read_as_the_software_decoders_are(clip: Path, start: int, stop: int) -> None:
    info = probe(clip)
    ways = [Reader(info, info.color, start, stop, decoder=each) for each in nvidia.DECODERS]
    with ways[0] as software, ways[1] as hardware:
        pairs = list(zip(software, hardware, strict=True))
    assert len(pairs) == stop - start
    for one, other in pairs:
        assert (one.format.name, other.format.name) == ("yuv420p", "nv12")
        assert one.pts == other.pts
        assert all(map(torch.equal, one.planes, other.planes))


@pytest.mark.usefixtures("laid_out")
def test_a_decoder_that_gives_something_else_is_refused(clip: Path, tmp_path: Path) -> None:
    # As `laid_out` leaves the first look alone, it is a yuv420p that comes.
    with pytest.raises(UsageError, match=r"gives yuv420p for .*, not nv12"):
        make_plan(Job(clip, tmp_path / "out.mov", decoder="nvdec"))


def test_the_decoder_is_part_of_the_plan(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("hdrunet_video.job.check_decoder", lambda *_: None)
    job = Job(clip, tmp_path / "out.mov", model="identity")
    assert make_plan(replace(job, decoder="nvdec")).identity.plan_id != make_plan(job).identity.plan_id
    command = [str(clip), str(tmp_path / "out.mov"), "--model", "identity", "--dry-run"]
    assert main(command) == 0
    assert "decoded by" not in capsys.readouterr().out
    assert main([*command, "--decoder", "nvdec"]) == 0
    assert "decoded by nvdec\n" in capsys.readouterr().out
    assert main([*command, "--decoder", "nvdec", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decoder"] == "nvdec"


@pytest.mark.parametrize("size", [(64, 48), (66, 50)])
def test_pictures_for_nvenc_hold_the_codes_of_the_frame(size: tuple[int, int]) -> None:
    preset = load_preset("hdr10-nvenc")
    shapes = preset.format.plane_shapes(64, 48)
    generator = torch.Generator().manual_seed(0)
    codes = [torch.randint(0, 1024, shape, generator=generator).to(torch.uint16) for shape in shapes]
    picture = to_picture(Frame(tuple(codes), preset.format, preset.color, 0), size)
    # P010: the code in the upper ten of sixteen bits, Cb and Cr in turns.
    luma, chroma = (np.frombuffer(plane, "<u2").reshape(plane.height, -1) for plane in picture.planes)
    width, height = size
    stored = (luma[:height, :width], chroma[: height // 2, :width:2], chroma[: height // 2, 1:width:2])
    for shifted, expected in zip(stored, codes, strict=True):
        assert not (shifted & 63).any()
        plane = torch.from_numpy(shifted >> 6)
        rows, columns = expected.shape
        assert torch.equal(plane[:rows, :columns], expected)
        assert torch.equal(plane[rows:, :columns], expected[-1:].expand(plane.shape[0] - rows, -1))
