"""Runs as a whole, and the parts of a step."""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import safetensors
import torch

from hdrunet_video import load_network
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.training import checkpoint
from hdrunet_video.training.config import Loss, Optimizer, Schedule
from hdrunet_video.training.losses import reconstruction
from hdrunet_video.training.optimize import Average, learning_rate, make_optimizer
from hdrunet_video.training.validate import Pair, validate
from tests.training.runs import COMMAND, Tiny, run, tensors

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")


def test_two_processes_are_one_that_accumulates(tiny: Tiny) -> None:
    one, two = tiny("one"), tiny("two")
    settings = ("run.iterations=3", "schedule.kind=constant", "compute.threads=1")
    assert run(one, "optimizer.accumulate=2", *settings) == 0
    together([*COMMAND, str(two), *(f"--set={each}" for each in settings)])
    first, second = (tensors(path.with_suffix("") / "last.safetensors") for path in (one, two))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=2e-5)


def together(command: list[str]) -> None:
    """Run a command as two processes of one run."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=150)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said


def test_processes_go_by_the_clock_of_the_first(tiny: Tiny, tmp_path: Path) -> None:
    """Each for itself would take other learning rates, and then have other weights."""
    code = """if True:
        import os, sys, time
        from pathlib import Path
        from types import SimpleNamespace
        from hdrunet_video.training import loop
        from hdrunet_video.training.__main__ import main
        rank, rates, learning_rate = int(os.environ["RANK"]), [], loop.learning_rate
        loop.time = SimpleNamespace(monotonic=lambda: time.monotonic() * (1 + 50 * rank))
        loop.learning_rate = lambda *state: rates.append(learning_rate(*state)) or rates[-1]
        code = main(sys.argv[2:])
        Path(sys.argv[1], f"rates{rank}").write_text(str(rates))
        sys.exit(code)
    """
    settings = ("run.minutes=60", "schedule.over=time", "schedule.kind=cosine")
    together([sys.executable, "-c", code, str(tmp_path), str(tiny("run")), *(f"--set={each}" for each in settings)])
    first, second = ((tmp_path / f"rates{rank}").read_text() for rank in range(2))
    assert first == second
    assert len(set(first.split(", "))) == 6


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
