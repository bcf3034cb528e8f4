"""A plan's devices, model and weights -> the engines that make its frames. Loads torch."""

from __future__ import annotations

from .active import Rectangle, active_picture
from .color.convert import Target
from .engine import Engine, Network
from .errors import WeightsError
from .identity import weights_sha256
from .job import Plan
from .network.weights import load_network


def make_engines(plan: Plan) -> list[Engine]:
    """One engine for each of the job's devices, which are separated by commas.

    Raises WeightsError where the file of weights is not, or does not stay, the one that the plan's hash names.
    """
    planned, active = plan.weights_sha256, _active(plan)
    engines = [_engine(plan, device, active) for device in plan.job.device.split(",")]
    if weights_sha256(plan) != planned:
        raise WeightsError(
            f"{plan.job.weights} changed while it was read", "Wait until it is complete, then try again."
        )
    return engines


def make_engine(plan: Plan) -> Engine:
    """The engine that makes the plan's frames, on the first of its devices. Loads the weights."""
    return _engine(plan, plan.job.device.split(",")[0], _active(plan))


def _engine(plan: Plan, device: str, active: Rectangle) -> Engine:
    job = plan.job
    return Engine(
        load_model(job.model, job.weights),
        plan.mapping,
        Target(plan.preset.color, plan.preset.format, plan.preset.dither, plan.mapping.white),
        device=device,
        precision=job.precision,
        backend=job.backend,
        tile=job.tile,
        active=active,
    )


def _active(plan: Plan) -> Rectangle:
    return active_picture(plan.info, plan.color, plan.start, plan.stop)


def load_model(model: str, weights: str = "") -> Network:
    """The network of `--model` and `--weights`; empty weights are the bundled ones."""
    if model == "hdrunet":
        return load_network(weights or None)
    from .baselines import MODELS  # to compare with, not part of a conversion

    return MODELS[model]()
