"""Plan, segments, join as separate commands: any order, any place, any number of times; the bytes of a local run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hdrunet_video.cli import main
from hdrunet_video.network.hdrunet import HDRUNet, HDRUNetConfig
from hdrunet_video.network.weights import save_network
from tests.conftest import ffmpeg
from tests.farm.cluster import wait_for
from tests.farm.conftest import OPTIONS
from tests.media import convert, forge, sha256

Capture = pytest.CaptureFixture[str]


def run(*arguments: str | Path) -> int:
    return main([*map(str, arguments), "-q"])


def plan(source: Path, target: Path, *more: str | Path) -> Path:
    folder = target.parent / "plan"
    assert run(source, target, "--plan", folder, *OPTIONS, *more) == 0
    return folder


def receipts(folder: Path) -> dict[int, dict[str, Any]]:
    found = (json.loads(path.read_text()) for path in sorted(folder.glob("seg_*.json")))
    return {receipt["index"]: receipt for receipt in found}


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


def test_any_order_gives_the_bytes_of_a_local_run(film: Path, local: Path, tmp_path: Path) -> None:
    folder = plan(film, tmp_path / "out.mov")
    for numbers in ("4", "1-2", "0,3"):
        assert run("--plan", folder, "--segments", numbers) == 0
    assert not (tmp_path / "out.mov").exists()
    assert run("--plan", folder, "--join") == 0
    assert sha256(tmp_path / "out.mov") == sha256(local)
    assert run("--plan", folder, "--verify") == 0
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("preset", ["hdr10", "hlg", "av1", "ffv1", "png16", "exr"])
def test_every_kind_of_file(film: Path, tmp_path: Path, preset: str) -> None:
    names = {"hdr10": "o.mp4", "hlg": "o.mkv", "av1": "o.mkv", "ffv1": "o.mkv", "png16": "o.mov", "exr": "o.%06d.exr"}
    for folder in ("local", "farm"):
        (tmp_path / folder).mkdir()
    convert(film, tmp_path / "local" / names[preset], "-p", preset, "--segment-frames", "6", "--frames", "3:20")
    folder = plan(film, tmp_path / "farm" / names[preset], "-p", preset, "--frames", "3:20")
    for number in "201":
        assert run("--plan", folder, "--segments", number) == 0
    for _ in range(2):
        assert run("--plan", folder, "--join") == 0
        assert run("--plan", folder, "--verify") == 0
    shutil.rmtree(folder)
    made = {where: {path.name: sha256(path) for path in (tmp_path / where).iterdir()} for where in ("local", "farm")}
    assert made["farm"] == made["local"]
    assert len(made["farm"]) == (17 if preset == "exr" else 1)


def test_the_whole_job_can_be_moved(job: Path, local: Path) -> None:
    text = (job / "plan" / "plan.json").read_text()
    assert str(job.parent) not in text
    assert json.loads(text)["source"]["path"] == "../in.mp4"
    (job / "plan" / "seg_000002.json").unlink()
    assert run("--plan", job / "plan", "--segments", "all") == 0
    assert run("--plan", job / "plan", "--join") == 0
    assert sha256(job / "out.mov") == sha256(local)


def test_source_and_result_may_lie_elsewhere(job: Path, local: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "elsewhere.mp4", tmp_path / "result.mov"
    shutil.move(job / "in.mp4", source)
    (job / "plan" / "seg_000000.mov").unlink()
    assert run("--plan", job / "plan", "--segments", "0") == 65
    assert run(source, "--plan", job / "plan", "--segments", "0") == 0
    assert run(source, target, "--plan", job / "plan", "--join") == 0
    assert sha256(target) == sha256(local)


def test_a_link_to_the_plan_is_followed(job: Path, local: Path, tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "link").symlink_to(job / "plan")
    assert run("--plan", deep / "link", "--join") == 0
    assert sha256(job / "out.mov") == sha256(local)


def test_what_is_done_is_not_done_again_and_needs_no_torch(job: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (job / "plan").iterdir()}
    code = (
        "import sys; from hdrunet_video.cli import main; code = main(sys.argv[1:]); print(code, 'torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "--plan", job / "plan", "--segments", "1-3"], capture_output=True, text=True
    )
    assert result.stdout == "0 False\n"
    assert "done before" in result.stderr
    assert {path.name: path.stat().st_mtime_ns for path in (job / "plan").iterdir()} == before


def test_a_plan_is_made_once(film: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = plan(film, tmp_path / "out.mov")
    first = (folder / "plan.json").stat().st_mtime_ns
    plan(film, tmp_path / "out.mov")
    assert (folder / "plan.json").stat().st_mtime_ns == first
    assert run(film, tmp_path / "out.mov", "--plan", folder, *OPTIONS, "--peak", "600") == 73
    assert "plan of something else" in capsys.readouterr().err
    assert run(film, tmp_path / "out.mov", "--plan", folder, *OPTIONS, "--peak", "600", "-y") == 0
    assert '"peak": 600' in (folder / "plan.json").read_text()


def test_a_preset_of_the_users_own_travels_in_the_plan(film: Path, tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    text = subprocess.run(
        [sys.executable, "-m", "hdrunet_video", "--show-preset", "prores-hq"], capture_output=True, text=True
    ).stdout
    preset.write_text(text.replace('name = "prores-hq"', 'name = "mine"').replace("frames = 48", "frames = 15"))
    target = tmp_path / "out.mov"
    folder = tmp_path / "plan"
    arguments = ("-p", str(preset), "--model", "identity", "--set", "color.dither=false")
    assert run(film, target, "--plan", folder, *arguments) == 0
    convert(film, tmp_path / "local.mov", *arguments[:2], *arguments[4:])
    preset.unlink()
    assert run("--plan", folder, "--segments", "0-1") == 0
    assert run("--plan", folder, "--join") == 0
    assert sha256(target) == sha256(tmp_path / "local.mov")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two small networks."""
    config = HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(0, 0, 0))
    paths = [tmp_path_factory.mktemp("weights") / f"{seed}.safetensors" for seed in range(2)]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        save_network(HDRUNet(config), path)
    return paths


