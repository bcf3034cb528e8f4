"""The run: batches -> steps -> validations and checkpoints. Read `Training.run`."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import ConfigError
from ..network.hdrunet import HDRUNet
from .alive import Openness
from .cache import Picture, data_sha256
from .checkpoint import BEST, LAST, load_state, revision, save_state, save_weights
from .compute import Worker, random_state, set_random_state
from .config import Config
from .data import batches
from .losses import total_loss
from .optimize import Average, learning_rate, make_optimizer
from .progress import Progress
from .report import write_report
from .signals import noted_signals
from .sources import units
from .validate import held_out_pairs, validate


class Training:
    """The state of a run, and what changes it."""

    def __init__(
        self, config: Config, worker: Worker, network: HDRUNet, pictures: list[Picture], held: list[Picture]
    ) -> None:
        self.config, self.worker, self.pictures, self.held = config, worker, pictures, held
        self.folder = Path(config.run.output)
        self.data = data_sha256(pictures, held)
        self.pairs = held_out_pairs(held, config) if worker.first else []
        revision()
        layout = torch.channels_last if config.compute.channels_last else torch.contiguous_format
        self.network = network.to(worker.device, memory_format=layout)  # type: ignore[call-overload]
        self.shipped = HDRUNet(config.network).to(worker.device, memory_format=layout).eval()  # type: ignore[call-overload]
        self.layout = layout
        self.openness = Openness(self.network) if config.loss.alive else None
        self.average = Average(self.network, config.optimizer.ema)
        self.optimizer = make_optimizer(self.network.parameters(), config.optimizer)
        self.scaler = torch.amp.GradScaler(worker.device.type, enabled=worker.dtype is torch.float16)
        self.iteration, self.elapsed, self.waited = 0, 0.0, 0.0
        self.history: list[dict[str, float]] = []
        """Validations: iteration, minutes, psnr_mu, psnr_l, better."""
        self.losses: list[tuple[int, float, float]] = []
        """(iteration, loss, learning rate) of each log."""
        self.best, self.note = -math.inf, ""
        self.forward: nn.Module = torch.compile(self.network) if config.compute.compile else self.network  # type: ignore[assignment]
        if worker.world > 1:
            ids = [worker.device.index] if worker.device.type == "cuda" else None
            self.forward = DistributedDataParallel(self.forward, device_ids=ids)

    def run(self) -> int:
        """Steps until the iterations or the minutes are over, or a signal comes; then checkpoint and report."""
        began = time.monotonic() - self.elapsed
        progress = Progress(self.folder, self.config.run.iterations, self.iteration, quiet=not self.worker.first)
        progress.say(self._describe())
        with noted_signals() as received:
            if self.iteration == 0:
                self._validate(progress)
            rank, world = self.worker.rank, self.worker.world
            try:
                with batches(self.pictures, self.config, self.iteration, rank, world) as samples:
                    stop = self._steps(samples, progress, received, began)
            except BaseException:
                progress.close()
                raise
            finished = stop <= 1
            if finished and (not self.history or self.history[-1]["iteration"] != self.iteration):
                self._validate(progress)
            self._save()
        if self.worker.first:
            write_report(self, progress.say)
        share = self.waited / max(self.elapsed, 1e-9)
        progress.say(
            f"{'finished' if finished else 'stopped'} after {self.iteration} iterations, {self.elapsed / 60:.1f} min;"
            f" {share:.1%} of the time was spent waiting for data"
            + ("" if finished else "; the same command with --resume goes on")
        )
        progress.close()
        return 0 if finished else 128 + stop

    def _steps(self, samples: Iterator[Any], progress: Progress, received: list[int], began: float) -> int:
        """Steps until there is a reason to stop: 0 where none is left, 1 for the time, or the number of a signal."""
        run, since, saved, stop = self.config.run, self.iteration, time.monotonic(), 0
        total = torch.zeros((), device=self.worker.device)
        while self.iteration < run.iterations and not stop:
            total += self._step(samples)
            progress.step()
            now = time.monotonic()
            self.elapsed = now - began
            if self.iteration % run.log_every == 0:
                self._log(progress, float(self.worker.mean(total)) / (self.iteration - since))
                total.zero_()
                since = self.iteration
            if self.iteration % run.validate_every == 0:
                self._validate(progress)
                self._save()
                saved = time.monotonic()
            elif now - saved >= 60 * run.checkpoint_minutes:
                self._save()
                saved = time.monotonic()
            stop, self.elapsed = self.worker.agree(received[0] if received else 0, self.elapsed)
            stop = stop or int(self._out_of_time())
        return stop

    def part(self) -> float:
        """How much of the run is over, as the schedule counts."""
        if self.config.schedule.over == "time":
            return min(self.elapsed / (60 * self.config.run.minutes), 1.0)
        return self.iteration / self.config.run.iterations

    def _out_of_time(self) -> bool:
        return 0 < 60 * self.config.run.minutes <= self.elapsed

    def _step(self, samples: Iterator[Any]) -> Tensor:
        """One step of the optimizer; the mean loss of its passes."""
        config = self.config.optimizer
        self.rate = learning_rate(config, self.config.schedule, self.part(), self.iteration)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.worker.device)
        for turn in range(config.accumulate):
            asked = time.monotonic()
            batch = next(samples)
            self.waited += time.monotonic() - asked
            last = turn == config.accumulate - 1
            apart = isinstance(self.forward, DistributedDataParallel) and not last
            with self.forward.no_sync() if apart else nullcontext():  # type: ignore[operator]
                loss = self._loss(*batch)
                torch.autograd.backward(self.scaler.scale(loss / config.accumulate))
            total += loss.detach() / config.accumulate
        if config.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update(self.network, self.iteration)
        self.iteration += 1
        return total

    def _loss(self, x: Tensor, y: Tensor, motion: Tensor) -> Tensor:
        """(B, F, 3, P, P), (B, F, 3, P, P), (B, 3, 3) -> the number to minimise."""
        x, y, motion = (each.to(self.worker.device, non_blocking=True) for each in (x, y, motion))
        with self.worker.autocast():
            output = self.forward(x.flatten(0, 1).contiguous(memory_format=self.layout))
        loss, _ = total_loss(output.float().unflatten(0, x.shape[:2]), y, motion, self.config.loss)
        if self.openness is not None:
            loss = loss + self.config.loss.alive * self.openness.penalty()
        return loss

    def _log(self, progress: Progress, loss: float) -> None:
        self._require_finite(loss)
        self.losses.append((self.iteration, loss, self.rate))
        waiting = self.waited / max(self.elapsed, 1e-9)
        values = {"train/loss": loss, "train/lr": self.rate, "train/waiting": waiting}
        limit = 60 * self.config.run.minutes
        done = max(self.iteration / self.config.run.iterations, self.elapsed / limit if limit else 0.0)
        progress.scalars(self.iteration, values, self.elapsed * (1 - done) / done)

    def _require_finite(self, loss: float = 0.0) -> None:
        finite = math.isfinite(loss) and all(bool(each.isfinite().all()) for each in self.average.weights.values())
        if not finite:
            raise ConfigError(
                f"the training diverged before iteration {self.iteration}; the last checkpoint is from before that",
                "lower optimizer.lr or set optimizer.clip=1, then start anew, or from last.safetensors",
            )

    def _validate(self, progress: Progress) -> None:
        """Score the averaged weights; keep them as best.safetensors where they are."""
        if not self.worker.first:
            return
        self._require_finite()
        self.shipped.load_state_dict(self.average.weights)
        if not self.pairs:
            return
        scores = validate(self.shipped, self.pairs, self.worker.device)
        entry = {"iteration": float(self.iteration), "minutes": self.elapsed / 60, **vars(scores)}
        self.history.append(entry)
        progress.write(self.iteration, {f"held-out/{name}": value for name, value in vars(scores).items()})
        progress.pictures(self.iteration, self.pairs[: self.config.run.pictures], self.shipped, self.worker.device)
        progress.say(f"iteration {self.iteration}, {len(self.pairs)} held-out pictures: {scores.said()}")
        if scores.psnr_mu > self.best:
            self.best = scores.psnr_mu
            if self.iteration:
                self._ship(BEST)

    def _save(self) -> None:
        if not self.worker.first:
            return
        self._require_finite()
        state = {
            "network": self.network.state_dict(),
            "average": self.average.weights,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": random_state(self.worker.device),
            "iteration": self.iteration,
            "elapsed": self.elapsed,
            "waited": self.waited,
            "best": self.best,
            "history": json.dumps({"validations": self.history, "losses": self.losses}),
            "config": self.config.as_json(),
            "essence": self.config.essence(),
            "data": self.data,
            "world": self.worker.world,
        }
        save_state(self.folder, state)
        self.shipped.load_state_dict(self.average.weights)
        self._ship(LAST)

    def _ship(self, name: str) -> None:
        validation = json.dumps(self.history[-1]) if self.history else "{}"
        notes = {"iteration": str(self.iteration), "validation": validation, "digest": self.config.digest}
        save_weights(self.shipped, self.folder / name, self.config, self.data, **notes)

    def resume(self) -> None:
        """Go on from last.state. Raises ConfigError where it is of another run."""
        state = load_state(self.folder, self.config, self.data)
        self.network.load_state_dict(state["network"])
        for name, value in self.average.weights.items():
            value.copy_(state["average"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty of a run that was not in fp16
            self.scaler.load_state_dict(state["scaler"])
        set_random_state(state["random"], self.worker.device)
        self.iteration, self.elapsed, self.waited = state["iteration"], state["elapsed"], state["waited"]
        history = json.loads(state["history"])
        self.history, self.losses, self.best = history["validations"], history["losses"], state["best"]
        self.note = (
            "" if state["world"] == self.worker.world else f"; before on {state['world']}: a step sees other samples"
        )

    def _describe(self) -> str:
        dtype = str(self.worker.dtype or torch.float32).removeprefix("torch.")
        items = [picture.item for picture in self.pictures]
        scenes = f"{len({item.scene for item in items})} {units(items)}"
        begins = f"goes on from iteration {self.iteration}" if self.iteration else "begins"
        return (
            f"{self.folder} {begins}: {len(items)} pictures of {scenes}, {len(self.held)} held out;"
            f" {self.worker.world} x {self.worker.device} in {dtype}, process {os.getpid()}{self.note}"
        )
