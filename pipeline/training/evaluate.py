"""`python -m hdrunet_video.training evaluate`: how good models are, on pictures whose true HDR is known."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..baselines import MODELS
from ..command import exit_code_of
from ..device import limit_threads
from ..errors import UsageError
from ..metrics import colorvideovdp, flow
from . import images
from .evaluation import clips, layouts, measure, tables, views
from .evaluation.figures import figures
from .evaluation.layouts import Item, Pair
from .evaluation.measure import Measure, Row
from .evaluation.models import Model, load_models
from .evaluation.page import Page

_EPILOG = f"""\
models: hdrunet (the bundled weights), {", ".join(MODELS)}, a file of weights, or NAME=any of these

examples, after python -m hdrunet_video.training:
  evaluate identity hdrunet --pairs test/                          tables on the terminal
  evaluate identity first=first.pth hdrunet --ntire NTIRE2021/ -o report/ --figures 8
  evaluate identity hdrunet --views data/hdr --split held-out --flicker
  evaluate identity hdrunet --clips films/                         flicker on real video, along its motion

layouts: --pairs takes sdr/NAME.png with hdr/NAME.npy (signal), .exr or .hdr (light); --ntire takes 0000_medium.png,
0000_gt.png, 0000_alignratio.npy; --views takes a folder with a manifest.json, or any .jp2, .exr and .hdr,
and makes the SDR pictures with the training's degradation (its defaults, and the default validation_fraction).
--clips takes a folder of SDR video, whose HDR nobody knows: the middle 24 frames and at most 960x540 of each.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    top = parser()
    flags = top.parse_args(arguments)

    def act() -> int:
        limit_threads()
        evaluate(flags)
        return 0

    return exit_code_of(top.prog, act)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="python -m hdrunet_video.training evaluate",
        description="Compare models on pairs of SDR and true HDR pictures.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("models", nargs="*", metavar="MODEL", help="default: identity hdrunet")
    where = top.add_mutually_exclusive_group(required=True)
    where.add_argument("--pairs", type=Path, metavar="FOLDER", help="folder with sdr/ and hdr/")
    where.add_argument("--ntire", type=Path, metavar="FOLDER", help="folder in the NTIRE 2021 layout")
    where.add_argument("--views", type=Path, metavar="FOLDER", help="folder of HDR views")
    where.add_argument("--clips", type=Path, metavar="FOLDER", help="folder of SDR video; needs OpenCV")
    which = top.add_argument_group("which pictures")
    which.add_argument("--scenes", nargs="+", default=[], metavar="NAME", help="these scenes only; * and ? are allowed")
    which.add_argument(
        "--split", default="", choices=views.SPLITS, help="of --views, by the training's rule (default all)"
    )
    which.add_argument("--limit", type=_positive, metavar="N", help="at most N pictures, spread evenly")
    which.add_argument("--seed", type=int, default=0, help="of the degradation and the bootstrap (default 0)")
    which.add_argument("--save-pairs", type=Path, metavar="FOLDER", help="keep the pairs, for --pairs")
    what = top.add_argument_group("what to measure")
    what.add_argument("--flicker", action="store_true", help="on frozen frames with noise, and on pans; takes a while")
    what.add_argument("--cvvdp", action="store_true", help="ColorVideoVDP, where it is installed; slow")
    what.add_argument(
        "--over", default="", metavar="MODEL", help="show gains over it (default: identity, or the first)"
    )
    how = top.add_argument_group("how")
    how.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default), cuda, cuda:N")
    how.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="write tables and a page there")
    how.add_argument("--figures", type=_positive, default=0, metavar="N", help="figures of N pictures; needs -o")
    return top