def test_other_weights_are_refused(film: Path, tmp_path: Path, weights: list[Path], capsys: Capture) -> None:
    own, folder = tmp_path / "own.safetensors", tmp_path / "plan"
    shutil.copy(weights[0], own)
    network = ("--weights", own, "--segment-frames", "15")
    assert run(film, tmp_path / "out.mov", "--plan", folder, *network) == 0
    shutil.copy(weights[1], own)
    assert run("--plan", folder, "--segments", "0") == 65
    assert "other weights" in capsys.readouterr().err
    assert run("--plan", folder, "--segments", "0-1", "--weights", weights[0]) == 0
    assert run("--plan", folder, "--join") == 65
    shutil.copy(weights[0], own)
    assert run("--plan", folder, "--join") == 0
    assert run(film, tmp_path / "local.mov", *network) == 0
    assert sha256(tmp_path / "out.mov") == sha256(tmp_path / "local.mov")


def test_another_source_is_refused(job: Path, capsys: Capture) -> None:
    source = job / "in.mp4"
    content = bytearray(source.read_bytes())
    content[len(content) // 2] ^= 1
    source.write_bytes(content)
    (job / "plan" / "seg_000001.json").unlink()
    for verb in (("--segments", "1"), ("--segments", "0"), ("--join",)):
        assert run("--plan", job / "plan", *verb) == 65
        assert "not the file that was planned" in capsys.readouterr().err
    assert not (job / "plan" / "seg_000001.json").exists()


def test_another_source_of_the_same_size_and_time_is_refused_at_the_join(job: Path) -> None:
    source = job / "in.mp4"
    status, content = source.stat(), bytearray(source.read_bytes())
    content[-1] ^= 1
    source.write_bytes(content)
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run("--plan", job / "plan", "--join") == 65
    assert not (job / "out.mov").exists()


@pytest.mark.parametrize("name", ["torch", "av", "hdrunet-video"])
def test_another_version_is_refused(job: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, name: str) -> None:
    from hdrunet_video import identity

    other = {**identity.package_versions(), name: "99.0"}
    monkeypatch.setattr("hdrunet_video.farm.plan_file.package_versions", lambda backend: other)
    assert run("--plan", job / "plan", "--segments", "0") == 65
    said = capsys.readouterr().err
    assert f"with {name} " in said
    assert "here 99.0" in said
    assert run("--plan", job / "plan", "--join") == 65


def test_another_ffmpeg_is_refused(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (job / "plan" / "seg_000001.json").unlink()
    monkeypatch.setattr("hdrunet_video.identity._ffmpeg_version", lambda: [(1, 2, 3)])
    assert run("--plan", job / "plan", "--segments", "1") == 65
    assert run("--plan", job / "plan", "--join") == 75


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "edited"])
def test_a_damaged_plan_is_refused(job: Path, damage: str, capsys: Capture) -> None:
    path = job / "plan" / "plan.json"
    text = path.read_text()
    changed = {
        "flipped": text.replace('"white": 203', '"white": 204'),
        "cut": text[:-20],
        "empty": "",
        "edited": json.dumps({**json.loads(text), "target": "../other.mov"}),
    }
    path.write_text(changed[damage])
    for verb in (("--segments", "0"), ("--join",), ("--verify",)):
        assert run("--plan", job / "plan", *verb) == 65
        assert "damaged, was edited" in capsys.readouterr().err


