"""File -> frames: decoded planes exactly as they are in the file, in order, one for every time in the index."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType

import av.error
from av.container import InputContainer
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .color.spec import ColorSpec, pixel_format
from .errors import InputError, RetryError
from .frame import Frame
from .nvidia import decoded_format, open_to_decode
from .picture import component_planes
from .probe import VideoInfo

logger = logging.getLogger(__name__)


@dataclass
class Reader:
    """Frames `start` (included) to `stop` (excluded) of a probed file, as a context manager and an iterator.

    Iterating raises InputError when the picture changes size or format, and, unless `keep_going`, when a frame is
    damaged or missing. With `keep_going` a missing frame is replaced by its neighbour, so that times stay right.
    """

    info: VideoInfo
    color: ColorSpec
    """What the file's integers mean, after the plan has decided what the tags left open."""
    start: int
    stop: int
    deinterlace: str = "off"
    """`off`, `frame` (one frame for each) or `field` (one for each field, twice as many)."""
    keep_going: bool = False
    decoder: str = "software"
    """`software`, or `nvdec`, which has passed nvidia.check_decoder."""
    device: str = "auto"
    """Where `nvdec` decodes, see nvidia.open_to_decode."""
    bad_frames: set[int] = field(default_factory=set, init=False)
    """Numbers of the frames so far that were damaged or missing."""
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _times: dict[int | None, int] = field(default_factory=dict, init=False)
    """Position in the file -> time of the frame that lies there; empty where pictures have their times."""

    def __post_init__(self) -> None:
        if self.info.positions:
            self._times = dict(zip(self.info.positions, self.info.pts, strict=True))

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[Frame]:
        if self.deinterlace == "off":
            for index, picture in self._pictures(self.start, self.stop):
                yield self._frame(picture, self.info.pts[index])
            return
        # bwdif looks at both neighbours: they are read as well, so that a frame is the same in whichever segment.
        first, last = max(self.start - 1, 0), min(self.stop + 1, len(self.info.pts))
        per_frame = 2 if self.deinterlace == "field" else 1
        for count, picture in enumerate(_bwdif(self._pictures(first, last), self.info, self.deinterlace)):
            index, field_number = first + count // per_frame, count % per_frame
            if self.start <= index < self.stop:
                yield self._frame(picture, index * per_frame + field_number)

    def _pictures(self, start: int, stop: int) -> Iterator[tuple[int, VideoFrame]]:
        """(index, decoded picture) for every index from `start` to `stop`, gaps filled or refused."""
        expected = start
        last: VideoFrame | None = None
        for index, picture in self._decoded(start, stop):
            for missing in range(expected, index):
                self._damaged(missing, "is missing")
                yield missing, last or picture
            if picture.is_corrupt:
                self._damaged(index, "is damaged")
            yield index, picture
            expected, last = index + 1, picture
        for missing in range(expected, stop):
            self._damaged(missing, "is missing")
            if last is None:
                raise InputError(f"{self.info.path} holds no frame from number {start} on", "Choose other --frames.")
            yield missing, last

    def _decoded(self, start: int, stop: int) -> Iterator[tuple[int, VideoFrame]]:
        """(index, picture) of those that can be decoded."""
        following = start
        # An error while the frame threads are emptied takes good pictures along: those are tried again one by one.
        for frame_threads in (False,) if self.keep_going else (True, False):
            for index, picture in self._decoded_with(frame_threads, following, stop):
                yield index, picture
                following = index + 1
            if following == stop:
                return

    def _decoded_with(self, frame_threads: bool, start: int, stop: int) -> Iterator[tuple[int, VideoFrame]]:
        container, stream = self._seek(start, frame_threads)
        count = -1
        for packet in self._demuxed(container, stream):
            for picture in self._decode(packet):
                count += 1
                index = self._index_of(picture.pts) if self.info.seekable and picture.pts is not None else count
                if index is None or not start <= index < stop:
                    past = picture.pts is not None and self.info.seekable and picture.pts > self.info.pts[stop - 1]
                    if past or (not self.info.seekable and count >= stop):
                        return
                    continue
                self._check_picture(picture, index)
                yield index, picture

    def _seek(self, start: int, frame_threads: bool) -> tuple[InputContainer, VideoStream]:
        """The file and its stream, placed so that the next pictures lead up to frame `start`."""
        container, stream = self._open(frame_threads)
        if start == 0 or not self.info.seekable:
            return container, stream
        target = self.info.pts[start]
        step = max(1, round(1 / self.info.time_base))
        for back in (0, 1, 2, 4, 8, 16, 32):
            try:
                container.seek(max(target - back * step, self.info.pts[0]), stream=stream, backward=True)
                if self._first_pts(container, stream) <= target:
                    container.seek(max(target - back * step, self.info.pts[0]), stream=stream, backward=True)
                    return container, stream
            except av.error.FFmpegError:
                break
        return self._open(frame_threads)

    def _open(self, frame_threads: bool) -> tuple[InputContainer, VideoStream]:
        self._stack.close()
        container, stream = self._stack.enter_context(
            open_to_decode(self.info, self.decoder, frame_threads, self.device)
        )
        if self.keep_going:
            stream.codec_context.thread_count = 1  # or what becomes of damage depends on which thread is first
        return container, stream

    def _first_pts(self, container: InputContainer, stream: VideoStream) -> int:
        """Time of the first picture that decodes from here; a seek may land after the wanted one."""
        for packet in self._demuxed(container, stream):
            for picture in self._decode(packet):
                if picture.pts is not None:
                    return int(picture.pts)
        return self.info.pts[-1] + 1

    def _demuxed(self, container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
        """Packets up to the end of the file, or up to where it breaks off: _pictures says what is missing."""
        try:
            for packet in container.demux(stream):
                if self._times:
                    packet.pts = packet.pos  # the decoder hands it on to the picture
                yield packet
        except OSError as error:
            raise InputError(f"{self.info.path} cannot be read on: {error.strerror}", "Check the disk.") from None
        except av.error.FFmpegError:
            return

    def _decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        try:
            pictures = [picture for picture in packet.decode() if isinstance(picture, VideoFrame)]
        except MemoryError:
            raise RetryError(f"no memory is left to decode {self.info.path}", "Close other programs.") from None
        except av.error.FFmpegError:
            # Decoders differ in what they call a broken picture (png: ExternalError); _pictures says which is missing.
            return []
        if self._times:
            pictures = [picture for picture in pictures if picture.pts in self._times]
            for picture in pictures:
                picture.pts = self._times[picture.pts]
        return pictures

    def _index_of(self, pts: int) -> int | None:
        found = bisect_left(self.info.pts, pts)
        return found if found < len(self.info.pts) and self.info.pts[found] == pts else None

    def _check_picture(self, picture: VideoFrame, index: int) -> None:
        info = self.info
        if (picture.width, picture.height) != (info.width, info.height):
            raise InputError(
                f"{info.path} changes from {info.width}x{info.height} to {picture.width}x{picture.height} "
                f"at frame {index}",
                f"Convert the parts apart: --frames :{index}",
            )
        if picture.format.name != decoded_format(info, self.decoder):
            raise InputError(
                f"{info.path} changes from {info.format.name} to {picture.format.name} at frame {index}",
                f"Convert the parts apart: --frames :{index}",
            )

    def _damaged(self, index: int, what: str) -> None:
        self.bad_frames.add(index)
        if not self.keep_going:
            seconds = float((self.info.pts[index] - self.info.pts[0]) * self.info.time_base)
            raise InputError(
                f"frame {index} of {self.info.path} ({seconds:.2f} s) {what}",
                "--keep-going converts what can be decoded and repeats the frame before it.",
            )
        logger.warning("frame %d %s", index, what)

    def _frame(self, picture: VideoFrame, pts: int) -> Frame:
        format = pixel_format(picture.format.name)
        assert format is not None
        return Frame(component_planes(picture, format), format, self.color, pts)


def _bwdif(pictures: Iterator[tuple[int, VideoFrame]], info: VideoInfo, mode: str) -> Iterator[VideoFrame]:
    """FFmpeg's bwdif over pictures in order: one picture, or two with mode `field`, for each."""
    graph = Graph()
    buffer = graph.add_buffer(width=info.width, height=info.height, format=info.format.name, time_base=info.time_base)
    # Times are put back from the index by the caller, as bwdif halves the time base.
    bwdif = graph.add("bwdif", f"mode=send_{mode}:parity=auto:deint=all")
    sink = graph.add("buffersink")
    buffer.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    for _, picture in pictures:
        graph.vpush(picture)
        yield from _pull(graph)
    graph.vpush(None)
    yield from _pull(graph)


def _pull(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            picture = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(picture, VideoFrame)
        yield picture
