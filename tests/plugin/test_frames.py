"""Any order, many threads, many filters, and frames that fail."""

from __future__ import annotations

import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import vapoursynth as vs
from torch import Tensor
from vapoursynth import core

import hdrunet_video
from hdrunet_video.baselines import MODELS
from hdrunet_video.errors import RetryError
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.weights import save_network
from hdrunet_video.picture import component_planes
from tests.conftest import needs_openvino

from .conftest import at_most, blank, filled, noise, planes, refusal, same, vspipe


class Watched:
    """The identity, which knows how many frames were in it at once, and fails at what it is told to."""

    halo = (0, 0)

    def __init__(self) -> None:
        self.now = self.most = self.frames = 0
        self.errors: list[Exception] = []
        self.lock = threading.Lock()

    def __call__(self, signal: Tensor) -> Tensor:
        with self.lock:
            self.now, self.frames = self.now + 1, self.frames + 1
            self.most = max(self.most, self.now)
            error = self.errors.pop() if self.errors else None
        threading.Event().wait(0.01)
        with self.lock:
            self.now -= 1
        if error is not None:
            raise error
        return signal


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Takes the place of model="identity"."""
    watched = Watched()
    monkeypatch.setitem(MODELS, "identity", lambda: watched)
    return watched


@pytest.mark.parametrize(("streams", "most"), [(None, 1), (1, 1), (3, 3)])
def test_as_many_frames_in_the_network_as_streams(network: Watched, streams: int | None, most: int) -> None:
    options = {} if streams is None else {"num_streams": streams}
    with at_most(6):
        made = core.hdrunet.Reconstruct(blank(vs.RGB24, length=30), model="identity", **options)
        assert len(list(made.frames(prefetch=12))) == 30
    assert network.most == most


def test_any_order_from_any_thread() -> None:
    clip = noise(vs.RGB24, 20, 12, 24)
    made = core.hdrunet.Reconstruct(clip, model="identity", num_streams=3)
    in_order = [planes(frame) for frame in made.frames(close=True)]
    order = [random.Random(1).randrange(24) for _ in range(120)]
    with at_most(4), ThreadPoolExecutor(8) as pool:
        frames = pool.map(lambda n: planes(core.hdrunet.Reconstruct(clip, model="identity").get_frame(n)), order[:24])
        assert all(same(in_order[n], found) for n, found in zip(order, frames, strict=False))
        frames = pool.map(lambda n: planes(made.get_frame(n)), order)
        assert all(same(in_order[n], found) for n, found in zip(order, frames, strict=True))
        futures = [made.get_frame_async(n) for n in reversed(range(24))]
        assert all(same(in_order[23 - i], planes(future.result())) for i, future in enumerate(futures))


def test_several_filters_in_one_graph() -> None:
    clip = noise(vs.RGB24, 20, 12, 10)
    with at_most(4):
        chain = clip
        for _ in range(4):
            chain = core.hdrunet.Reconstruct(chain.std.RemoveFrameProps(), model="identity", output="signal")
        both = core.std.Interleave([chain, core.hdrunet.Reconstruct(clip, model="identity", format=vs.RGBS)])
        assert len(list(both.frames(prefetch=8))) == 20
        assert same(planes(chain.get_frame(4)), planes(both.get_frame(8)))


def test_a_frame_that_fails_harms_no_other(network: Watched) -> None:
    clip = noise(vs.RGB24, 20, 12, 24)
    made = core.hdrunet.Reconstruct(clip, model="identity")
    good = planes(made.get_frame(0))
    network.errors.append(ValueError("broken, é"))
    text = refusal(lambda: made.get_frame(17))
    assert text.startswith("Reconstruct: frame 17: ValueError: broken, é, a bug of hdrunet-video. Report it")
    assert "Traceback" in text
    assert same(planes(core.hdrunet.Reconstruct(clip, model="identity").get_frame(0)), good)
    network.errors.append(
        RetryError("the device was lost: --device", "give --tile 4x4; the same command goes on from here")
    )
    assert refusal(lambda: made.get_frame(3)) == "Reconstruct: frame 3: the device was lost: device; give tile 4x4"
    for n in (17, 3):
        assert made.get_frame(n).props["_Transfer"] == 16


def test_out_of_memory_makes_tiles_smaller_and_then_asks_for_help(
    network: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    clip = noise(vs.RGB24, 200, 100, 4)
    made = core.hdrunet.Reconstruct(clip, model="identity")
    good = planes(made.get_frame(2))
    network.errors.append(MemoryError())
    fresh = core.hdrunet.Reconstruct(clip, model="identity")
    assert same(planes(fresh.get_frame(2)), good)
    assert "out of memory on cpu: going on with tiles of 100x100" in caplog.text
    network.errors.extend(MemoryError() for _ in range(9))
    text = refusal(lambda: fresh.get_frame(1))
    assert text.startswith("Reconstruct: frame 1: a frame of 200x100 does not fit in the memory of cpu; end other")
    network.errors.clear()
    assert same(planes(fresh.get_frame(2)), good)


def test_weights_that_are_none_fail_at_the_first_frame_and_every_other(tmp_path: Path) -> None:
    path = tmp_path / "nothing.pth"
    path.write_bytes(b"no weights")
    made = core.hdrunet.Reconstruct(blank(vs.RGB24), weights=str(path))
    for n in (0, 5, 0):
        assert refusal(lambda n=n: made.get_frame(n)).startswith(f"Reconstruct: frame {n}: {path}")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"output": "hdr"}, 'unknown output "hdr". There are pq, hlg, linear, signal'),
        ({"model": "x"}, 'unknown model "x". There are hdrunet, identity'),
        ({"model": "identity", "weights": "a.pth"}, 'model="identity" has no weights. Leave out weights'),
        ({"weights": "missing.pth"}, "there is no file of weights at missing.pth. Leave out weights"),
        ({"weights": "run-1/best--of.pth"}, "there is no file of weights at run-1/best--of.pth. Leave out"),
        ({"device": "tpu"}, '"tpu" is not a device. Give auto, cpu, cuda or cuda:N'),
        ({"device": "cuda:99"}, "there is no device cuda:99 here"),
        ({"device": "cpu", "precision": "fp16"}, "fp16 is slower and less exact than fp32 on a CPU"),
        ({"precision": "fp8"}, 'unknown precision "fp8". There are auto, fp16, fp32, bf16'),
        ({"backend": "tensorrt"}, 'unknown backend "tensorrt". There are auto, openvino'),
        ({"tile": [1, 2, 3]}, "tile has 3 numbers. Give tile=[width, height]"),
        ({"tile": [2, 64]}, "a tile of 2x64 is too small"),
        ({"tile": [-8, -8]}, "a tile of -8x-8 is too small"),
        ({"num_streams": 0}, "num_streams 0 is not possible. Give at least 1"),
        ({"peak": 100.0}, "peak 100 must lie above white 203"),
        ({"peak": 400.0}, "peak 400 would darken reference white"),
        ({"peak": 2000.0, "output": "hlg"}, "peak 2000 does not fit HLG"),
        ({"peak": 600.0, "output": "signal"}, 'peak has no effect on output="signal"'),
        ({"white": 5.0}, "white 5 is out of range"),
        ({"white": float("nan")}, "white nan is out of range"),
        ({"display_gamma": 9.0}, "display_gamma 9 is out of range"),
        ({"strength": -0.5}, "strength -0.5 is out of range"),
        ({"matrix_in": "bt709"}, "matrix_in has no meaning for RGB24. Leave out matrix_in"),
        ({"range_in": "tv"}, 'unknown range_in "tv". There are limited, full'),
        ({"dither": True, "format": vs.RGBS}, "RGBS is not rounded"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], says: str) -> None:
    text = refusal(lambda: core.hdrunet.Reconstruct(blank(vs.RGB24), **options))
    assert text.startswith(f"Reconstruct: {says}")


def test_weights_beside_a_script_that_vspipe_runs_from_elsewhere(tmp_path: Path) -> None:
    """It enters the script's folder to read it, and leaves before the first frame."""
    (tmp_path / "films").mkdir()
    script = tmp_path / "films" / "film.vpy"
    config = HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(0, 1, 0))
    save_network(HDRUNet(config), script.parent / "mine.safetensors")
    script.write_text(
        "import vapoursynth as vs\nfrom vapoursynth import core\n"
        "clip = core.std.BlankClip(format=vs.RGB24, width=20, height=12, length=1)\n"
        'core.hdrunet.Reconstruct(clip, weights="mine.safetensors").set_output()\n'
    )
    done = vspipe(script, "--")
    assert done.returncode == 0, done.stderr.decode()


