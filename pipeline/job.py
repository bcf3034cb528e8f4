"""Job (what was asked) -> Plan (what will happen). Every check of what a user gave is made here, before any work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hdrunet_video.presets import DEFAULT_BY_EXTENSION, Preset, load_preset

from .backend import check_backend
from .color.light import LightMapping, checked_mapping
from .color.spec import ColorSpec
from .errors import InputError, UsageError
from .identity import Identification, PlanIdentity, weights_sha256
from .nvidia import check_decoder, check_encoder, is_nvenc
from .probe import VideoInfo, probe
from .source_color import check_is_sdr, source_color
from .target import check_not_the_source, check_target, work_folder
from .timeline import Segment, Timeline, cut, make_timeline

Tile = str | tuple[int, int]


@dataclass(frozen=True)
class Job:
    """What the user asked for; empty and None mean "choose for me"."""

    source: Path
    target: Path
    preset: str = ""
    settings: tuple[str, ...] = ()
    """`table.key=value` laid over the preset."""
    model: str = "hdrunet"
    weights: str = ""
    decoder: str = "software"
    """`software`, or `nvdec`."""
    device: str = "auto"
    precision: str = "auto"
    backend: str = "auto"
    """`auto` (our own code), or `openvino`."""
    tile: Tile = "auto"
    """`auto`, `off`, or (width, height)."""
    peak: float | None = None
    """cd/m2."""
    white: float = 203.0
    """cd/m2."""
    display_gamma: float = 2.24
    strength: float = 1.0
    """Share of the network's light, 0..1; the rest is the source's."""
    frames: tuple[int | None, int | None] = (None, None)
    """Half-open range of source frames."""
    segment_frames: int | None = None
    deinterlace: str = "auto"
    matrix: str = ""
    primaries: str = ""
    range: str = ""
    chroma_location: str = ""
    assume_sdr: bool = False
    keep_going: bool = False
    tune: bool = False
    """Measure again how many frames at once suit the machine; no other result, only another speed."""


@dataclass(frozen=True)
class Plan:
    """What will happen. Nothing in it depends on how many workers do it, in which order, or when."""

    job: Job
    info: VideoInfo
    preset: Preset
    color: ColorSpec
    """Of the source, complete."""
    assumptions: tuple[str, ...]
    mapping: LightMapping
    deinterlace: str
    start: int
    """First source frame."""
    stop: int
    """Source frame after the last."""
    timeline: Timeline
    segments: tuple[Segment, ...]
    source_sha256: str = ""
    """Of the source's bytes, where it is known already."""

    @property
    def target(self) -> Path:
        """Where the result will be; for sequences the pattern, for example `out.%06d.exr`."""
        return self.job.target

    @property
    def outputs_per_frame(self) -> int:
        """Two where fields become frames, else one."""
        return 2 if self.deinterlace == "field" else 1

    @property
    def work(self) -> Path:
        """Folder of the segments, beside the result: on the same disk, so that nothing is copied twice."""
        return work_folder(self.target)

    @property
    def is_sequence(self) -> bool:
        """True where the result is one file a frame."""
        return self.preset.segment_container == "exr"

    @property
    def in_matroska(self) -> bool:
        """True for a target that keeps times to 1 ms, and of each packet how long it is shown."""
        return self.target.suffix.lower() == ".mkv"

    @property
    def is_excerpt(self) -> bool:
        """True where only a part of the source was asked for."""
        return (self.start, self.stop) != (0, len(self.info.pts))

    def output_frames(self, segment: Segment) -> tuple[int, int]:
        """(first, after the last) output frame of a segment."""
        first, last = segment.start - self.start, segment.stop - self.start
        return first * self.outputs_per_frame, last * self.outputs_per_frame

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of the weights as they were when it was first asked for; empty for models without weights."""
        return weights_sha256(self)

    @cached_property
    def identification(self) -> Identification:
        """What `identity` waits for: begins to read the source, as a whole and once, when it is first asked for."""
        return Identification(self)

    @property
    def identity(self) -> PlanIdentity:
        """Hashes that tie segments to this plan. Raises InputError, RetryError or WeightsError."""
        return self.identification.result()


def make_plan(job: Job, writes: bool = True) -> Plan:
    """Check everything and decide everything. Raises a HdrunetError; writes nothing.

    With `writes` false the target is not looked at: for plans whose frames are used and not stored.
    """
    preset = load_preset(_preset_name(job), job.settings)
    checked_mapping(job.white, job.display_gamma, job.peak, preset.color.transfer, job.strength)
    if writes:
        check_target(job.target, preset)
    _check_model(job)
    check_backend(job.backend, job.device)
    info = probe(job.source)
    check_not_the_source(job.source, job.target)
    plan = decide(job, preset, info)
    check_machine(plan, writes)
    return plan


def check_machine(plan: Plan, writes: bool = True) -> None:
    """Raise UsageError where this machine has not the video units that the plan's decoder and encoder need."""
    preset, info = plan.preset, plan.info
    for device in plan.job.device.split(","):
        check_decoder(info, plan.job.decoder, plan.deinterlace, device)
    if writes and is_nvenc(preset.codec):
        check_encoder(preset.codec, preset.pixel_format, preset.options, info.width, info.height)


