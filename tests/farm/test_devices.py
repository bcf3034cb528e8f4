"""Where tasks run: on several devices, until a signal, without a network; and what receipts say of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.weights import save_network
from tests.farm.cluster import wait_for
from tests.farm.conftest import OPTIONS, Capture, hidden, plan, receipts, run
from tests.media import convert, forge, sha256


def plan_of_a_network(film: Path, folder: Path) -> Path:
    """Of two segments, with weights that are computed in no time."""
    config = HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(0, 0, 0))
    save_network(HDRUNet(config), folder / "small.safetensors")
    options = ("--weights", folder / "small.safetensors", "--segment-frames", "6", "--frames", ":12")
    assert run(film, folder / "out.mov", "--plan", folder / "plan", *options) == 0
    return folder / "plan"


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


def test_the_film_is_searched_for_bars_once(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hdrunet_video import engines

    search, searched = engines.active_picture, []

    def counted(*arguments: Any) -> Any:
        searched.append(arguments)
        return search(*arguments)

    monkeypatch.setattr(engines, "active_picture", counted)
    convert(film, tmp_path / "two.mov", "--device", "cpu,cpu")
    assert len(searched) == 1


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


def test_only_tasks_need_the_units_of_a_gpu(
    film: Path, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A plan for NVDEC, whose frames the software decoder makes here."""
    from hdrunet_video.errors import UsageError
    from hdrunet_video.reader import Reader

    def without(*_: object) -> None:
        raise UsageError("there is no NVIDIA GPU", "")

    original = Reader.__init__
    monkeypatch.setattr("hdrunet_video.job.check_decoder", lambda *_: None)
    folder = plan(film, tmp_path / "out.mov", "--decoder", "nvdec")
    with monkeypatch.context() as patch:
        patch.setattr(Reader, "__init__", lambda self, *rest: original(self, *rest[:6], "software"))
        assert run("--plan", folder, "--segments", "all") == 0
    monkeypatch.setattr("hdrunet_video.job.check_decoder", without)
    assert run("--plan", folder, "--join") == 0
    assert run("--plan", folder, "--verify") == 0
    assert sha256(tmp_path / "out.mov") == sha256(local)
    (folder / "seg_000001.json").unlink()
    assert run("--plan", folder, "--segments", "1") == 2
    assert "no NVIDIA GPU" in capsys.readouterr().err


def test_tasks_compute_as_many_frames_at_once_as_suit_the_machine(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = plan_of_a_network(film, tmp_path)
    asked: list[tuple[int, int, int, bool]] = []
    monkeypatch.setattr("hdrunet_video.work.tune", lambda _, *how: asked.append(how))
    assert run("--plan", folder, "--segments", "0") == 0
    assert run("--plan", folder, "--segments", "1", "--tune") == 0
    assert asked == [(96, 64, 6, False), (96, 64, 6, True)]


def test_segments_in_tiles_beside_others_are_said(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Less memory, or what other programs left of it, makes other last bits."""
    folder = plan_of_a_network(film, tmp_path)
    assert run("--plan", folder, "--segments", "0") == 0
    monkeypatch.setattr("hdrunet_video.tiling.total_memory", lambda device: 1 << 20)
    assert run("--plan", folder, "--segments", "1") == 0
    assert [receipt["tile"] for receipt in receipts(folder).values()] == ["", "64x64"]
    capsys.readouterr()
    assert run("--plan", folder, "--join") == 0
    said = capsys.readouterr().err
    assert "in tiles of 64x64)" in said
    assert "may differ in its last bits" in said


def test_loading_is_not_taken_for_slow_frames(film: Path, tmp_path: Path) -> None:
    from hdrunet_video.farm.tasks import Request, do_segments
    from hdrunet_video.progress import Silent

    told: list[str] = []

    class Listener(Silent):
        def begin(self, name: str, total: int, done: int) -> None:
            told.append("begin")

        def stage(self, text: str) -> None:
            told.append(text)

    do_segments(Request(plan(film, tmp_path / "out.mov")), "0", Listener(), lambda: False)
    assert told == ["checking", "loading", "begin", "converting"]


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


@pytest.mark.parametrize(("precision", "by"), [("fp16", "in its last bits"), ("bf16", "by several 10-bit codes")])
def test_mixed_hardware_is_said(job: Path, capsys: Capture, precision: str, by: str) -> None:
    forge(job / "plan" / "seg_000001.json", hardware="GPU X", precision=precision)
    assert run("--plan", job / "plan", "--join", "-y") == 0
    said = capsys.readouterr().err
    assert f"GPU X in {precision}" in said
    assert by in said