@needs_openvino
def test_openvino_in_place_of_our_own_code(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    path = tmp_path / "small.safetensors"
    save_network(HDRUNet(HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(0, 1, 0))), path)
    clip = noise(vs.RGB24, 20, 12, 2)
    ours, theirs = (
        core.hdrunet.Reconstruct(clip, weights=str(path), backend=backend) for backend in ("auto", "openvino")
    )
    for one, other in zip(planes(ours.get_frame(1)), planes(theirs.get_frame(1)), strict=True):
        assert abs(one.astype(int) - other.astype(int)).max() <= 2  # of 16 bits
    assert not caplog.records


def test_openvino_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    text = refusal(lambda: core.hdrunet.Reconstruct(blank(vs.RGB24), backend="openvino"))
    assert text == "Reconstruct: OpenVINO is not installed; pip install 'hdrunet-video[openvino]'"


def test_tiles_and_dither() -> None:
    clip = noise(vs.RGB24, 80, 24, 1)
    whole, tiled = (core.hdrunet.Reconstruct(clip, output="signal", tile=tile) for tile in (0, [64, 64]))
    for one, other in zip(planes(whole.get_frame(0)), planes(tiled.get_frame(0)), strict=True):
        assert abs(one - other).max() < 1e-5
    options = {"model": "identity", "format": vs.RGB30}
    rough = core.hdrunet.Reconstruct(clip, dither=False, **options)
    exact = core.hdrunet.Reconstruct(clip, model="identity", format=vs.RGBS).get_frame(0)
    for coded, value in zip(planes(rough.get_frame(0)), planes(exact), strict=True):
        assert abs(coded - value * 1023).max() <= 0.501
    assert not same(planes(rough.get_frame(0)), planes(core.hdrunet.Reconstruct(clip, **options).get_frame(0)))


