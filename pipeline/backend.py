"""Who computes the network, by name: `--backend`. Needs no torch."""

from __future__ import annotations

from importlib.util import find_spec

from .errors import UsageError

BACKENDS = ("auto", "openvino")


def check_backend(name: str, device: str) -> None:
    """Raises UsageError for a backend that there is not, or not here, or not on a device (`auto` may become any)."""
    if name not in BACKENDS:
        raise UsageError(f"{name!r} is not a backend", f"--backend takes {' or '.join(BACKENDS)}")
    if name == "openvino":
        if "cuda" in device:
            raise UsageError("OpenVINO computes on the CPU only", "leave --backend out, or give --device cpu")
        if find_spec("openvino") is None:
            raise UsageError("OpenVINO is not installed", "pip install 'hdrunet-video[openvino]'")
