"""The samples of a run, by number. Sample n of a seed is the same in every process, on every machine, in any order:
nothing of the data has to be remembered when a run is resumed, and workers and devices only share the numbers out."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import active_children
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from .cache import Picture
from .config import Config
from .degrade import degrade, draw, truth
from .images import Array
from .signals import held_signals, ignore_signals
from .steady import transform_pair
from .views import conjugate, shoot, shoot_panorama, turned

_AHEAD = 4
"""Batches that a worker makes before they are asked for."""
_IN_USE = 2
"""Batches that have been asked for."""
_SHARED_MEMORY = Path("/dev/shm")
_log = logging.getLogger(__name__)
_MARGIN = 16
"""Codecs see this much more than the patch, so that their blocks lie anywhere on it."""


class Sample(NamedTuple):
    """F = 1 frame, or 2 that follow each other. Of a batch, each has a first dimension more."""

    x: Tensor
    """(F, 3, P, P) float32, 0..1: the source's signal."""
    y: Tensor
    """(F, 3, P, P) float32, unbounded: what the network should give."""
    motion: Tensor
    """(3, 3) float32: pixels of the second frame -> pixels of the first."""


class Samples(Dataset[Sample]):
    """Sample n, for any n >= 0."""

    def __init__(self, pictures: Sequence[Picture], config: Config) -> None:
        self._pictures, self._config = list(pictures), config
        weights = np.array([picture.item.weight for picture in pictures], np.float64)
        if weights.sum() <= 0:
            weights[:] = 1
        self._until = np.cumsum(weights / weights.sum())
        self._pairs = _has_two_frames(config)

    def __getitem__(self, number: int) -> Sample:
        rng = np.random.default_rng([self._config.run.seed, number])
        which = min(int(np.searchsorted(self._until, rng.random(), side="right")), len(self._pictures) - 1)
        picture = self._pictures[which]
        # Opened anew, in a thousandth of a second: a process may have fewer files open than there are pictures.
        arrays = picture.open()
        if picture.item.kind == "pair":
            return self._given(arrays, rng)
        return self._degraded(picture, arrays[0], rng)

    def _degraded(self, picture: Picture, light: Array, rng: np.random.Generator) -> Sample:
        config, patch = self._config.degrade, self._config.data.patch
        size = patch + _MARGIN
        pan = self._pairs and self._config.loss.steady_pairs == "pan"
        panorama = picture.item.kind == "panorama"
        choose = rng.random() < self._config.data.highlights
        # The number of frames depends on the codec, so the recipe comes first; a panorama's levels on the view.
        attempts, seeds = 4 if choose else 1, rng.integers(0, 2**63, 3)
        best = None
        for attempt in range(attempts):
            where = np.random.default_rng([int(seeds[0]), attempt])
            if panorama:
                shot = shoot_panorama(light, where, size, config.clip_frames, config.motion)
            else:
                shot = shoot(light, picture.levels, where, size, config.clip_frames, config.motion)
            recipe = draw(config, shot.levels, np.random.default_rng(int(seeds[1])))
            clipped = float((shot.frames[-1].max(-1) * recipe.gain > 1).mean())
            if best is None or abs(clipped - 0.2) < best[0]:
                best = abs(clipped - 0.2), shot, recipe
        assert best is not None
        _, shot, recipe = best
        needed = 2 if pan else 1
        frames = shot.frames
        if len(frames) < needed:
            frames = [frames[0], frames[0]]
        if recipe.codec in ("h264", "hevc"):
            last = int(rng.integers(max(len(frames) // 2, needed - 1), len(frames))) + 1
        else:
            frames, last = frames[-needed:], needed
        coded = degrade(frames, recipe, np.random.default_rng(int(seeds[2])))[last - needed : last]
        wanted = [truth(frame, recipe) for frame in frames[last - needed : last]]
        left, top = rng.integers(0, _MARGIN + 1, 2)
        crop = [each[top : top + patch, left : left + patch] for each in coded + wanted]
        shift = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
        step = shot.step if len(shot.frames) > 1 else np.eye(3)
        return self._finished(crop, conjugate(step, shift), rng)

    def _given(self, arrays: tuple[Array, ...], rng: np.random.Generator) -> Sample:
        """A window of a pair as it is; two frames are the same window twice, which only `transform` makes use of."""
        x, y = arrays
        patch = self._config.data.patch
        top, left = (int(rng.integers(0, max(length - patch, 0) + 1)) for length in x.shape[:2])
        crop = [each[top : top + patch, left : left + patch] for each in (x, y)]
        down, across = patch - crop[0].shape[0], patch - crop[0].shape[1]
        crop = [np.pad(each, ((0, down), (0, across), (0, 0)), mode="symmetric") for each in crop]
        pictures = [crop[0].astype(np.float32) / 255, crop[1].astype(np.float32)]
        if self._pairs and self._config.loss.steady_pairs == "pan":
            pictures = [pictures[0], pictures[0], pictures[1], pictures[1]]
        return self._finished(pictures, np.eye(3), rng)

    def _finished(self, pictures: list[Any], motion: Any, rng: np.random.Generator) -> Sample:
        pictures, motion = turned(pictures, motion, rng, self._config.data.upright)
        stack = torch.from_numpy(np.ascontiguousarray(np.stack(pictures), np.float32)).permute(0, 3, 1, 2)
        x, y = stack.contiguous().chunk(2)
        if self._pairs and self._config.loss.steady_pairs == "transform":
            x, y, motion = transform_pair(x, y, rng)
        return Sample(x, y, torch.from_numpy(np.asarray(motion, np.float32)))


class Numbers(Sampler[list[int]]):
    """The numbers of each batch of one process, from an iteration on, without end."""

    def __init__(self, config: Config, iteration: int, rank: int, world: int) -> None:
        self._batch, self._accumulate = config.data.batch, config.optimizer.accumulate
        self._iteration, self._rank, self._world = iteration, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        """Micro-batch m of iteration i is slot (i * accumulate + m) * world + rank: two devices see in one pass what
        one device sees in two."""
        step = self._iteration * self._accumulate
        while True:
            first = (step * self._world + self._rank) * self._batch
            yield list(range(first, first + self._batch))
            step += 1


@contextmanager
def batches(
    pictures: Sequence[Picture], config: Config, iteration: int, rank: int = 0, world: int = 1
) -> Iterator[Any]:
    """An endless iterator of batches from an iteration on, Samples with one dimension more; its workers end with it."""
    workers, ahead = _queue(config)
    loader: DataLoader[Sample] = DataLoader(
        Samples(pictures, config),
        batch_sampler=Numbers(config, iteration, rank, world),
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=ahead,
        worker_init_fn=_start_worker,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # the loader draws numbers that nobody needs: not from the run's own
    )
    others, made = active_children(), None
    try:
        # Terminals, torchrun and batch systems signal all processes of a run: the training process answers and ends the
        # workers, which begin with seconds of imports.
        with held_signals():
            made = iter(loader)
        yield made
    finally:
        # An error keeps the iterator alive, which would end them: Python, as it exits, would wait for them for ever.
        try:
            if workers and made is not None:
                made._shutdown_workers()  # type: ignore[attr-defined]
        finally:
            for child in active_children():
                if child not in others:
                    child.kill()
                    child.join()


def _queue(config: Config) -> tuple[int, int | None]:
    """Workers, and how many batches each makes ahead: fewer than asked for where shared memory, through which batches
    come, does not hold them. A container has 64 MiB by default, and a process that finds no more is killed (SIGBUS)."""
    asked = config.data.workers
    if asked == 0 or not _SHARED_MEMORY.is_dir():
        return asked, _AHEAD if asked else None
    frames = 2 if _has_two_frames(config) else 1
    batch = config.data.batch * frames * 2 * 3 * config.data.patch**2 * 4
    free = shutil.disk_usage(_SHARED_MEMORY).free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    room = max(free // batch - _IN_USE, 0)
    workers = min(asked, room)
    if workers < asked:
        by = f"{workers} workers" if workers else "the training process itself"
        said = "%s has no room for batches of %d workers: made by %s; docker run --shm-size gives more"
        _log.warning(said, _SHARED_MEMORY, asked, by)
    return workers, min(room // workers, _AHEAD) if workers else None


def _has_two_frames(config: Config) -> bool:
    return config.loss.steady != "none" and config.loss.steady_weight > 0


def _start_worker(worker: int) -> None:
    ignore_signals()
    torch.set_num_threads(1)
