"""HDRUNet (Chen et al., CVPRW 2021, arXiv 2105.13084).

A picture goes through three parts: a weighting network says how much of it to keep, a condition network
describes it at three scales, and a U-Net, steered by the condition, makes what is added. Read from top to
bottom. Shapes are (B, channels, H, W), N = channels, K = condition_channels, S = sft_channels of the config.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import HDRUNetConfig


class HDRUNet(nn.Module):
    """(B, 3, H, W) signal of any size -> (B, 3, H, W) signal.

    In: non-linear R'G'B', 0..1, floating. Out: the same encoding, unbounded; values above 1 are the product.
    Inside, sizes are multiples of `MULTIPLE`: forward repeats the last column and row, and crops the result.
    """

    MULTIPLE: ClassVar[int] = 4

    def __init__(self, config: HDRUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or HDRUNetConfig()
        n = config.channels
        self.weighting = WeightingNetwork(n) if config.weighting else None
        self.condition = ConditionNetwork(config) if config.condition else None
        self.stem = _conv3(3, n)
        self.stem_modulation = _modulation(config)
        self.encode_full = _conv3(n, n)
        self.down_half = _conv3(n, n, stride=2)
        self.encoder = nn.ModuleList(ResidualBlock(config) for _ in range(config.blocks[0]))
        self.down_quarter = _conv3(n, n, stride=2)
        self.bottleneck = nn.ModuleList(ResidualBlock(config) for _ in range(config.blocks[1]))
        self.up_half = _conv3(n, 4 * n)
        self.decoder = nn.ModuleList(ResidualBlock(config) for _ in range(config.blocks[2]))
        self.up_full = _conv3(n, 4 * n)
        self.tail_modulation = _modulation(config)
        self.decode_full = _conv3(n, n)
        self.to_rgb = _conv3(n, 3)

    @property
    def halo(self) -> tuple[int, int] | None:
        """Pixels (before, after) that a tile with edges on multiples of 4 needs around it to come out as in
        the whole picture: multiples of 4, (96, 92) by default; None where a pixel sees the whole picture."""
        if self.config.condition and self.config.modulation == "channel":
            return None
        encoder, bottleneck, decoder = self.config.blocks
        # What pixels 0..3 read, from the last convolution back: at full, half, quarter, half and full size.
        low, high = -2, 5
        low, high = low // 2 - 1 - 2 * decoder, high // 2 + 1 + 2 * decoder
        low, high = low // 2 - 1 - 2 * bottleneck, high // 2 + 1 + 2 * bottleneck
        low, high = 2 * low - 1 - 2 * encoder, 2 * high + 1 + 2 * encoder
        low, high = 2 * low - 1 - 2, 2 * high + 1 + 2
        return -(low // 4) * 4, -((3 - high) // 4) * 4

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, H, W); see the class. The output has the wider of the input's and the last
        convolution's dtype."""
        height, width = image.shape[-2:]
        image = pad_to_multiple(image, self.MULTIPLE)
        signal = image.to(self.stem.weight.dtype)
        added = self.reconstruct(signal)
        kept = image if self.weighting is None else self.weighting(signal) * image
        return (kept + added)[..., :height, :width]

    def reconstruct(self, signal: Tensor) -> Tensor:
        """G, the U-Net: (B, 3, H, W) -> (B, 3, H, W), H and W multiples of 4."""
        conditions = (None, None, None) if self.condition is None else self.condition(signal)
        condition_full, condition_half, condition_quarter = conditions

        full = F.relu(self.stem(signal), inplace=True)  # (B, N, H, W)
        full = self.stem_modulation(full, condition_full)
        full = F.relu(self.encode_full(full), inplace=True)

        half = F.relu(self.down_half(full), inplace=True)  # (B, N, H/2, W/2)
        for block in self.encoder:
            half = block(half, condition_half)

        quarter = F.relu(self.down_quarter(half), inplace=True)  # (B, N, H/4, W/4)
        features = quarter
        for block in self.bottleneck:
            features = block(features, condition_quarter)
        features = features + quarter

        features = F.pixel_shuffle(self.up_half(features), 2)  # (B, N, H/2, W/2)
        features = F.relu(features, inplace=True) + half
        for block in self.decoder:
            features = block(features, condition_half)

        features = F.pixel_shuffle(self.up_full(features), 2)  # (B, N, H, W)
        features = F.relu(features, inplace=True) + full
        features = self.tail_modulation(features, condition_full)
        features = F.relu(self.decode_full(features), inplace=True)
        return _last(self.to_rgb, features)  # (B, 3, H, W)

    def halve(self) -> HDRUNet:
        """Round all but the two last convolutions to float16, in place. These two and `weights * image + G`
        stay float32: rounding them too doubles the error, to 0.9 of a 10-bit PQ code."""
        self.half()
        self.to_rgb.float()
        if self.weighting is not None:
            self.weighting.to_weights.float()
        return self