def test_strength_lies_between_the_clip_and_the_network() -> None:
    clip = noise(vs.RGB24, 16, 12, 1)

    def light(**options: Any) -> list[Any]:
        return planes(core.hdrunet.Reconstruct(clip, model="expansion", output="linear", **options).get_frame(0))

    none, half, all_of_it = light(strength=0), light(strength=0.5), light()
    assert same(all_of_it, light(strength=1))
    assert same(none, planes(core.hdrunet.Reconstruct(clip, model="identity", output="linear").get_frame(0)))
    for low, middle, high in zip(none, half, all_of_it, strict=True):
        assert abs(middle - (low + high) / 2).max() < 1e-4


def test_pixels_are_those_of_the_command_line(clip: Path, tmp_path: Path) -> None:
    """The archive that the command line writes for .mkv, pixel by pixel, with the bundled weights."""
    import av

    hdrunet_video.convert(clip, tmp_path / "out.mkv", frames=(0, 4))
    with av.open(str(clip)) as source:
        decoded = [frame for _, frame in zip(range(4), source.decode(video=0), strict=False)]
    with av.open(str(tmp_path / "out.mkv")) as result:
        green_blue_red = [
            [plane.numpy() for plane in component_planes(frame, hdrunet_video.job.load_preset("ffv1").format)]
            for frame in result.decode(video=0)
        ]
    width, height = decoded[0].width, decoded[0].height
    coded = [frame.to_ndarray() for frame in decoded]

    def values(n: int, plane: int, shape: tuple[int, int]) -> Any:
        start = 0 if plane == 0 else width * height * (3 + plane) // 4
        return coded[n].reshape(-1)[start : start + shape[0] * shape[1]].reshape(shape)

    source_clip = filled(blank(vs.YUV420P8, width, height, 4), values)
    tagged = source_clip.std.SetFrameProps(_Matrix=1, _Primaries=1, _Transfer=1, _Range=0, _ChromaLocation=0)
    made = core.hdrunet.Reconstruct(tagged)
    for n, expected in enumerate(green_blue_red):
        assert same(planes(made.get_frame(n)), expected)
