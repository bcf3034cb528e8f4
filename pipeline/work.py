"""Doing segments: what a local run and a farm's tasks have in common. A frame's life is `Work.render`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue

from .engine import Engine
from .errors import InputError, PlanError, write_error
from .exr import ExrWriter
from .frame import Frame, LightLevels
from .frame_hashes import frame_hashes
from .hardware import hardware_name
from .host import release_team
from .identity import PlanIdentity, check_source_unchanged
from .job import Plan
from .prefetch import prefetch
from .progress import Progress
from .reader import Reader
from .receipts import Receipt, delete, host_name, payload_sha256
from .segments import SegmentStore
from .timeline import Segment
from .tune import tune
from .writer import Writer, WriterSpec


@dataclass(frozen=True)
class Work:
    """What every step on a segment needs."""

    plan: Plan
    engines: list[Engine]
    """One for each device; they share the segments."""
    store: SegmentStore
    progress: Progress
    cancelled: Callable[[], bool]
    _failed: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self, missing: list[Segment], redo: bool) -> None:
        """Set the engines to what suits this machine for the frames of `missing`; see tune."""
        if self.plan.job.model != "hdrunet":
            return
        self.progress.stage("tuning")
        frames = sum(frame_count(self.plan, segment) for segment in missing)
        for engine in self.engines:
            tune(engine, self.plan.info.width, self.plan.info.height, frames, redo)

    def finish(self, missing: list[Segment], wanted: tuple[Segment, ...]) -> list[Receipt]:
        """Do `missing` and return the receipts of all `wanted`.

        What does not prove good once written is done once more, then given up.
        """
        for _ in range(2):
            self.progress.stage("converting")
            self.share(missing)
            receipts = self.store.receipts(wanted)
            missing = [segment for segment in wanted if segment.index not in receipts]
            if not missing:
                return [receipts[segment.index] for segment in wanted]
        raise PlanError(
            f"{self.store.path(missing[0])} is not what was written to it",
            "Check the disk, then run the same command again.",
        )

    def share(self, segments: list[Segment]) -> None:
        """Each engine takes the next neighbours that nobody has; where one fails, the others stop."""
        longest = len(segments) if len(self.engines) == 1 else -(-len(segments) // (4 * len(self.engines)))
        if self.plan.job.keep_going:
            longest = 1  # what a decoder makes of damage depends on where it began
        todo: SimpleQueue[list[Segment]] = SimpleQueue()
        for neighbours in _neighbours(segments, longest):
            todo.put(neighbours)
        errors: list[BaseException] = []

        def work(engine: Engine) -> None:
            while not self._failed.is_set():
                try:
                    self.render(todo.get_nowait(), engine)
                except Empty:
                    return
                except BaseException as error:  # raised again below
                    errors.append(error)
                    self._failed.set()

        release_team()  # planning and tuning have left one, and this thread only waits now
        with ThreadPoolExecutor(len(self.engines), "device") as pool:
            list(pool.map(work, self.engines))
        if errors:
            if isinstance(errors[0], InputError):  # what changes, or cannot be read any more, is not damaged
                check_source_unchanged(self.plan)
                self.plan.identification.known()
            raise errors[0]

    def render(self, segments: list[Segment], engine: Engine) -> None:
        """Neighbouring segments in one pass: the decoder and the device go on working across their boundaries."""
        plan, start, stop = self.plan, segments[0].start, segments[-1].stop
        decoder, device = plan.job.decoder, str(engine.device)
        with (
            Reader(
                plan.info, plan.color, start, stop, plan.deinterlace, plan.job.keep_going, decoder, device
            ) as reader,
            ThreadPoolExecutor(1, "seal") as background,
            # Decoding, computing and sealing each have a thread; this one encodes.
            closing(prefetch(engine.stream(prefetch(reader)))) as frames,
        ):
            sealed: Future[None] | None = None
            for segment in segments:
                draft = self.write(segment, frames)
                try:
                    # One at a time, so that a full disk is noticed before the next segment is begun.
                    if sealed is not None:
                        sealed.result()
                except BaseException:
                    draft.out.abandon()
                    raise
                sealed = background.submit(self.seal, draft, engine, reader.bad_frames)
            if sealed is not None:
                sealed.result()

    def write(self, segment: Segment, frames: Iterator[Frame]) -> _Draft:
        """Encode the next frames into a segment's temporary file."""
        started, light, written = time.monotonic(), LightLevels(), 0
        temporary = self.store.temporary(segment)
        out = _writer(self.plan, segment, temporary)
        try:
            for frame in islice(frames, frame_count(self.plan, segment)):
                if self.cancelled() or self._failed.is_set():
                    raise KeyboardInterrupt
                self.plan.identification.known()
                out.write(frame)
                light, written = light.merge(frame.light or LightLevels()), written + 1
                with self._lock:
                    self.progress.advance(1)
        except BaseException:
            out.abandon()
            raise
        return _Draft(segment, temporary, out, light, written, started)

    def seal(self, draft: _Draft, engine: Engine, bad_frames: set[int]) -> None:
        """Complete a segment's file, put it in place and write its receipt; or leave nothing of it."""
        try:
            draft.out.close()
            receipt = self._receipt(draft, engine, bad_frames)
            # Frames of another source must not be proved to be of this one.
            check_source_unchanged(self.plan)
        except BaseException:
            delete(draft.temporary)
            raise
        self.store.finish(draft.segment, draft.temporary, receipt)

    def _identity(self) -> PlanIdentity:
        if not self.plan.identification.known():
            self._say("reading the source")
            self.plan.identification.result()
            self._say("converting")
        return self.plan.identity

    def _say(self, stage: str) -> None:
        with self._lock:
            self.progress.stage(stage)

    def _receipt(self, draft: _Draft, engine: Engine, bad_frames: set[int]) -> Receipt:
        segment, identity = draft.segment, self._identity()
        try:
            sha256 = payload_sha256(draft.temporary)
        except OSError as error:
            raise write_error(error, draft.temporary) from None
        return Receipt(
            plan_id=identity.plan_id,
            index=segment.index,
            frames=draft.frames,
            sha256=sha256,
            frame_sha256=tuple(frame_hashes(draft.temporary, self.plan.preset)),
            max_nits=draft.light.max_nits,
            average_nits=draft.light.average_nits,
            bad_frames=sum(segment.start <= bad < segment.stop for bad in tuple(bad_frames)),
            seconds=round(time.monotonic() - draft.started, 3),
            device=str(engine.device),
            hardware=hardware_name(engine.device),
            precision=engine.precision,
            backend=engine.backend,
            tile="x".join(map(str, engine.tiling.of(self.plan.info.width, self.plan.info.height) or ())),
            host=host_name(),
            weights_sha256=identity.weights_sha256,
        )


