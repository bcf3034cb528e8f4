"""The weights of HDRUNet as the kernels in `cuda_kernels` want them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .hdrunet import HDRUNet, NoModulation, PixelModulation

Arguments = dict[str, Tensor | None]
Weights = dict[str, Arguments]


def pack(network: HDRUNet, dtype: torch.dtype) -> Weights:
    """The arguments of each launch and of each modulation by its name; None for what the network has not.

    Tensors have `dtype`, but biases stay float32. The first and last convolutions are two halves, (2, ...), whose sum
    is nearer to float32 than one number of `dtype`.
    """
    last = _products(network.to_rgb, dtype)
    made: Weights = {
        "stem": _stem(network, dtype),
        "tail_modulation": _modulation(network.tail_modulation, dtype) | _low_of_scale2(network.tail_modulation, dtype),
        "gather": {"bias": _bias(network.to_rgb)},
        "decode_full": _taps(network.decode_full, dtype) | {"last": last},
    }
    for name in ("encode_full", "down_half", "down_quarter"):
        made[name] = _taps(getattr(network, name), dtype)
    for name in ("up_half", "up_full"):
        made[name] = _shuffled(getattr(network, name), dtype)
    for name in ("encoder", "bottleneck", "decoder"):
        for index, block in enumerate(getattr(network, name)):
            for part in ("conv1", "conv2"):
                made[f"{name}.{index}.{part}"] = _taps(getattr(block, part), dtype)
            for part in ("modulation1", "modulation2"):
                made[f"{name}.{index}.{part}"] = _modulation(getattr(block, part), dtype)
    if (condition := network.condition) is not None:
        half, quarter = _convolutions(condition.to_half), _convolutions(condition.to_quarter)
        matrix, bias = _matrix(half[1], dtype)
        made["to_half"] = _taps(half[0], dtype) | {"matrix1": matrix, "bias1": bias}
        made["to_quarter0"], made["to_quarter1"] = _taps(quarter[0], dtype), _taps(quarter[1], dtype)
    if (weighting := network.weighting) is not None:
        matrix, bias = _matrix(weighting.conv3, dtype)
        last, last_bias = (F.pad(each, (0, 13)) for each in _matrix(weighting.to_weights, torch.float32))
        last = _halves(last, dtype)
        more: Arguments = {"matrix1": matrix, "bias1": bias, "last": last, "last_bias": last_bias}
        made["keep"] = _taps(weighting.conv2, dtype) | more
    return made


def filters(weights: Weights) -> dict[str, Tensor]:
    """Of the same 3x3 convolutions as cuDNN wants them: (outputs, inputs, 3, 3) in channels_last. The outputs of one
    before a pixel shuffle are (2, 2, channels)."""
    made = {}
    for name, own in weights.items():
        if (taps := own.get("weights")) is not None:
            every = taps.reshape(-1, 3, 3, *taps.shape[-2:]).permute(0, 4, 3, 1, 2).flatten(0, 1)
            made[name] = every.contiguous(memory_format=torch.channels_last)
    return made


def _stem(network: HDRUNet, dtype: torch.dtype) -> Arguments:
    made: Arguments = _modulation(network.stem_modulation, dtype)
    made["stem_weights"], made["stem_bias"] = _planes(network.stem, dtype)
    names = ("trunk_weights", "trunk_bias", "chain", "chain_bias", "weighting_weights", "weighting_bias")
    made |= dict.fromkeys(names)
    if (condition := network.condition) is not None:
        assert condition.to_full is not None
        first, *inner = _convolutions(condition.trunk)
        made["trunk_weights"], made["trunk_bias"] = _planes(first, dtype)
        chain = [_matrix(conv, dtype) for conv in inner + _convolutions(condition.to_full)]
        made["chain"], made["chain_bias"] = _joined([each for each, _ in chain]), _joined([each for _, each in chain])
    if network.weighting is not None:
        made["weighting_weights"], made["weighting_bias"] = _planes(network.weighting.conv1, dtype)
    return made


def _modulation(part: PixelModulation | NoModulation, dtype: torch.dtype) -> Arguments:
    if isinstance(part, NoModulation):
        return {"modulation": None, "modulation_bias": None}
    matrices = [_matrix(conv, dtype) for conv in (part.scale1, part.shift1, part.scale2, part.shift2)]
    biases = [bias for _, bias in matrices]
    biases[2] = biases[2] + 1
    return {"modulation": _joined([weights for weights, _ in matrices]), "modulation_bias": _joined(biases)}


def _low_of_scale2(part: PixelModulation | NoModulation, dtype: torch.dtype) -> Arguments:
    """Of the modulation whose scales are those of the last features: their rounding is most of what a frame is off."""
    if isinstance(part, NoModulation):
        return {"scale2_low": None}
    return {"scale2_low": _halves(_matrix(part.scale2, torch.float32)[0], dtype)[1]}


def _convolutions(parts: nn.ModuleList) -> list[nn.Conv2d]:
    return [part for part in parts if isinstance(part, nn.Conv2d)]


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


def _taps(conv: nn.Conv2d, dtype: torch.dtype) -> Arguments:
    """3x3: (9, inputs, outputs)."""
    return {"weights": _taken(conv.weight.permute(2, 3, 1, 0).flatten(0, 1), dtype), "bias": _bias(conv)}


def _shuffled(conv: nn.Conv2d, dtype: torch.dtype) -> Arguments:
    """3x3 before a pixel shuffle, whose outputs are (channels, 2, 2): (4, 9, inputs, channels), bias (4, channels)."""
    weights = conv.weight.reshape(-1, 4, *conv.weight.shape[1:]).permute(1, 3, 4, 2, 0).flatten(1, 2)
    return {"weights": _taken(weights, dtype), "bias": _bias(conv).reshape(-1, 4).t().contiguous()}


def _planes(conv: nn.Conv2d, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """3x3 of three planes: (2, 32, outputs), 9 rows for each plane, then 5 of zeros."""
    weights = _taken(conv.weight.flatten(1).t(), torch.float32)
    return _halves(F.pad(weights, (0, 0, 0, 5)), dtype), _bias(conv)


def _products(conv: nn.Conv2d, dtype: torch.dtype) -> Tensor:
    """3x3 to three planes: (2, inputs, 32), 3 columns for each tap, then 5 of zeros."""
    weights = _taken(conv.weight.permute(1, 2, 3, 0).flatten(1), torch.float32)
    return _halves(F.pad(weights, (0, 5)), dtype)


def _halves(weights: Tensor, dtype: torch.dtype) -> Tensor:
    high = weights.to(dtype)
    return torch.stack((high, (weights - high.float()).to(dtype)))
