"""The fused network keeps its memory and its graphs in bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from hdrunet_video.network import cuda
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.cuda import MOST_GRAPHS, Fused
from hdrunet_video.network.cuda_buffers import workspace_bytes
from hdrunet_video.network.tiles import choose_tile
from tests.network.cuda_cases import DEVICE, Inverse, picture_of

pytest.importorskip("triton", reason="Triton is not there for this platform")


class Recorder:
    """Stands for CUDA graphs: says what was captured and replayed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.captured, self.replayed = error, 0, 0

    def __call__(self, launches: Callable[[], None]) -> Callable[[], None]:
        if self.error is not None:
            raise self.error
        self.captured += 1

        def replay() -> None:
            self.replayed += 1
            launches()

        return replay


def asked(made: Fused, height: int, width: int) -> None:
    picture = picture_of(height, width, seed=height * width)
    assert torch.equal(made(picture), 1 - picture)


def test_a_size_gets_its_graph_at_the_second_picture() -> None:
    recorder = Recorder()
    made = Fused(Inverse(), DEVICE, recorder)
    for width, captured, replayed in ((8, 0, 0), (8, 1, 1), (8, 1, 2), (6, 1, 3), (5, 1, 4), (4, 1, 4), (4, 2, 5)):
        asked(made, 8, width)
        assert (recorder.captured, recorder.replayed) == (captured, replayed)


def test_graphs_are_bounded_and_the_oldest_goes_first() -> None:
    recorder = Recorder()
    made = Fused(Inverse(), DEVICE, recorder)
    asked(made, 4, 400)  # so that the memory does not grow
    for width in range(4, 4 * MOST_GRAPHS + 20, 4):
        asked(made, 4, width)
        asked(made, 4, width)
        asked(made, 4, 4)
    assert len(made._graphs) == MOST_GRAPHS
    captured = recorder.captured
    asked(made, 4, 4)
    assert recorder.captured == captured
    for _ in range(2):
        asked(made, 4, 8)
    assert recorder.captured == captured + 1


def test_graphs_go_with_the_memory_they_write_to() -> None:
    recorder = Recorder()
    made = Fused(Inverse(), DEVICE, recorder)
    for _ in range(2):
        asked(made, 4, 4)
    asked(made, 16, 16)
    for _ in range(2):
        asked(made, 4, 4)
    assert recorder.captured == 2
    made.release()
    asked(made, 4, 4)
    assert recorder.captured == 2


def test_the_output_is_the_callers_own() -> None:
    made = Fused(Inverse(), DEVICE, Recorder())
    first = [made(picture_of(4, 4)) for _ in range(3)]
    made(picture_of(4, 4, seed=9))
    assert all(torch.equal(each, 1 - picture_of(4, 4)) for each in first)


@pytest.mark.parametrize("error", [RuntimeError("operation not permitted"), torch.OutOfMemoryError("out of memory")])
def test_without_graphs_it_goes_on_aloud(caplog: pytest.LogCaptureFixture, error: Exception) -> None:
    made = Fused(Inverse(), DEVICE, Recorder(error))
    asked(made, 4, 8)
    for _ in range(2):  # what others do on the device may be over the next time
        asked(made, 4, 8)
        assert not caplog.records
    for _ in range(3):
        asked(made, 4, 8)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "one by one" in caplog.text
    assert str(error) in caplog.text


