"""What a training run is: the tables of its TOML file as frozen dataclasses. Defaults are the paper's where it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..network.config import HDRUNetConfig
from .effects import check_effects
from .settings import build, lay_over, number, read_toml, span


@dataclass(frozen=True)
class Source:
    """[[source]]: pictures to train on."""

    path: str
    """Folder."""
    layout: Literal["manifest", "folder", "panoramas", "ntire2021"] = "folder"
    """`manifest`: the items of the folder's manifest.json. `folder`: every .jp2, .exr and .hdr below, a scene each.
    `panoramas`: the panoramas of manifest.json, or every equirectangular picture below. `ntire2021`: NNNN_medium.png,
    NNNN_gt.png, NNNN_alignratio.npy, in one folder or in medium/, gt/ and alignratio/; pairs, used as they are."""
    weight: float = number(1.0, 0.0, 1e6)
    """How often scenes of this source are drawn, against those of the others."""


@dataclass(frozen=True)
class Data:
    """[data]: what a batch is, and which scenes are never in one."""

    patch: int = number(256, 8, 4096)
    """Side of a training sample in pixels, a multiple of 4."""
    batch: int = number(16, 1, 4096)
    """Samples of one device in one forward pass."""
    workers: int = number(2, 0, 256)
    """Processes that make samples; 0 makes them in the training process."""
    cache: str = "cache"
    """Folder of decoded pictures, relative to run.output; may be shared by runs."""
    validation_fraction: float = number(0.1, 0.0, 0.9)
    """Share of the scenes that is held out, chosen by a hash of their names; whole scenes, whatever the source."""
    validation_scenes: tuple[str, ...] = ()
    """Held out besides: names of scenes."""
    validation_views: int = number(48, 0, 10000)
    """Pictures that a validation looks at, spread over the held-out scenes."""
    validation_size: int = number(320, 8, 4096)
    """Validation looks at a window of at most this width and height."""
    gain_map_weight: float = number(1.0, 0.0, 1.0)
    """How often gain-map photographs are drawn: 2 to 3.5 stops of headroom, then flat, so poor truth on light."""
    highlights: float = number(0.0, 0.0, 1.0)
    """Share of the samples for which, of four windows, the one nearest to 20 % of clipped pixels is taken."""
    upright: bool = False
    """Samples are mirrored left to right only: the sky and the sun stay above. Else also upside down and turned."""


@dataclass(frozen=True)
class Degrade:
    """[degrade]: what is done to light to make 8-bit video of it; see degrade.py and codec.py."""

    clipped: tuple[float, float] = span(0.005, 0.1, 1e-5, 0.9)
    """Share of clipped pixels of the picture, logarithmically uniform, for 60 % of the samples. 15 % clip less,
    25 % clip more, to twice as much."""
    noise_free: float = number(0.15, 0.0, 1.0)
    """Share of the samples without noise."""
    noise: tuple[float, float] = span(1e-4, 2e-3, 1e-7, 0.1)
    """Shot noise: variance per unit of light, logarithmically uniform. Read noise follows from it."""
    noise_strong: float = number(0.2, 0.0, 1.0)
    """Share of the noisy samples whose shot noise reaches three times as far."""
    gamma_fixed: float = number(0.5, 0.0, 1.0)
    """Share of the samples encoded with 1/2.24; the others draw from `gamma`. The same curve makes x and y."""
    gamma: tuple[float, float] = span(2.0, 2.5, 1.0, 4.0)
    blur: float = number(0.3, 0.0, 1.0)
    """Share of the samples softened by a Gaussian of 0.3 to 0.7 pixels."""
    codecs: tuple[float, float, float, float, float] = field(
        default=(0.2, 0.1, 0.1, 0.35, 0.25), metadata={"low": 0.0, "high": 1.0}
    )
    """Weights of: none, JPEG, WebP, H.264, HEVC."""
    jpeg: tuple[float, float] = span(60, 98, 1, 100)
    webp: tuple[float, float] = span(45, 95, 1, 100)
    crf: tuple[float, float] = span(14, 32, 0, 51)
    """Constant rate factor of H.264; HEVC takes 2 more."""
    clip_frames: int = number(4, 1, 32)
    """Frames coded for a sample of H.264 or HEVC: one of the last is taken, so that inter-frame artefacts are seen."""
    motion: float = number(3.0, 0.0, 64.0)
    """Most that the picture moves from frame to frame, pixels."""


@dataclass(frozen=True)
class Loss:
    """[loss]: what is minimised; see losses.py."""

    kind: Literal["l1", "l2", "tanh-l1", "tanh-l2"] = "tanh-l1"
    highlights: float = number(0.0, 0.0, 100.0)
    """Weight added to a pixel in proportion to tanh(y - 1) where the target is above SDR white."""
    gradient: float = number(0.0, 0.0, 100.0)
    """Weight of the L1 difference of the neighbours' differences, in the domain of `kind`."""
    mu: float = number(0.0, 0.0, 100.0)
    """Weight of the L1 difference of the mu-law of light: the dark and the brightest count as they do in PSNR-mu."""
    psnr: float = number(0.0, 0.0, 100.0)
    """Weight of log10 of each sample's mean squared error, of the signal and of its mu-law: minus a tenth of its PSNR.
    A decibel counts as much in a clean sample as in a bad one."""
    alive: float = number(0.0, 0.0, 100.0)
    """Weight of a penalty on channels of the U-Net that let next to nothing through; see alive.py."""
    steady: Literal["none", "invariance", "jacobian"] = "none"
    """Eilertsen et al. (arXiv 1902.10424): `invariance` |f(Tx) - T f(x)|, `jacobian` |(f(Tx) - f(x)) - (Ty - y)|."""
    steady_weight: float = number(0.5, 0.0, 1.0)
    """a of (1 - a) * reconstruction + a * steadiness."""
    steady_pairs: Literal["pan", "transform"] = "pan"
    """`pan`: two frames of a moving camera, each with its noise, from one coded clip. `transform`: as published, the
    coded picture warped by a small affine transform, with Gaussian noise."""


