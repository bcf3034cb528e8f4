"""What is compared: the network with any weights, and the baselines, by the same call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ...baselines import MODELS
from ...device import forbid_tf32
from ...errors import UsageError
from ...network.tiles import choose_tile, run_in_tiles
from ...network.weights import load_network

_MOST_PIXELS = 1 << 21
"""Of one piece of a picture; a piece of this size takes about 4 GB in float32."""


@dataclass(frozen=True)
class Model:
    """A network under the name it has in the tables; calling it maps (B, 3, H, W) signal to signal, float32
    (without TF32)."""

    label: str
    network: Callable[[Tensor], Tensor]
    device: torch.device

    @torch.inference_mode()
    def __call__(self, signal: Tensor) -> Tensor:
        """The result, on the CPU."""
        height, width = signal.shape[-2:]
        halo: tuple[int, int] | None = getattr(self.network, "halo", None)
        tile = choose_tile(width, height, halo, _MOST_PIXELS) if halo is not None else None
        signal = signal.to(self.device, memory_format=torch.channels_last)
        result = self.network(signal) if tile is None else run_in_tiles(self.network, signal, tile, halo or (0, 0))
        return result.to("cpu", torch.float32, memory_format=torch.contiguous_format)


def load_models(specs: Sequence[str], device: str = "cpu") -> list[Model]:
    """Models of names: `hdrunet` (the bundled weights), a baseline, a file of weights, or LABEL=any of these.

    Raises UsageError and WeightsError.
    """
    forbid_tf32()
    models: list[Model] = []
    for spec in specs:
        label, equals, what = spec.partition("=")
        if not equals:
            label, what = (spec if spec in (*MODELS, "hdrunet") else Path(spec).stem), spec
        if label in [model.label for model in models]:
            raise UsageError(f"two models are called {label!r}", f"Name them apart: NAME={what}")
        models.append(Model(label, _network(what, device), torch.device(device)))
    return models


def _network(what: str, device: str) -> Callable[[Tensor], Tensor]:
    if what in MODELS:
        return MODELS[what]()
    if what != "hdrunet" and not Path(what).exists():
        raise UsageError(
            f"{what} is neither a file of weights nor a model",
            f"Models are hdrunet, {', '.join(MODELS)}; files end in .safetensors or .pth.",
        )
    network: nn.Module = load_network(None if what == "hdrunet" else what, device)
    return network.to(memory_format=torch.channels_last)
