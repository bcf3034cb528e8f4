"""What a configuration asks for, and its sources cannot have: refused, as it would be left out without a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from .config import Config


def check_effects(config: Config, document: Mapping[str, Any]) -> None:
    """Raise ConfigError where all pictures are pairs, used as they are, and `document` asks for another camera."""
    if any(source.layout != "ntire2021" for source in config.source):
        return
    loss = config.loss
    steady = loss.steady != "none" and loss.steady_weight > 0 and loss.steady_pairs == "pan"
    asked = {
        "[degrade]": (bool(document.get("degrade")), "leave it out"),
        "data.highlights": (config.data.highlights > 0, "--set data.highlights=0"),
        f"loss.steady = {loss.steady!r} with steady_pairs = 'pan'": (steady, "--set loss.steady_pairs=transform"),
    }
    if wrong := {name: hint for name, (given, hint) in asked.items() if given}:
        raise ConfigError(
            f"pairs of the layout 'ntire2021' are used as they are, without {', '.join(wrong)}",
            "; ".join(f"for {name}: {hint}" for name, hint in wrong.items()),
        )
