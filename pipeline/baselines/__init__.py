"""What the network is compared with: one file each, the same contract as the network (signal to signal)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Network = Callable[[Tensor], Tensor]


def _identity() -> Network:
    from .identity import Identity

    return Identity()


MODELS: dict[str, Callable[[], Network]] = {"identity": _identity}
"""What `--model` takes besides the network; a model's own file is read when it is made."""
