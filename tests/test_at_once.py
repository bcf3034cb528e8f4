"""Several frames at once on a CPU: the same bits, in order, with shared-out threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from hdrunet_video.at_once import compute_at_once
from hdrunet_video.frame import Frame
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.threads import sharers
from tests.engines import engine_of, sdr_frame


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_bits_do_not_depend_on_the_frames_at_once(count: int, threads: int) -> None:
    """Nor on the threads a frame has: the whole network, at a size that is no multiple of anything."""
    network = HDRUNet()
    frames = [sdr_frame(70, 46, pts) for pts in range(5)]
    plain = list(engine_of(network).stream(frames))
    several = list(engine_of(network, at_once=count).stream(frames))
    for one, other in zip(plain, several, strict=True):
        assert (one.pts, one.light) == (other.pts, other.light)
        assert all(map(torch.equal, one.planes, other.planes))
    assert torch.get_num_threads() == threads


def test_frames_are_at_work_together_in_order_and_with_their_share(threads: int) -> None:
    together = threading.Barrier(2, timeout=20)
    shares = []

    def compute(frame: Frame) -> Frame:
        together.wait()
        shares.append(torch.get_num_threads())
        time.sleep(0.02 if frame.pts % 2 == 0 else 0)
        return frame

    made = list(compute_at_once(compute, [sdr_frame(pts=pts) for pts in range(6)], 2))
    assert [frame.pts for frame in made] == list(range(6))
    assert set(shares) == {threads // 2}
    fresh: list[int] = []
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert fresh == [threads]


@pytest.mark.parametrize(
    ("have", "count", "expected"),
    [(6, 4, [1, 1, 2, 2]), (12, 8, [1, 1, 1, 1, 2, 2, 2, 2]), (8, 3, [2, 3, 3]), (4, 4, [1] * 4), (2, 3, [1] * 3)],
)
def test_no_thread_is_left_without_work(threads: int, have: int, count: int, expected: list[int]) -> None:
    torch.set_num_threads(have)
    together = threading.Barrier(count, timeout=20)
    found = []

    def compute(frame: Frame) -> Frame:
        together.wait()
        found.append((torch.get_num_threads(), sharers()))
        return frame

    assert len(list(compute_at_once(compute, [sdr_frame(pts=pts) for pts in range(count)], count))) == count
    assert sorted(found) == [(share, count) for share in expected]
    assert (torch.get_num_threads(), sharers()) == (have, 1)


def test_a_larger_share_goes_on_while_a_smaller_one_is_at_the_next_frame_in_order(threads: int) -> None:
    """Of six threads four frames have 2, 2, 1 and 1: while one of the latter makes its frame, five others are made."""
    torch.set_num_threads(6)
    others = threading.Semaphore(0)

    def compute(frame: Frame) -> Frame:
        if frame.pts:
            others.release()
        else:
            assert all(others.acquire(timeout=20) for _ in range(5))
        return frame

    made = compute_at_once(compute, [sdr_frame(pts=pts) for pts in range(12)], 4)
    assert [frame.pts for frame in made] == list(range(12))


@pytest.mark.parametrize("fail", [0, 3, 5])
def test_frames_before_a_failed_one_are_given(fail: int) -> None:
    def compute(frame: Frame) -> Frame:
        if frame.pts == fail:
            raise ZeroDivisionError
        return frame

    def source() -> Iterator[Frame]:
        yield from (sdr_frame(pts=pts) for pts in range(4))
        if fail == 5:
            raise ZeroDivisionError

    given = []
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        for frame in compute_at_once(compute, source(), 2):
            given.append(frame.pts)
    assert given == list(range(min(fail, 4)))


def test_closing_ends_the_threads() -> None:
    frames = compute_at_once(lambda frame: frame, (sdr_frame(pts=pts) for pts in range(100)), 3)
    assert next(frames).pts == 0
    frames.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("frame_")]
