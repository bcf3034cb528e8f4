"""The network beside itself and others: the same picture, the same numbers, none of them made up."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hdrunet_video.bench import runtimes
from hdrunet_video.bench.contestants import REFERENCE, Contestant, chosen, contestants, random_network
from hdrunet_video.bench.cost import cost, with_limits
from hdrunet_video.bench.machine import Machine, copy_bandwidth, examine, matmul_flops
from hdrunet_video.bench.network import Contest
from hdrunet_video.bench.report import tables
from hdrunet_video.bench.results import Results, Row
from hdrunet_video.bench.timing import reset_peak
from hdrunet_video.errors import UsageError
from hdrunet_video.network.cpu import own_layers
from hdrunet_video.network.forward import place
from hdrunet_video.network.hdrunet import HDRUNet

CPU = torch.device("cpu")


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row.name: row for row in rows}


def test_cost_of_the_papers_network() -> None:
    """355,136 multiplications and additions a pixel: counted by hand, layer by layer."""
    whole = cost(random_network(), 1920, 1080)
    assert whole.flop == 2 * 355_136 * 1920 * 1080
    assert whole.bytes("fp32") == 2 * whole.bytes("fp16")


def test_cost_of_sides_that_are_no_multiples_of_four() -> None:
    network = random_network()
    assert cost(network, 13, 9) == cost(network, 16, 12)


def test_roofline_is_the_longer_of_both() -> None:
    whole = cost(random_network(), 64, 64)
    assert whole.seconds("fp32", 1e9, 1e30) == pytest.approx(whole.flop / 1e9)
    assert whole.seconds("fp32", 1e30, 1e9) == pytest.approx(whole.bytes("fp32") / 1e9)
    both = whole.seconds("fp32", 1e12, 5e10)
    assert max(whole.flop / 1e12, whole.bytes("fp32") / 5e10) <= both
    assert both < whole.flop / 1e12 + whole.bytes("fp32") / 5e10


def test_limits_are_measured() -> None:
    assert matmul_flops(CPU, torch.float32, 64) > 1e6
    assert copy_bandwidth(CPU, 1 << 16) > 1e6


def test_limits_are_those_of_precisions_that_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdrunet_video.bench.machine.matmul_flops", lambda device, dtype: 1e9)
    monkeypatch.setattr("hdrunet_video.bench.machine.copy_bandwidth", lambda device: 1e9)
    for there, precisions in ((False, ["fp32"]), (True, ["fp32", "bf16"])):
        monkeypatch.setattr("hdrunet_video.bench.machine.cpu_has_bf16", lambda there=there: there)
        assert list(examine(CPU).flops) == precisions


def test_the_higher_limits_of_two_examinations(machine: Machine) -> None:
    busy = replace(machine, flops={"fp32": 2e11, "bf16": 1e9}, bandwidth=1.0, load=9.0)
    assert machine.best(busy) == replace(machine, flops={"fp32": 2e11, "bf16": 4e11})


def test_contestants_agree_and_are_timed_in_the_same_rounds(machine: Machine, network: HDRUNet) -> None:
    # What ours would be without kernels, where it has some.
    names = ["ours fp32", *(["oneDNN fp32"] if any(own_layers("fp32")) else []), "eager fp32 channels_last"]
    contest = Contest(machine, CPU, chosen(CPU, names), network)
    rows = by_name([with_limits(row, machine, network) for row in contest.run(18, 13, 100.0)])
    assert list(rows) == [REFERENCE, *names]
    assert len({len(row.seconds) for row in rows.values()}) == 1
    for row in rows.values():
        assert row.note == ""
        assert 0 < min(row.seconds) <= row.median <= max(row.seconds)
        assert row.difference is not None
        assert row.difference < 0.05
        assert (row.width, row.height, row.flop) == (18, 13, cost(network, 18, 13).flop)
        assert row.roofline_seconds > 0


def test_what_is_not_installed_is_named(machine: Machine, network: HDRUNet, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("onnxruntime", "openvino", "ncnn", "torch_tensorrt"):
        monkeypatch.setitem(sys.modules, module, None)
    names = ["OpenVINO fp32", "ONNX Runtime", "ncnn", "TensorRT"]
    contest = Contest(machine, CPU, chosen(CPU, names), network)
    rows = by_name(contest.run(8, 8, 1000.0))
    assert {name: rows[name].seconds for name in names} == dict.fromkeys(names, ())
    assert [rows[name].note for name in names] == [
        "not installed: openvino",
        "not installed: onnxruntime",
        "not installed: ncnn",
        "not installed: torch_tensorrt",
    ]


def test_what_fails_is_named_and_the_others_go_on(machine: Machine, network: HDRUNet) -> None:
    def build(network: HDRUNet, shape: tuple[int, ...], device: torch.device) -> nn.Module:
        raise RuntimeError("no such kernel\nand a long story")

    count = 0

    def breaks_later(signal: Tensor) -> Tensor:
        nonlocal count
        count += 1
        if count > 2:
            raise RuntimeError("can't allocate memory")
        return signal

    both = [Contestant("bad", "fp32", build), Contestant("late", "fp32", lambda *_: breaks_later)]
    rows = by_name(Contest(machine, CPU, [*chosen(CPU, ["ours fp32"]), *both], network).run(8, 8, 10.0))
    assert rows["bad"].note == "failed: RuntimeError: no such kernel"
    assert (rows["late"].note, rows["late"].seconds) == ("out of memory", ())
    assert rows["ours fp32"].seconds


def test_memory_that_is_held_from_call_to_call_counts(machine: Machine, network: HDRUNet) -> None:
    if reset_peak(CPU) is None:
        pytest.skip("this system does not let a process reset its peak")
    kept: list[Tensor] = []

    def keeps(signal: Tensor) -> Tensor:
        if not kept:
            kept.append(torch.ones(1 << 26, dtype=torch.uint8))
        return signal

    holder = Contestant("holder", "fp32", lambda *_: keeps, keeps=True)
    rows = by_name(Contest(machine, CPU, [*chosen(CPU, ["eager fp32 channels_last"]), holder], network).run(8, 8, 9.0))
    peaks = {name: row.peak_bytes or 0 for name, row in rows.items()}
    assert peaks.pop("holder") > 0.9 * (1 << 26)
    assert max(peaks.values()) < 0.5 * (1 << 26)


def test_what_would_not_end_in_time_is_left_out(machine: Machine, network: HDRUNet) -> None:
    rows = by_name(Contest(machine, CPU, chosen(CPU, ["ours fp32"]), network).run(16, 16, 0.0))
    assert rows[REFERENCE].seconds  # what all are compared with is measured in any case
    assert rows["ours fp32"].note.startswith("left out: it would need")


def test_what_the_original_takes_is_what_others_are_expected_to_take(machine: Machine, network: HDRUNet) -> None:
    slow = replace(machine, flops={"fp32": 1.0})
    rows = by_name(Contest(slow, CPU, chosen(CPU, ["ours fp32"]), network).run(16, 16, 100.0))
    assert rows["ours fp32"].seconds


def test_whose_code_it_was(machine: Machine, network: HDRUNet, monkeypatch: pytest.MonkeyPatch) -> None:
    def names() -> list[str]:
        rows = Contest(machine, CPU, chosen(CPU, ["ours fp32"]), network).run(8, 8, 100.0)
        return [
            line.split("|")[1].strip() for line in tables(Results(machine, tuple(rows))).splitlines() if "8x8" in line
        ]

    monkeypatch.setattr("hdrunet_video.network.cpu.kernels", lambda name: None)
    assert names() == ["eager fp32", "ours fp32 (onednn)"]
    monkeypatch.setattr("hdrunet_video.network.cpu.fused", lambda network, precision: None)
    assert names() == ["eager fp32", "ours fp32 (pytorch)"]


def test_what_is_not_installed_is_not_said_to_need_time(
    machine: Machine, network: HDRUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    rows = by_name(Contest(machine, CPU, chosen(CPU, ["OpenVINO fp32"]), network).run(8, 8, 0.0))
    assert rows["OpenVINO fp32"].note == "not installed: openvino"


def test_ours_is_measured_where_only_ours_fits(
    machine: Machine, network: HDRUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = place(network, CPU, "fp32").bytes_per_pixel  # type: ignore[attr-defined]
    assert needed < 1000
    monkeypatch.setattr("hdrunet_video.bench.network.free_memory", lambda device: 64 * 64 * (needed + 1.0))
    rows = by_name(Contest(machine, CPU, chosen(CPU, ["ours fp32"]), network).run(64, 64, 100.0))
    assert "would not fit" in rows[REFERENCE].note
    assert rows["ours fp32"].seconds


def test_what_would_not_fit_is_left_out(machine: Machine, network: HDRUNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdrunet_video.bench.network.free_memory", lambda device: 1000.0)
    rows = Contest(machine, CPU, contestants(CPU), network).run(64, 64, 5.0)
    assert all("would not fit in the memory" in row.note for row in rows)


def test_on_cuda_the_compiler_takes_its_time_as_well() -> None:
    names = [each.name for each in contestants(torch.device("cuda"))]
    assert {"torch.compile", "torch.compile max-autotune", "eager fp16 channels_last", "ours fp16"} <= set(names)
    assert "torch.compile max-autotune" not in [each.name for each in contestants(CPU)]


def test_unknown_contestant() -> None:
    with pytest.raises(UsageError, match="no contestant 'mine'") as error:
        chosen(CPU, ["mine"])
    assert "ours fp32" in error.value.hint


def test_portable_network_is_the_same() -> None:
    network = random_network()
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.05)
    signal = torch.rand(1, 3, 24, 16)
    torch.testing.assert_close(runtimes.portable(network)(signal), network(signal), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("module", "build"),
    [("onnxruntime", runtimes.onnx_runtime), ("ncnn", runtimes.ncnn)],
)
def test_other_runtimes_compute_the_same(module: str, build: runtimes.Builder, network: HDRUNet) -> None:
    pytest.importorskip(module)
    signal = torch.rand(1, 3, 24, 16)
    run = build(runtimes.portable(network), tuple(signal.shape), CPU)
    torch.testing.assert_close(run(signal), network(signal), rtol=1e-4, atol=1e-4)


def test_the_networks_part_needs_torch_and_numpy_alone() -> None:
    block = "import sys; [sys.modules.__setitem__(name, None) for name in ('av', 'vapoursynth', 'safetensors', 'tqdm')]"
    needed = "import hdrunet_video.bench.measure, hdrunet_video.bench.report, hdrunet_video.bench.machine"
    run = subprocess.run([sys.executable, "-c", f"{block}; {needed}"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
