"""Whole conversions of all kinds of film: the right colours, at the right time, in the right shape."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.weights import save_network
from tests.conftest import ffmpeg, mediainfo
from tests.media import BT709, convert, decoded_rgb, frame_times, packet_hashes, video_stream
from tests.published import published_state

PATCH = 32
VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("color").joinpath("color_vectors.json").read_text())
CODE = 65535 * 0.55 / 876
"""0.55 of a 10-bit limited code, in 16-bit full-range codes."""

STANDARDS = {
    "709": (VECTORS["end_to_end"], BT709),
    "525": (
        VECTORS["end_to_end_601"]["525"],
        ("-colorspace", "smpte170m", "-color_primaries", "smpte170m", "-color_trc", "smpte170m", "-color_range", "tv"),
    ),
    "625": (
        VECTORS["end_to_end_601"]["625"],
        ("-colorspace", "bt470bg", "-color_primaries", "bt470bg", "-color_trc", "smpte170m", "-color_range", "tv"),
    ),
}


def patches(path: Path, colors: list[list[int]], pixels: str, tags: tuple[str, ...]) -> Path:
    """One frame of flat patches side by side, lossless, from coded Y'CbCr triples."""
    raw = path.with_suffix(".yuv")
    row = np.repeat(np.array(colors, np.uint8), PATCH, axis=0)
    step = 2 if pixels == "yuv420p" else 1
    planes = [np.tile(row[:: step if plane else 1, plane], (PATCH // (step if plane else 1), 1)) for plane in range(3)]
    raw.write_bytes(b"".join(plane.tobytes() for plane in planes))
    size = f"{PATCH * len(colors)}x{PATCH}"
    ffmpeg("-f", "rawvideo", "-pix_fmt", pixels, "-s", size, "-i", raw, "-c:v", "libx264", "-qp", "0", *tags, path)
    return path


def centres(path: Path) -> np.ndarray[Any, Any]:
    """(patches, RGB): the code of each patch of the first frame, which must be flat."""
    frame = decoded_rgb(path)[0].astype(np.float64)
    inner = frame[8:24].reshape(16, -1, PATCH, 3)[:, :, 8:24]
    assert np.ptp(inner, axis=(0, 2)).max() <= 2  # dither of one 16-bit code
    middle: np.ndarray[Any, Any] = inner.mean(axis=(0, 2))
    return middle


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize("standard", STANDARDS)
def test_colours_end_to_end(tmp_path: Path, standard: str, pixels: str) -> None:
    rows, tags = STANDARDS[standard]
    source = patches(tmp_path / "in.mp4", [row["ycc8"] for row in rows], pixels, tags)
    expected = np.array([row["pq"] for row in rows]) * 65535
    for name in ("out.mkv", "out.mov"):
        convert(source, tmp_path / name, *(("-p", "png16") if name == "out.mov" else ()))
        assert np.abs(centres(tmp_path / name) - expected).max() < CODE


def test_full_range_end_to_end(tmp_path: Path) -> None:
    """Greys: a full-range code c is the limited code 16 + 219 c / 255, of which the vectors have these."""
    known = {tuple(row["ycc8"]): row["pq"][0] for row in VECTORS["end_to_end"]}
    tags = (*BT709[:-2], "-color_range", "pc")
    source = patches(tmp_path / "in.mp4", [[0, 128, 128], [255, 128, 128]], "yuv420p", tags)
    convert(source, tmp_path / "out.mkv")
    found = centres(tmp_path / "out.mkv")
    assert np.abs(found - 65535 * np.array([[known[16, 128, 128]], [known[235, 128, 128]]])).max() < CODE


def identity_checkpoint(path: Path) -> Path:
    """An HDRUNet whose weights are 1 and whose addition is 0, saved as ours or under the published names."""
    if path.suffix == ".safetensors":
        torch.manual_seed(0)
        network = HDRUNet(HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(1, 1, 1)))
        assert network.weighting is not None
        with torch.no_grad():
            for last, bias in ((network.weighting.to_weights, 1.0), (network.to_rgb, 0.0)):
                last.weight.zero_()
                assert last.bias is not None
                last.bias.fill_(bias)
        save_network(network, path)
        return path
    state = published_state(1)
    for layer, bias in (("mask_est.6", 1.0), ("conv_last", 0.0)):
        state[f"{layer}.weight"].zero_()
        state[f"{layer}.bias"].fill_(bias)
    torch.save(state, path)
    return path


@pytest.mark.parametrize("weights", ["ours.safetensors", "published.pth"])
def test_an_identity_checkpoint_changes_no_colour(tmp_path: Path, weights: str) -> None:
    rows, tags = STANDARDS["709"]
    source = patches(tmp_path / "in.mp4", [row["ycc8"] for row in rows], "yuv444p", tags)
    checkpoint = identity_checkpoint(tmp_path / weights)
    convert(source, tmp_path / "out.mkv", "--weights", checkpoint, model="hdrunet")
    # No clip to 0..1 here: what Y'CbCr holds outside of R'G'B' stays, so only rows inside are compared.
    inside = [number for number, row in enumerate(rows) if min(row["rgb"]) >= 0 and max(row["rgb"]) <= 1]
    assert len(inside) >= 10
    expected = np.array([rows[number]["pq"] for number in inside]) * 65535
    assert np.abs(centres(tmp_path / "out.mkv")[inside] - expected).max() < CODE


SOURCES: dict[str, tuple[str, tuple[str, ...]]] = {
    "variable rate": ("mp4", ("-vf", "setpts='(N+floor(N/3))/24/TB'", "-fps_mode", "vfr", "-enc_time_base", "1/24")),
    "variable rate in Matroska": ("mkv", ("-vf", "setpts='(N*N/3+2*N)/48/TB'", "-fps_mode", "vfr")),
    "start offset": ("mp4", ("-output_ts_offset", "1.5")),
    "23.976 in Matroska": ("mkv", ("-r", "24000/1001")),
    "transport stream": ("ts", ()),
    "59.94": ("mp4", ("-r", "60000/1001")),
}


@pytest.mark.parametrize("extension", ["mov", "mp4", "mkv"])
@pytest.mark.parametrize("kind", SOURCES)
def test_times_are_those_of_the_source(tmp_path: Path, kind: str, extension: str) -> None:
    container, options = SOURCES[kind]
    source, target = tmp_path / f"in.{container}", tmp_path / f"out.{extension}"
    size = "testsrc2=size=80x48:rate=24:duration=0.4"
    ffmpeg("-f", "lavfi", "-i", size, *options, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-bf", "2", *BT709, source)
    quick = ("--set", "video.options.preset=ultrafast") if extension == "mp4" else ()
    convert(source, target, "--segment-frames", "4", *quick, "-p", preset(extension))
    times, wanted = frame_times(target), frame_times(source)
    assert len(wanted) >= 9
    if kind.startswith("variable"):
        assert len({after - before for before, after in pairwise(wanted)}) > 1
    coarse = Fraction(1, 1000) if extension == "mkv" or container == "mkv" else Fraction(1, 50000)
    assert len(times) == len(wanted)
    zero = wanted[0] if kind == "transport stream" else 0  # its clock is left behind
    assert max(abs(time + zero - want) for time, want in zip(times, wanted, strict=True)) <= coarse
    if kind == "23.976 in Matroska":
        assert video_stream(target)["avg_frame_rate"] == "24000/1001"


def preset(extension: str) -> str:
    return {"mov": "prores-hq", "mp4": "hdr10", "mkv": "ffv1"}[extension]


def test_an_edit_list_hides_what_it_hid(tmp_path: Path) -> None:
    whole, source, target = (tmp_path / name for name in ("whole.mp4", "in.mp4", "out.mov"))
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=80x48:rate=24:duration=1")
    ffmpeg(*lavfi, "-c:v", "libx264", "-g", "24", "-pix_fmt", "yuv420p", *BT709, whole)
    ffmpeg("-ss", "0.5", "-i", whole, "-c", "copy", source)
    assert len(packet_hashes(source, "v:0")) == 24
    wanted = frame_times(source)
    assert len(wanted) < 24
    convert(source, target)
    assert [time - frame_times(target)[0] for time in frame_times(target)] == [time - wanted[0] for time in wanted]


@pytest.mark.parametrize("extension", ["mov", "mp4", "mkv"])
def test_rotation_and_pixel_aspect_stay(tmp_path: Path, extension: str) -> None:
    source, target = turned(tmp_path / "in.mp4"), tmp_path / f"out.{extension}"
    convert(source, target, "-p", "prores-hq" if extension == "mov" else "hdr10")
    after = video_stream(target)
    assert (after["width"], after["height"], after["sample_aspect_ratio"]) == (80, 48, "4:3")
    if extension != "mkv":  # this ffprobe does not read Matroska's rotation
        (rotation,) = (each["rotation"] for each in after["side_data_list"] if "rotation" in each)
        assert rotation == video_stream(source)["side_data_list"][0]["rotation"]
        assert rotation in (90, -90)


@pytest.mark.parametrize("extension", ["mov", "mp4"])
@pytest.mark.parametrize("flip", ["hflip", "vflip"])
def test_mirrored_video_stays_mirrored(tmp_path: Path, extension: str, flip: str) -> None:
    source, target = tmp_path / "in.mov", tmp_path / f"out.{extension}"
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=80x48:rate=24:duration=0.1")
    ffmpeg(*lavfi, "-c:v", "libx264", "-pix_fmt", "yuv420p", *BT709, tmp_path / "plain.mov")
    with av.open(str(tmp_path / "plain.mov")) as plain, av.open(str(source), "w") as mirrored:
        stream = mirrored.add_stream_from_template(plain.streams.video[0])
        matrix = [-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30]
        stream.set_display_matrix(matrix if flip == "hflip" else [65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30])
        for packet in plain.demux(video=0):
            if packet.size:
                packet.stream = stream
                mirrored.mux(packet)
    convert(source, target, "-p", "prores-hq" if extension == "mov" else "hdr10")
    before, after = (video_stream(each)["side_data_list"] for each in (source, target))
    (wanted,), (found,) = (
        [side["displaymatrix"] for side in each if "displaymatrix" in side] for each in (before, after)
    )
    assert found == wanted


def turned(path: Path) -> Path:
    """Pixels of 4:3, shown turned by 90 degrees."""
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=80x48:rate=24:duration=0.2,setsar=4/3")
    ffmpeg(*lavfi, "-c:v", "libx264", "-pix_fmt", "yuv420p", *BT709, path.with_name("plain.mp4"))
    ffmpeg("-i", path.with_name("plain.mp4"), "-c", "copy", "-metadata:s:v:0", "rotate=90", path)
    return path


@pytest.mark.parametrize("title", ["", "The main picture", "x" * 120])
@pytest.mark.parametrize("name", ["ffv1", "av1", "hdr10"])
def test_matroska_keeps_pixel_aspect_and_title(tmp_path: Path, name: str, title: str) -> None:
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    ffmpeg("-i", turned(tmp_path / "in.mp4"), "-c", "copy", "-metadata:s:v:0", f"title={title}", source)
    convert(source, target, "-p", name, "--frames", "0:2")
    after = video_stream(target)
    assert after["sample_aspect_ratio"] == "4:3"
    assert after["tags"].get("title", "") == title
    assert float(mediainfo(target)["PixelAspectRatio"]) == pytest.approx(4 / 3, abs=1e-3)
    ffmpeg("-xerror", "-err_detect", "+crccheck+explode", "-i", target, "-f", "null", "-")


def interlaced(path: Path) -> Path:
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=50:duration=0.4")
    flags = ("-vf", "interlace=scan=tff", "-flags", "+ildct+ilme", "-top", "1")
    ffmpeg(*lavfi, *flags, "-c:v", "mpeg2video", "-q:v", "2", "-pix_fmt", "yuv420p", *BT709, path)
    return path


@pytest.mark.parametrize(("mode", "per_frame"), [("auto", 1), ("field", 2), ("off", 1)])
def test_interlaced_film(tmp_path: Path, mode: str, per_frame: int) -> None:
    source, target = interlaced(tmp_path / "in.mkv"), tmp_path / "out.mov"
    convert(source, target, "--deinterlace", mode, "--segment-frames", "3")
    times, wanted = frame_times(target), frame_times(source)
    assert len(times) == per_frame * len(wanted) == per_frame * 10
    assert max(abs(a - b) for a, b in zip(times[::per_frame], wanted, strict=True)) <= Fraction(1, 1000)
    if per_frame == 2:
        assert max(abs(a + Fraction(1, 50) - b) for a, b in zip(wanted, times[1::2], strict=True)) <= Fraction(1, 1000)
    assert video_stream(target)["field_order"] == ("tt" if mode == "off" else "progressive")


@pytest.mark.parametrize(
    ("size", "name"),
    [*product(["1x1", "3x5", "17x33", "65x49"], ["out.mov", "out.mkv", "out.%03d.exr"]), ("16384x16", "out.mkv")],
)
def test_odd_sizes_keep_their_size(tmp_path: Path, size: str, name: str) -> None:
    source, raw = tmp_path / "in.mkv", tmp_path / "in.raw"
    width, height = map(int, size.split("x"))
    raw.write_bytes(bytes([90]) * 2 * (width * height + 2 * (-(-width // 2) * -(-height // 2))))
    ffmpeg("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-r", "24", "-i", raw, "-c:v", "ffv1", *BT709, source)
    convert(source, tmp_path / name)
    path = tmp_path / name.replace("%03d", "001")
    assert "{width}x{height}".format(**video_stream(path)) == size


def test_frames_of_the_middle(clip: Path, tmp_path: Path) -> None:
    convert(clip, tmp_path / "whole.mkv")
    convert(clip, tmp_path / "part.mkv", "--frames", "3:8", "--segment-frames", "2")
    assert np.array_equal(decoded_rgb(tmp_path / "part.mkv"), decoded_rgb(tmp_path / "whole.mkv")[3:8])
    assert frame_times(tmp_path / "part.mkv")[0] == 0


GUARD = """
import socket, sys
def refuse(*_, **__):
    raise AssertionError("a socket was opened")
socket.socket.__init__ = socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
def audit(event, _):
    if event.startswith("socket.") and event != "socket.gethostname":
        refuse()
sys.addaudithook(audit)
from hdrunet_video.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_conversion_opens_no_socket(clip: Path, tmp_path: Path) -> None:
    arguments = [str(clip), str(tmp_path / "out.mov"), "--frames", ":2"]
    result = subprocess.run([sys.executable, "-c", GUARD, *arguments], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert len(frame_times(tmp_path / "out.mov")) == 2
