"""What ends a run, and what is there afterwards."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from hdrunet_video.errors import RetryError
from hdrunet_video.training import checkpoint
from tests.training.runs import COMMAND, Tiny, run, same

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")


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


def test_a_run_goes_on_in_another_precision(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU that has no bf16, of what a CPU began: fp16 scales its gradients, and nothing of that was kept."""
    config = tiny("run")
    assert run(config, "compute.precision=auto", "run.iterations=2") == 0
    monkeypatch.setattr("hdrunet_video.training.compute._dtype", lambda precision, device: torch.float16)
    for iterations in (4, 6):
        assert run(config, "compute.precision=auto", f"run.iterations={iterations}", resume=True) == 0
        state = torch.load(config.with_suffix("") / "last.state", weights_only=True)
        assert state["iteration"] == iterations
        assert state["scaler"]["scale"] >= 1


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


def test_an_error_in_a_worker_ends_the_run(tiny: Tiny) -> None:
    """Workers ignore signals, so Python, as it exits, would wait for them for ever."""
    config = tiny("run")
    command = [*COMMAND, str(config), "--set=data.workers=1", "--set=run.iterations=1000", "--set=data.cache=cache"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "iteration 0" in line)
        for path in (config.with_suffix("") / "cache").glob("*.npy"):
            path.unlink()
        try:
            said += process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode == 1, said
    assert "FileNotFoundError" in said


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
