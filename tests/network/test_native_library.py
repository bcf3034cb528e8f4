"""Which kernels are used: those that were built, for this processor, of this version, and right."""

from __future__ import annotations

import copy
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors
import torch

from hdrunet_video.errors import HdrunetError
from hdrunet_video.network import cpu
from hdrunet_video.network.cpu import FusedNetwork
from hdrunet_video.network.forward import place
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.native import Kernels, kernels
from hdrunet_video.network.native_library import instructions_for_bf16, instructions_for_fp32, library
from hdrunet_video.network.native_structs import INTERFACE
from hdrunet_video.network.native_team import Team
from hdrunet_video.network.onednn_layers import OneDnn
from tests.network import test_native, test_native_modulation
from tests.network.native_cases import EXPECTED, FOUND, PLATFORM
from tests.network.test_cpu import CONFIGS, CPU, OURS_IN_BF16, a_network

ROOT = Path(__file__).parents[2]
COMPILER = shlex.split(os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++")
"""As setup.py asks for it."""
needs_compiler = pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="there is no C++ compiler")
needs_kernels = pytest.mark.skipif(not FOUND, reason="the package was installed without a compiler, or for another CPU")


@pytest.mark.parametrize("name", EXPECTED)
@needs_compiler
def test_where_there_is_a_compiler_they_were_built(name: str) -> None:
    assert name in FOUND, "install the package again, with pip -v: a build of the kernels failed, or they are old"


def test_finer_names_of_instructions_are_known_by_how_they_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdrunet_video.network.native_library.find_spec", lambda name: None)
    monkeypatch.setattr("hdrunet_video.network.native_library._PLATFORM", (sys.platform, platform.machine()))
    for capability, said in (
        ("AVX512", "avx512 were not built"),
        ("AVX512_AMX", "avx512 were not built"),
        ("AVX2", "avx2 were not built"),
        ("AVX2_VNNI", "avx2 were not built"),
        ("DEFAULT", r"none for the instructions that torch uses here \(DEFAULT\)"),
        ("AVX", r"none for the instructions that torch uses here \(AVX\)"),
    ):
        monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda capability=capability: capability)
        with pytest.raises(HdrunetError, match=said):
            library(instructions_for_fp32())


@pytest.mark.skipif(not PLATFORM, reason="torch's OpenMP is another elsewhere")
def test_scratch_is_kept_for_the_next_call_and_is_a_threads_own() -> None:
    """Above 32 MiB it came from the system, page by page, at each call."""
    team = Team()
    first = team.having(1000)
    less, more = team.having(10), team.having(2000)
    assert (less.scratch, less.pitch, more.pitch) == (first.scratch, 1008, 2000)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(team.having, 2000).result().scratch != team.having(2000).scratch == more.scratch


@needs_compiler
@pytest.mark.skipif(not PLATFORM, reason="they are loaded on Linux and x86-64 only")
def test_a_library_of_another_version_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "_hdrunet_kernels_other.so").symlink_to(safetensors._safetensors_rust.__file__)
    (tmp_path / "_hdrunet_kernels_damaged.so").write_bytes(b"no library")
    monkeypatch.syspath_prepend(tmp_path)
    source = 'extern "C" long hdrunet_interface() { return -1; }'
    built = [*COMPILER, "-shared", "-x", "c++", "-", "-o", str(tmp_path / "_hdrunet_kernels_older.so")]
    subprocess.run(built, input=source, text=True, check=True)
    for name, why in (
        ("other", "undefined symbol"),
        ("damaged", "file too short"),
        ("older", "another version of the package built them"),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert kernels(name) is None
        assert f"the kernels for {name} of this package cannot be loaded, going on without: " in caplog.text
        assert why in caplog.text


@needs_kernels
def test_a_network_says_whether_it_is_computed_by_them() -> None:
    for name, backend in (("of our kernels", "ours"), ("of some of our kernels", "ours"), ("whole", "onednn")):
        assert getattr(place(a_network(CONFIGS[name]), CPU, "fp32"), "backend", "") == backend


def test_without_threads_like_theirs_onednn_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdrunet_video.network.native_team.ctypes.CDLL", lambda name: object())
    assert kernels.__wrapped__() is None


@needs_kernels
def test_where_they_were_not_built_onednn_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "kernels", lambda instructions=None: None)
    network, picture = a_network(CONFIGS["of our kernels"]), torch.rand(1, 3, 9, 14)
    placed = place(network, CPU, "fp32")
    assert isinstance(placed, FusedNetwork)
    assert placed.backend == "onednn"
    assert torch.allclose(placed(picture), network(picture), atol=1e-5)


@pytest.mark.skipif(not PLATFORM, reason="there are none elsewhere")
def test_which_kernels_are_for_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """AMX before AVX-512; what torch is not to use, neither do they."""
    for capability, flags, expected in (
        ("AVX512", {"avx512_bf16"}, ["avx512_bf16"]),
        ("AVX512", {"avx512_bf16", "amx_bf16"}, ["amx_bf16", "avx512_bf16"]),
        ("AVX512_AMX", {"avx512_bf16", "amx_bf16"}, ["amx_bf16", "avx512_bf16"]),
        ("AVX512", {"avx512f"}, []),
        ("AVX2", {"avx512_bf16", "amx_bf16"}, []),
    ):
        monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda capability=capability: capability)
        monkeypatch.setattr("hdrunet_video.network.native_library.cpu_flags", lambda flags=flags: flags)
        assert instructions_for_bf16() == expected


