"""What comes before the first step: pictures, device, network."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import nn

from ..device import is_out_of_memory
from ..errors import ConfigError, RetryError
from ..network.hdrunet import HDRUNet
from ..network.weights import load_network
from .cache import cache_items, keep_apart
from .checkpoint import STATE
from .compute import seed_all, start
from .config import Config
from .loop import Training
from .sources import find_items, split

_log = logging.getLogger(__name__)


def train(config: Config, resume: bool = False, check: bool = False) -> int:
    """A whole run; returns the exit code: 0, or 128 + the number of the signal that stopped it."""
    items, held_items = split(find_items(config.source, config.data), config.data)
    worker = start(config.compute)
    try:
        folder = Path(config.run.output)
        if (folder / STATE).exists() and not resume and not check:
            raise ConfigError(f"{folder} holds a run already", "go on with --resume, or name another run.output")
        cache = folder / config.data.cache
        if not worker.first:
            worker.wait_for_all()
        pictures = keep_apart(cache_items(items, cache), cache_items(held_items, cache))
        if worker.first:
            if twins := len(items) - len(pictures[0]):
                _log.warning("not trained on, as they equal held-out pictures: %d", twins)
            worker.wait_for_all()
        if check:
            return 0
        seed_all(config.run.seed)
        training = Training(config, worker, make_network(config), *pictures)
        if resume and (folder / STATE).exists():
            training.resume()
        return training.run()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        hint = "--set data.batch=N with a smaller N, and optimizer.accumulate for the rest"
        raise RetryError(
            f"the device has too little memory: {(str(error) or 'no memory').splitlines()[0]}", hint
        ) from None
    finally:
        worker.leave()


def make_network(config: Config) -> HDRUNet:
    """The network of a configuration with the weights that it starts with. Raises ConfigError, WeightsError."""
    network = _loaded(config.start.weights, config) if config.start.weights else HDRUNet(config.network)
    if config.start.weighting:
        _take_weighting(network, _loaded(config.start.weighting, config))
    elif config.start.identity and not config.start.weights:
        last = [network.to_rgb] if network.weighting is None else [network.to_rgb, network.weighting.to_weights]
        for layer in last:
            assert layer.bias is not None
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, 0.0 if layer is network.to_rgb else 1.0)
    return network.requires_grad_(True).train()


def _loaded(weights: str, config: Config) -> HDRUNet:
    network = load_network(None if weights == "bundled" else weights)
    if network.config != config.network:
        raise ConfigError(f"{weights} are weights of {network.config}, not of [network]", "change [network]")
    return network


def _take_weighting(network: HDRUNet, other: HDRUNet) -> None:
    if network.weighting is None or other.weighting is None:
        raise ConfigError("start.weighting needs a network with weighting", "set network.weighting=true")
    network.weighting.load_state_dict(other.weighting.state_dict())
    assert network.to_rgb.bias is not None
    assert other.to_rgb.bias is not None
    with torch.no_grad():
        network.to_rgb.weight.zero_()
        network.to_rgb.bias.copy_(other.to_rgb.bias)