def evaluate(flags: argparse.Namespace) -> list[Row]:
    """Do what the flags say, print the tables, and return the rows. Raises a HdrunetError."""
    if flags.figures and flags.output is None:
        raise UsageError("--figures needs a folder", "-o FOLDER")
    if flags.cvvdp and not colorvideovdp.is_installed():
        raise UsageError("--cvvdp needs ColorVideoVDP", "pip install cvvdp, or leave out --cvvdp.")
    if flags.split and flags.views is None:
        raise UsageError("--split needs --views: of other pictures it is not known", "Choose with --scenes.")
    _check_device(flags.device)
    if flags.clips is not None:
        return _evaluate_clips(flags)
    items = layouts.select(_items(flags), flags.scenes, flags.limit)
    models = load_models(flags.models or ["identity", "hdrunet"], flags.device)
    over = _over(flags.over, models)
    measures = _measures(flags)
    page = Page(flags.output) if flags.output is not None else None
    if flags.output is not None:
        images.make_folder(flags.output)
    scenes: dict[str, str] = {}
    shown = {items[index * len(items) // flags.figures].name for index in range(flags.figures)}

    def seen(pair: Pair, results: dict[str, Tensor]) -> None:
        if flags.save_pairs is not None:
            layouts.save_pair(flags.save_pairs, pair)
            scenes[pair.name] = pair.scene
        if page is not None and pair.name in shown:
            page.add(pair.name, figures(pair, results))
        bar.update()

    with tqdm(total=len(items), unit="picture", disable=None) as bar:
        rows = list(measure.measure_all(items, models, flicker=flags.flicker, colorvideovdp=flags.cvvdp, seen=seen))
    if scenes:
        images.write_file(flags.save_pairs / "scenes.json", json.dumps(scenes, indent=1).encode())
    _show(flags, rows, measures, over, page)
    return rows


def _evaluate_clips(flags: argparse.Namespace) -> list[Row]:
    for name in ("figures", "flicker", "cvvdp", "save_pairs"):
        if getattr(flags, name):
            raise UsageError(f"--{name.replace('_', '-')} needs pairs, and --clips has none", "Leave one of them out.")
    if not flow.is_installed():
        raise UsageError("--clips needs OpenCV", "pip install 'hdrunet-video[flow]'")
    chosen = layouts.select(clips.clip_items(flags.clips), flags.scenes, flags.limit)
    models = load_models(flags.models or ["identity", "hdrunet"], flags.device)
    over = _over(flags.over, models)
    page = Page(flags.output) if flags.output is not None else None
    if flags.output is not None:
        images.make_folder(flags.output)
    measured = clips.measure_clips(chosen, models)
    rows = list(tqdm(measured, total=len(chosen) * len(models), unit="clip", disable=None))
    _show(flags, rows, clips.MEASURES, over, page)
    return rows


def _show(
    flags: argparse.Namespace, rows: Sequence[Row], measures: Sequence[Measure], over: str, page: Page | None
) -> None:
    """The tables, to the terminal and, with a page, to its folder."""
    # NTIRE 2021 does not say which frames are of one scene, and so alike: its intervals are too narrow.
    made = [tables.means(rows, measures, flags.seed, "scene" if flags.ntire is None else "frame")]
    if over:
        made.append(tables.gains(rows, measures, over, flags.seed))
    made.append(tables.pictures(rows, measures))
    if page is None:
        print("\n".join(table.text() for table in made))
    else:
        # Means first: the line for each picture is in the files.
        print("\n".join(table.text() for table in made[:-1]))
        print(_write(flags.output, rows, measures, made, page, flags.seed))


def _items(flags: argparse.Namespace) -> list[Item]:
    if flags.pairs is not None:
        return layouts.folder_of_pairs(flags.pairs)
    if flags.ntire is not None:
        return layouts.ntire_2021(flags.ntire)
    return views.view_items(flags.views, flags.split or "all", flags.seed)


def _measures(flags: argparse.Namespace) -> tuple[Measure, ...]:
    return (
        *measure.MEASURES,
        *(measure.FLICKER if flags.flicker else ()),
        *(measure.CODED if flags.flicker and flags.views is not None else ()),
        *(measure.COLORVIDEOVDP if flags.cvvdp else ()),
    )


def _over(name: str, models: Sequence[Model]) -> str:
    """The label of the model that gains are shown over; empty where there is only one model."""
    labels = [model.label for model in models]
    if name and name not in labels:
        raise UsageError(f"--over {name} is not among the models", f"There are {', '.join(labels)}.")
    if len(labels) < 2:
        return ""
    return name or ("identity" if "identity" in labels else labels[0])


def _write(
    folder: Path, rows: Sequence[Row], measures: Sequence[Measure], made: Sequence[tables.Table], page: Page, seed: int
) -> str:
    contents = {
        "tables.txt": "\n".join(table.text() for table in made),
        "tables.md": "\n".join(table.markdown() for table in made),
        "pictures.csv": tables.pictures_csv(rows, measures),
        "means.csv": tables.means_csv(rows, measures, seed),
    }
    for name, text in contents.items():
        images.write_file(folder / name, text.encode())
    return f"{page.write(made)}, {', '.join(contents)}"


def _check_device(name: str) -> None:
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"the device {name!r} cannot be used: {reason}", "--device cpu, cuda or cuda:N") from None


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
