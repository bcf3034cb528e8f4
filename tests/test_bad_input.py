"""Whatever is wrong: one sentence, a hint, the right exit code, and nothing left behind."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from hdrunet_video.cli import main
from hdrunet_video.errors import HdrunetError, InputError
from hdrunet_video.job import Job, Plan, make_plan
from hdrunet_video.run import run
from tests.conftest import ffmpeg, ffprobe

SOURCE = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=24:duration=0.5")
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "6")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Path) -> Path:
    """A folder to be in, with a good film in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.mp4").write_bytes(clip.read_bytes())
    return tmp_path


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every name below a folder, hidden ones too, and what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def check_failure(arguments: list[str], code: int, says: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(folder)
    assert main([*arguments, "--model", "identity"] if "--weights" not in arguments else arguments) == code
    output = capsys.readouterr()
    lines = output.err.splitlines()
    assert [line.startswith("hdrunet-video: error: ") for line in lines].count(True) == 1, output.err
    assert says in output.err
    (hint,) = [line for line in lines if line.startswith("  hint: ")]
    assert len(hint) > len("  hint: ") + 5
    assert "Traceback" not in output.err
    assert output.out == ""
    assert contents(folder) == before


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("This is not a film, whatever its name says.\n" * 40)


def noise(path: Path) -> None:
    path.write_bytes(torch.randint(0, 256, (50_000,), generator=torch.Generator().manual_seed(1)).byte().numpy())


def cut(path: Path, keep: float, *arguments: str, duration: str = "0.5") -> None:
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size=64x48:rate=24:duration={duration}", *X264, *arguments, path)
    os.truncate(path, int(path.stat().st_size * keep))


def sound_only(path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", path)


def sound_with_cover(path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:size=64x64:duration=0.04", "-frames:v", "1", "cover.png")
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "sine=duration=0.2",
        "-i",
        "cover.png",
        "-c:v",
        "png",
        "-disposition:v",
        "attached_pic",
        path,
    )


def ffconcat(path: Path) -> None:
    path.write_text("ffconcat version 1.0\nfile good.mp4\n")


def playlist(path: Path) -> None:
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ngood.mp4\n#EXT-X-ENDLIST\n")


def no_frames(path: Path) -> None:
    ffmpeg(*SOURCE, *X264, "-frames:v", "0", path)


def unknown_codec(path: Path) -> None:
    path.write_bytes(Path("good.mp4").read_bytes().replace(b"avc1", b"zzzz"))


# FFmpeg itself stops a little above 16000x16000: what lies below is ours to refuse.
def y4m_bomb(path: Path) -> None:
    path.write_bytes(b"YUV4MPEG2 W16000 H16000 F24:1 C420jpeg\nFRAME\n" + bytes(1000))


def png_bomb(path: Path) -> None:
    ffmpeg(*SOURCE, "-c:v", "png", "-frames:v", "1", path)
    size = (64).to_bytes(4, "big") + (48).to_bytes(4, "big")
    path.write_bytes(path.read_bytes().replace(size, (16000).to_bytes(4, "big") * 2))


def tagged_hdr(path: Path) -> None:
    ffmpeg(*SOURCE, *X264, "-color_trc", "smpte2084", path)


def ten_bits(path: Path) -> None:
    ffmpeg(*SOURCE, "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", path)


def one_bit(path: Path) -> None:
    ffmpeg(*SOURCE, "-c:v", "rawvideo", "-pix_fmt", "rgb565le", path)


def two_sizes(path: Path) -> None:
    for size in ("64x48", "96x64"):
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={size}:duration=0.2", "-c:v", "libx264", "-f", "h264", size)
    path.write_bytes(Path("64x48").read_bytes() + Path("96x64").read_bytes())


def fifo(path: Path) -> None:
    os.mkfifo(path)


Maker = Callable[[Path], None]
SOURCES: list[tuple[str, Maker, str]] = [
    ("in.mp4", empty, "is empty"),
    ("in.mp4", text, "is not a video file"),
    ("in.mp4", noise, "is not a video file"),
    ("front.mp4", lambda path: cut(path, 0.6, "-movflags", "faststart", duration="2"), "cut off"),
    ("back.mp4", lambda path: cut(path, 0.6), "cut off"),
    ("long.mp4", lambda path: cut(path, 0.97, "-movflags", "faststart", duration="4"), "cut off"),
    ("in.mkv", lambda path: cut(path, 0.6, duration="2"), "cut off"),
    ("long.mkv", lambda path: cut(path, 0.97, duration="4"), "cut off"),
    ("long.webm", lambda path: cut(path, 0.97, "-c:v", "libvpx", duration="4"), "cut off"),
    ("in.avi", lambda path: cut(path, 0.6), "cut off"),
    ("in.m4a", sound_only, "no video stream"),
    ("in.mp3", sound_with_cover, "is not a video file"),
    ("in.m4a", sound_with_cover, "no video stream"),
    ("in.mp4", ffconcat, "is not a video file"),
    ("in.mp4", playlist, "is not a video file"),
    ("in.mkv", no_frames, "in.mkv"),
    ("in.mp4", unknown_codec, "in.mp4"),
    ("in.y4m", y4m_bomb, "in.y4m"),
    ("in.mov", png_bomb, "in.mov"),
    ("in.mp4", tagged_hdr, "already HDR"),
    ("in.mkv", ten_bits, "10 bits"),
    ("in.nut", one_bit, "rgb565le"),
    ("in.264", two_sizes, "changes from 64x48 to 96x64"),
    ("in.mp4", Path.mkdir, "is a folder"),
    ("in.mp4", fifo, "not a regular file"),
]


@pytest.mark.parametrize(("name", "make", "says"), SOURCES, ids=lambda value: getattr(value, "__name__", value))
def test_a_bad_source(name: str, make: Maker, says: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(folder / name)
    if make is two_sizes:
        # Found only while frames are read: finished segments may stay, to go on from.
        assert main([name, "out.mov", "--model", "identity"]) == 65
        error = capsys.readouterr().err
        assert says in error
        assert "  hint: " in error
        assert "Traceback" not in error
        assert not (folder / "out.mov").exists()
        return
    check_failure([name, "out.mov"], 65, says, folder, capsys)


COMMANDS = [
    (["nowhere.mp4", "out.mov"], 65, "does not exist"),
    (["/dev/null", "out.mov"], 65, "not a regular file"),
    (["http://localhost:1/in.mp4", "out.mov"], 65, "is a URL"),
    (["file:good.mp4", "out.mov"], 65, "does not exist"),
    (["concat:good.mp4|good.mp4", "out.mov"], 65, "does not exist"),
    (["good.mp4", "good.mp4", "-y"], 2, "is the input itself"),
    (["good.mp4", "./good.mp4", "-y"], 2, "is the input itself"),
    (["good.mp4", "nowhere/out.mov"], 73, "does not exist"),
    (["good.mp4", "good.mp4/out.mov"], 73, "good.mp4"),
    (["good.mp4", "/proc/out.mov"], 73, "/proc"),
    (["good.mp4", "out.xyz"], 2, "extension"),
    (["good.mp4", "out"], 2, "extension"),
    (["good.mp4", "out.mov", "-p", "av1"], 2, "preset av1"),
    (["good.mp4", "out.exr"], 2, "frame number"),
    (["good.mp4", "out.mov", "-p", "prores-hd"], 65, "Did you mean 'prores-hq'"),
    (["good.mp4", "out.mov", "-p", "nowhere.toml"], 65, "does not exist"),
    (["good.mp4", "out.mov", "-p", "bad.toml"], 65, "bad.toml is not TOML"),
    (["good.mp4", "out.mov", "--set", "segment.frame=5"], 65, "Did you mean 'segment.frames'"),
    (["good.mp4", "out.mov", "--set", "video.codec=libx999"], 2, "libx999"),
    (["good.mp4", "out.mov", "--backend", "openvino", "--device", "cuda"], 2, "on the CPU only"),
    (["good.mp4", "out.mov", "--peak", "400"], 2, "roll-off begins"),
    (["good.mp4", "out.mov", "--peak", "100"], 2, "--white"),
    (["good.mp4", "out.mov", "--peak", "nan"], 2, "--peak"),
    (["good.mp4", "out.mov", "--white", "inf"], 2, "--white"),
    (["good.mp4", "out.mov", "--strength", "1.5"], 2, "--strength 1.5 is out of range"),
    (["good.mp4", "out.mov", "--display-gamma", "0"], 2, "--display-gamma"),
    (["good.mp4", "out.mp4", "-p", "hlg", "--peak", "4000"], 2, "HLG"),
    (["good.mp4", "out.mov", "--frames", "9:3"], 2, "--frames 9:3"),
    (["good.mp4", "out.mov", "--frames", "3:3"], 2, "--frames 3:3"),
    (["good.mp4", "out.mov", "--frames", "10:20"], 2, "(10 frames)"),
    (["good.mp4", "out.mov", "--frames", "abc"], 2, "--frames 'abc'"),
    (["good.mp4", "out.mov", "--segment-frames", "0"], 2, "--segment-frames"),
    (["good.mp4", "out.mov", "--tile", "big"], 2, "--tile"),
    (["good.mp4", "out.mov", "-y", "-n"], 2, "-y and -n"),
    (["good.mp4"], 2, "1 given"),
    (["good.mp4", "out.mov", "--weights", "evil.pth"], 65, "evil.pth"),
    (["good.mp4", "out.mov", "--weights", "other.safetensors"], 65, "other.safetensors"),
    (["good.mp4", "out.mov", "--weights", "nowhere.pth"], 65, "nowhere.pth"),
    (["good.mp4", "out.mov", "--weights", "good.mp4"], 65, "good.mp4"),
]


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize(
    ("arguments", "code", "says"), COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_a_bad_command(
    arguments: list[str], code: int, says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.toml").write_text("name = [")
    (folder / "evil.pth").write_bytes(pickle.dumps({"conv_first.weight": Evil()}))
    save_file({"conv.weight": torch.zeros(3, 3)}, folder / "other.safetensors")
    check_failure(arguments, code, says, folder, capsys)


def test_the_pickle_of_this_table_is_armed(folder: Path) -> None:
    pickle.loads(pickle.dumps({"conv_first.weight": Evil()}))
    assert (folder / "executed").exists()


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_link_to_the_input_is_the_input(
    link: Callable[[Path, Path], None], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link(folder / "link.mp4", folder / "good.mp4")
    check_failure(["good.mp4", "link.mp4", "-y"], 2, "is the input itself", folder, capsys)


def test_an_output_that_exists_is_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "out.mov").write_text("precious")
    check_failure(["good.mp4", "out.mov"], 73, "out.mov exists", folder, capsys)
    before = contents(folder)
    assert main(["good.mp4", "out.mov", "-n", "--model", "identity"]) == 0
    assert contents(folder) == before


def test_several_bad_sources_do_not_stop_the_good_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty.mp4").touch()
    arguments = ["empty.mp4", "good.mp4", "nowhere.mp4", "-o", "done", "--frames", "0:2", "--model", "identity"]
    assert main(arguments) == 65
    assert [path.name for path in (folder / "done").iterdir()] == ["good.mov"]
    assert capsys.readouterr().err.count("hdrunet-video: error: ") == 2


@pytest.mark.parametrize(
    ("size", "target", "shown"),
    [
        ("1x1", "out.mkv", (1, 1)),
        ("37x23", "out.mkv", (37, 23)),
        ("38x24", "out.mov", (38, 24)),
        ("16384x16", "out.mkv", (16384, 16)),
    ],
)
def test_odd_sizes_are_converted(size: str, target: str, shown: tuple[int, int], folder: Path) -> None:
    source = f"testsrc2=size=64x48:rate=24,trim=end_frame=2,scale={size.replace('x', ':')}"
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", "ffv1", "-pix_fmt", "yuv420p", "odd.mkv")
    assert main(["odd.mkv", target, "--model", "identity", "-q"]) == 0
    stream = ffprobe(folder / target, "-show_streams", "-count_frames")["streams"][0]
    assert (stream["width"], stream["height"], stream["nb_read_frames"]) == (*shown, "2")


@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_a_source_that_is_still_being_written_is_refused(folder: Path, moment: str) -> None:
    plan = make_plan(Job(folder / "good.mp4", folder / "out.mov", model="identity"))

    def grow() -> bool:
        with (folder / "good.mp4").open("ab") as file:
            file.write(b"more")
        return False

    if moment == "before":
        grow()
    with pytest.raises(InputError, match="changed while it was read"):
        run(plan, cancelled=grow)
    assert not (folder / "out.mov").exists()


def test_keep_going_takes_what_there_is_of_a_cut_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut(folder / "cut.mp4", 0.8, "-movflags", "faststart", duration="2")
    assert main(["cut.mp4", "out.mov", "--keep-going", "--model", "identity", "-q"]) == 0
    assert "damaged or missing" in capsys.readouterr().err
    stream = ffprobe(folder / "out.mov", "-show_streams", "-count_frames")["streams"][0]
    assert 20 < int(stream["nb_read_frames"]) <= 48


HEADERS = {"mp4": ("-movflags", "faststart"), "mkv": (), "avi": (), "ts": ()}


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("headers")
    for extension, arguments in HEADERS.items():
        ffmpeg(*SOURCE, *X264, *arguments, folder / f"whole.{extension}")
    return folder


def planned_or_refused(path: Path) -> Plan | HdrunetError:
    try:
        return make_plan(Job(path, path.with_name("out.mov")))
    except HdrunetError as error:
        return error


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    extension=st.sampled_from([*HEADERS]),
    # Most of the structure is in the first kilobytes.
    changes=st.lists(st.tuples(st.integers(0, 3000) | st.integers(0, 1 << 20), st.integers(0, 255)), max_size=8),
    keep=st.just(1.0) | st.floats(0, 1),
)
def test_mutated_files_are_planned_or_refused(
    headers: Path, tmp_path: Path, extension: str, changes: list[tuple[int, int]], keep: float
) -> None:
    data = bytearray((headers / f"whole.{extension}").read_bytes())
    for where, value in changes:
        data[where % len(data)] = value
    path = tmp_path / f"mutated.{extension}"
    path.write_bytes(data[: int(len(data) * keep)])
    outcome = planned_or_refused(path)
    if isinstance(outcome, Plan):
        assert 0 < len(outcome.info.pts) <= 100
    else:
        assert outcome.exit_code == 65
        assert outcome.hint