class Streams:
    """Stands for torch.cuda."""

    Event = SimpleNamespace

    def __init__(self, fails_at: str = "") -> None:
        self.fails_at, self.current, self.made, self.captured_on = fails_at, "compute", 0, list[str]()
        self.underway = False

    def current_stream(self) -> str:
        return self.current

    def Stream(self, device: torch.device, priority: int) -> str:  # noqa: N802
        assert priority < 0, "the others are the lanes of frames in flight"
        self.made += 1
        return f"capture {self.made}"

    @contextmanager
    def stream(self, stream: str) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def CUDAGraph(self) -> SimpleNamespace:  # noqa: N802
        def begin(capture_error_mode: str) -> None:
            assert (self.underway, capture_error_mode) == (False, "thread_local")
            assert not torch.is_inference_mode_enabled(), "torch before 2.11 writes to what this makes in any mode"
            self.captured_on.append(self.current)
            if self.fails_at == "begin":
                raise RuntimeError("operation not permitted when stream is capturing")
            self.underway = True

        def end() -> None:
            assert self.underway
            self.underway = False
            if self.fails_at == "end":
                raise RuntimeError("operation failed due to a previous error during capture")

        return SimpleNamespace(capture_begin=begin, capture_end=end, replay=str)


@pytest.mark.parametrize("fails_at", ["begin", "launches", "end"])
def test_a_failed_capture_leaves_the_callers_stream_current(monkeypatch: pytest.MonkeyPatch, fails_at: str) -> None:
    streams, launched_on = Streams(fails_at), list[str]()

    class Launches(Inverse):
        def __call__(self, given: Any) -> None:
            launched_on.append(streams.current)
            if fails_at == "launches" and streams.current != "compute":
                raise RuntimeError("operation not permitted")
            super().__call__(given)

    monkeypatch.setattr(cuda, "_cuda", streams)
    capture = Fused(Inverse(), torch.device("cuda"))._capture
    made = Fused(Launches(), DEVICE, capture)
    made._on_cuda = False
    for _ in range(5):
        asked(made, 4, 8)
        assert (streams.current, streams.underway) == ("compute", False)
    captured = [] if fails_at == "begin" else ["capture 1"]
    assert launched_on == ["compute", *[*captured, "compute"] * 3, "compute"]


def test_all_captures_use_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams()
    monkeypatch.setattr(cuda, "_cuda", streams)
    capture = Fused(Inverse(), torch.device("cuda"))._capture
    assert capture is not None
    for _ in range(3):
        with torch.inference_mode():
            capture(lambda: None)
    assert streams.captured_on == ["capture 1"] * 3


def test_out_of_memory_leaves_it_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    made, empty = Fused(Inverse(), DEVICE, Recorder()), torch.empty

    def limited(size: Any, **options: Any) -> Tensor:
        if isinstance(size, int) and size > 200_000:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return empty(size, **options)

    monkeypatch.setattr(torch, "empty", limited)
    for _ in range(3):
        asked(made, 8, 8)
        with pytest.raises(torch.OutOfMemoryError):
            made(picture_of(200, 200))
        assert made._memory is None
    asked(made, 8, 8)


def test_memory_of_a_4k_frame_and_of_its_tiles() -> None:
    config, gib, pixels = HDRUNetConfig(), 2**30, 3840 * 2160
    needed = Fused(Inverse(config), DEVICE).bytes_per_pixel
    own = workspace_bytes(config, 2160, 3840)
    assert own <= 4 * gib
    assert workspace_bytes(config, 2160, 3840, convolved=True) + pixels * 64 <= 6 * gib
    assert own < pixels * needed <= 5 * gib
    rest = pixels * needed - own
    tile = choose_tile(3840, 2160, (96, 92), (2 * gib - rest) * pixels // own)
    assert tile == (1280, 2160)
    assert workspace_bytes(config, 2160, 1280 + 188) + rest <= 2 * gib


def test_cudnn_is_ready_in_the_thread_that_captures() -> None:
    """It keeps what it has prepared for each thread apart, and a capture is no time to prepare."""
    launched: list[str] = []

    class Launches(Inverse):
        def __call__(self, given: Any) -> None:
            launched.append("launched")
            super().__call__(given)

    def capture(launches: Callable[[], None]) -> Callable[[], None]:
        launched.append("captured")
        return launches

    forward = Launches()
    forward.way = "cudnn"
    made = Fused(forward, DEVICE, capture)
    for _ in range(3):
        asked(made, 4, 8)
    assert launched == ["launched", "launched", "captured", "launched", "launched"]
