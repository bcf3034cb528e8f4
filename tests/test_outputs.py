"""Every preset's files as ffprobe, mediainfo and OpenEXR read them: what a player or an editor will believe."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdrunet_video.presets import preset_names
from tests.conftest import ffmpeg, mediainfo
from tests.media import BT709, convert, decoded_rgb, frame_times, packet_hashes, pq_nits, video_frames, video_stream

FRAMES = 10

# (preset, extension): codec, profile, tag, pixel format as decoded, bits as mediainfo says, chroma siting
OUTPUTS: dict[tuple[str, str], tuple[str, str | None, str, str, str | None, str | None]] = {
    ("hdr10", "mp4"): ("hevc", "Main 10", "hvc1", "yuv420p10le", "10", "topleft"),
    ("hdr10", "mov"): ("hevc", "Main 10", "hvc1", "yuv420p10le", "10", "topleft"),
    ("hdr10", "mkv"): ("hevc", "Main 10", "[0][0][0][0]", "yuv420p10le", "10", "topleft"),
    ("hlg", "mp4"): ("hevc", "Main 10", "hvc1", "yuv420p10le", "10", "topleft"),
    ("hlg", "mkv"): ("hevc", "Main 10", "[0][0][0][0]", "yuv420p10le", "10", "topleft"),
    # Debian's mediainfo knows neither the depth of ProRes nor the sequence header of this SVT-AV1.
    ("av1", "mp4"): ("av1", "Main", "av01", "yuv420p10le", None, "topleft"),
    ("av1", "mkv"): ("av1", "Main", "[0][0][0][0]", "yuv420p10le", None, "topleft"),
    ("prores-hq", "mov"): ("prores", "HQ", "apch", "yuv422p10le", None, None),
    ("prores-4444", "mov"): ("prores", "4444", "ap4h", "yuv444p12le", None, None),
    ("png16", "mov"): ("png", None, "png ", "rgb48be", "16", None),
    ("ffv1", "mkv"): ("ffv1", None, "[0][0][0][0]", "gbrp16le", "16", None),
}
PQ_OUTPUTS = [output for output in OUTPUTS if output[0] != "hlg"]


@pytest.fixture(scope="module")
def film(clips: Path) -> Path:
    """Ten frames at 24 fps that begin at 0.5 s, with B-frames, a bright patch from frame 5 on, and sound."""
    path = clips / "film.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=size=64x64:rate=24:duration={FRAMES / 24}"),
        *("-f", "lavfi", "-i", f"sine=frequency=440:duration={FRAMES / 24}"),
        *("-vf", "drawbox=0:0:16:16:white:fill:enable='gte(n,5)',scale=out_color_matrix=bt709:out_range=tv"),
        *("-pix_fmt", "yuv420p", "-c:v", "libx264", "-bf", "2", *BT709, "-c:a", "aac", "-output_ts_offset", "0.5"),
        path,
    )
    return path


@pytest.fixture(scope="module")
def written(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The file of a preset and an extension, made once, in three segments."""
    folder, made = tmp_path_factory.mktemp("outputs"), {}

    def make(output: tuple[str, str]) -> Path:
        if output not in made:
            preset, extension = output
            made[output] = folder / f"{preset}.{extension}"
            convert(film, made[output], "-p", preset, "--segment-frames", "4")
        return Path(made[output])

    return make


def test_every_preset_is_tested_here() -> None:
    assert {preset for preset, _ in OUTPUTS} | {"exr", "hdr10-nvenc"} == set(preset_names())


