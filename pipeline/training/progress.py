"""What a run says while it goes on: a bar (or lines, where nobody watches), and TensorBoard."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from .validate import Pair


class Progress:
    """The bar and TensorBoard of one process; the others of several say nothing."""

    def __init__(self, folder: Path, total: int, done: int, quiet: bool = False) -> None:
        self._quiet, self._lines = quiet, not sys.stderr.isatty()
        self._total, self._done, self._first = total, done, done
        self._started = self._said = time.monotonic()
        hidden = quiet or self._lines
        self._bar: Any = tqdm(total=total, initial=done, unit=" it", dynamic_ncols=True, disable=hidden, smoothing=0.05)
        self._board = None if quiet else _board(folder, self.say)

    def say(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            tqdm.write(text, file=sys.stderr)
            sys.stderr.flush()

    def step(self, count: int = 1) -> None:
        """Some iterations are done."""
        self._done += count
        self._bar.update(count)

    def scalars(self, iteration: int, values: dict[str, float], left: float) -> None:
        """Numbers of the training: to the bar, to the log at most every 30 seconds, to TensorBoard. `left`: seconds."""
        shown = ", ".join(f"{name.rpartition('/')[2]} {value:.4g}" for name, value in values.items())
        self._bar.set_postfix_str(shown)
        now = time.monotonic()
        if self._lines and now - self._said > 30:
            self._said = now
            rate = (self._done - self._first) / max(now - self._started, 1e-9)
            self.say(f"{iteration} of {self._total}: {shown}, {rate:.2f} it/s, {left / 60:.0f} min left")
        self.write(iteration, values)

    def write(self, iteration: int, values: dict[str, float]) -> None:
        """Numbers, to TensorBoard alone."""
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, iteration)
            self._board.flush()

    def pictures(
        self, iteration: int, pairs: list[Pair], network: Callable[[Tensor], Tensor], device: torch.device
    ) -> None:
        """Source, output (computed on `device`) and truth of held-out pictures, beside each other, to TensorBoard."""
        if self._board is not None:
            for index, pair in enumerate(pairs):
                self._board.add_image(f"held-out/{index} {pair.name}", strip(pair, network, device), iteration)

    def close(self) -> None:
        """The bar ends where it is."""
        self._bar.close()
        if self._board is not None:
            self._board.close()


def strip(pair: Pair, network: Callable[[Tensor], Tensor], device: torch.device) -> Tensor:
    """(3, H, 3 W) 0..1, on the CPU: x, f(x) and y, the same tone curve (tanh of half the signal) for all."""
    with torch.inference_mode():
        output = network(pair.x.to(device)).float().cpu()
    shown = torch.cat([pair.x, output.clamp(min=0), pair.y], dim=-1)[0]
    return torch.tanh(0.8 * shown) / torch.tanh(torch.tensor(2.4))


def _board(folder: Path, say: Callable[[str], None]) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("TensorBoard is not installed (pip install 'hdrunet-video[train]'): no curves are written")
        return None
    return SummaryWriter(str(folder / "tensorboard"), flush_secs=30)
