"""MaxCLL and MaxFALL against float64 arithmetic on what is really in the file; the bytes that carry them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdrunet_video.frame import LightLevels
from hdrunet_video.light_level_patch import patch_av1_packet, patch_hevc_extradata, patch_hevc_packet
from hdrunet_video.mastering import StaticMetadata, static_metadata
from tests.conftest import ffmpeg
from tests.media import BT709, convert, decoded_rgb, pq_nits, video_stream


def levels(path: Path) -> tuple[int, int]:
    (found,) = (
        each for each in video_stream(path)["side_data_list"] if each["side_data_type"].startswith("Content light")
    )
    return found["max_content"], found["max_average"]


def brightest(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(frames, rows, columns) max(R, G, B) in cd/m2."""
    found: np.ndarray[Any, np.dtype[np.float64]] = pq_nits(decoded_rgb(path) / 65535).max(axis=-1)
    return found


def film(path: Path, picture: str, *options: str) -> Path:
    lavfi = ("-f", "lavfi", "-i", f"{picture},scale=out_color_matrix=bt709:out_range=tv,format=yuv420p")
    ffmpeg(*lavfi, "-c:v", "libx264", "-qp", "0", *BT709, *options, path)
    return path


FLASH = "testsrc2=size=96x64:rate=24:duration=0.5,drawbox=0:0:96:40:white:fill:enable='eq(n,7)'"


@pytest.mark.parametrize("name", ["out.mkv", "out.mov"])
@pytest.mark.parametrize("options", [(), ("--white", "100"), ("--peak", "600"), ("--display-gamma", "2.4")], ids=str)
def test_levels_are_those_of_the_pixels(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    """The brightest frame lies in the third of four segments."""
    preset = ("-p", "png16") if name == "out.mov" else ()
    convert(film(tmp_path / "in.mp4", FLASH), tmp_path / name, "--segment-frames", "3", *options, *preset)
    light = brightest(tmp_path / name)
    means = light.mean(axis=(1, 2))
    assert means.argmax() == 7
    assert means[7] > 1.5 * np.median(means)
    max_cll, max_fall = levels(tmp_path / name)
    assert abs(max_cll - light.max()) <= 1
    assert abs(max_fall - means.max()) <= 1


@pytest.mark.parametrize(("size", "pad"), [("96x40", "96:64:0:12"), ("48x64", "96:64:24:0")])
def test_black_bars_do_not_count(tmp_path: Path, size: str, pad: str) -> None:
    source = film(tmp_path / "in.mp4", f"testsrc2=size={size}:rate=24:duration=0.25,negate,pad={pad}:black")
    convert(source, tmp_path / "out.mkv", "--segment-frames", "3")
    light = brightest(tmp_path / "out.mkv")
    columns, rows = map(int, size.split("x"))
    left, top = map(int, pad.split(":")[2:])
    active = light[:, top : top + rows, left : left + columns].mean(axis=(1, 2)).max()
    assert active > 1.5 * light.mean(axis=(1, 2)).max()
    # Chroma of the edge bleeds into the bars, so this is not exact.
    assert levels(tmp_path / "out.mkv")[1] == pytest.approx(active, rel=0.02, abs=1)


def test_a_highlight_of_the_network_counts(clip: Path, tmp_path: Path) -> None:
    import torch

    from hdrunet_video.network.config import HDRUNetConfig
    from hdrunet_video.network.hdrunet import HDRUNet
    from hdrunet_video.network.weights import save_network

    torch.manual_seed(0)
    network = HDRUNet(HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(0, 0, 0)))
    assert network.weighting is not None
    with torch.no_grad():
        network.weighting.to_weights.weight.zero_()
        network.weighting.to_weights.bias.fill_(1.6)  # type: ignore[union-attr]
        network.to_rgb.weight.zero_()
        network.to_rgb.bias.zero_()  # type: ignore[union-attr]
    save_network(network, tmp_path / "bright.safetensors")
    options = ("--weights", tmp_path / "bright.safetensors", "--segment-frames", "4")
    convert(clip, tmp_path / "out.mkv", *options, model="hdrunet")
    light = brightest(tmp_path / "out.mkv")
    assert 400 < light.max() <= 1000.01
    max_cll, max_fall = levels(tmp_path / "out.mkv")
    assert abs(max_cll - light.max()) <= 1
    assert abs(max_fall - light.mean(axis=(1, 2)).max()) <= 1