@pytest.mark.parametrize("output", OUTPUTS, ids="-".join)
def test_codec_format_and_tags(written: Any, output: tuple[str, str]) -> None:
    path = written(output)
    codec, profile, tag, pixels, bits, siting = OUTPUTS[output]
    stream = video_stream(path)
    assert (stream["codec_name"], stream.get("profile"), stream["codec_tag_string"]) == (codec, profile, tag)
    assert (stream["pix_fmt"], stream.get("chroma_location")) == (pixels, siting)
    rgb = pixels.startswith(("rgb", "gbr"))
    transfer = "arib-std-b67" if output[0] == "hlg" else "smpte2084"
    expected = ("bt2020", transfer, "gbr" if rgb else "bt2020nc", "pc" if rgb else "tv")
    tags = ("color_primaries", "color_transfer", "color_space", "color_range")
    assert tuple(stream.get(name) for name in tags) == expected
    for frame in video_frames(path):  # the coded stream says the same as the container
        assert tuple(frame.get(name) for name in tags) == expected

    info = mediainfo(path)
    assert info["colour_primaries"] == "BT.2020"
    assert info["transfer_characteristics"] == ("HLG" if output[0] == "hlg" else "PQ")
    assert info["matrix_coefficients"] == ("Identity" if rgb else "BT.2020 non-constant")
    assert info.get("BitDepth") == bits
    # Two sources that disagree are shown as an "original" of the stream.
    assert not {"colour_primaries_Original", "matrix_coefficients_Original", "colour_range_Original"} & info.keys()


@pytest.mark.parametrize("output", OUTPUTS, ids="-".join)
def test_frames_and_times_are_those_of_the_source(film: Path, written: Any, output: tuple[str, str]) -> None:
    times, wanted = frame_times(written(output)), frame_times(film)
    assert wanted[0] == Fraction(1, 2)
    assert len(times) == len(wanted) == FRAMES
    tolerance = Fraction(1, 1000) if output[1] == "mkv" else 0  # Matroska's clock
    assert max(abs(time - want) for time, want in zip(times, wanted, strict=True)) <= tolerance
    assert video_stream(written(output))["avg_frame_rate"] == "24/1"


@pytest.mark.parametrize("output", OUTPUTS, ids="-".join)
def test_sound_is_the_same_packets_at_the_same_times(film: Path, written: Any, output: tuple[str, str]) -> None:
    hashes = packet_hashes(film, "a:0")
    assert len(hashes) > 10
    assert packet_hashes(written(output), "a:0") == hashes
    assert abs(sound_start(written(output)) - sound_start(film)) <= 0.001


def sound_start(path: Path) -> float:
    command = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", "frame=pts_time", "-of", "csv=p=0"]
    output = subprocess.run([*command, str(path)], check=True, capture_output=True, text=True).stdout
    return float(output.split()[0].strip(","))


@pytest.mark.parametrize("output", PQ_OUTPUTS, ids="-".join)
def test_mastering_display_and_light_levels(written: Any, output: tuple[str, str]) -> None:
    path = written(output)
    lossless = pq_nits(decoded_rgb(written(("ffv1", "mkv"))) / 65535).max(axis=-1)
    max_cll, max_fall = lossless.max(), lossless.mean(axis=(1, 2)).max()
    assert max_cll > 195  # the patch of the second segment
    container = {each["side_data_type"]: each for each in video_stream(path)["side_data_list"]}
    places = [container]
    if output[0] in ("hdr10", "av1"):  # formats whose stream carries them too
        frames = video_frames(path)
        places += [
            {each["side_data_type"]: each for each in frame["side_data_list"]}
            for frame in frames
            if frame["key_frame"] and "side_data_list" in frame
        ]
        assert len(places) >= 4  # each of the three segments says it
    for place in places:
        check_display(place["Mastering display metadata"])
        levels = place["Content light level metadata"]
        assert abs(levels["max_content"] - max_cll) <= 1
        assert abs(levels["max_average"] - max_fall) <= 1

    info = mediainfo(path)
    assert info["HDR_Format_Compatibility"] == "HDR10"
    assert info["MasteringDisplay_ColorPrimaries"] == "Display P3"
    assert info["MasteringDisplay_Luminance"] == "min: 0.0001 cd/m2, max: 1000 cd/m2"
    assert abs(int(info["MaxCLL"].split()[0]) - max_cll) <= 1
    assert abs(int(info["MaxFALL"].split()[0]) - max_fall) <= 1


def check_display(data: dict[str, Any]) -> None:
    display = {"red": (0.68, 0.32), "green": (0.265, 0.69), "blue": (0.15, 0.06), "white_point": (0.3127, 0.329)}
    for name, (x, y) in display.items():
        # AV1 counts in 1/65536
        assert float(Fraction(data[f"{name}_x"])) == pytest.approx(x, abs=2e-5)
        assert float(Fraction(data[f"{name}_y"])) == pytest.approx(y, abs=2e-5)
    assert Fraction(data["max_luminance"]) == 1000
    assert float(Fraction(data["min_luminance"])) == pytest.approx(0.0001, abs=3e-5)


