"""The main path. Start reading here: a film's life is `run`, a frame's is `_Work.render`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from .container import join
from .engine import Engine
from .errors import PlanError
from .exr import ExrWriter
from .frame import Frame, LightLevels
from .identity import check_source_unchanged
from .job import Plan, make_engine
from .mastering import static_metadata
from .prefetch import prefetch
from .progress import Progress, Silent
from .reader import Reader
from .segments import Receipt, SegmentStore, claimed, host_name, payload_sha256
from .timeline import Segment
from .tune import tune
from .writer import Writer, WriterSpec, sync, write_error


@dataclass(frozen=True)
class Report:
    """What a finished run has made."""

    target: Path
    frames: int
    seconds: float
    """Wall time of this run; what earlier runs had finished is not in it."""
    light: LightLevels
    bad_frames: int
    """Source frames that were damaged or missing and were replaced."""
    resumed: int
    """Output frames that earlier runs had finished."""
    warnings: tuple[str, ...]


def run(plan: Plan, progress: Progress | None = None, cancelled: Callable[[], bool] = lambda: False) -> Report:
    """Do the plan's segments that are not done yet, then join them into the result.

    `cancelled` is asked before each frame; once true, KeyboardInterrupt is raised and finished segments stay.
    """
    progress, started = progress or Silent(), time.monotonic()
    progress.stage("loading")
    engine = make_engine(plan)  # before anything is written: a device or weights that will not do leave no trace
    if plan.job.model == "hdrunet":
        progress.stage("tuning")
        tune(engine, plan.info.width, plan.info.height, len(plan.timeline.pts), plan.job.tune)
    with claimed(plan) as store:
        work = _Work(plan, engine, store, progress, cancelled)
        progress.stage("checking")
        missing = store.missing()
        total = len(plan.timeline.pts)
        resumed = total - sum(_frames(plan, segment) for segment in missing)
        progress.begin(plan.target.name, total, resumed)
        try:
            receipts = work.finish(missing)
            progress.stage("joining")
            warnings = _assemble(plan, store, receipts)
        finally:
            progress.end()
        store.remove()
    bad = sum(receipt.bad_frames for receipt in receipts)
    if bad:
        warnings.append(f"{bad} frames of {plan.info.path} were damaged or missing and were replaced")
    for warning in warnings:
        progress.warn(warning)
    seconds = time.monotonic() - started
    return Report(plan.target, total, seconds, _film_light(receipts), bad, resumed, tuple(warnings))


@dataclass(frozen=True)
class _Work:
    """What every step on a segment needs."""

    plan: Plan
    engine: Engine
    store: SegmentStore
    progress: Progress
    cancelled: Callable[[], bool]

    def finish(self, missing: list[Segment]) -> list[Receipt]:
        """Receipts of all segments. What does not prove good once written is done once more, then given up."""
        for _ in range(2):
            self.progress.stage("converting")
            for neighbours in _runs(missing):
                self.render(neighbours)
            receipts = self.store.receipts()
            missing = [segment for segment in self.plan.segments if segment.index not in receipts]
            if not missing:
                return [receipts[segment.index] for segment in self.plan.segments]
        raise PlanError(
            f"{self.store.path(missing[0])} is not what was written to it",
            "Check the disk, then run the same command again.",
        )

    def render(self, segments: list[Segment]) -> None:
        """Neighbouring segments in one pass: the decoder and the device go on working across their boundaries."""
        plan, start, stop = self.plan, segments[0].start, segments[-1].stop
        with (
            Reader(plan.info, plan.color, start, stop, plan.deinterlace, plan.job.keep_going) as reader,
            ThreadPoolExecutor(1, "seal") as background,
            # Decoding, computing and sealing each have a thread; this one encodes.
            closing(prefetch(self.engine.stream(prefetch(reader)))) as frames,
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
                sealed = background.submit(self.seal, draft, reader.bad_frames)
            if sealed is not None:
                sealed.result()

    def write(self, segment: Segment, frames: Iterator[Frame]) -> _Draft:
        """Encode the next frames into a segment's temporary file."""
        started, light, written = time.monotonic(), LightLevels(), 0
        temporary = self.store.temporary(segment)
        out = _writer(self.plan, segment, temporary)
        try:
            for frame in islice(frames, _frames(self.plan, segment)):
                if self.cancelled():
                    raise KeyboardInterrupt
                out.write(frame)
                light, written = light.merge(frame.light or LightLevels()), written + 1
                self.progress.advance(1)
        except BaseException:
            out.abandon()
            raise
        return _Draft(segment, temporary, out, light, written, started)

    def seal(self, draft: _Draft, bad_frames: set[int]) -> None:
        """Complete a segment's file, put it in place and write its receipt."""
        segment, identity = draft.segment, self.plan.identity
        draft.out.close()
        receipt = Receipt(
            plan_id=identity.plan_id,
            index=segment.index,
            frames=draft.frames,
            sha256=payload_sha256(draft.temporary),
            max_nits=draft.light.max_nits,
            average_nits=draft.light.average_nits,
            bad_frames=sum(segment.start <= bad < segment.stop for bad in tuple(bad_frames)),
            seconds=round(time.monotonic() - draft.started, 3),
            device=str(self.engine.device),
            host=host_name(),
            weights_sha256=identity.weights_sha256,
        )
        self.store.finish(segment, draft.temporary, receipt)


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


def _assemble(plan: Plan, store: SegmentStore, receipts: list[Receipt]) -> list[str]:
    """Join the segments and put the result in place, complete or not at all."""
    check_source_unchanged(plan)
    paths = [store.path(segment) for segment in plan.segments]
    if plan.is_sequence:
        for path in (file for folder in paths for file in sorted(folder.iterdir())):
            _place(path, plan.target.with_name(path.name))
        return []
    metadata = static_metadata(_film_light(receipts), plan.mapping.peak) if plan.preset.transfer == "pq" else None
    temporary = store.joined()
    warnings = join(plan, paths, metadata, temporary)
    try:
        sync(temporary)
        os.replace(temporary, plan.target)
        sync(plan.target.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise write_error(error, plan.target) from None
    return warnings


def _place(path: Path, target: Path) -> None:
    """Put a finished file of a sequence in place; the segment keeps its own until the whole film is there."""
    temporary = target.with_name(f".{target.name}.part")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
            sync(temporary)
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise write_error(error, target) from None


def _film_light(receipts: list[Receipt]) -> LightLevels:
    light = LightLevels()
    for receipt in receipts:
        light = light.merge(receipt.light)
    return light


def _frames(plan: Plan, segment: Segment) -> int:
    first, last = plan.output_frames(segment)
    return last - first


def _runs(segments: list[Segment]) -> Iterator[list[Segment]]:
    """Groups of segments that follow each other without a gap."""
    group: list[Segment] = []
    for segment in segments:
        if group and segment.index != group[-1].index + 1:
            yield group
            group = []
        group.append(segment)
    if group:
        yield group
