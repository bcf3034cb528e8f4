from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hdrunet_video.training import images


def picture(seed: int, height: int = 40, width: int = 56) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """A smooth SDR picture of 8 bits, and the HDR signal it was clipped from, (H, W, 3) both."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / height
    glow = 1.8 * np.exp(-8 * ((rows - random.uniform(0.2, 0.8)) ** 2 + (columns - random.uniform(0.3, 1.0)) ** 2))
    signal = (0.15 + 0.3 * rows + glow)[..., None] * random.uniform(0.7, 1.0, 3)
    noisy = np.clip(signal + random.normal(0.0, 0.01, signal.shape), 0.0, 1.0)
    return np.round(noisy * 255).astype(np.uint8), signal.astype(np.float32)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A folder of four pairs of three scenes."""
    folder = tmp_path / "pairs"
    for part in ("sdr", "hdr"):
        (folder / part).mkdir(parents=True)
    for seed, name in enumerate(("street_00", "street_01", "beach_00", "lamp")):
        sdr, hdr = picture(seed)
        images.write_png(folder / "sdr" / f"{name}.png", sdr)
        np.save(folder / "hdr" / f"{name}.npy", hdr)
    return folder