@pytest.mark.parametrize("peak", [600, 4000])
def test_the_mastering_display_has_the_peak_that_was_asked_for(film: Path, tmp_path: Path, peak: int) -> None:
    convert(film, tmp_path / "out.mp4", "--peak", str(peak), "--frames", ":3")
    places = [
        video_stream(tmp_path / "out.mp4")["side_data_list"],
        video_frames(tmp_path / "out.mp4")[0]["side_data_list"],
    ]
    for place in places:
        (display,) = (each for each in place if each["side_data_type"] == "Mastering display metadata")
        assert Fraction(display["max_luminance"]) == peak


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_hlg_carries_no_static_metadata(written: Any, extension: str) -> None:
    path = written(("hlg", extension))
    assert "side_data_list" not in video_stream(path)
    kinds = {each["side_data_type"] for frame in video_frames(path) for each in frame.get("side_data_list", [])}
    assert not {kind for kind in kinds if "Mastering" in kind or "light" in kind}
    assert "MaxCLL" not in mediainfo(path)


@pytest.mark.parametrize("output", [("hdr10", "mp4"), ("hlg", "mp4"), ("av1", "mp4")], ids="-".join)
def test_mp4_starts_before_its_last_byte(written: Any, output: tuple[str, str]) -> None:
    content = written(output).read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_lossy_pictures_are_the_lossless_one(written: Any) -> None:
    # Codes of luma only: a swapped plane, a wrong range or a wrong transfer is tens of codes off.
    signal = decoded_rgb(written(("ffv1", "mkv"))).astype(np.float64) / 65535
    luma = 64 + 876 * (signal @ np.array([0.2627, 0.6780, 0.0593]))
    for output, pixels in (
        (("prores-hq", "mov"), "yuv422p10le"),
        (("prores-4444", "mov"), "yuv444p12le"),
        (("hdr10", "mp4"), "yuv420p10le"),
        (("av1", "mkv"), "yuv420p10le"),
    ):
        command = ["ffmpeg", "-v", "error", "-i", str(written(output)), "-fps_mode", "passthrough", "-f", "rawvideo"]
        raw = subprocess.run([*command, "-pix_fmt", pixels, "-"], check=True, capture_output=True).stdout
        frames = np.frombuffer(raw, "<u2").reshape(FRAMES, -1)[:, : 64 * 64].reshape(-1, 64, 64)
        scale = 4 if "12" in pixels else 1
        # Rows and columns of codec noise: the mean difference of a frame shows a wrong picture, not its grain.
        assert np.abs(frames / scale - luma).mean(axis=(1, 2)).max() < 8, output


def test_png16_and_ffv1_hold_the_same_pixels(written: Any) -> None:
    first, second = (decoded_rgb(written(output)).astype(int) for output in (("png16", "mov"), ("ffv1", "mkv")))
    assert np.abs(first - second).max() <= 1  # ffv1 is dithered by less than a code


def test_exr_sequence(film: Path, tmp_path: Path, written: Any) -> None:
    openexr = pytest.importorskip("OpenEXR")
    convert(film, tmp_path / "out.%06d.exr", "--segment-frames", "4")
    names = [f"out.{number:06d}.exr" for number in range(FRAMES)]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    reference = pq_nits(decoded_rgb(written(("ffv1", "mkv"))) / 65535)
    for number, name in enumerate(names):
        with openexr.File(str(tmp_path / name)) as file:
            header, pixels = dict(file.header()), file.channels()["RGB"].pixels.copy()
        assert pixels.dtype == np.float16
        assert pixels.shape == (64, 64, 3)
        chromaticities = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290)
        assert np.allclose(header["chromaticities"], chromaticities, atol=1e-6)
        assert header["whiteLuminance"] == 203
        assert header["pixelAspectRatio"] == 1
        # 1.0 is reference white. SDR lies below the roll-off of the PQ file, so both say the same light.
        light = pixels.astype(np.float64) * 203
        assert np.allclose(light, reference[number], rtol=2e-3, atol=0.01)
