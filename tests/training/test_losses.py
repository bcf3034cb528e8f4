"""Each loss against its formula in float64 numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from hdrunet_video.training.config import Loss
from hdrunet_video.training.losses import reconstruction, total_loss
from hdrunet_video.training.steady import transform_pair, unsteadiness, warp

rng = np.random.default_rng(4)
OUTPUT, TARGET = rng.uniform(-0.2, 3.0, (2, 2, 2, 3, 9, 11))


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float32))


FORMULAS = {
    "l1": lambda a, b: np.abs(a - b),
    "l2": lambda a, b: (a - b) ** 2,
    "tanh-l1": lambda a, b: np.abs(np.tanh(a) - np.tanh(b)),
    "tanh-l2": lambda a, b: (np.tanh(a) - np.tanh(b)) ** 2,
}


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("highlights", [0.0, 1.5])
def test_reconstruction(kind: str, highlights: float) -> None:
    a, b = OUTPUT[:, 0].astype(np.float32).astype(np.float64), TARGET[:, 0].astype(np.float32).astype(np.float64)
    weights = 1 + highlights * np.tanh(np.maximum(b - 1, 0))
    expected = (weights * FORMULAS[kind](a, b)).mean()
    loss = Loss(kind=kind, highlights=highlights)  # type: ignore[arg-type]
    assert float(reconstruction(tensor(a), tensor(b), loss)) == pytest.approx(expected, rel=1e-5)


def test_gradient() -> None:
    a, b = np.tanh(OUTPUT[:, 0]), np.tanh(TARGET[:, 0])
    d = a - b
    expected = np.abs(d).mean() + 0.7 * (np.abs(np.diff(d, axis=-1)).mean() + np.abs(np.diff(d, axis=-2)).mean())
    found = reconstruction(tensor(OUTPUT[:, 0]), tensor(TARGET[:, 0]), Loss(gradient=0.7))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_mu() -> None:
    a, b = (np.log1p(5000 * np.maximum(v, 0) ** 2.24) / np.log(5001) for v in (OUTPUT[:, 0], TARGET[:, 0]))
    plain, found = (reconstruction(tensor(OUTPUT[:, 0]), tensor(TARGET[:, 0]), Loss(mu=mu)) for mu in (0.0, 0.6))
    assert float(found - plain) == pytest.approx(0.6 * np.abs(a - b).mean(), rel=1e-5)


def test_psnr() -> None:
    """Samples of very different errors count alike."""
    output, target = OUTPUT[:, 0].copy(), TARGET[:, 0]
    output[0] = target[0] + 0.01 * (output[0] - target[0])
    values = []
    for domain in (lambda v: v, lambda v: np.log1p(5000 * np.maximum(v, 0) ** 2.24) / np.log(5001)):
        errors = ((domain(output) - domain(target)) ** 2).mean(axis=(1, 2, 3))
        values.append(np.log10(errors + 1e-5).mean())
    plain, found = (reconstruction(tensor(output), tensor(target), Loss(psnr=psnr)) for psnr in (0.0, 0.6))
    assert float(found - plain) == pytest.approx(0.6 * np.mean(values), rel=1e-5)


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("steady", ["invariance", "jacobian"])
def test_steadiness_of_whole_pixels(kind: str, steady: str) -> None:
    """With a motion by (2, 1) pixels: the second frame's pixel (x, y) is the first's (x + 2, y + 1)."""
    domain = np.tanh if kind.startswith("tanh") else lambda values: values
    power = 2 if kind.endswith("l2") else 1
    f, y = domain(OUTPUT), domain(TARGET)
    if steady == "invariance":
        # What counts lies 2 pixels within the first frame.
        first, second = f[:, 0, :, 2:-2, 2:-2], f[:, 1, :, 1:-3, 0:-4]
        part = (np.abs(second - first) ** power).mean()
    else:
        part = (np.abs((f[:, 1] - f[:, 0]) - (y[:, 1] - y[:, 0])) ** power).mean()
    motion = tensor(np.array([[1.0, 0, 2], [0, 1, 1], [0, 0, 1]])).expand(2, 3, 3)
    expected = 0.75 * FORMULAS[kind](OUTPUT, TARGET).mean() + 0.25 * part
    loss = Loss(kind=kind, steady=steady, steady_weight=0.25)  # type: ignore[arg-type]
    found, parts = total_loss(tensor(OUTPUT), tensor(TARGET), motion, loss)
    assert float(found) == pytest.approx(expected, rel=1e-4)
    assert float(parts["steadiness"]) == pytest.approx(part, rel=1e-4)


def test_steadiness_in_decibels() -> None:
    """Pairs of very different steadiness count alike."""
    output, motion = OUTPUT.copy(), tensor(np.array([[1.0, 0, 2], [0, 1, 1], [0, 0, 1]])).expand(2, 3, 3)
    output[0] = 0.5 + 0.01 * output[0]
    values = []
    for domain in (lambda v: v, lambda v: np.log1p(5000 * np.maximum(v, 0) ** 2.24) / np.log(5001)):
        f = domain(output)
        errors = ((f[:, 1, :, 1:-3, 0:-4] - f[:, 0, :, 2:-2, 2:-2]) ** 2).mean(axis=(1, 2, 3))
        values.append(np.log10(errors + 1e-5).mean())
    losses = (Loss(steady="invariance", psnr=psnr) for psnr in (0.0, 0.6))
    plain, found = (total_loss(tensor(output), tensor(TARGET), motion, loss)[1]["steadiness"] for loss in losses)
    assert float(found - plain) == pytest.approx(0.6 * np.mean(values), rel=1e-4)


def test_a_transformed_pair_fits_its_motion() -> None:
    y = torch.from_numpy(np.add.outer(np.arange(24.0), np.arange(32.0) * 2).astype(np.float32)).expand(1, 3, 24, 32)
    x = y / y.max()
    pair_x, pair_y, motion = transform_pair(x, y, np.random.default_rng(1))
    assert pair_x.shape == pair_y.shape == (2, 3, 24, 32)
    moved, seen = warp(y, torch.from_numpy(motion.astype(np.float32))[None])
    assert torch.equal(moved[0], pair_y[1])
    assert 0.5 < float(seen.mean()) < 1
    # A plane stays a plane: at pixel (x, y) it has the value of the pixel that the motion names.
    where = motion @ np.array([15.0, 12.0, 1.0])
    assert float(pair_y[1, 0, 12, 15]) == pytest.approx(where[1] + 2 * where[0], abs=1e-3)
    noise = (pair_x[1] - moved[0] / y.max())[:, 4:-4, 4:-4]
    assert 0.005 < float(noise.std()) < 0.06


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("kind", ["invariance", "jacobian"])
def test_steadiness_does_not_wait_for_a_gpu(kind: str) -> None:
    motion = torch.eye(3, device="cuda").expand(2, 3, 3)
    output, target = (tensor(each).cuda() for each in (OUTPUT, TARGET))
    expected = unsteadiness(output.cpu(), target.cpu(), motion.cpu(), kind)  # type: ignore[arg-type]
    torch.cuda.set_sync_debug_mode("error")
    try:
        made = unsteadiness(output, target, motion, kind)  # type: ignore[arg-type]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for one, other in zip(made, expected, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-5, atol=1e-5)


def test_steadiness_makes_nothing_on_the_host() -> None:
    class Watch(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert function is not torch.tensor  # which a GPU must wait for
            return function(*args, **kwargs or {})

    picture = tensor(TARGET[:, 0])
    with Watch():
        moved, seen = warp(picture, torch.eye(3).expand(2, 3, 3))
    torch.testing.assert_close(moved, picture, rtol=1e-5, atol=1e-5)
    assert seen.sum() == 2 * (9 - 4) * (11 - 4)