@dataclass(frozen=True)
class Optimizer:
    """[optimizer] and what becomes of the gradients."""

    kind: Literal["adam", "adamw", "muon"] = "adam"
    """`muon`: steps of equal size in all directions for convolutions, AdamW for the rest; see muon.py."""
    lr: float = number(2e-4, 1e-9, 1.0)
    betas: tuple[float, float] = field(default=(0.9, 0.99), metadata={"low": 0.0, "high": 0.999999})
    weight_decay: float = number(0.0, 0.0, 1.0)
    clip: float = number(0.0, 0.0, 1e6)
    """Largest norm of the gradient; 0 leaves it."""
    accumulate: int = number(1, 1, 1024)
    """Forward passes to a step."""
    ema: float = number(0.0, 0.0, 0.999999)
    """Decay of the averaged weights, which are the ones that are validated and shipped; 0: no average."""


@dataclass(frozen=True)
class Schedule:
    """[schedule]: the learning rate as the run goes on."""

    kind: Literal["steps", "cosine", "constant"] = "steps"
    steps: tuple[float, ...] = field(default=(0.2, 0.4, 0.6, 0.8), metadata={"low": 0.0, "high": 1.0})
    """`steps`: parts of the run after which the rate is multiplied by `factor`."""
    factor: float = number(0.5, 0.0, 1.0)
    final: float = number(0.01, 0.0, 1.0)
    """`cosine`: the rate at the end, as a part of the first."""
    warmup: int = number(0, 0, 10**9)
    """Iterations in which the rate rises linearly from 0."""
    over: Literal["iterations", "time"] = "iterations"
    """What a run's part is counted in. `time` (run.minutes) fits a deadline, but no two such runs are the same."""


@dataclass(frozen=True)
class Compute:
    """[compute]: how the device works."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of all but the output convolutions, which stay fp32. `auto`: bf16 where the device has instructions for it."""
    channels_last: bool = True
    compile: bool = False
    threads: int = number(0, 0, 1024)
    """CPU threads of the training process; 0: as many as there are cores for it."""