def decide(job: Job, preset: Preset, info: VideoInfo, source_sha256: str = "") -> Plan:
    """The plan of a source that was probed: the same arguments give the same plan on every machine."""
    mapping = checked_mapping(job.white, job.display_gamma, job.peak, preset.color.transfer, job.strength)
    check_is_sdr(info, job.assume_sdr)
    if info.damage and not job.keep_going:
        raise InputError(
            f"{info.path} is damaged or cut off: {info.damage}", "--keep-going converts what can be decoded."
        )
    if info.sound_goes_back and preset.codec != "exr":
        raise InputError(
            f"the sound of {info.path} goes back in time",
            "It seems to be put together from several recordings: convert them one by one.",
        )
    color, assumed = source_color(info, job.matrix, job.primaries, job.range, job.chroma_location)
    start, stop = _frame_range(job, len(info.pts))
    deinterlace = job.deinterlace
    if deinterlace == "auto":
        deinterlace = "frame" if info.interlaced else "off"
    timeline = make_timeline(info, start, stop, 2 if deinterlace == "field" else 1, (start, stop) != (0, len(info.pts)))
    frames = job.segment_frames or preset.segment_frames
    return Plan(
        job=job,
        info=info,
        preset=preset,
        color=color,
        assumptions=(*info.doubts, *assumed),
        mapping=mapping,
        deinterlace=deinterlace,
        start=start,
        stop=stop,
        timeline=timeline,
        segments=cut(start, stop, frames),
        source_sha256=source_sha256,
    )


def _preset_name(job: Job) -> str:
    if job.preset:
        return job.preset
    extension = job.target.suffix.lower()
    if extension not in DEFAULT_BY_EXTENSION:
        known = ", ".join(DEFAULT_BY_EXTENSION)
        raise UsageError(
            f"{job.target.name} has no extension that says what to write",
            f"Use one of {known}, or name a --preset.",
        )
    return DEFAULT_BY_EXTENSION[extension]


def _check_model(job: Job) -> None:
    from .baselines import MODELS

    if job.model != "hdrunet" and job.model not in MODELS:
        raise UsageError(f"unknown model {job.model!r}", f"There are hdrunet, {', '.join(MODELS)}.")
    if job.model != "hdrunet" and job.weights:
        raise UsageError(f"--model {job.model} has no weights", "Leave out --weights.")
    if job.segment_frames is not None and job.segment_frames < 1:
        raise UsageError(
            f"--segment-frames {job.segment_frames} must be at least 1", "Leave it out to take the preset's."
        )


def _frame_range(job: Job, count: int) -> tuple[int, int]:
    first, last = job.frames
    start, stop = first or 0, count if last is None else last
    shown = f"{'' if first is None else first}:{'' if last is None else last}"
    if start < 0 or stop < 0:
        raise UsageError(f"--frames {shown} must not be negative", "Frames are counted from 0: --frames 0:48")
    if start >= count:
        raise UsageError(
            f"--frames {shown} begins after the end of {job.source} ({count} frames)", f"--frames 0:{count}"
        )
    if start >= stop:
        raise UsageError(f"--frames {shown} is empty", "The first frame comes first, the last is not included: 0:48")
    return start, min(stop, count)
