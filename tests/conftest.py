"""What all tests share: clips made on the spot, an identity checkpoint, and tools that are not ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

# A shell starts what runs in the background with SIGINT ignored, and children inherit that: Ctrl-C is tested here.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # pytest runs one worker a core
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # of commands that are run, which have threads for all cores
TEST_CUDA, HIDDEN = "HDRUNET_TEST_CUDA", "HDRUNET_TEST_HIDDEN"
"""Set where tests are to see a GPU; and what CUDA_VISIBLE_DEVICES was, where they are not. See test_gpu.py."""
NVIDIA_DRIVER = Path("/proc/driver/nvidia/gpus").exists()
if TEST_CUDA not in os.environ:
    os.environ.setdefault(HIDDEN, os.environ.get("CUDA_VISIBLE_DEVICES", "all"))  # workers come with it
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton: its kernels run on the CPU then


needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="needs OpenVINO")


def ffmpeg(*arguments: str | Path) -> None:
    """Run Debian's ffmpeg; tests that need a clip make it with this."""
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL, timeout=120
    )


def ffprobe(path: Path, *arguments: str) -> dict[str, Any]:
    """What Debian's ffprobe says of a file, as JSON."""
    command = ["ffprobe", "-v", "error", "-of", "json", *arguments, str(path)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout))


def mediainfo(path: Path, kind: str = "Video") -> dict[str, str]:
    """What mediainfo says of the first stream of a kind, with its own names."""
    command = ["mediainfo", "--Output=JSON", str(path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    tracks = json.loads(output.stdout)["media"]["track"]
    return next(track for track in tracks if track["@type"] == kind)


def hdrunet(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run our command line as a user does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "hdrunet_video", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        timeout=180,
    )


def loaded(statement: str, cwd: Path | None = None) -> set[str]:
    """The modules that a process has when it has done a statement."""
    code = f"import sys; {statement}; print(); print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=cwd)
    return set(run.stdout.splitlines()[-1].split())


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the clips of this session."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def clip(clips: Path) -> Path:
    """Ten frames of 64x48 H.264 with B-frames and sound, BT.709 limited, tagged; 24 fps."""
    path = clips / "clip.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=24:duration=0.41667"),
        *("-f", "lavfi", "-i", "sine=frequency=440:duration=0.41667"),
        *("-vf", "scale=out_color_matrix=bt709:out_range=tv", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-bf", "2"),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
        *("-frames:v", "10", "-c:a", "aac", path),
    )
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Path) -> Path:
    """The folder that the test is in, with a good film in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.mp4").write_bytes(clip.read_bytes())
    return tmp_path


@pytest.fixture
def threads() -> Iterator[int]:
    """Four threads for torch, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield 4
    torch.set_num_threads(before)
