from __future__ import annotations

import ast
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import safetensors
import torch

from hdrunet_video import load_network
from hdrunet_video.errors import ConfigError, RetryError
from hdrunet_video.network.hdrunet import HDRUNet, HDRUNetConfig
from hdrunet_video.network.weights import BUNDLED, save_network
from hdrunet_video.training import checkpoint
from hdrunet_video.training.__main__ import main
from hdrunet_video.training.config import Loss, Optimizer, Schedule, load_config
from hdrunet_video.training.losses import reconstruction
from hdrunet_video.training.optimize import Average, learning_rate, make_optimizer
from hdrunet_video.training.start import make_network
from hdrunet_video.training.validate import Pair, validate

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")
Tiny = Callable[[str], Path]
COMMAND = [sys.executable, "-m", "hdrunet_video.training"]


def run(config: Path, *settings: str, resume: bool = False) -> int:
    return main([str(config), *(f"--set={each}" for each in settings), *(["--resume"] if resume else [])])


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_network(path).state_dict())


def same(first: Path, second: Path) -> bool:
    one, two = tensors(first), tensors(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], optimizer: str
) -> None:
    steady = ("loss.steady=invariance", "optimizer.accumulate=2", "schedule.kind=constant")
    steady += (f"optimizer.kind={optimizer}",)
    whole, parts = tiny("whole"), tiny("parts")
    assert run(whole, *steady) == 0
    assert run(parts, "run.iterations=2", *steady) == 0
    assert run(parts, *steady, resume=True) == 0
    for name in ("last.safetensors", "best.safetensors"):
        assert (whole.with_suffix("") / name).is_file()
    assert same(whole.with_suffix("") / "last.safetensors", parts.with_suffix("") / "last.safetensors")
    states = [torch.load(path.with_suffix("") / "last.state", weights_only=True) for path in (whole, parts)]
    for name, value in states[0]["network"].items():
        assert torch.equal(value, states[1]["network"][name])
    assert torch.equal(states[0]["random"]["cpu"], states[1]["random"]["cpu"])
    assert "goes on from iteration 2" in capsys.readouterr().err