@dataclass(frozen=True)
class _Draft:
    """A segment whose frames are all with the encoder, but not yet all in its file."""

    segment: Segment
    temporary: Path
    out: Writer | ExrWriter
    light: LightLevels
    frames: int
    started: float


def _writer(plan: Plan, segment: Segment, temporary: Path) -> Writer | ExrWriter:
    spec = WriterSpec(
        preset=plan.preset,
        width=plan.info.width,
        height=plan.info.height,
        sample_aspect_ratio=plan.info.sample_aspect_ratio,
        frame_rate=plan.timeline.frame_rate,
        peak=plan.mapping.peak,
        field_order=plan.info.field_order if plan.info.interlaced and plan.deinterlace == "off" else 1,
    )
    if plan.is_sequence:
        first = segment.start * plan.outputs_per_frame
        return ExrWriter(temporary, spec, plan.target.name, first, plan.mapping.white)
    return Writer(temporary, spec)


def frame_count(plan: Plan, segment: Segment) -> int:
    """Output frames of a segment."""
    first, last = plan.output_frames(segment)
    return last - first


def _neighbours(segments: list[Segment], longest: int) -> Iterator[list[Segment]]:
    """Groups of segments that follow each other without a gap, of at most `longest`."""
    group: list[Segment] = []
    for segment in segments:
        if group and (segment.index != group[-1].index + 1 or len(group) == longest):
            yield group
            group = []
        group.append(segment)
    if group:
        yield group
