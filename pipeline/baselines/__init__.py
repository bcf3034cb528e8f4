"""What the network is compared with: one file each, the same contract as the network (signal to signal).

Importing this costs nothing: torch and a model's own file are read when the model is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    Network = Callable[[Tensor], Tensor]


def _identity() -> Network:
    from .identity import Identity

    return Identity()


def _expansion() -> Network:
    from .expansion import Expansion

    return Expansion()


def _bt2446a() -> Network:
    from .bt2446a import BT2446A

    return BT2446A()


MODELS: dict[str, Callable[[], Network]] = {"identity": _identity, "expansion": _expansion, "bt2446a": _bt2446a}
"""What `--model` takes besides the network: name, and what makes the model."""
