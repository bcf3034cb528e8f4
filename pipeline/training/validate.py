"""PSNR-mu and PSNR-L (NTIRE 2021, Perez-Pellitero et al.) on held-out scenes, the same degraded pictures every time."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ..metrics.psnr import norm_of, psnr_l, psnr_mu
from ..network.hdrunet import HDRUNet
from .cache import Picture
from .config import Config
from .degrade import degrade, draw, truth
from .views import shoot, shoot_panorama

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """A held-out picture."""

    name: str
    x: Tensor
    """(1, 3, H, W), 0..1."""
    y: Tensor
    """(1, 3, H, W), unbounded."""


@dataclass(frozen=True)
class Scores:
    """Of a network on the held-out pictures, dB, means of pictures."""

    psnr_mu: float
    psnr_l: float
    better: float
    """Share of the pictures with a PSNR-mu above that of the source itself."""
    dead: float = 0.0
    """Share of the channels before the last convolution that are 0 everywhere: a network can lose its U-Net that way,
    and go on with the weighting network alone."""

    def said(self) -> str:
        """In a line, with a warning where the network is about to be lost."""
        dead = f"; WARNING: {self.dead:.0%} of the U-Net's last channels are dead" if self.dead > 0.5 else ""
        decibels = f"PSNR-mu {self.psnr_mu:.3f} dB, PSNR-L {self.psnr_l:.3f} dB"
        return f"{decibels}, better than the source on {self.better:.0%}{dead}"


def held_out_pairs(pictures: Sequence[Picture], config: Config) -> list[Pair]:
    """At most data.validation_views pairs, scenes in turn, from the light of one number per picture's name. Of what is
    black there is no PSNR-mu: it is left out."""
    scenes: dict[str, list[Picture]] = {}
    for picture in pictures:
        if picture.item.kind != "panorama" or all(each.item.kind == "panorama" for each in pictures):
            scenes.setdefault(picture.item.scene, []).append(picture)
    # Names in their order would be the first of a film's frames.
    order = [
        (turn, _number(scene), picture)
        for scene, members in scenes.items()
        for turn, picture in enumerate(sorted(members, key=lambda each: _number(each.item.name)))
    ]
    order.sort(key=lambda entry: entry[:2])
    pairs: list[Pair] = []
    black = 0
    for _, _, picture in order:
        if len(pairs) == config.data.validation_views:
            break
        pair = _pair(picture, config)
        if norm_of(pair.y[0]) > 0:
            pairs.append(pair)
        else:
            black += 1
    if black:
        _log.warning("%d held-out pictures are black, and left out: there is no PSNR-mu of them", black)
    return pairs


def _pair(picture: Picture, config: Config) -> Pair:
    rng = np.random.default_rng([20210514, _number(picture.item.name)])
    arrays, size = picture.open(), config.data.validation_size
    rows, columns = arrays[-1].shape[:2]
    if picture.item.kind == "panorama":
        shot = shoot_panorama(arrays[0], rng, size // 2 * 2, 3, config.degrade.motion)
        frames, levels = shot.frames, shot.levels
    else:
        height, width = (max(min(length, size) // 2 * 2, 2) for length in (rows, columns))
        top, left = (rows - height) // 2, (columns - width) // 2
        window = [np.asarray(each[top : top + height, left : left + width]) for each in arrays]
        if picture.item.kind == "pair":
            return Pair(picture.item.name, _tensor(window[0] / np.float32(255)), _tensor(window[1]))
        frames, levels = [window[0].astype(np.float32)] * 3, picture.levels
        if min(height, width) < size // 4 * 2:  # too small for a codec: mirrored
            frames = shoot(arrays[0], levels, rng, max(size // 4 * 2, 16), 3, 0.0).frames
    # A curve of its own would have PSNR-mu linearise with the wrong exponent.
    recipe = draw(replace(config.degrade, gamma_fixed=1.0), levels, rng)
    return Pair(picture.item.name, _tensor(degrade(frames, recipe, rng)[-1]), _tensor(truth(frames[-1], recipe)))


def _tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture, np.float32)).permute(2, 0, 1).unsqueeze(0).contiguous()


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6])


def validate(network: Callable[[Tensor], Tensor], pairs: Sequence[Pair], device: torch.device) -> Scores:
    """Scores of a network (signal to signal) in its own precision."""
    if not pairs:
        return Scores(float("nan"), float("nan"), float("nan"))
    rows = []
    with _alive(network) as alive:
        for pair in pairs:
            x, y = pair.x.to(device), pair.y.to(device)
            with torch.inference_mode():
                output = network(x).float()
            mu = psnr_mu(output[0], y[0])
            rows.append((mu, psnr_l(output[0], y[0]), float(mu > psnr_mu(x[0], y[0]))))
    means = np.mean(rows, axis=0)
    dead = 1 - float(torch.stack(alive).any(dim=0).float().mean()) if alive else 0.0
    return Scores(float(means[0]), float(means[1]), float(means[2]), dead)


@contextmanager
def _alive(network: object) -> Iterator[list[Tensor]]:
    """Which channels the last ReLU lets through, of each picture; of nothing but an HDRUNet."""
    alive: list[Tensor] = []
    if not isinstance(network, HDRUNet):
        yield alive
        return

    def look(module: nn.Module, inputs: object, output: Tensor) -> None:
        alive.append((output > 0).any(dim=-1).any(dim=-1).any(dim=0))

    handle = network.decode_full.register_forward_hook(look)
    try:
        yield alive
    finally:
        handle.remove()
