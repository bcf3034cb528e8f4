"""Light -> what 8-bit video keeps of it, and what the network should have made of that. Seeded: one generator decides.

A camera, in this order: exposure; shot and read noise; clipping at white; one curve, light ** (1 / gamma), for the
source x and the truth y alike (a curve for x alone teaches a drift of brightness); a slight softness; 8 bits; 4:2:0 and
a codec. y is the exposed light before all else, encoded: above 1 only where x has clipped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import codec
from .cache import Levels
from .config import Degrade
from .images import Array, Floats

GAMMA = 2.24
"""The exponent of the challenge's data, and of our light mapping."""
BRIGHTEST = 64.0
"""y stops at this light, in units of SDR white: 6 stops above it."""
CODECS = ("none", "jpeg", "webp", "h264", "hevc")
_PRESETS = {"h264": ("veryfast", "faster", "medium"), "hevc": ("ultrafast", "superfast", "veryfast")}
_MEDIAN = (0.015, 0.6)
"""An exposure keeps the median luminance in this range, whatever clips."""


@dataclass(frozen=True)
class Recipe:
    """What is done to one sample."""

    gain: float
    """Light is multiplied by this; then 1.0 is SDR white."""
    gamma: float
    shot: float
    """Variance of the noise per unit of light."""
    read: float
    """Variance of the noise in the dark."""
    grain: float
    """Sigma of the blur of the noise, pixels: demosaicing and in-camera noise reduction; 0: white noise."""
    soft: float
    """Sigma of the blur of the picture, pixels."""
    codec: str
    quality: float
    """Of JPEG and WebP 1..100; of H.264 and HEVC the constant rate factor."""
    preset: str
    """Of H.264 and HEVC, the encoder's; of none, `420` or `rgb`."""


def draw(config: Degrade, levels: Levels, rng: np.random.Generator) -> Recipe:
    """A recipe for a picture of these levels."""
    low, high = config.clipped
    which = rng.random()
    if which < 0.15:
        clipped = rng.uniform(0, low)
    elif which < 0.75:
        clipped = _log_uniform(rng, low, high)
    else:
        clipped = rng.uniform(high, min(2 * high, 0.95))
    gain = 1 / max(levels.level(max(clipped, 1e-5)), 1e-4)
    median = max(levels.median, 1e-4)
    gain = float(np.clip(gain, _MEDIAN[0] / median, _MEDIAN[1] / median))
    gamma = GAMMA if rng.random() < config.gamma_fixed else rng.uniform(*config.gamma)
    shot, read, grain = _noise(config, rng)
    soft = rng.uniform(0.3, 0.7) if rng.random() < config.blur else 0.0
    weights = np.array(config.codecs) / sum(config.codecs)
    name = CODECS[int(rng.choice(len(CODECS), p=weights))]
    part, choice = rng.random(), int(rng.integers(0, 6))
    quality, preset = 0.0, ("420", "rgb")[choice % 2]
    if name in ("jpeg", "webp"):
        best = config.jpeg if name == "jpeg" else config.webp
        quality, preset = round(best[0] + part * (best[1] - best[0])), ""
    elif name in _PRESETS:
        quality = config.crf[0] + part * (config.crf[1] - config.crf[0]) + (2 if name == "hevc" else 0)
        quality, preset = min(quality, 51.0), _PRESETS[name][choice % 3]
    return Recipe(gain, float(gamma), shot, read, grain, float(soft), name, quality, preset)


def truth(light: Array, recipe: Recipe) -> Floats:
    """y: exposed light, encoded; 0..BRIGHTEST ** (1 / gamma)."""
    return np.asarray(np.minimum(light * np.float32(recipe.gain), BRIGHTEST) ** np.float32(1 / recipe.gamma))


def degrade(frames: Sequence[Array], recipe: Recipe, rng: np.random.Generator) -> list[Floats]:
    """x of each of some frames of light (H, W, 3) that follow each other, H and W even: float32, 0..1."""
    pictures = [_captured(frame, recipe, rng) for frame in frames]
    if recipe.codec in _PRESETS:
        return codec.video(pictures, recipe.codec, recipe.quality, recipe.preset)
    if recipe.codec in ("jpeg", "webp"):
        return [codec.still(picture, recipe.codec, int(recipe.quality)) for picture in pictures]
    if recipe.preset == "420":
        return [codec.subsampled(picture) for picture in pictures]
    return [picture.astype(np.float32) / np.float32(255) for picture in pictures]


def _captured(light: Array, recipe: Recipe, rng: np.random.Generator) -> codec.Bytes:
    """The camera's 8-bit picture of one frame, before any codec."""
    exposed = np.asarray(light, np.float32) * np.float32(recipe.gain)
    if recipe.shot or recipe.read:
        noise = rng.standard_normal(exposed.shape, np.float32)
        if recipe.grain:
            noise = blur(noise, recipe.grain) / np.float32(_remaining(recipe.grain))
        exposed = exposed + noise * np.sqrt(np.float32(recipe.shot) * exposed + np.float32(recipe.read))
    signal = np.clip(exposed, 0, 1) ** np.float32(1 / recipe.gamma)
    if recipe.soft:
        signal = blur(signal, recipe.soft)
    return np.asarray(np.rint(np.clip(signal, 0, 1) * 255), np.uint8)


def _noise(config: Degrade, rng: np.random.Generator) -> tuple[float, float, float]:
    """Shot and read variance and grain, after Brooks et al. (CVPR 2019):
    log read = 2.18 log shot + 1.20 + N(0, 0.26)."""
    free, strong, grainy = rng.random(3) < (config.noise_free, config.noise_strong, 0.5)
    high = config.noise[1] * (3 if strong else 1)
    shot = _log_uniform(rng, config.noise[0], high)
    read = math.exp(2.18 * math.log(shot) + 1.20 + rng.normal(0, 0.26))
    grain = float(rng.uniform(0.4, 0.8))
    return (0.0, 0.0, 0.0) if free else (shot, read, grain if grainy else 0.0)


def blur(picture: Floats, sigma: float) -> Floats:
    """Gaussian blur of (H, W, C), edges repeated."""
    weights = _gaussian(sigma)
    radius = len(weights) // 2
    for axis in (0, 1):
        padding = [(0, 0)] * 3
        padding[axis] = (radius, radius)
        padded, length = np.pad(picture, padding, mode="edge"), picture.shape[axis]
        taken = [np.take(padded, np.arange(i, i + length), axis) * weight for i, weight in enumerate(weights)]
        picture = np.sum(taken, axis=0, dtype=np.float32)
    return picture


def _gaussian(sigma: float) -> Floats:
    radius = max(math.ceil(3 * sigma), 1)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum(), np.float32)


def _remaining(sigma: float) -> float:
    """Standard deviation that white noise of 1 keeps when blurred."""
    return float(np.square(_gaussian(sigma)).sum())


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(max(high, low))))
