"""What this machine can do and what is missing, each by trying it: `--doctor`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, files, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from hdrunet_video.presets import load_preset, preset_names

from .cgroup import cpu_quota
from .errors import HdrunetError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    good: bool
    text: str
    hint: str = ""
    optional: bool = False
    """True where conversions work without it."""

    def __str__(self) -> str:
        mark = "ok     " if self.good else "missing" if self.optional else "FAILED "
        hint = f"\n{'':32}{self.hint}" if self.hint and not self.good else ""
        return f"{mark}  {self.name:<22} {self.text}{hint}"


def examine() -> list[Finding]:
    """All findings, in the order in which they matter."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _packages,
        _device,
        _kernels,
        _weights,
        _presets,
        _exr,
        _openvino,
        _vapoursynth,
    ]
    findings: list[Finding] = []
    for check in checks:
        try:
            findings.extend(check())
        except Exception as error:  # a check that breaks is itself a finding
            name = check.__name__.removeprefix("_")
            findings.append(Finding(name, False, f"{type(error).__name__}: {error}", "pip install --force-reinstall ."))
    return findings


def _packages() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", sys.version_info >= (3, 12), python, "Install Python 3.12 or later.")
    for name in ("torch", "av", "numpy", "vapoursynth", "tqdm", "safetensors"):
        try:
            yield Finding(name, True, version(name))
        except PackageNotFoundError:
            yield Finding(name, False, "not installed", f"pip install {name}")


def _device() -> Iterator[Finding]:
    import torch

    from .device import limit_threads

    limit_threads()  # as a conversion does
    quota = cpu_quota()
    allowed = "" if quota is None else f", a quota of {quota:g} CPUs"
    threads = torch.get_num_threads()
    yield Finding("cpu", True, f"{threads} threads, {torch.backends.cpu.get_cpu_capability()}{allowed}")
    if not torch.cuda.is_available():
        yield Finding("cuda", False, "no CUDA device", "Conversions run on the CPU, which is slow.", optional=True)
        return
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        sum_of_ones = float(torch.ones(8, device=f"cuda:{number}").sum())
        text = f"{facts.name}, {facts.total_memory / 2**30:.1f} GiB"
        yield Finding(f"cuda:{number}", sum_of_ones == 8.0, text, "The driver does not compute; update it.")
        yield _a_frame_on(f"cuda:{number}")


def _a_frame_on(device: str) -> Finding:
    """Made as a conversion makes it: by our kernels, or by what goes on in their place."""
    from .color.convert import Target
    from .color.light import LightMapping
    from .engine import Engine
    from .network.weights import load_network
    from .tune import noise

    name, preset = f"{device} kernels", load_preset("hdr10")
    try:
        engine = Engine(load_network(), LightMapping(), Target(preset.color, preset.format), device=device)
        engine(noise(256, 144))
    except HdrunetError as error:
        return Finding(name, False, str(error), error.hint)
    hint = (
        "Conversions go on without them; warnings above say why. Triton needs a C compiler and Python's headers "
        "(Debian: apt-get install gcc python3-dev), and a GPU of compute capability 8.0 or later."
    )
    return Finding(
        name, engine.backend.startswith("ours"), f"{engine.backend} in {engine.precision}", hint, optional=True
    )


def _kernels() -> Iterator[Finding]:
    from .network.native_library import instructions_for_bf16

    yield _kernels_for("cpu kernels", None)
    for instructions in instructions_for_bf16():
        finding = _kernels_for(f"cpu kernels for {instructions}", instructions)
        yield finding
        if finding.good:
            break  # conversions do not look further