@dataclass(frozen=True)
class Run:
    """[run]: where, how long, and how often it is looked at."""

    output: str = "training-run"
    seed: int = number(10, 0, 2**31 - 1)
    iterations: int = number(1_000_000, 1, 10**9)
    """Steps of the optimizer."""
    minutes: float = number(0.0, 0.0, 1e6)
    """Time after which the run ends, over all resumptions; 0: no limit."""
    log_every: int = number(100, 1, 10**9)
    validate_every: int = number(5000, 1, 10**9)
    checkpoint_minutes: float = number(5.0, 0.0, 1e6)
    """Time between checkpoints; there is one at each validation and at the end as well. 0: after each step."""
    pictures: int = number(4, 0, 64)
    """Held-out pictures in TensorBoard and in the report."""


@dataclass(frozen=True)
class Start:
    """[start]: the weights that the run begins with."""

    weights: str = ""
    """A weights file, `bundled`, or empty: random."""
    identity: bool = False
    """Random weights, but the first output is the input."""
    weighting: str = ""
    """A weights file, or `bundled`, whose weighting network is taken, and its last bias; G starts as that constant. For
    weights whose U-Net is shut: the first output is theirs, with a U-Net that can learn."""


@dataclass(frozen=True)
class Config:
    """A whole run."""

    source: tuple[Source, ...]
    run: Run = field(default_factory=Run)
    start: Start = field(default_factory=Start)
    network: HDRUNetConfig = field(default_factory=HDRUNetConfig)
    data: Data = field(default_factory=Data)
    degrade: Degrade = field(default_factory=Degrade)
    loss: Loss = field(default_factory=Loss)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    compute: Compute = field(default_factory=Compute)

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError("there is no [[source]]")
        if self.data.patch % 4:
            raise ValueError(f"data.patch must be a multiple of 4, not {self.data.patch}")
        if sum(self.degrade.codecs) <= 0:
            raise ValueError("degrade.codecs are all 0")
        if self.schedule.over == "time" and not self.run.minutes:
            raise ValueError("schedule.over = 'time' needs run.minutes")

    def as_json(self) -> str:
        """All fields, sorted: what checkpoints hold."""
        return json.dumps(asdict(self), sort_keys=True)

    def essence(self) -> dict[str, Any]:
        """Flat names and values of what decides the weights: the rest may change when a run is resumed."""
        flat: dict[str, Any] = {}
        for table, values in json.loads(self.as_json()).items():
            entries = values.items() if isinstance(values, dict) else [("", values)]
            flat |= {f"{table}.{key}".rstrip("."): value for key, value in entries}
        return {key: value for key, value in flat.items() if key not in _FREE}

    @property
    def digest(self) -> str:
        """SHA-256 of the essence."""
        return hashlib.sha256(json.dumps(self.essence(), sort_keys=True).encode()).hexdigest()


_FREE = {
    *("run.output", "run.iterations", "run.minutes", "run.log_every", "run.validate_every", "run.checkpoint_minutes"),
    *("run.pictures", "data.workers", "data.cache", "data.validation_views", "data.validation_size"),
    *("compute.device", "compute.threads", "compute.compile", "start.weights", "start.weighting", "source"),
}
"""May differ between the parts of one run. (Sources may move: the hash of their pictures is compared instead.)"""

BUNDLED = ("paper", "ours", "further")
"""Names of the configurations beside this file."""


def load_config(name: str | Path, settings: Iterable[str] = ()) -> Config:
    """Read and check a configuration, with `--set` settings laid over it; relative paths become absolute: a file's from
    its folder, a bundled one's from the current folder. Raises ConfigError that names the key and what is allowed."""
    path, folder = Path(name), Path(name).resolve().parent
    if str(name) in BUNDLED:
        path, folder = Path(__file__).with_name(f"{name}.toml"), Path.cwd()
    document = read_toml(path)
    lay_over(document, settings)
    config = build(Config, document, "")
    check_effects(config, document)
    sources = tuple(replace(each, path=str(folder / each.path)) for each in config.source)
    run = replace(config.run, output=str(folder / config.run.output))
    start = replace(
        config.start, weights=_file(config.start.weights, folder), weighting=_file(config.start.weighting, folder)
    )
    return replace(config, source=sources, run=run, start=start)


def _file(weights: str, folder: Path) -> str:
    return weights if weights in ("", "bundled") else str(folder / weights)
