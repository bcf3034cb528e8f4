from __future__ import annotations

import csv
import io
import math

import pytest

from hdrunet_video.training.evaluation import tables
from hdrunet_video.training.evaluation.measure import Measure, Row

MEASURES = (Measure("psnr", "PSNR", "dB", 2, "high"), Measure("off", "exposed", "stops", 3, "zero"))


def _rows() -> list[Row]:
    values = {
        "identity": ((30.0, 0.1), (40.0, -0.1), (35.0, math.nan)),
        "ours": ((33.0, 0.05), (39.0, 0.02), (41.0, 0.0)),
    }
    names = (("a_0", "a"), ("a_1", "a"), ("b|c", "b"))
    return [
        Row(model, name, scene, {"psnr": psnr, "off": off})
        for index, (name, scene) in enumerate(names)
        for model, (psnr, off) in ((model, values[model][index]) for model in values)
    ]


def test_means_and_gains() -> None:
    means, gains = tables.means(_rows(), MEASURES), tables.gains(_rows(), MEASURES, "identity")
    assert "3 pictures of 2 scenes" in means.title
    assert [line[0] for line in means.lines] == ["identity", "ours"]
    # Scene a has a mean of 35 over two pictures, scene b one picture of 35: whatever is drawn, the mean is 35.
    assert means.lines[0][1] == "35.00 [35.00, 35.00]"
    assert means.lines[1][1] == "37.67 [36.00, 41.00]"
    # Gains: 3, -1 and 6 dB; 0.05 and 0.08 stops, and one that has no value.
    assert gains.lines == (("ours", "+2.67 [+1.00, +6.00] 2/3", "+0.065 2/2"),)


def test_text_and_markdown() -> None:
    table = tables.pictures(_rows(), MEASURES)
    lines = table.text().splitlines()
    assert lines[0] == "Each picture"
    assert len({len(line) for line in lines[2:] if line}) == 1
    assert lines[3].split() == ["a_0", "identity", "30.00", "0.100"]
    assert "-" in lines[7].split()
    marked = table.markdown().splitlines()
    assert marked[2:4] == ["| picture | model | PSNR (dB) | exposed (stops) |", "| --- | ---: | ---: | ---: |"]
    assert "b\\|c" in marked[8]


def test_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(tables.pictures_csv(_rows(), MEASURES))))
    assert rows[0] == {"picture": "a_0", "scene": "a", "model": "identity", "psnr": "30.0", "off": "0.1"}
    assert rows[4]["off"] == ""
    means = list(csv.DictReader(io.StringIO(tables.means_csv(_rows(), MEASURES))))
    assert [row["measure"] for row in means] == ["psnr", "off", "psnr", "off"]
    assert float(means[2]["mean"]) == pytest.approx(113 / 3)
    assert (means[1]["pictures"], means[1]["scenes"]) == ("2", "1")
    assert means[1]["low"] == ""