def test_a_signal_ends_a_run_between_two_steps(tiny: Tiny) -> None:
    whole, parts = tiny("whole"), tiny("parts")
    assert run(whole, "run.iterations=14", "run.validate_every=1000") == 0
    command = [*COMMAND, str(parts), "--set=run.iterations=14", "--set=run.validate_every=1000"]
    process = subprocess.Popen([*command, "--set=run.checkpoint_minutes=0"], stderr=subprocess.PIPE, text=True)
    state = parts.with_suffix("") / "last.state"
    until = time.monotonic() + 100
    while not state.exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=100)[1]
    assert process.returncode == 143, said
    assert "--resume goes on" in said
    stopped = torch.load(state, weights_only=True)["iteration"]
    assert 1 <= stopped < 14
    assert run(parts, "run.iterations=14", "run.validate_every=1000", resume=True) == 0
    assert same(whole.with_suffix("") / "last.safetensors", parts.with_suffix("") / "last.safetensors")


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="has no signal masks")
def test_ctrl_c_while_workers_start_ends_a_run_as_later(tiny: Tiny) -> None:
    command = [*COMMAND, str(tiny("run")), "--set=data.workers=1", "--set=run.iterations=1000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "iteration 0" in line)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        said += process.stderr.read()
    assert process.returncode == 130, said
    assert "--resume goes on" in said


def test_a_signal_that_is_sent_twice_is_one() -> None:
    """As `timeout` does: to the process, and to its group."""
    code = """if True:
        import os, signal, time
        from hdrunet_video.training.signals import noted_signals
        with noted_signals() as received:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            print(received, flush=True)
            time.sleep(1.2)
            os.kill(os.getpid(), signal.SIGTERM)
            print("still here")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "[15]\n")


def test_two_processes_are_one_that_accumulates(tiny: Tiny) -> None:
    one, two = tiny("one"), tiny("two")
    settings = ("run.iterations=3", "schedule.kind=constant", "compute.threads=1")
    assert run(one, "optimizer.accumulate=2", *settings) == 0
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [*COMMAND, str(two), *(f"--set={each}" for each in settings)],
            env={**os.environ, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=150)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    first, second = (tensors(path.with_suffix("") / "last.safetensors") for path in (one, two))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=2e-5)


def test_what_a_run_leaves(tiny: Tiny) -> None:
    config = tiny("run")
    assert run(config) == 0
    folder = config.with_suffix("")
    network = load_network(folder / "last.safetensors")
    assert network(torch.rand(1, 3, 10, 12)).shape == (1, 3, 10, 12)
    with safetensors.safe_open(folder / "last.safetensors", framework="pt") as file:
        notes = json.loads(file.metadata()["hdrunet_video"])
    assert {"training", "data_sha256", "revision", "validation", "iteration", "config"} <= notes.keys()
    assert json.loads(notes["training"])["optimizer"]["clip"] == 1.0
    assert json.loads(notes["validation"])["iteration"] == 6
    report = (folder / "report.md").read_text()
    assert "Held-out scenes" in report
    assert "waiting for data" in report
    assert (folder / "curves.png").stat().st_size > 500
    assert (folder / "held-out-0.png").is_file()
    assert list((folder / "tensorboard").iterdir())
    assert not list(folder.glob(".*.part"))


def test_another_run_is_not_resumed_nor_overwritten(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny("run")
    assert run(config, "run.iterations=2") == 0
    assert run(config, "run.iterations=2") == 65
    assert "holds a run already" in capsys.readouterr().err
    assert run(config, "optimizer.lr=0.5", resume=True) == 65
    assert "optimizer.lr = 0.001, not 0.5" in capsys.readouterr().err
    assert run(config, "data.validation_scenes=['scene1']", resume=True) == 65
    capsys.readouterr()
    (config.with_suffix("") / "last.state").write_bytes(b"PK damaged")
    assert run(config, resume=True) == 65
    assert "cannot be resumed" in capsys.readouterr().err


def test_a_full_disk_costs_no_checkpoint(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny("run")
    assert run(config, "run.iterations=2") == 0
    state = config.with_suffix("") / "last.state"
    before = state.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    assert run(config, resume=True) == 75
    assert state.read_bytes() == before
    assert not list(state.parent.glob(".*.part"))
    with pytest.raises(RetryError, match="disk is full"):
        checkpoint.save_state(state.parent, {})


@pytest.mark.parametrize("said", ["could not create a primitive", "DefaultCPUAllocator: can't allocate memory"])
def test_too_little_memory_is_one_sentence(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    def step(*_: object) -> torch.Tensor:
        raise RuntimeError(said)

    monkeypatch.setattr("hdrunet_video.training.loop.Training._step", step)
    assert run(tiny("run")) == 75
    assert f"too little memory: {said}" in (error := capsys.readouterr().err)
    assert "data.batch" in error


def test_a_run_that_diverges_keeps_its_checkpoint(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny("run")
    assert run(config, "optimizer.lr=1.0", "optimizer.clip=0", "loss.kind=l2", "run.iterations=400") == 65
    assert "diverged" in capsys.readouterr().err
    state = config.with_suffix("") / "last.state"
    if state.exists():
        assert all(bool(each.isfinite().all()) for each in torch.load(state, weights_only=True)["average"].values())


def test_a_time_limit_ends_a_run(tiny: Tiny) -> None:
    config = tiny("run")
    settings = ("run.minutes=0.01", "run.iterations=100000", "schedule.over=time", "schedule.kind=cosine")
    assert run(config, *settings) == 0
    state = torch.load(config.with_suffix("") / "last.state", weights_only=True)
    assert 1 <= state["iteration"] < 1000
    assert state["optimizer"]["param_groups"][0]["lr"] < 1e-3


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_tiny_network_learns_one_patch(dtype: torch.dtype | None, kind: Literal["adamw", "muon"]) -> None:
    torch.manual_seed(0)
    network = HDRUNet(HDRUNetConfig(channels=16, condition_channels=8, sft_channels=8, blocks=(1, 1, 1)))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(network.parameters(), Optimizer(kind=kind, lr=4e-3))
    y = torch.rand(1, 3, 12, 12).cumsum(-1) * 0.2
    x, loss = y.clamp(0, 1), Loss()
    values = []
    for _ in range(100):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
            output = network(x)
        assert output.dtype == torch.float32
        value = reconstruction(output, y, loss)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.2 * values[0]


def test_the_first_output_may_be_the_input(tiny: Tiny) -> None:
    network = make_network(load_config(tiny("run"), ["start.identity=true"]))
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(network(image), image)
    with pytest.raises(ConfigError, match="are weights of"):
        make_network(load_config(tiny("run"), ["start.weights=bundled"]))


def test_our_own_pictures_take_the_bundled_weights_further(views: Path, tmp_path: Path) -> None:
    small = ["data.patch=32", "data.batch=1", "data.workers=0", "compute.compile=false", "run.iterations=1"]
    where = [f"source=[{{path='{views}', layout='manifest'}}]", f"run.output='{tmp_path}'"]
    assert run(Path("further"), *small, *where, "schedule.warmup=0") == 0
    bundled, trained = tensors(BUNDLED), tensors(tmp_path / "last.safetensors")
    assert bundled.keys() == trained.keys()
    # One step: other weights, but near.
    changes = [float((trained[name] - bundled[name]).norm() / bundled[name].norm()) for name in bundled]
    assert 0 < max(changes) < 0.05


def test_starting_with_the_weighting_of_weights_whose_unet_is_shut(tiny: Tiny, tmp_path: Path) -> None:
    """The first output is that of the weights, and the U-Net can learn."""
    config = load_config(tiny("run"))
    torch.manual_seed(4)
    shut = make_network(config)
    with torch.no_grad():
        shut.decode_full.bias.fill_(-100.0)
    save_network(shut, tmp_path / "shut.safetensors")
    network = make_network(load_config(tiny("run"), ["start.weighting=shut.safetensors"]))
    picture = torch.rand(1, 3, 12, 16)
    output = network(picture)
    assert torch.equal(output, shut(picture))
    output.sum().backward()
    assert network.to_rgb.weight.grad.abs().sum() > 0
    assert shut.to_rgb.weight.grad is None
    with torch.no_grad():
        network.to_rgb.weight.fill_(0.1)
    assert not torch.equal(network(picture), shut(picture))


def test_a_weighting_needs_a_network_that_has_one(tiny: Tiny, tmp_path: Path) -> None:
    settings = ["network.weighting=false", "start.weighting=without.safetensors"]
    config = load_config(tiny("run"), settings[:1])
    save_network(make_network(config), tmp_path / "without.safetensors")
    with pytest.raises(ConfigError, match="with weighting"):
        make_network(load_config(tiny("run"), settings))


def test_learning_rates() -> None:
    config, steps = Optimizer(lr=2e-4), Schedule()
    rates = [learning_rate(config, steps, part, 0) for part in (0.0, 0.19, 0.2, 0.5, 1.0)]
    assert rates == pytest.approx([2e-4, 2e-4, 1e-4, 5e-5, 1.25e-5])
    cosine = replace(steps, kind="cosine", final=0.1, warmup=10)
    assert learning_rate(config, cosine, 0.5, 100) == pytest.approx(2e-4 * 0.55)
    assert learning_rate(config, cosine, 1.0, 100) == pytest.approx(2e-5)
    assert learning_rate(config, cosine, 0.0, 4) == pytest.approx(1e-4)


def test_average() -> None:
    layer = torch.nn.Linear(2, 2)
    average = Average(layer, 0.5)
    start = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1.0)
    average.update(layer, 1000)
    torch.testing.assert_close(average.weights["weight"], start + 0.5)
    none = Average(layer, 0.0)
    with torch.no_grad():
        layer.weight.add_(1.0)
    none.update(layer, 0)
    assert torch.equal(none.weights["weight"], layer.weight)


def test_dead_channels_are_counted() -> None:
    torch.manual_seed(1)
    network = HDRUNet(HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(1, 1, 1))).eval()
    assert network.decode_full.bias is not None
    with torch.no_grad():
        network.decode_full.bias[:] = torch.tensor([100.0, -100.0, -100.0, -100.0])
    pairs = [Pair("a", torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))] * 2
    assert validate(network, pairs, torch.device("cpu")).dead == 0.75
    assert validate(lambda x: x, pairs, torch.device("cpu")).dead == 0.0


def test_what_runs_never_imports_the_training() -> None:
    root = Path(checkpoint.__file__).parents[1]
    for path in [*root.glob("*.py"), *(root / "color").glob("*.py"), *(root / "network").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [f"{node.module}"] if isinstance(node, ast.ImportFrom) else []
            assert not any("training" in name for name in names), path
