"""Plan, segments, join as separate commands: any order, any place, any number of times; the bytes of a local run."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hdrunet_video import container
from tests.conftest import ffmpeg
from tests.farm.conftest import OPTIONS, Capture, hidden, plan, receipts, run
from tests.media import convert, sha256


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


def test_frames_of_another_name_are_another_plan(film: Path, tmp_path: Path, capsys: Capture) -> None:
    """Files of a sequence have their names from the segment on."""
    folder = plan(film, tmp_path / "a.%06d.exr", "--frames", ":6")
    assert run("--plan", folder, "--segments", "0") == 0
    assert run(film, tmp_path / "b.%06d.exr", "--plan", folder, *OPTIONS, "--frames", ":6") == 73
    assert "plan of something else" in capsys.readouterr().err
    plan(film, tmp_path / "b.%06d.exr", "--frames", ":6", "-y")
    assert run("--plan", folder, "--join") == 75
    assert run("--plan", folder, "--segments", "0") == 0
    for verb in ("--join", "--verify"):
        assert run("--plan", folder, verb) == 0
    assert sorted(path.name for path in tmp_path.glob("*.exr")) == [f"b.{number:06}.exr" for number in range(6)]


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


def test_many_tasks_on_the_same_segments(film: Path, local: Path, tmp_path: Path) -> None:
    folder = plan(film, tmp_path / "out.mov")
    command = [sys.executable, "-m", "hdrunet_video", "--plan", str(folder), "-q", "--segments"]
    tasks = [subprocess.Popen([*command, numbers]) for numbers in ("0-4", "all", "2-4")]
    assert [task.wait(120) for task in tasks] == [0, 0, 0]
    joins = [subprocess.Popen([*command[:-1], "--join"]) for _ in range(2)]
    assert [each.wait(120) for each in joins] == [0, 0]
    assert sha256(tmp_path / "out.mov") == sha256(local)
    assert hidden(tmp_path) == []


def test_a_join_whose_file_another_join_has_swept_up(
    film: Path, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, ours = plan(film, tmp_path / "out.mov"), container.has_planned_times
    assert run("--plan", folder, "--segments", "all") == 0

    def overtaken(*given: Any) -> bool:
        subprocess.run([sys.executable, "-m", "hdrunet_video", "--plan", str(folder), "--join", "-q"], check=True)
        return ours(*given)

    monkeypatch.setattr(container, "has_planned_times", overtaken)
    assert run("--plan", folder, "--join") == 0
    assert sha256(tmp_path / "out.mov") == sha256(local)


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
