"""Rows as tables for people."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from .contestants import REFERENCE
from .results import Results, Row

NOTES = """\
min, median, max: of one frame, over rounds in which all took turns. x: the original's time over the own one, round by
round. TFLOP/s: the network's convolutions (a multiplication and an addition are two) over the median. peak: share
of what a matrix product reaches here in the same precision. GB/s: what the convolutions read and write if each does it
once, over the median; code that keeps features on the chip moves less than that. roofline: the time that the
convolutions need at least, each by its operations or by its bytes, over the median; fusing layers can pass 100 %.
codes: largest difference to the original after the light mapping, in 10-bit codes of PQ. MiB: memory that it needs,
with what it holds from one frame to the next. In parentheses: whose code it was, where it was not our own kernels."""

STAGE_NOTES = """\
decode, encode: with PyAV, as many frames as in a film of this run. colour: to R'G'B'. light: to cd/m2, rolled off, to
planes. engine: all between the decoder and the encoder, frames in flight. end to end: all at once, from when the engine
is full and has given what it has in work; its throughput as a share of that of the slowest of decode, engine and encode
alone, in the same rounds; and how much of the time each lane was at work. GB/s: planes, and the signal in float32, read
and written once. roofline: the least time by operations and bytes, of a network layer by layer, over the median."""

CURVE_NOTES = """\
time over size: the engine, frame by frame; x least: of the least time a pixel that was measured for a picture computed
whole. `in turns`: the largest of these whole and in halves, in the same rounds; x: of the whole. memory over length:
the most that torch had allocated on a card, or the whole process on a CPU, while a film was converted."""


def tables(results: Results) -> str:
    """Everything that was measured."""
    parts = [_machine(results)]
    if results.of("network"):
        parts += [_network(results), NOTES]
    if results.of("stage"):
        parts += [_stages(results), STAGE_NOTES]
    if results.of("sizes") or results.of("frames"):
        parts += [_pixels(results), _films(results), CURVE_NOTES]
    parts += [f"{row.name} failed: {row.note}" for row in results.of("failed")]
    return "\n\n".join(parts)


def speedup(row: Row, reference: Row) -> float:
    """How many times as fast as the reference, median over the rounds that both were in."""
    return statistics.median(a / b for a, b in zip(reference.seconds, row.seconds, strict=False))


def _machine(results: Results) -> str:
    machine = results.machine
    flops = ", ".join(f"{precision} {value / 1e12:.3g}" for precision, value in machine.flops.items())
    return (
        f"{machine.device}, {machine.kind}, {machine.threads} threads, {machine.memory_bytes / 2**30:.0f} GiB; "
        f"{machine.date} UTC; hdrunet-video {machine.package}, torch {machine.torch}; load before: {machine.load:g}\n"
        f"measured limits: matrix product {flops} TFLOP/s; copy {machine.bandwidth / 1e9:.4g} GB/s, read and written"
    )


def _network(results: Results) -> str:
    head = ["network", "size", "rounds", "min ms", "median", "max", "x", "TFLOP/s", "peak", "GB/s", "roofline"]
    head += ["codes", "MiB", "J", "set-up s"]
    references = {_size(row): row for row in results.of("network") if row.name == REFERENCE and row.seconds}
    lines = []
    for row in results.of("network"):
        if not row.seconds:
            lines.append([row.name, _size(row), row.note])
            continue
        limit = results.machine.flops.get(row.precision)
        reference = references.get(_size(row))
        lines.append(
            [
                *(_name(row), _size(row), str(len(row.seconds)), *_times(row)),
                f"{speedup(row, reference):.2f}" if reference else "",
                _teraflops(row),
                f"{row.flop / row.median / limit:.0%}" if limit else "",
                *(_gigabytes(row), _roofline(row)),
                f"{row.difference:.2g}" if row.difference is not None else "",
                *(_mib(row), _joules(row)),
                f"{row.setup_seconds:.1f}" if row.setup_seconds is not None else "",
            ]
        )
    return table(head, lines)


def _stages(results: Results) -> str:
    head = ["stage", "size", "rounds", "min ms", "median", "max", "frames/s", "TFLOP/s", "GB/s", "roofline"]
    head += ["MiB", "J", "remarks"]
    lines = []
    for row in [*results.of("stage"), *results.of("end to end")]:
        if not row.seconds:
            lines.append([row.name, _size(row), row.note])
            continue
        remarks = [row.note]
        if row.part == "end to end":
            slowest, share = overlap(row, results.of("stage"))
            remarks.insert(0, f"{share:.2f} of {slowest}")
        lines.append(
            [
                *(row.name, _size(row), str(len(row.seconds)), *_times(row), f"{1 / row.median:.4g}"),
                *(_teraflops(row), _gigabytes(row), _roofline(row), _mib(row), _joules(row)),
                "; ".join(filter(None, remarks)),
            ]
        )
    return table(head, lines)


def _pixels(results: Results) -> str:
    head = ["time over size", "size", "rounds", "min ms", "median", "max", "ns/pixel", "x least", "MiB"]
    rows = results.of("sizes")
    least = min((_a_pixel(row) for row in rows if row.seconds and row.name == "whole"), default=0.0)
    whole = {_size(row): row for row in rows if row.name == "whole, in turns"}
    lines = []
    for row in rows:
        if not row.seconds:
            lines.append([row.name, _size(row), row.note])
            continue
        share = _a_pixel(row) / least if least else 0.0
        if "in turns" in row.name:
            share = 1 / speedup(row, whole[_size(row)])
        cells = [str(len(row.seconds)), *_times(row), _digits(_a_pixel(row) * 1e9), f"{share:.2f}", _mib(row)]
        lines.append([row.name, _size(row), *cells])
    return table(head, lines)


def _films(results: Results) -> str:
    head = ["memory over length", "size", "frames", "ms a frame", "MiB"]
    return table(
        head,
        [
            [row.name, _size(row), str(row.frames), _ms(row.median) if row.seconds else row.note, _mib(row)]
            for row in results.of("frames")
        ],
    )


def _a_pixel(row: Row) -> float:
    """Seconds."""
    return row.median / (row.width * row.height)


def overlap(whole: Row, stages: Sequence[Row]) -> tuple[str, float]:
    """The slowest of decode, engine and encode, and the throughput of all at once as a share of that one's."""
    alone = [row for row in stages if _size(row) == _size(whole) and row.name in ("decode", "engine", "encode")]
    slowest = max(alone, key=lambda row: row.median)
    return slowest.name, speedup(whole, slowest)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Markdown, aligned; a line of three cells ends in a remark that takes the rest of the width."""
    lines = list(lines)
    full = [line for line in lines if len(line) == len(head)]
    short = [line[:-1] for line in lines if len(line) < len(head)]
    widths = [
        max(len(line[index]) for line in (head, *full, *short) if index < len(line)) for index in range(len(head))
    ]
    rest = sum(widths[2:]) + 3 * (len(head) - 3)

    def row(cells: Sequence[str]) -> str:
        if len(cells) == len(head):
            padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        else:
            padded = [
                *(cell.ljust(width) for cell, width in zip(cells[:-1], widths, strict=False)),
                cells[-1].ljust(rest),
            ]
        return f"| {' | '.join(padded)} |"

    return "\n".join([row(head), f"|{'|'.join('-' * (width + 2) for width in widths)}|", *map(row, lines)])


def _size(row: Row) -> str:
    return f"{row.width}x{row.height}"


def _times(row: Row) -> list[str]:
    return [_ms(value) for value in (min(row.seconds), row.median, max(row.seconds))]


def _ms(seconds: float) -> str:
    return _digits(seconds * 1e3)


def _digits(value: float) -> str:
    """Four digits, and never an exponent above the point."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _name(row: Row) -> str:
    """With whose code it was, where the name does not say it, and the precision, where that is another."""
    if row.backend in ("", "ours") or row.backend == row.name.split()[0].lower():
        return row.name
    fallen = "" if row.precision in row.name else f" {row.precision}"
    return f"{row.name} ({row.backend}{fallen})"


def _teraflops(row: Row) -> str:
    return f"{row.flop / row.median / 1e12:.3g}" if row.flop else ""


def _gigabytes(row: Row) -> str:
    return f"{row.bytes / row.median / 1e9:.4g}" if row.bytes else ""


def _roofline(row: Row) -> str:
    return f"{row.roofline_seconds / row.median:.0%}" if row.roofline_seconds else ""


def _mib(row: Row) -> str:
    return f"{row.peak_bytes / 2**20:.0f}" if row.peak_bytes is not None else ""


def _joules(row: Row) -> str:
    return f"{row.joules:.3g}" if row.joules is not None else ""
