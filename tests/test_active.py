"""Black bars: found where they are bars, left alone where the scene is dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdrunet_video.active import active_picture
from hdrunet_video.probe import probe
from hdrunet_video.source_color import source_color
from tests.conftest import ffmpeg

WHOLE = (0, 64, 0, 96)


def rectangle(tmp_path: Path, filters: str, pixel_format: str = "yuv420p", frames: int = 6) -> tuple[int, ...]:
    path = tmp_path / "film.mkv"
    source = f"testsrc2=size=96x64:rate=24,trim=end_frame={frames},{filters},format={pixel_format}"
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", "ffv1", "-g", "1", path)
    info = probe(path)
    return active_picture(info, source_color(info)[0], 0, len(info.pts))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("null", WHOLE),
        ("scale=96:48,pad=96:64:0:8", (8, 56, 0, 96)),
        ("scale=64:64,pad=96:64:16:0", (0, 64, 16, 80)),
        ("scale=48:32,pad=96:64:24:16", WHOLE),  # bars all around are a small window, not a format
        ("scale=96:48,pad=96:64:0:16", WHOLE),  # only above
        ("scale=96:44,pad=96:64:0:4", WHOLE),  # not the same above and below
        ("scale=96:24,pad=96:64:0:20", WHOLE),  # most of the picture
        ("drawbox=color=black:t=fill", WHOLE),  # a black film
    ],
)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "gbrp"])
def test_bars(tmp_path: Path, filters: str, expected: tuple[int, ...], pixel_format: str) -> None:
    assert rectangle(tmp_path, filters, pixel_format) == expected


def test_one_frame_without_bars_means_no_bars(tmp_path: Path) -> None:
    bars = "drawbox=y=0:h=8:color=black:t=fill:enable='{0}',drawbox=y=56:h=8:color=black:t=fill:enable='{0}'"
    assert rectangle(tmp_path, bars.format("1"), frames=12) == (8, 56, 0, 96)
    assert rectangle(tmp_path, bars.format("not(eq(n,7))"), frames=12) == WHOLE