def test_whole_numbers_of_the_standard() -> None:
    assert static_metadata(LightLevels(812.2, 99.6), 1000) == StaticMetadata(1000, 813, 100)
    assert static_metadata(LightLevels(1000.0004, 0.2), 1000) == StaticMetadata(1000, 1000, 0)
    assert static_metadata(LightLevels(1e9, 1e9), 1000) == StaticMetadata(1000, 65535, 65535)


def test_boxes_by_hand() -> None:
    """ISO/IEC 23001-17 and CTA-861.3, typed from the tables."""
    expected = (
        "000000206d646376"
        + "33c286c41d4c0bb884d03e803d134042"
        + "00989680"
        + "00000001"
        + "0000000c636c6c69"
        + "03e80190"
    )
    assert StaticMetadata(1000, 1000, 400).boxes().hex() == expected


def nal(*payload: int) -> bytes:
    body = bytes((39 << 1, 1, *payload))
    return len(body).to_bytes(4, "big") + body


def test_sei_levels_are_replaced_and_emulation_prevented() -> None:
    other = nal(137, 2, 9, 9, 0x80)
    picture = b"\0\0\0\4" + bytes((19 << 1, 1, 0x90, 4))  # looks like a payload 144 and is none
    packet = other + nal(144, 4, 0, 1, 0, 1, 0x80) + picture
    assert patch_hevc_packet(packet, 1000, 400) == other + nal(144, 4, 3, 0xE8, 1, 0x90, 0x80) + picture
    # 00 00 0x may not occur in a NAL unit: a 3 goes in between, and out again.
    patched = patch_hevc_packet(packet, 0, 2)
    assert patched == other + nal(144, 4, 0, 0, 3, 0, 2, 0x80) + picture
    assert patch_hevc_packet(patched, 0, 0) == other + nal(144, 4, 0, 0, 3, 0, 0, 0x80) + picture
    assert patch_hevc_packet(patched, 1000, 400) == patch_hevc_packet(packet, 1000, 400)


def test_several_messages_in_one_sei() -> None:
    long = (4, 255, 1, *[7] * 256)  # type 4, size 256 in two bytes
    packet = nal(*long, 144, 4, 0, 1, 0, 1, 0x80)
    assert patch_hevc_packet(packet, 515, 772) == nal(*long, 144, 4, 2, 3, 3, 4, 0x80)


def test_decoder_configuration_record() -> None:
    body = nal(144, 4, 0, 1, 0, 1, 0x80)[4:]
    other = bytes((33 << 1, 1, 5))
    arrays = bytes((0xA1, 0, 1, 0, len(other))) + other + bytes((0xA7, 0, 1, 0, len(body))) + body
    record = bytes(22) + b"\2" + arrays
    changed = body[:4] + bytes((3, 0xE8, 1, 0x90)) + body[8:]
    assert patch_hevc_extradata(record, 1000, 400) == record.replace(body, changed)


def test_av1_metadata_unit() -> None:
    delimiter, frame = bytes((0x12, 0)), bytes((0x32, 3, 1, 1, 9))
    display = bytes((0x2A, 3, 2, 1, 1))
    light = bytes((0x2A, 6, 1, 0, 1, 0, 1, 0x80))
    changed = bytes((0x2A, 6, 1, 3, 0xE8, 1, 0x90, 0x80))
    packet = delimiter + display + light + frame
    assert patch_av1_packet(packet, 1000, 400) == delimiter + display + changed + frame
    extended = bytes((0x2E, 0, *light[1:]))
    assert patch_av1_packet(extended, 1000, 400) == bytes((0x2E, 0, *changed[1:]))
