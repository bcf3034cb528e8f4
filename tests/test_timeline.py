"""Times of the output: kept tick by tick, mended where a container rounded them, halved for fields; and timecode."""

from __future__ import annotations

from array import array
from dataclasses import replace
from fractions import Fraction
from itertools import islice, pairwise, product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdrunet_video.probe import VideoInfo, probe
from hdrunet_video.timeline import Timeline, cut, make_timeline, timecode_after

RATES = [Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(60000, 1001), Fraction(120)]


@pytest.fixture(scope="module")
def film(clip: Path) -> VideoInfo:
    """Facts of some film; each test puts times of its own into them."""
    return probe(clip)


def timed(info: VideoInfo, pts: list[int], end: int, time_base: Fraction, rate: Fraction) -> VideoInfo:
    return replace(info, pts=array("q", pts), end_pts=end, time_base=time_base, frame_rate=rate)


def seconds(timeline: Timeline) -> list[Fraction]:
    return [time * timeline.time_base for time in timeline.pts]


def test_variable_frame_rate_is_kept_tick_by_tick(film: VideoInfo) -> None:
    pts = [0, 512, 1024, 2560, 3072, 6000]
    timeline = make_timeline(timed(film, pts, 6512, Fraction(1, 12288), Fraction(24)), 0, 6, 1, rebase=False)
    assert list(timeline.pts) == pts
    assert timeline.time_base == Fraction(1, 12288)
    assert [timeline.duration(index) for index in range(6)] == [512, 512, 1536, 512, 2928, 512]
    assert not timeline.is_constant
    assert timeline.seconds == pytest.approx(6512 / 12288)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("offset", [0, 48])
def test_matroska_rounding_of_a_constant_rate_is_undone(film: VideoInfo, rate: Fraction, offset: int) -> None:
    pts = [round(1000 * (number + offset) / rate) for number in range(500)]
    end = round(1000 * (500 + offset) / rate)
    timeline = make_timeline(timed(film, pts, end, Fraction(1, 1000), rate), 0, 500, 1, rebase=False)
    assert seconds(timeline) == [(number + offset) / rate for number in range(500)]
    assert timeline.end_pts * timeline.time_base == (500 + offset) / rate
    assert timeline.is_constant


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("late", [Fraction(1024, 48000), Fraction(1024, 44100), Fraction(3, 2)])
def test_a_constant_rate_may_begin_late(film: VideoInfo, rate: Fraction, late: Fraction) -> None:
    """As in Matroska made of .mp4: there the picture waits for what the decoder of AAC throws away."""
    exact = [late + number / rate for number in range(501)]
    *pts, end = (round(1000 * time) for time in exact)
    timeline = make_timeline(timed(film, pts, end, Fraction(1, 1000), rate), 0, 500, 1, rebase=False)
    times = [*seconds(timeline), timeline.end_pts * timeline.time_base]
    assert {after - before for before, after in pairwise(times)} == {1 / rate}
    assert all(abs(time - there) <= Fraction(6, 10_000) for time, there in zip(times, exact, strict=True))
    assert timeline.is_constant


def test_what_would_be_before_zero_begins_there(film: VideoInfo) -> None:
    early = timed(film, [-200, -160, -120], -80, Fraction(1, 1000), Fraction(25))
    timeline = make_timeline(early, 0, 3, 1, rebase=False)
    assert (seconds(timeline), timeline.origin) == ([0, Fraction(1, 25), Fraction(2, 25)], Fraction(-1, 5))


def test_milliseconds_of_a_variable_rate_are_not_touched(film: VideoInfo) -> None:
    pts = [0, 42, 83, 125, 250, 292]
    timeline = make_timeline(timed(film, pts, 333, Fraction(1, 1000), Fraction(24)), 0, 6, 1, rebase=False)
    assert list(timeline.pts) == pts
    assert timeline.time_base == Fraction(1, 1000)


@pytest.mark.parametrize("rate", RATES)
def test_a_drifting_clock_is_not_taken_for_a_constant_rate(film: VideoInfo, rate: Fraction) -> None:
    """A phone that records 1 % too slow: after 500 frames the grid would be five frames off."""
    pts = [round(1010 * number / rate) for number in range(500)]
    timeline = make_timeline(timed(film, pts, pts[-1] + 20, Fraction(1, 1000), rate), 0, 500, 1, rebase=False)
    assert list(timeline.pts) == pts


def test_a_start_offset_is_kept_for_the_whole_film_and_dropped_for_an_excerpt(film: VideoInfo) -> None:
    late = timed(film, [900, 1000, 1150, 1200], 1300, Fraction(1, 12288), Fraction(100))
    assert list(make_timeline(late, 0, 4, 1, rebase=False).pts) == [900, 1000, 1150, 1200]
    excerpt = make_timeline(late, 1, 3, 1, rebase=True)
    assert (list(excerpt.pts), excerpt.end_pts) == ([0, 150], 200)