class WeightingNetwork(nn.Module):
    """How much of each pixel's R, G and B is kept: (B, 3, H, W) signal -> (B, 3, H, W) factors, unbounded."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3(3, channels)
        self.conv2 = _conv3(channels, channels)
        self.conv3 = _conv1(channels, channels)
        self.to_weights = _conv1(channels, 3)

    def forward(self, signal: Tensor) -> Tensor:
        features = F.relu(self.conv1(signal), inplace=True)  # (B, N, H, W)
        features = F.relu(self.conv2(features), inplace=True)
        features = F.relu(self.conv3(features), inplace=True)
        return _last(self.to_weights, features)  # (B, 3, H, W)


class ConditionNetwork(nn.Module):
    """What is in the picture, at full (unless for channel modulation), half and quarter size; unbounded."""

    def __init__(self, config: HDRUNetConfig) -> None:
        super().__init__()
        k, s = config.condition_channels, config.sft_channels
        self.trunk = nn.ModuleList([_conv3(3, k), _conv1(k, k), _conv1(k, k)])
        self.to_full = None if config.modulation == "channel" else nn.ModuleList([_conv1(k, k), _conv1(k, s)])
        self.to_half = nn.ModuleList([_conv3(k, k, stride=2), _conv1(k, s)])
        self.to_quarter = nn.ModuleList([_conv3(k, k, stride=2), _conv3(k, s, stride=2)])

    def forward(self, signal: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        features = signal
        for conv in self.trunk:
            features = _leaky(conv(features))  # (B, K, H, W)
        full = None if self.to_full is None else self._head(self.to_full, features)  # (B, S, H, W)
        half = self._head(self.to_half, features)  # (B, S, H/2, W/2)
        quarter = self._head(self.to_quarter, features)  # (B, S, H/4, W/4)
        return full, half, quarter

    @staticmethod
    def _head(convolutions: nn.ModuleList, features: Tensor) -> Tensor:
        first, last = convolutions
        condition: Tensor = last(_leaky(first(features)))
        return condition


class ResidualBlock(nn.Module):
    """features + conv2(relu(conv1(features))), either behind a modulation: (B, N, h, w) -> (B, N, h, w)."""

    def __init__(self, config: HDRUNetConfig) -> None:
        super().__init__()
        self.modulation1 = _modulation(config)
        self.conv1 = _start_small(_conv3(config.channels, config.channels))
        self.modulation2 = _modulation(config)
        self.conv2 = _start_small(_conv3(config.channels, config.channels))
        scaled = config.condition and config.modulation == "channel"
        self.scale = _start_small(_conv1(config.sft_channels, config.channels)) if scaled else None

    def forward(self, features: Tensor, condition: Tensor | None) -> Tensor:
        residual = F.relu(self.conv1(self.modulation1(features, condition)), inplace=True)
        residual = self.conv2(self.modulation2(residual, condition))
        if self.scale is not None and condition is not None:
            residual = residual * self.scale(condition.mean(dim=(2, 3), keepdim=True))  # (B, N, 1, 1)
        return torch.add(features, residual)


class PixelModulation(nn.Module):
    """Spatial feature transform: (B, N, h, w), condition (B, S, h, w) -> (B, N, h, w).

    `outputs` is N, or 1 for a scale and shift that all channels share.
    """

    def __init__(self, condition_channels: int, outputs: int) -> None:
        super().__init__()
        self.scale1 = _conv1(condition_channels, condition_channels)
        self.scale2 = _conv1(condition_channels, outputs)
        self.shift1 = _conv1(condition_channels, condition_channels)
        self.shift2 = _conv1(condition_channels, outputs)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        scale = self.scale2(_leaky(self.scale1(condition)))  # (B, outputs, h, w)
        shift = self.shift2(_leaky(self.shift1(condition)))
        return torch.addcmul(shift, features, scale + 1)


class NoModulation(nn.Module):
    """Stands where the ablations have no modulation: the features as they are."""

    def forward(self, features: Tensor, condition: Tensor | None) -> Tensor:
        return features


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """(B, C, H, W) with its last column and row repeated until H and W are multiples of `multiple`.
    Repeated, not mirrored: a picture of one pixel has nothing to mirror."""
    height, width = image.shape[-2:]
    right, below = -width % multiple, -height % multiple
    return F.pad(image, (0, right, 0, below), mode="replicate") if right or below else image


def _modulation(config: HDRUNetConfig) -> PixelModulation | NoModulation:
    if not config.condition or config.modulation == "channel":
        return NoModulation()
    return PixelModulation(config.sft_channels, config.channels if config.modulation == "spatial" else 1)


def _conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1)


def _conv1(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1)


def _leaky(features: Tensor) -> Tensor:
    return F.leaky_relu(features, 0.1, inplace=True)


def _last(conv: nn.Conv2d, features: Tensor) -> Tensor:
    """A last convolution, in the dtype of its weights even under autocast: the output is not rounded."""
    with torch.autocast(features.device.type, enabled=False):
        output: Tensor = conv(features.to(conv.weight.dtype))
    return output


def _start_small(conv: nn.Conv2d) -> nn.Conv2d:
    """Kaiming's initialisation times 0.1 and no bias, so that residuals start near nothing."""
    if conv.weight.is_meta:  # there is nothing to fill, and torch would import for a second to find out
        return conv
    nn.init.kaiming_normal_(conv.weight)
    assert conv.bias is not None
    with torch.no_grad():
        conv.weight.mul_(0.1)
        conv.bias.zero_()
    return conv