def test_a_damaged_film_is_the_same_in_any_order(tmp_path: Path) -> None:
    """What a decoder makes of damage depends on where it began to decode."""
    source = tmp_path / "in.mkv"
    pattern = ("-f", "lavfi", "-i", "testsrc2=size=160x96:rate=25:duration=2", "-pix_fmt", "yuv420p")
    ffmpeg(*pattern, "-c:v", "libx264", "-g", "12", "-x264-params", "open-gop=1:bframes=3", source)
    content, places = bytearray(source.read_bytes()), random.Random(3)
    for _ in range(12):
        content[places.randrange(len(content) // 4, len(content))] ^= 0x55
    source.write_bytes(content)
    convert(source, tmp_path / "local.mov", "--segment-frames", "7", "--keep-going")
    folder = plan(source, tmp_path / "out.mov", "--segment-frames", "7", "--keep-going")
    for numbers in ("6", "0-2", "5", "3-4", "7"):
        assert run("--plan", folder, "--segments", numbers) == 0
    assert run("--plan", folder, "--join") == 0
    assert sum(receipt["bad_frames"] for receipt in receipts(folder).values()) > 0
    assert sha256(tmp_path / "out.mov") == sha256(tmp_path / "local.mov")


def test_sigterm_in_the_middle_of_a_segment(film: Path, local: Path, tmp_path: Path) -> None:
    folder = plan(film, tmp_path / "out.mov", "--segment-frames", "30")
    command = [sys.executable, "-m", "hdrunet_video", "--plan", str(folder), "--segments", "0"]
    hook = tmp_path / "hook"
    hook.mkdir()
    # Frames that take a second each, so that the signal comes in the middle of one.
    (hook / "sitecustomize.py").write_text(
        "import time, threading\n"
        "def slow():\n"
        "    import sys\n"
        "    while not hasattr(sys.modules.get('hdrunet_video.writer'), 'Writer'):\n"
        "        time.sleep(0.01)\n"
        "    kind = sys.modules['hdrunet_video.writer'].Writer\n"
        "    original = kind.write\n"
        "    kind.write = lambda self, frame: (time.sleep(1), original(self, frame))[1]\n"
        "threading.Thread(target=slow, daemon=True).start()\n"
    )
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(hook)}, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any(folder.glob(".seg_*.part*")))
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert time.monotonic() - started < 5
    assert hidden(tmp_path) == []
    assert receipts(folder) == {}


