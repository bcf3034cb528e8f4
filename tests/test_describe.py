"""--dry-run, --doctor and --make-sample say the truth and leave nothing behind."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hdrunet_video.cli import main
from hdrunet_video.doctor import Finding, _a_frame_on, examine
from hdrunet_video.network.native import Kernels, kernels
from tests.conftest import ffmpeg, ffprobe
from tests.network.native_cases import FOUND


def test_dry_run_tells_the_plan_and_writes_nothing(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.mov"
    assert main([str(clip), str(target), "--dry-run", "--segment-frames", "4"]) == 0
    text = capsys.readouterr().out
    for expected in ("64x48", "24 fps", "10 frames", "prores-hq", "peak 1000 cd/m2", "3 in", "fp32 on cpu", "kB"):
        assert expected in text
    assert "strength" not in text
    assert list(tmp_path.iterdir()) == []
    assert main([str(clip), str(target), "--dry-run", "--model", "expansion", "--strength", "0.5"]) == 0
    assert "gamma 2.24, strength 0.5\n" in capsys.readouterr().out


def test_dry_run_says_what_was_assumed(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = clips / "untagged.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=gray:size=64x48:rate=24:duration=0.1", "-pix_fmt", "yuv420p", source)
    assert main([str(source), str(tmp_path / "out.mov"), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "assumed" in text
    assert "SMPTE170M" in text
    assert "48 lines" in text


def test_dry_run_as_json_is_one_object(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(clip), str(tmp_path / "out.mkv"), "--dry-run", "--json", "--frames", "2:8"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["event"], plan["frames"], plan["preset"]) == ("plan", 6, "ffv1")
    assert plan["seconds"] == pytest.approx(6 / 24)
    assert plan["estimated_seconds"] > 0
    assert plan["estimated_bytes"] > 64 * 48 * 6


def test_dry_run_of_bad_input_ends_like_the_real_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    assert main([str(text), str(tmp_path / "out.mov"), "--dry-run"]) == 65
    assert "text.mp4" in capsys.readouterr().err


def test_doctor_finds_a_working_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--doctor"]) == 0
    text = capsys.readouterr().out
    for expected in ("torch", "weights", "preset hdr10", "vapoursynth"):
        assert expected in text


def test_doctor_names_what_is_broken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such encoder")

    monkeypatch.setattr("hdrunet_video.writer.Writer.__init__", broken)
    assert main(["--doctor", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    assert any("no such encoder" in each["text"] for each in findings)


def of_the_kernels() -> Finding:
    (finding,) = (each for each in examine() if each.name == "cpu kernels")
    assert finding.optional
    return finding


@pytest.mark.skipif(kernels() is None, reason="the package was installed without a compiler, or for another CPU")
@pytest.mark.parametrize("kind", ["convolution", "chain", "narrow"])
def test_doctor_tries_the_kernels(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdrunet_video.doctor.preset_names", list)
    assert of_the_kernels().good
    right = getattr(Kernels, kind)

    def wrong(*given: Any, **named: Any) -> Any:
        made = right(*given, **named)
        return [each * 1.01 for each in made] if isinstance(made, list) else made * 1.01

    monkeypatch.setattr(Kernels, kind, wrong)
    assert not of_the_kernels().good
    assert "of a 10-bit code: conversions go on without them" in of_the_kernels().text


@pytest.mark.skipif(not FOUND, reason="the package was installed without a compiler, or for another CPU")
def test_doctor_tries_the_kernels_for_bf16_until_some_are_good(monkeypatch: pytest.MonkeyPatch) -> None:
    there = next(iter(FOUND))
    monkeypatch.setattr("hdrunet_video.doctor.preset_names", list)
    names = ["missing", there, "never tried"]
    monkeypatch.setattr("hdrunet_video.network.native_library.instructions_for_bf16", lambda: names)
    found = [each for each in examine() if each.name.startswith("cpu kernels for ")]
    assert [(each.name.split()[-1], each.good) for each in found] == [("missing", False), (there, True)]
    assert all(each.optional for each in found)
    assert found[0].text == "those for missing were not built: conversions go on without them"


@pytest.mark.skipif(kernels() is None, reason="the package was installed without a compiler, or for another CPU")
def test_doctor_makes_a_frame_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried with a CPU in the place of the GPU."""
    made = _a_frame_on("cpu")
    assert made.good
    assert (made.name, made.text) == ("cpu kernels", "ours in fp32")
    right = Kernels.convolution
    monkeypatch.setattr(Kernels, "convolution", lambda *given, **named: right(*given, **named) * 1.01)
    slower = _a_frame_on("cpu")
    assert not slower.good
    assert slower.optional
    assert slower.text == "onednn in fp32"
    lost = _a_frame_on("cuda:99")
    assert not lost.good
    assert not lost.optional
    assert "there is no device cuda:99" in lost.text
    assert lost.hint


@pytest.mark.parametrize(
    ("name", "value", "text", "hint"),
    [
        ("native_library.find_spec", lambda name: None, "were not built", "Install GCC 11"),
        ("native_library._PLATFORM", ("none", "such"), "there are none for", "Nothing is to be done"),
        ("native_library.INTERFACE", -1, "another version of the package built them", "Install this package again"),
    ],
)
def test_doctor_says_why_there_are_no_kernels(
    name: str, value: Any, text: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "native_library.INTERFACE" and kernels() is None:
        pytest.skip("there are none to be of another version")
    monkeypatch.setattr("hdrunet_video.doctor.preset_names", list)
    monkeypatch.setattr("hdrunet_video.network.native_library._PLATFORM", (sys.platform, platform.machine()))
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(f"hdrunet_video.network.{name}", value)
    found = of_the_kernels()
    assert not found.good
    assert text in found.text
    assert hint in found.hint


def test_a_missing_extra_is_not_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdrunet_video.doctor.find_spec", lambda name: None)
    extras = [each for each in examine() if each.name in ("preset exr", "backend openvino")]
    assert len(extras) == 2
    for extra in extras:
        assert isinstance(extra, Finding)
        assert not extra.good
        assert extra.optional
        assert "pip install" in str(extra)


def test_sample_is_tagged_sdr_with_sound(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sample = tmp_path / "in.mp4"
    assert main(["--make-sample", str(sample)]) == 0
    streams = {each["codec_type"]: each for each in ffprobe(sample, "-show_streams")["streams"]}
    video = streams["video"]
    assert (video["width"], video["height"], video["nb_frames"], video["pix_fmt"]) == (256, 144, "24", "yuv420p")
    assert [video[f"color_{key}"] for key in ("primaries", "transfer", "space", "range")] == ["bt709"] * 3 + ["tv"]
    assert streams["audio"]["codec_name"] == "aac"
    assert capfd.readouterr().err == ""
    # A clipped highlight and a dark foreground: something for the network to do.
    luma = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(sample), "-frames:v", "1", "-pix_fmt", "gray", "-f", "rawvideo", "-"],
        check=True,
        capture_output=True,
    ).stdout
    assert max(luma) >= 230
    assert min(luma) <= 90
    assert main(["--make-sample", str(sample)]) == 73
