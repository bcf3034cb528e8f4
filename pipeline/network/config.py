"""What an HDRUNet is made of: the paper's network, and those of its ablations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Modulation = Literal["spatial", "map", "channel"]


def _is_count(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


@dataclass(frozen=True)
class HDRUNetConfig:
    """What a network is made of: the paper's by default, its ablations otherwise. Bad values: ValueError."""

    weighting: bool = True
    """Keep `weights * image` with predicted weights; without them weights are 1 and the output is image + G.
    (The paper leaves the skip of that row of table 3 open; the authors' later HDRUNet3T1 has it.)"""
    condition: bool = True
    """Steer the U-Net by a condition. Without it nothing is modulated, and `modulation` is not used."""
    modulation: Modulation = "spatial"
    """`spatial`: scale and shift of each channel of each pixel (SFT). `map`: a scale and a shift of each
    pixel, for all channels. `channel`: a scale of each channel of a residual, from the condition's average
    over the picture, as in CResMD (the paper does not say where it takes that vector from: this is ours)."""
    channels: int = 64
    """N, features of the U-Net and the weighting network: 1..1024."""
    condition_channels: int = 64
    """K, features inside the condition network: 1..1024."""
    sft_channels: int = 32
    """S, features of the condition that a modulation sees: 1..1024."""
    blocks: tuple[int, int, int] = (2, 8, 2)
    """Residual blocks of the encoder (1/2 size), bottleneck (1/4) and decoder (1/2): 0..64 each."""

    def __post_init__(self) -> None:
        for name in ("weighting", "condition"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}")
        if self.modulation not in ("spatial", "map", "channel"):
            raise ValueError(f"modulation must be spatial, map or channel, not {self.modulation!r}")
        for name in ("channels", "condition_channels", "sft_channels"):
            if not _is_count(getattr(self, name), 1, 1024):
                raise ValueError(f"{name} must be 1 to 1024, not {getattr(self, name)!r}")
        blocks: object = self.blocks
        if not isinstance(blocks, tuple) or len(blocks) != 3 or not all(_is_count(n, 0, 64) for n in blocks):
            raise ValueError(f"blocks must be three numbers of 0 to 64, not {blocks!r}")


VARIANTS: dict[str, HDRUNetConfig] = {
    "hdrunet": HDRUNetConfig(),
    "base": HDRUNetConfig(weighting=False, condition=False),
    "base-weighting": HDRUNetConfig(condition=False),
    "base-condition": HDRUNetConfig(weighting=False),
    "sft-map": HDRUNetConfig(weighting=False, modulation="map"),
    "sft-channel": HDRUNetConfig(weighting=False, modulation="channel"),
}
"""The rows of the paper's tables 3 and 4 (`base-condition` is table 4's SFT of C x H x W)."""
