"""The key names of the checkpoints published elsewhere, and what the same tensors are called here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from .config import HDRUNetConfig

_WEIGHTING = {
    "mask_est.0": "weighting.conv1",
    "mask_est.2": "weighting.conv2",
    "mask_est.4": "weighting.conv3",
    "mask_est.6": "weighting.to_weights",
}
_CONDITION = {
    "cond_first.0": "condition.trunk.0",
    "cond_first.2": "condition.trunk.1",
    "cond_first.4": "condition.trunk.2",
    "CondNet1.0": "condition.to_full.0",
    "CondNet1.2": "condition.to_full.1",
    "CondNet2.0": "condition.to_half.0",
    "CondNet2.2": "condition.to_half.1",
    "CondNet3.0": "condition.to_quarter.0",
    "CondNet3.2": "condition.to_quarter.1",
}
_BASE = {
    "conv_first": "stem",
    "HR_conv1": "encode_full",
    "down_conv1": "down_half",
    "down_conv2": "down_quarter",
    "up_conv1.0": "up_half",
    "up_conv2.0": "up_full",
    "HR_conv2": "decode_full",
    "conv_last": "to_rgb",
}
_TRUNKS = {"recon_trunk1": "encoder", "recon_trunk2": "bottleneck", "recon_trunk3": "decoder"}
_MODULATIONS = {"SFT_layer1": "stem_modulation", "SFT_layer2": "tail_modulation"}
_MODULATION = {
    "SFT_scale_conv0": "scale1",
    "SFT_scale_conv1": "scale2",
    "SFT_shift_conv0": "shift1",
    "SFT_shift_conv1": "shift2",
}


def is_published(names: Mapping[str, object]) -> bool:
    """True where the names are those of a published checkpoint, whole or not."""
    return any(name.startswith(("conv_first.", "conv_last.")) for name in names)


def our_names(config: HDRUNetConfig) -> dict[str, str]:
    """Published name -> our name of every tensor that a network of `config` has."""
    return {
        f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in _convolutions(config) for kind in ("weight", "bias")
    }


def config_of(tensors: Mapping[str, Tensor]) -> HDRUNetConfig:
    """The configuration that published names and shapes tell, the default's where they do not.

    Raises ValueError where they tell of none.
    """
    default = HDRUNetConfig()
    scale = tensors.get("SFT_layer1.SFT_scale_conv1.weight")
    by_map = scale is not None and scale.ndim > 0 and scale.shape[0] == 1
    encoder, bottleneck, decoder = (_length(tensors, trunk) for trunk in _TRUNKS)
    return HDRUNetConfig(
        weighting=any(name.startswith("mask_est.") for name in tensors),
        condition=any(name.startswith("cond_first.") for name in tensors),
        modulation="map" if by_map else "spatial",
        channels=_outputs(tensors, "conv_first.weight", default.channels),
        condition_channels=_outputs(tensors, "cond_first.0.weight", default.condition_channels),
        sft_channels=_outputs(tensors, "CondNet1.2.weight", default.sft_channels),
        blocks=(encoder, bottleneck, decoder),
    )


def _convolutions(config: HDRUNetConfig) -> Iterator[tuple[str, str]]:
    yield from _BASE.items()
    if config.weighting:
        yield from _WEIGHTING.items()
    if config.condition:
        yield from _CONDITION.items()
        for theirs, ours in _MODULATIONS.items():
            yield from _modulation(theirs, ours)
    for (trunk, name), blocks in zip(_TRUNKS.items(), config.blocks, strict=True):
        for block in range(blocks):
            theirs, ours = f"{trunk}.{block}", f"{name}.{block}"
            for half in (1, 2):
                yield f"{theirs}.conv{half}", f"{ours}.conv{half}"
                if config.condition:
                    yield from _modulation(f"{theirs}.sft{half}", f"{ours}.modulation{half}")


def _modulation(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    for their_convolution, our_convolution in _MODULATION.items():
        yield f"{theirs}.{their_convolution}", f"{ours}.{our_convolution}"


def _length(tensors: Mapping[str, Tensor], trunk: str) -> int:
    """Residual blocks of a trunk: the highest number in its names, and one more."""
    numbers = [name.split(".")[1] for name in tensors if name.startswith(f"{trunk}.")]
    return max((int(number) for number in numbers if number.isdecimal()), default=-1) + 1


def _outputs(tensors: Mapping[str, Tensor], name: str, default: int) -> int:
    return int(tensors[name].shape[0]) if name in tensors and tensors[name].ndim > 0 else default