@pytest.mark.parametrize("instructions", OURS_IN_BF16)
def test_who_computes_in_bf16(
    instructions: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """oneDNN where our kernels were not built, are not for so few channels, or are wrong."""
    network = a_network(CONFIGS["of all of our kernels"])
    name = instructions.removeprefix("ours ")
    monkeypatch.setattr(cpu, "instructions_for_bf16", lambda: [name])

    def whose(network: HDRUNet) -> tuple[str, str]:
        placed = place(network, CPU, "bf16")
        return getattr(placed, "backend", ""), getattr(placed, "precision", "")

    assert whose(network) == ("ours", "bf16")
    assert whose(a_network(CONFIGS["of our kernels"])) == ("onednn" if name == "amx_bf16" else "ours", "bf16")
    assert whose(a_network(CONFIGS["whole"])) == ("onednn", "bf16")
    with monkeypatch.context() as patch:
        patch.setattr(cpu, "kernels", lambda instructions=None: kernels(instructions) if instructions is None else None)
        assert whose(network) == ("onednn", "bf16")
        assert not caplog.text
    right = Kernels.convolution
    monkeypatch.setattr(Kernels, "convolution", lambda self, *given, **named: right(self, *given, **named) * 1.2)
    assert whose(network) == ("onednn", "bf16")
    assert "going on without: it is wrong by" in caplog.text


@needs_kernels
@pytest.mark.parametrize(
    ("there", "backend"),
    [
        ({"first": None, "second": "right"}, "ours"),
        ({"first": "wrong", "second": "right"}, "ours"),
        ({"first": "wrong", "second": None}, "onednn"),
        ({"first": None, "second": None}, "onednn"),
    ],
)
def test_where_the_best_for_bf16_cannot_be_used_the_next_are(
    there: dict[str, str | None], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried with kernels for float32, which are there on every machine."""
    right = kernels()
    assert right is not None
    wrong = copy.copy(right)
    monkeypatch.setattr(wrong, "convolution", lambda *given, **named: right.convolution(*given, **named) * 1.2)
    made = {"right": right, "wrong": wrong, None: None}
    monkeypatch.setattr(cpu, "instructions_for_bf16", lambda: list(there))
    monkeypatch.setattr(cpu, "kernels", lambda name: made[there[name]])
    monkeypatch.setattr(cpu, "OneDnn", lambda dtype: OneDnn(torch.float32))  # there are processors without bfloat16
    assert getattr(place(a_network(CONFIGS["of our kernels"]), CPU, "bf16"), "backend", "") == backend


@needs_compiler
@pytest.mark.skipif(not PLATFORM, reason="they are loaded on Linux and x86-64 only")
def test_what_the_system_does_not_allow_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux gives AMX's registers on request only."""
    monkeypatch.syspath_prepend(tmp_path)
    interface = f"long hdrunet_interface() {{ return {INTERFACE}; }}"
    source = f'extern "C" {{ {interface} long hdrunet_prepare() {{ return -1; }} }}'
    built = [*COMPILER, "-shared", "-x", "c++", "-", "-o", str(tmp_path / "_hdrunet_kernels_forbidden.so")]
    subprocess.run(built, input=source, text=True, check=True)
    with pytest.raises(HdrunetError, match="the system does not let this process use forbidden"):
        library("forbidden")
    assert kernels("forbidden") is None


@needs_kernels
def test_where_they_are_wrong_onednn_goes_on_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = Kernels.convolution
    monkeypatch.setattr(Kernels, "convolution", lambda self, *given, **named: right(self, *given, **named) * 1.01)
    network, picture = a_network(CONFIGS["of our kernels"]), torch.rand(1, 3, 9, 14)
    with caplog.at_level(logging.WARNING):
        placed = place(network, CPU, "fp32")
    assert isinstance(placed, FusedNetwork)
    assert placed.backend == "onednn"
    assert torch.allclose(placed(picture), network(picture), atol=1e-5)
    assert "going on without: it is wrong by" in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(not EXPECTED, reason="this processor has none of the instructions")
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_each_compiler_makes_kernels_that_are_right(compiler: str, tmp_path: Path) -> None:
    """They were a crash by clang's once: in a process of their own."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    folders = ["--build-lib", tmp_path / "lib", "--build-temp", tmp_path / "temp"]
    build = [sys.executable, "setup.py", "-q", "build_ext", *folders]
    subprocess.run(build, cwd=ROOT, env=os.environ | {"CXX": compiler}, check=True)
    assert len(list((tmp_path / "lib").glob("_hdrunet_kernels_*.so"))) == 4
    path = os.pathsep.join([str(tmp_path / "lib"), os.environ.get("PYTHONPATH", "")])
    files = test_native.__file__, test_native_modulation.__file__
    test = [sys.executable, "-m", "pytest", "-n", "0", "-m", "not slow", "-p", "no:cacheprovider", *files]
    done = subprocess.run(test, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