def test_no_plan_yet(tmp_path: Path, capsys: Capture) -> None:
    assert run("--plan", tmp_path, "--segments", "0") == 75
    assert "no plan" in capsys.readouterr().err


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], int]] = {
    "flipped byte": (flip, 65),
    "cut segment": (lambda path: path.write_bytes(path.read_bytes()[:-1]), 65),
    "missing receipt": (lambda path: path.with_suffix(".json").unlink(), 75),
    "missing segment": (Path.unlink, 75),
    "torn receipt": (lambda path: path.with_suffix(".json").write_text('{"plan_id": "'), 75),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused_named_and_repaired(job: Path, local: Path, damage: str, capsys: Capture) -> None:
    act, code = DAMAGE[damage]
    act(job / "plan" / "seg_000003.mov")
    assert run("--plan", job / "plan", "--join") == code
    assert "--segments 3 does" in capsys.readouterr().err
    assert not (job / "out.mov").exists()
    assert run("--plan", job / "plan", "--segments", "all") == 0
    assert run("--plan", job / "plan", "--join") == 0
    assert sha256(job / "out.mov") == sha256(local)


def test_many_tasks_on_the_same_segments(film: Path, local: Path, tmp_path: Path) -> None:
    folder = plan(film, tmp_path / "out.mov")
    command = [sys.executable, "-m", "hdrunet_video", "--plan", str(folder), "-q", "--segments"]
    tasks = [subprocess.Popen([*command, numbers]) for numbers in ("0-4", "all", "2-4")]
    assert [task.wait(120) for task in tasks] == [0, 0, 0]
    joins = [subprocess.Popen([*command[:-1], "--join"]) for _ in range(2)]
    assert [each.wait(120) for each in joins] == [0, 0]
    assert sha256(tmp_path / "out.mov") == sha256(local)
    assert hidden(tmp_path) == []


def test_many_tasks_on_the_same_folder_of_frames(film: Path, tmp_path: Path) -> None:
    """Folders cannot be replaced by a rename as files can."""
    folder = plan(film, tmp_path / "o.%06d.exr", "--frames", ":12")
    codes: list[int] = []
    from hdrunet_video.farm.tasks import Request, do_segments
    from hdrunet_video.progress import Silent

    def work() -> None:
        done = do_segments(Request(folder), "0-1", Silent(), lambda: False)
        codes.append(done.facts["frames"])

    work()
    (folder / "seg_000000.json").unlink()
    (folder / "seg_000000" / "foreign").mkdir()
    work()
    assert codes == [12, 6]
    assert run("--plan", folder, "--join") == 0
    assert run("--plan", folder, "--verify") == 0
    assert len(list(tmp_path.glob("o.*.exr"))) == 12


def test_devices_share_the_segments(film: Path, local: Path, tmp_path: Path) -> None:
    convert(film, tmp_path / "two.mov", "--segment-frames", "6", "--device", "cpu,cpu")
    assert sha256(tmp_path / "two.mov") == sha256(local)
    folder = plan(film, tmp_path / "out.mov")
    assert run("--plan", folder, "--segments", "all", "--device", "cpu,cpu,cpu") == 0
    assert run("--plan", folder, "--join") == 0
    assert sha256(tmp_path / "out.mov") == sha256(local)


def test_each_device_works(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hdrunet_video.engine import Engine

    meeting = threading.Barrier(2, timeout=60)
    met: set[int] = set()
    original = Engine.stream

    def stream(self: Engine, frames: Any) -> Any:
        if id(self) not in met:
            met.add(id(self))
            meeting.wait()
        return original(self, frames)

    monkeypatch.setattr(Engine, "stream", stream)
    convert(film, tmp_path / "two.mov", "--segment-frames", "6", "--device", "cpu,cpu")
    assert len(met) == 2


def test_one_device_fails_and_all_stop(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from hdrunet_video.engine import Engine
    from hdrunet_video.errors import RetryError

    failed: list[Engine] = []
    original = Engine.stream

    def stream(self: Engine, frames: Any) -> Any:
        if not failed:
            failed.append(self)
            raise RetryError("the device was lost", "again")
        return original(self, frames)

    monkeypatch.setattr(Engine, "stream", stream)
    assert run(film, tmp_path / "two.mov", *OPTIONS, "--device", "cpu,cpu") == 75
    assert "device was lost" in capsys.readouterr().err


def test_a_device_that_is_not_there(film: Path, tmp_path: Path) -> None:
    folder = plan(film, tmp_path / "out.mov")
    assert run("--plan", folder, "--segments", "0", "--device", "cpu,cuda:77") == 2
    assert receipts(folder) == {}


def test_receipts_say_who_and_what(job: Path, film: Path) -> None:
    found = receipts(job / "plan")
    assert sorted(found) == [0, 1, 2, 3, 4]
    for receipt in found.values():
        assert receipt["frames"] == len(receipt["frame_sha256"]) == 6
        assert receipt["device"] == "cpu"
        assert receipt["precision"] == "fp32"
        assert receipt["host"]
        assert receipt["hardware"]
        assert receipt["seconds"] > 0
        assert 0 < receipt["average_nits"] < receipt["max_nits"]
    assert sha256(job / "plan" / "seg_000002.mov") == found[2]["sha256"]
    document = json.loads((job / "plan" / "plan.json").read_text())
    assert document["source"]["sha256"] == sha256(film)


def test_mixed_hardware_is_said(job: Path, capsys: Capture) -> None:
    forge(job / "plan" / "seg_000001.json", hardware="GPU X", precision="fp16")
    assert run("--plan", job / "plan", "--join") == 0
    assert "GPU X in fp16" in capsys.readouterr().err


def test_a_result_that_exists_is_not_replaced_unasked(job: Path, local: Path, capsys: Capture) -> None:
    (job / "out.mov").write_text("mine")
    assert run("--plan", job / "plan", "--join") == 73
    assert (job / "out.mov").read_text() == "mine"
    assert run("--plan", job / "plan", "--join", "-y") == 0
    assert sha256(job / "out.mov") == sha256(local)


def test_a_disk_that_is_full(job: Path, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (job / "plan" / "seg_000001.json").unlink()
    for module in ("writer", "receipts", "run"):
        with monkeypatch.context() as patch:
            patch.setattr(f"hdrunet_video.{module}.sync", full)
            verb = ("--join",) if module == "run" else ("--segments", "1")
            assert run("--plan", job / "plan", *verb) == 75
        assert hidden(job) == []
        assert not (job / "out.mov").exists()
        if module == "receipts":
            assert run("--plan", job / "plan", "--segments", "1") == 0
    assert run("--plan", job / "plan", "--join") == 0
    assert sha256(job / "out.mov") == sha256(local)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--segments", "5"), "segments 0 to 4"),
        (("--segments", "3-9"), "segments 0 to 4"),
        (("--segments", "3-1"), "segments 0 to 4"),
        (("--segments", "x"), "not a list"),
        (("--segments", ""), "not a list"),
        (("--segments", "0-4:0"), "not a list"),
        (("--segments", "0", "--peak", "600"), "--peak is not for --segments"),
        (("--join", "--model", "identity"), "--model is not for --join"),
        (("--join", "--segments", "0"), "contradict"),
        (("--segments", "0", "in.mp4", "out.mp4"), "another kind of file"),
    ],
)
def test_flags_that_cannot_be(job: Path, arguments: tuple[str, ...], says: str, capsys: Capture) -> None:
    assert run("--plan", job / "plan", *arguments) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("verb", [("--join",), ("--segments", "0"), ("--verify",)])
def test_a_plan_must_be_named(verb: tuple[str, ...], capsys: Capture) -> None:
    assert run(*verb) == 2
    assert "needs --plan" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("7", [7]),
        ("3-5", [3, 4, 5]),
        ("1,4,9", [1, 4, 9]),
        ("1-9:3", [1, 4, 7]),
        ("5,3-5", [3, 4, 5]),
        ("all", [*range(10)]),
    ],
)
def test_lists_of_segments(text: str, numbers: list[int]) -> None:
    from hdrunet_video.farm.tasks import segment_numbers

    assert segment_numbers(text, 10) == numbers


def test_nothing_reaches_for_the_network(job: Path) -> None:
    (job / "plan" / "seg_000001.json").unlink()
    result = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "hdrunet_video", "--plan", job / "plan", "--segments", "1"],
        capture_output=True,
        text=True,
    )
    if "unshare" in result.stderr:
        pytest.skip("this user may not take the network away")
    assert result.returncode == 0


def test_random_damage_never_gives_another_film(job: Path, local: Path) -> None:
    moments = random.Random(7)
    for _ in range(8):
        victim = moments.choice(sorted((job / "plan").glob("seg_*")))
        moments.choice([flip, Path.unlink, lambda path: path.write_bytes(b"")])(victim)
        code = run("--plan", job / "plan", "--join", "-y")
        assert code in (65, 75)
        assert run("--plan", job / "plan", "--segments", "all") == 0
    assert run("--plan", job / "plan", "--join") == 0
    assert sha256(job / "out.mov") == sha256(local)