def test_a_clock_is_not_kept_but_what_lies_between_it_and_the_picture_is(film: VideoInfo) -> None:
    late = timed(film, [9100, 9200, 9350], 9400, Fraction(1, 90000), Fraction(100))
    late = replace(late, clock_start=Fraction(9040, 90000))
    whole = make_timeline(late, 0, 3, 1, rebase=False)
    assert (list(whole.pts), whole.end_pts, whole.origin) == ([60, 160, 310], 360, late.clock_start)
    assert make_timeline(late, 1, 3, 2, rebase=True).origin == Fraction(9200, 90000)


def test_the_last_frame_of_an_excerpt_ends_where_the_next_began(film: VideoInfo) -> None:
    late = timed(film, [0, 100, 250, 300], 450, Fraction(1, 12288), Fraction(100))
    assert make_timeline(late, 0, 2, 1, rebase=True).end_pts == 250
    assert make_timeline(late, 2, 4, 1, rebase=True).end_pts == 200


def test_fields_lie_halfway_between_frames(film: VideoInfo) -> None:
    info = timed(film, [0, 512, 1536], 2048, Fraction(1, 12800), Fraction(25))
    fields = make_timeline(info, 0, 3, 2, rebase=False)
    assert seconds(fields) == [Fraction(tick, 12800) for tick in (0, 256, 512, 1024, 1536, 1792)]
    assert fields.end_pts * fields.time_base == Fraction(2048, 12800)
    assert fields.frame_rate == 50


@given(
    steps=st.lists(st.integers(1, 5000), min_size=1, max_size=40),
    first=st.integers(-1000, 100_000),
    time_base=st.sampled_from([Fraction(1, 90000), Fraction(1, 1000), Fraction(1001, 24000), Fraction(1, 12800)]),
    rate=st.sampled_from(RATES),
    per_frame=st.sampled_from([1, 2]),
)
def test_no_frame_is_lost_or_moved_by_more_than_the_containers_rounding(
    film: VideoInfo, steps: list[int], first: int, time_base: Fraction, rate: Fraction, per_frame: int
) -> None:
    pts = [first]
    for step in steps:
        pts.append(pts[-1] + step)
    end = pts.pop()
    timeline = make_timeline(timed(film, pts, end, time_base, rate), 0, len(pts), per_frame, rebase=False)
    assert len(timeline.pts) == per_frame * len(pts)
    assert all(before < after for before, after in pairwise(timeline.pts))
    assert timeline.duration(len(timeline.pts) - 1) > 0
    shown, expected = seconds(timeline)[::per_frame], [(tick - min(first, 0)) * time_base for tick in pts]
    assert all(abs(time - there) <= time_base for time, there in zip(shown, expected, strict=True))
    if time_base < Fraction(1, 1000):
        assert shown == expected


@given(st.integers(0, 500), st.integers(1, 500), st.integers(1, 200))
def test_segments_follow_each_other_and_cover_the_film(start: int, count: int, frames: int) -> None:
    segments = cut(start, start + count, frames)
    assert [number for each in segments for number in range(each.start, each.stop)] == [*range(start, start + count)]
    assert [each.index for each in segments] == [*range(len(segments))]
    assert all(each.stop - each.start == frames for each in segments[:-1])
    assert sorted(each.name for each in segments) == [each.name for each in segments]


def labels(nominal: int, dropped: int):  # type: ignore[no-untyped-def]
    """Every timecode of a day in order, as SMPTE ST 12-1 numbers them."""
    separator = ";" if dropped else ":"
    for hour, minute, second, count in product(range(24), range(60), range(60), range(nominal)):
        if not (dropped and second == 0 and count < dropped and minute % 10):
            yield f"{hour:02}:{minute:02}:{second:02}{separator}{count:02}"


@pytest.mark.parametrize(
    ("rate", "nominal", "dropped"),
    [
        (Fraction(24000, 1001), 24, 0),
        (Fraction(25), 25, 0),
        (Fraction(30000, 1001), 30, 0),
        (Fraction(30000, 1001), 30, 2),
        (Fraction(60000, 1001), 60, 4),
    ],
)
def test_timecode_is_counted_as_on_tape(rate: Fraction, nominal: int, dropped: int) -> None:
    counted = list(islice(labels(nominal, dropped), 25 * 60 * nominal))
    for first in (0, 17, 59 * nominal, 10 * 60 * nominal - 5):
        for frames in (1, nominal - 1, nominal, 60 * nominal - dropped, 60 * nominal, 9 * 60 * nominal + 1):
            assert timecode_after(counted[first], frames, rate) == counted[first + frames]
    for first in range(58 * nominal, 62 * nominal):
        assert timecode_after(counted[first], 1, rate) == counted[first + 1]


@pytest.mark.parametrize(
    ("timecode", "frames", "rate", "expected"),
    [
        ("23:59:59:24", 1, Fraction(25), "00:00:00:00"),
        ("23:59:59;29", 1, Fraction(30000, 1001), "00:00:00;00"),
        ("01:00:00:00", 0, Fraction(25), "01:00:00:00"),
        ("about noon", 5, Fraction(25), "about noon"),
        ("01:00:00.00", 1800, Fraction(30000, 1001), "01:01:00.02"),
    ],
)
def test_timecode_at_the_edges(timecode: str, frames: int, rate: Fraction, expected: str) -> None:
    assert timecode_after(timecode, frames, rate) == expected
