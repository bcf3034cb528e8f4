"""Weights in files: ours (safetensors, the network's configuration inside) and the published checkpoints.

A file is data here, never a program: pickles go through torch's weights_only loader, and names and shapes are
compared with the network before anything is copied.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..errors import OutputError, WeightsError
from .config import HDRUNetConfig
from .hdrunet import HDRUNet
from .published import config_of, is_published, our_names

BUNDLED = Path(__file__).with_name("hdrunet.safetensors")
LARGEST_FILE = 1 << 30
"""Bytes; the network of the paper has 6.6 million."""

_HINT = (
    "give a .safetensors that this project wrote or a published HDRUNet .pth; "
    "without --weights the bundled weights are used"
)
_METADATA = "hdrunet_video"
"""The file's one metadata entry, a JSON object of "config" and notes: safetensors would write several entries
in an order that changes from run to run, and the same weights should be the same bytes."""


def load_network(weights: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu") -> HDRUNet:
    """The network with the bundled weights, or those of a file: eval mode, float32, without gradients.

    Raises WeightsError where the file is not a network of this family.
    """
    path = BUNDLED if weights is None else Path(weights)
    tensors, notes = _read(path)
    tensors = _without_wrapping(tensors)
    try:
        config = _config(tensors, notes)
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: its configuration is not one of HDRUNet: {error}", _HINT) from error
    if is_published(tensors):
        tensors = _renamed(path, tensors, our_names(config))
    with torch.device("meta"):
        network = HDRUNet(config)
    _check(path, tensors, network.state_dict())
    own = {name: _own_float32(path, name, tensor) for name, tensor in tensors.items()}
    network.load_state_dict(own, assign=True)
    return network.requires_grad_(False).eval().to(device)


def save_network(network: HDRUNet, path: str | os.PathLike[str], **notes: str) -> None:
    """Write weights and configuration as safetensors; `notes` (how it was trained) go into the metadata.

    The file appears complete or not at all, and the same arguments give the same bytes. Raises OutputError.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    text = json.dumps({**notes, "config": asdict(network.config)}, sort_keys=True)
    content = safetensors.torch.save(tensors, {_METADATA: text})
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(unfinished, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, target)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise OutputError(f"{target}: the weights cannot be written: {error.strerror}") from error


def weights_sha256(weights: str | os.PathLike[str] | None = None) -> str:
    """SHA-256 of the file's bytes in hexadecimal digits: what a plan and its receipts know the weights by."""
    path = BUNDLED if weights is None else Path(weights)
    _require_file(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_file(path: Path) -> None:
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            path.open("rb").close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{path}: the weights cannot be read: {reason}", _HINT) from error
    if not stat.S_ISREG(status.st_mode):
        raise WeightsError(f"{path} is not a file of weights", _HINT)
    if not 0 < status.st_size <= LARGEST_FILE:
        size = "empty" if status.st_size == 0 else f"larger than {LARGEST_FILE >> 20} MiB"
        raise WeightsError(f"{path} is {size}, so it is not a file of HDRUNet weights", _HINT)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Tensors by name, and the notes of our metadata. Its content tells what a file is, not its name."""
    _require_file(path)
    with open(path, "rb") as file:
        start = file.read(9)
    if start[8:] == b"{":
        return _read_safetensors(path)
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return _read_pickle(path, zipped=start.startswith(b"PK")), {}
    raise WeightsError(f"{path} is neither safetensors nor a PyTorch checkpoint", _HINT)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            notes = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} is a damaged safetensors file: {_first_line(error)}", _HINT) from error
    if not isinstance(notes, dict):
        raise WeightsError(f"{path}: its metadata are not those of a network", _HINT)
    return tensors, notes


def _read_pickle(path: Path, zipped: bool) -> dict[str, Tensor]:
    try:
        if zipped:
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > LARGEST_FILE:
                    raise ValueError("it unpacks to more than a file of weights may hold")
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # whatever bytes provoke in a loader, the answer is the same
        reason = f"cannot be read as a checkpoint of nothing but weights: {_first_line(error)}"
        raise WeightsError(f"{path} {reason}", _HINT) from error
    for name in ("params_ema", "params", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise WeightsError(f"{path} holds no weights by name", _HINT)
    for name, value in content.items():
        if not isinstance(value, Tensor):
            raise WeightsError(f"{path}: {name} is not a tensor but {type(value).__name__}", _HINT)
    return dict(content)


def _without_wrapping(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without the `module.` that torch's DataParallel puts before each."""
    if tensors and all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _config(tensors: Mapping[str, Tensor], notes: Mapping[str, object]) -> HDRUNetConfig:
    if "config" not in notes:
        return config_of(tensors) if is_published(tensors) else HDRUNetConfig()
    fields = notes["config"]
    if not isinstance(fields, dict):
        raise ValueError(f"{fields!r} is not an object")
    blocks = fields.get("blocks")
    return HDRUNetConfig(**{**fields, **({"blocks": tuple(blocks)} if isinstance(blocks, list) else {})})


def _renamed(path: Path, tensors: dict[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    _check_names(path, tensors, names)
    return {names[name]: tensor for name, tensor in tensors.items()}


def _check(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    _check_names(path, tensors, expected)
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            shapes = f"{tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
            raise WeightsError(f"{path}: {name} has the shape {shapes}", _HINT)
        if tensor.layout != torch.strided or not tensor.is_floating_point():
            raise WeightsError(f"{path}: {name} is {tensor.dtype}, not floating-point weights", _HINT)


def _check_names(path: Path, found: Mapping[str, object], expected: Mapping[str, object]) -> None:
    for names, what in ((expected.keys() - found, "lacks"), (found.keys() - expected, "has unknown")):
        if names:
            first = ", ".join(_some(sorted(names)))
            raise WeightsError(f"{path} is not HDRUNet: it {what} {first}", _HINT)


def _some(names: list[str], most: int = 3) -> Iterator[str]:
    yield from names[:most]
    if len(names) > most:
        yield f"and {len(names) - most} more"


def _own_float32(path: Path, name: str, tensor: Tensor) -> Tensor:
    """A copy, because the file's memory map would change with the file."""
    own = tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    if not bool(own.isfinite().all()):
        raise WeightsError(f"{path}: {name} is not finite, so the training that made it had failed", _HINT)
    return own


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip()[:200]
