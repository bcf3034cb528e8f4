"""Films with changed and missing bytes: planned or refused, never a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdrunet_video.errors import HdrunetError
from hdrunet_video.job import Job, Plan, make_plan
from tests.bad_input import SOURCE, X264
from tests.conftest import ffmpeg

HEADERS = {"mp4": ("-movflags", "faststart"), "mkv": (), "avi": (), "ts": ()}


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("headers")
    for extension, arguments in HEADERS.items():
        ffmpeg(*SOURCE, *X264, *arguments, folder / f"whole.{extension}")
    return folder


def planned_or_refused(path: Path) -> Plan | HdrunetError:
    try:
        return make_plan(Job(path, path.with_name("out.mov")))
    except HdrunetError as error:
        return error


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    extension=st.sampled_from([*HEADERS]),
    # Most of the structure is in the first kilobytes.
    changes=st.lists(st.tuples(st.integers(0, 3000) | st.integers(0, 1 << 20), st.integers(0, 255)), max_size=8),
    keep=st.just(1.0) | st.floats(0, 1),
)
def test_mutated_files_are_planned_or_refused(
    headers: Path, tmp_path: Path, extension: str, changes: list[tuple[int, int]], keep: float
) -> None:
    data = bytearray((headers / f"whole.{extension}").read_bytes())
    for where, value in changes:
        data[where % len(data)] = value
    path = tmp_path / f"mutated.{extension}"
    path.write_bytes(data[: int(len(data) * keep)])
    outcome = planned_or_refused(path)
    if isinstance(outcome, Plan):
        assert 0 < len(outcome.info.pts) <= 100
    else:
        assert outcome.exit_code == 65
        assert outcome.hint
