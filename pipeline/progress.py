"""How a run tells where it is: a bar on a terminal, lines in a log, JSON, the words that farms look for, or nothing."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress(Protocol):
    """What a run reports to. All counts are output frames."""

    def begin(self, name: str, total: int, done: int) -> None:
        """A run of `total` frames starts; `done` of them were found finished."""

    def advance(self, frames: int) -> None:
        """So many more frames are written."""

    def stage(self, text: str) -> None:
        """What happens now, in a word or two."""

    def warn(self, text: str) -> None:
        """Something that the user should know, though the run goes on."""

    def end(self) -> None:
        """No more reports for this run."""


class Silent:
    """Reports nothing but warnings."""

    def begin(self, name: str, total: int, done: int) -> None: ...

    def advance(self, frames: int) -> None: ...

    def stage(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        sys.stderr.write(f"warning: {text}\n")

    def end(self) -> None: ...


class Bar(Silent):
    """tqdm's bar: share, frames, speed, time left, stage."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def begin(self, name: str, total: int, done: int) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, initial=done, desc=name, unit=" frames", dynamic_ncols=True, smoothing=0.1)

    def advance(self, frames: int) -> None:
        if self._bar is not None:
            self._bar.update(frames)

    def stage(self, text: str) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def warn(self, text: str) -> None:
        from tqdm import tqdm

        tqdm.write(f"warning: {text}", file=sys.stderr)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@dataclass
class _Counter:
    """Frames, speed and time left, reported at most every `interval` seconds."""

    interval: float
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    name: str = ""
    total: int = 0
    done: int = 0
    fresh: int = 0
    started: float = 0.0
    reported: float = 0.0

    def begin(self, name: str, total: int, done: int) -> None:
        self.name, self.total, self.done, self.fresh = name, total, done, 0
        self.started = self.reported = time.monotonic()

    def advance(self, frames: int) -> None:
        self.done, self.fresh = self.done + frames, self.fresh + frames
        now = time.monotonic()
        if now - self.reported >= self.interval or self.done == self.total:
            self.reported = now
            self.report()

    @property
    def fps(self) -> float:
        return self.fresh / max(time.monotonic() - self.started, 1e-9)

    @property
    def eta_seconds(self) -> float | None:
        return (self.total - self.done) / self.fps if self.fresh else None

    def report(self) -> None: ...

    def stage(self, text: str) -> None: ...

    def end(self) -> None: ...


class Lines(_Counter):
    """A line every ten seconds, for logs."""

    def __init__(self) -> None:
        super().__init__(interval=10.0)

    def report(self) -> None:
        left = "" if self.eta_seconds is None else f", {self.eta_seconds:.0f} s left"
        self.stream.write(f"{self.name}: {self.done} of {self.total} frames, {self.fps:.2f} fps{left}\n")
        self.stream.flush()

    def warn(self, text: str) -> None:
        self.stream.write(f"warning: {text}\n")


class JsonLines(_Counter):
    """One JSON object a line on standard output: events start, progress, stage, warning, done, error."""

    def __init__(self) -> None:
        super().__init__(interval=1.0, stream=sys.stdout)

    def emit(self, event: str, **facts: Any) -> None:
        """Write one object."""
        self.stream.write(json.dumps({"event": event, **facts}) + "\n")
        self.stream.flush()

    def begin(self, name: str, total: int, done: int) -> None:
        super().begin(name, total, done)
        self.emit("start", output=name, frames=total, done=done)

    def report(self) -> None:
        eta = None if self.eta_seconds is None else round(self.eta_seconds, 1)
        self.emit("progress", frame=self.done, total=self.total, fps=round(self.fps, 3), eta_s=eta)

    def stage(self, text: str) -> None:
        self.emit("stage", stage=text)

    def warn(self, text: str) -> None:
        self.emit("warning", message=text)


FARM_WORDS = {
    "openjd": ("openjd_progress: {}", "openjd_status: {}", "openjd_fail: {}"),
    "deadline": ("Progress: {}%", "{}", "Error: {}"),
    "alf": ("ALF_PROGRESS {}%", "{}", "{}"),
}
"""How schedulers read a task's output: percent done, what happens now, why it failed. Each is a whole line.

Open Job Description (section "Output" of the wiki's "How Jobs Are Run"), Deadline 10's CommandLine plugin, and
Alfred, whose words Tractor and others understand.
"""


class FarmLines(_Counter):
    """Whole percents on standard output, at most one line a second, each flushed."""

    def __init__(self, language: str) -> None:
        super().__init__(interval=1.0, stream=sys.stdout)
        self._percent, self._status, _ = FARM_WORDS[language]

    def begin(self, name: str, total: int, done: int) -> None:
        super().begin(name, total, done)
        self.report()

    def report(self) -> None:
        self._say(self._percent.format(100 * self.done // max(self.total, 1)))

    def stage(self, text: str) -> None:
        self._say(self._status.format(text))

    def warn(self, text: str) -> None:
        self._say(self._status.format(f"warning: {text}"))

    def _say(self, line: str) -> None:
        self.stream.write(line + "\n")
        self.stream.flush()
