"""The weights of HDRUNet as the kernels in `cuda_kernels` want them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .hdrunet import ConditionNetwork, HDRUNet, NoModulation, PixelModulation, WeightingNetwork

Weights = dict[str, tuple[Tensor | None, ...]]


def pack(network: HDRUNet, dtype: torch.dtype) -> Weights:
    """Tensors by the name of the launch that they are for, in the order of its arguments; None for what the network
    has not. In `dtype` but for biases and the first and last convolutions, which stay float32."""
    made: Weights = {
        "stem": _planes(network.stem),
        "stem_modulation": _modulation(network.stem_modulation, dtype),
        "tail_modulation": _modulation(network.tail_modulation, dtype),
        "to_rgb": _products(network.to_rgb),
    }
    for name in ("encode_full", "down_half", "down_quarter", "decode_full"):
        made[name] = _taps(getattr(network, name), dtype)
    for name in ("up_half", "up_full"):
        made[name] = _shuffled(getattr(network, name), dtype)
    for name in ("encoder", "bottleneck", "decoder"):
        for index, block in enumerate(getattr(network, name)):
            for part in ("conv1", "conv2"):
                made[f"{name}.{index}.{part}"] = _taps(getattr(block, part), dtype)
            for part in ("modulation1", "modulation2"):
                made[f"{name}.{index}.{part}"] = _modulation(getattr(block, part), dtype)
    return made | _condition(network.condition, dtype) | _weighting(network.weighting, dtype)


def _condition(part: ConditionNetwork | None, dtype: torch.dtype) -> Weights:
    if part is None:
        return {"trunk": (None, None), "chain": (None, None)}
    assert part.to_full is not None
    first, *inner = _convolutions(part.trunk)
    chain = [_matrix(conv, dtype) for conv in inner + _convolutions(part.to_full)]
    half, quarter = _convolutions(part.to_half), _convolutions(part.to_quarter)
    return {
        "trunk": _planes(first),
        "chain": (_joined([weights for weights, _ in chain]), _joined([bias for _, bias in chain])),
        "to_half": (*_taps(half[0], dtype), *_matrix(half[1], dtype)),
        "to_quarter0": _taps(quarter[0], dtype),
        "to_quarter1": _taps(quarter[1], dtype),
    }


def _convolutions(parts: nn.ModuleList) -> list[nn.Conv2d]:
    return [part for part in parts if isinstance(part, nn.Conv2d)]


def _weighting(part: WeightingNetwork | None, dtype: torch.dtype) -> Weights:
    if part is None:
        return {"weighting": (None, None)}
    weights, bias = _matrix(part.to_weights, torch.float32)
    last = F.pad(weights, (0, 13)), F.pad(bias, (0, 13))
    return {
        "weighting": _planes(part.conv1),
        "keep": (*_taps(part.conv2, dtype), *_matrix(part.conv3, dtype), *last),
    }


def _modulation(part: PixelModulation | NoModulation, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
    if isinstance(part, NoModulation):
        return None, None
    matrices = [_matrix(conv, dtype) for conv in (part.scale1, part.shift1, part.scale2, part.shift2)]
    biases = [bias for _, bias in matrices]
    biases[2] = biases[2] + 1
    return _joined([weights for weights, _ in matrices]), _joined(biases)


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias.detach().float().clone()


def _taken(weights: Tensor, dtype: torch.dtype) -> Tensor:
    return weights.detach().to(dtype, copy=True).contiguous()


def _matrix(conv: nn.Conv2d, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """1x1: (inputs, outputs)."""
    return _taken(conv.weight.flatten(1).t(), dtype), _bias(conv)


def _taps(conv: nn.Conv2d, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """3x3: (9, inputs, outputs)."""
    return _taken(conv.weight.permute(2, 3, 1, 0).flatten(0, 1), dtype), _bias(conv)


def _shuffled(conv: nn.Conv2d, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """3x3 before a pixel shuffle, whose outputs are (channels, 2, 2): (4, 9, inputs, channels), bias (4, channels)."""
    weights = conv.weight.reshape(-1, 4, *conv.weight.shape[1:]).permute(1, 3, 4, 2, 0).flatten(1, 2)
    return _taken(weights, dtype), _bias(conv).reshape(-1, 4).t().contiguous()


def _planes(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """3x3 of three planes: (32, outputs) float32, 9 rows for each plane, then 5 of zeros."""
    return F.pad(_taken(conv.weight.flatten(1).t(), torch.float32), (0, 0, 0, 5)), _bias(conv)


def _products(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """3x3 to three planes: (inputs, 32) float32, 3 columns for each tap, then 5 of zeros; bias (3,)."""
    return F.pad(_taken(conv.weight.permute(1, 2, 3, 0).flatten(1), torch.float32), (0, 5)), _bias(conv)