def _kernels_for(name: str, instructions: str | None) -> Finding:
    """Tried as conversions try them, on the bundled weights."""
    import torch

    from .network.check import largest_error
    from .network.cpu import TOLERANCE, FusedNetwork
    from .network.native import load
    from .network.native_layers import Native
    from .network.weights import load_network

    instead, network = "conversions go on without them", load_network()
    try:
        layers = Native(load(instructions))
    except HdrunetError as problem:
        return Finding(name, False, f"{problem}: {instead}", problem.hint, optional=True)
    except (OSError, AttributeError) as problem:
        hint = "Install this package again: 0.5 to 0.8 of the time."
        return Finding(name, False, f"they cannot be loaded ({problem}): {instead}", hint, optional=True)
    error = largest_error(FusedNetwork(network, layers), network, torch.device("cpu"))
    right = error <= TOLERANCE[layers.precision]
    text = "there for this processor, and right" if right else f"wrong by {error:.2f} of a 10-bit code: {instead}"
    hint = "Install this package again, with another compiler if that does not help: CXX=clang++ pip install ..."
    return Finding(name, right, text, hint, optional=True)


def _weights() -> Iterator[Finding]:
    from .network.weights import load_network, weights_sha256

    try:
        load_network()
        yield Finding("weights", True, f"bundled, SHA-256 {weights_sha256(None)[:16]}")
    except HdrunetError as error:
        yield Finding("weights", False, str(error), "Install the package again.")


def _presets() -> Iterator[Finding]:
    """Opens every preset's encoder on a small picture."""
    from .nvidia import check_encoder, is_nvenc
    from .writer import Writer, WriterSpec

    for name in preset_names():
        preset = load_preset(name)
        if preset.codec == "exr":
            continue
        if is_nvenc(preset.codec):
            try:
                check_encoder(preset.codec, preset.pixel_format, preset.options, 256, 144)
                yield Finding(f"preset {name}", True, f"{preset.codec} {preset.pixel_format}")
            except (HdrunetError, LookupError) as error:
                yield Finding(f"preset {name}", False, str(error), "-p hdr10 encodes on the CPU.", optional=True)
            continue
        with TemporaryDirectory() as folder:
            spec = WriterSpec(preset, 64, 64, Fraction(1), Fraction(24), 1000.0)
            try:
                writer = Writer(Path(folder) / "trial", spec)
                writer.abandon()
                yield Finding(f"preset {name}", True, f"{preset.codec} {preset.pixel_format}")
            except HdrunetError as error:
                yield Finding(f"preset {name}", False, str(error), "This PyAV was built without the encoder.")


def _exr() -> Iterator[Finding]:
    there = find_spec("OpenEXR") is not None
    text = version("OpenEXR") if there else "not installed"
    yield Finding("preset exr", there, f"OpenEXR {text}", "pip install 'hdrunet-video[exr]'", optional=True)


def _openvino() -> Iterator[Finding]:
    there = find_spec("openvino") is not None
    text = version("openvino") if there else "not installed"
    yield Finding("backend openvino", there, text, "pip install 'hdrunet-video[openvino]'", optional=True)


def _vapoursynth() -> Iterator[Finding]:
    import vapoursynth

    core = vapoursynth.core
    yield Finding(
        "vapoursynth core",
        True,
        f"VapourSynth {core.core_version.release_major} in {Path(vapoursynth.__file__).parent}",
    )
    name = "vapoursynth filter"
    if hasattr(core, "hdrunet"):
        yield Finding(name, True, f"core.hdrunet of {core.hdrunet.plugin_path}")
        return
    where = Path(vapoursynth.get_plugin_dir())
    library = next((path for path in _own_libraries() if path.is_file()), None)
    if library is None:
        hint = "Install a C++17 compiler (Debian: apt-get install g++), then install this package again with pip -v."
        yield Finding(name, False, "core.hdrunet was not built", hint, optional=True)
    elif library.is_relative_to(where):
        hint = f"core.std.LoadPlugin({str(library)!r}) says why."
        yield Finding(name, False, f"{library} is there, but VapourSynth does not load it", hint, optional=True)
    else:
        text = f"{library} is not below {where}, where this VapourSynth looks"
        hint = f"export VAPOURSYNTH_EXTRA_PLUGIN_PATH={library.parent}"
        yield Finding(name, False, text, hint, optional=True)


def _own_libraries() -> Iterator[Path]:
    """Files of the native plugin that pip knows to be ours."""
    for file in files("hdrunet-video") or ():
        if file.stem == "libhdrunet":
            yield Path(str(file.locate())).resolve()
