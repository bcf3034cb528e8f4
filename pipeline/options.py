"""The command line's flags, and the jobs that they ask for. Imports nothing heavy: --help answers at once."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

from .errors import UsageError
from .progress import FARM_WORDS

_EPILOG = """\
examples:
  hdrunet-video in.mp4 out.mov                    ProRes 422 HQ, PQ, for editing
  hdrunet-video in.mp4 out.mp4 --peak 600         HDR10 for delivery, at most 600 cd/m2
  hdrunet-video in.mp4 out.mkv --frames 0:48      the first 48 frames, lossless 16-bit
  hdrunet-video in.mp4 out.%06d.exr               OpenEXR for compositing
  hdrunet-video *.mp4 -o graded/ -p hlg           many files into a folder
  hdrunet-video in.mp4 out.mov --dry-run          what would happen, and how long it would take

on a farm (the README has Slurm, Open Job Description and others):
  hdrunet-video in.mp4 out.mov --plan film/       make the plan
  hdrunet-video --plan film/ --segments 3-8       a task, on any machine, in any order
  hdrunet-video --plan film/ --join               when all are done

A run that was stopped goes on when the same command is given again.

exit codes: 0 done (or left alone by -n), 2 usage, 65 bad input, preset or weights, 73 cannot write the output,
75 try again (disk full, out of memory, device lost), 130 and 143 stopped by a signal, 1 a bug of ours.
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from .baselines import MODELS
    from .source_color import CHROMA_LOCATIONS, MATRICES, PRIMARIES, RANGES

    top = argparse.ArgumentParser(
        prog="hdrunet-video",
        usage="hdrunet-video INPUT OUTPUT [options]\n       hdrunet-video INPUT... -o FOLDER [options]\n"
        "       hdrunet-video --plan DIR --segments N | --join | --verify",
        description="Turn 8-bit SDR video into HDR with HDRUNet.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    what = top.add_argument_group("what")
    what.add_argument("paths", nargs="*", metavar="INPUT OUTPUT", help="a video and the file to make of it")
    what.add_argument("-o", "--output-folder", metavar="FOLDER", help="write each input into this folder")
    what.add_argument("-p", "--preset", default="", metavar="NAME", help="delivery, or a .toml (default: by extension)")
    what.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the preset")
    what.add_argument("--frames", default="", metavar="A:B", help="source frames A to B-1, counted from 0")
    light = top.add_argument_group("light")
    light.add_argument(
        "--peak", type=float, metavar="NITS", help="brightest luminance (default 1000 cd/m2; exr: no limit)"
    )
    light.add_argument("--white", type=float, default=203.0, metavar="NITS", help="SDR white (default 203 cd/m2)")
    light.add_argument("--display-gamma", type=float, default=2.24, metavar="G", help="2.24 (default) or 2.4 (BT.1886)")
    light.add_argument(
        "--strength", type=float, default=1.0, metavar="S", help="light: 0 the source's, 1 the network's (default)"
    )
    source = top.add_argument_group("source, where its tags are wrong or missing")
    source.add_argument("--matrix", default="", choices=("bt601", *(name for name in MATRICES if name != "bt601")))
    source.add_argument("--primaries", default="", choices=tuple(PRIMARIES))
    source.add_argument("--range", default="", choices=tuple(RANGES))
    source.add_argument("--chroma-location", default="", choices=tuple(CHROMA_LOCATIONS))
    source.add_argument("--deinterlace", default="auto", choices=("auto", "off", "frame", "field"))
    source.add_argument("--assume-sdr", action="store_true", help="take HDR tags and more than 8 bits as SDR")
    source.add_argument("--keep-going", action="store_true", help="repeat the frame before a damaged one")
    machine = top.add_argument_group("network and machine")
    machine.add_argument("--weights", default="", metavar="FILE", help=".safetensors or .pth (default: bundled)")
    machine.add_argument(
        "--model", default="hdrunet", metavar="NAME", help=f"hdrunet, or to compare: {', '.join(MODELS)}"
    )
    machine.add_argument("--decoder", default="software", choices=("software", "nvdec"), help="nvdec needs NVIDIA")
    machine.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N; several: cuda:0,cuda:1"
    )
    machine.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fp32", "fp16", "bf16"),
        help="fp16 (default on CUDA), fp32 (default elsewhere), bf16: faster on CPUs that have it (AMX, AVX-512"
        " BF16), off by 0.03 of a 10-bit code on average, 2 at most on real frames (0.2 and 6 where the package was"
        " installed without a compiler)",
    )
    machine.add_argument(
        "--backend",
        default="auto",
        choices=("auto", "openvino"),
        help="auto: our own code. openvino: OpenVINO on CPUs, for where the package was installed without a compiler"
        " (pip install 'hdrunet-video[openvino]')",
    )
    machine.add_argument(
        "--tile",
        default="auto",
        metavar="WxH",
        help="auto, off, or the tile's size; in any case the same but for last bits",
    )
    machine.add_argument("--segment-frames", type=int, metavar="N", help="frames that a crash can cost")
    machine.add_argument("--tune", action="store_true", help="measure again how many frames at once are fastest here")
    files = top.add_argument_group("files")
    files.add_argument("-y", "--overwrite", action="store_true", help="replace outputs that exist")
    files.add_argument("-n", "--skip-existing", action="store_true", help="leave outputs that exist, and exit 0")
    talk = top.add_argument_group("talk")
    talk.add_argument("--dry-run", action="store_true", help="say what would happen; write nothing")
    talk.add_argument("-q", "--quiet", action="store_true", help="errors and warnings only")
    talk.add_argument("-v", "--verbose", action="store_true", help="logging, and tracebacks of bugs")
    talk.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    farm = top.add_argument_group("on a farm")
    farm.add_argument("--plan", metavar="DIR", help="alone: write the plan of INPUT OUTPUT into DIR")
    farm.add_argument("--segments", metavar="N", help="do these segments of --plan: 7, 3-8, 1,4,9 or all")
    farm.add_argument("--join", action="store_true", help="make the result of the segments of --plan")
    farm.add_argument("--verify", action="store_true", help="compare the result with --plan and its receipts")
    farm.add_argument("--submit", nargs="+", default=[], metavar="TO", help="slurm; or openjd DIR: write a job bundle")
    farm.add_argument(
        "--sbatch", action="append", default=[], metavar="FLAGS", help="for sbatch: --sbatch=--gres=gpu:1"
    )
    farm.add_argument("--per-task", type=int, metavar="N", help="segments that one task does")
    farm.add_argument("--detach", action="store_true", help="do not wait for what was submitted")
    farm.add_argument("--progress", default="", choices=(*FARM_WORDS, "json"), help="in the words of a scheduler")
    act = top.add_argument_group("instead of converting")
    act.add_argument("--list-presets", action="store_true", help="names, extensions, and what each makes")
    act.add_argument("--show-preset", metavar="NAME", help="print a preset's TOML, to copy and change")
    act.add_argument("--doctor", action="store_true", help="what this machine can do, and what is missing")
    act.add_argument("--make-sample", metavar="FILE", help="write a small SDR clip to try things on")
    act.add_argument("--version", action="store_true", help="of this, and of what it runs on")
    act.add_argument("-h", "--help", action="help", help="this text")
    return top


def jobs(flags: argparse.Namespace) -> list[dict[str, Any]]:
    """Fields of a Job for each input. Raises UsageError."""
    if flags.overwrite and flags.skip_existing:
        raise UsageError("-y and -n contradict each other", "Give one of them.")
    if flags.quiet and flags.verbose:
        raise UsageError("-q and -v contradict each other", "Give one of them.")
    common = {
        "preset": flags.preset,
        "settings": tuple(flags.set),
        "frames": frame_range(flags.frames),
        "tile": tile_size(flags.tile),
        **{name: getattr(flags, name) for name in ("peak", "white", "display_gamma", "weights", "model", "device")},
        **{name: getattr(flags, name) for name in ("precision", "backend", "segment_frames", "deinterlace", "matrix")},
        **{name: getattr(flags, name) for name in ("primaries", "range", "chroma_location", "assume_sdr")},
        "keep_going": flags.keep_going,
        "strength": flags.strength,
        "decoder": flags.decoder,
        "tune": flags.tune,
    }
    return [{"source": source, "target": target, **common} for source, target in _pairs(flags)]


def only_tells(flags: argparse.Namespace) -> bool:
    """Whether what is printed is all that is made."""
    told = (flags.version, flags.list_presets, flags.show_preset is not None, flags.doctor, flags.dry_run)
    return any(told)


_OF_THE_PLAN = (
    *("output_folder", "preset", "set", "frames", "peak", "white", "display_gamma", "matrix", "primaries", "range"),
    *("chroma_location", "deinterlace", "assume_sdr", "keep_going", "model", "precision", "tile", "segment_frames"),
    *("strength", "decoder", "backend", "dry_run", "skip_existing"),
)
_OF_SUBMIT = {"sbatch": ("slurm",), "detach": ("slurm",), "per_task": ("slurm", "openjd")}
"""Flag -> what it can be given with."""


def farm_verb(flags: argparse.Namespace) -> str:
    """`plan`, `segments`, `join`, `verify` or `submit` where the flags ask for one, else "". Raises UsageError."""
    given = [verb for verb in ("segments", "join", "verify", "submit") if getattr(flags, verb) not in (None, False, [])]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]} contradict each other", "Give one of them.")
    verb = given[0] if given else "plan" if flags.plan is not None else ""
    if verb == "submit":
        # `--submit slurm in.mp4 out.mov` takes the paths along.
        known = {"slurm": 1, "openjd": 2}.get(flags.submit[0])
        if known is None or len(flags.submit) < known:
            raise UsageError(
                f"--submit {' '.join(flags.submit)} is not known", "--submit slurm, or --submit openjd DIR"
            )
        flags.paths, flags.submit = flags.paths + flags.submit[known:], flags.submit[:known]
    if verb in ("submit", "plan") and flags.output_folder is not None:
        raise UsageError(f"--{verb} takes one input and one output", "hdrunet-video in.mp4 out.mov --plan DIR")
    if verb in ("segments", "join", "verify"):
        _check_belongs(flags, verb)
    if verb and verb != "segments" and flags.tune:
        raise UsageError(f"--tune is not for --{verb}", "It is for the machine that does --segments.")
    _check_submit(flags, verb)
    if flags.per_task is not None and flags.per_task < 1:
        raise UsageError(f"--per-task {flags.per_task} must be at least 1", "Leave it out, and it is chosen.")
    return verb


def _check_submit(flags: argparse.Namespace, verb: str) -> None:
    to = flags.submit[0] if verb == "submit" else ""
    for name, takers in _OF_SUBMIT.items():
        if getattr(flags, name) and to not in takers:
            takes = f"--submit {takers[0]}" if len(takers) == 1 else "--submit"
            raise UsageError(f"--{name.replace('_', '-')} is for {takes}", "hdrunet-video INPUT OUTPUT --submit slurm")
    if to == "openjd" and flags.plan is not None:
        raise UsageError(f"the plan of a bundle lies in {Path(flags.submit[1]) / 'plan'}", "Leave out --plan.")


def _check_belongs(flags: argparse.Namespace, verb: str) -> None:
    if flags.plan is None:
        raise UsageError(f"--{verb} needs --plan DIR", f"hdrunet-video --plan DIR --{verb}")
    defaults = parser().parse_args([])
    for name in _OF_THE_PLAN:
        if getattr(flags, name) != getattr(defaults, name):
            raise UsageError(f"--{name.replace('_', '-')} is not for --{verb}", "Give it when the plan is made.")
    if len(flags.paths) > 2:
        raise UsageError(f"--{verb} takes no more than an input and an output", "Both are in the plan already.")


def _pairs(flags: argparse.Namespace) -> list[tuple[Path, Path]]:
    paths = [Path(path) for path in flags.paths]
    if flags.output_folder is None:
        if len(paths) != 2:
            raise UsageError(
                f"an input and an output are needed, {len(paths)} given",
                "hdrunet-video in.mp4 out.mov, or many inputs with -o FOLDER; --help has examples.",
            )
        if os.path.isdir(paths[1]):
            raise UsageError(f"{paths[1]} is a folder", f"hdrunet-video {paths[0]} -o {paths[1]}")
        return [(paths[0], paths[1])]
    if not paths:
        raise UsageError("-o needs at least one input", "hdrunet-video *.mp4 -o graded/")
    return _into_folder(paths, Path(flags.output_folder), flags.preset)


def _into_folder(paths: list[Path], folder: Path, preset_name: str) -> list[tuple[Path, Path]]:
    from hdrunet_video.presets import load_preset

    preset = load_preset(preset_name or "prores-hq")
    number = ".%06d" if preset.segment_container == "exr" else ""
    pairs: dict[Path, Path] = {}
    for path in paths:
        target = folder / f"{path.stem}{number}{preset.extensions[0]}"
        if target in pairs:
            raise UsageError(f"{pairs[target]} and {path} would both become {target}", "Convert them one at a time.")
        pairs[target] = path
    return [(source, target) for target, source in pairs.items()]


def frame_range(text: str) -> tuple[int | None, int | None]:
    """(first, after the last) of A:B, :B, A: or nothing. Raises UsageError."""
    if not text:
        return None, None
    match = re.fullmatch(r"(-?\d*):(-?\d*)", text)
    if not match or "-" in match[1] + match[2]:
        raise UsageError(f"--frames {text!r} is not A:B", "For example 0:48, :48 or 100:, counted from 0.")
    return int(match[1]) if match[1] else None, int(match[2]) if match[2] else None


def tile_size(text: str) -> str | tuple[int, int]:
    """`auto`, `off`, or (width, height) of WxH. Raises UsageError."""
    if text in ("auto", "off"):
        return text
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise UsageError(f"--tile {text!r} is not auto, off or WxH", "For example --tile 1024x1024")
    return int(match[1]), int(match[2])


def progress_kind(flags: argparse.Namespace) -> str:
    """Which way of reporting suits: `json`, a scheduler's, `silent`, `bar` on a terminal, else `lines`."""
    if flags.json:
        return "json"
    if flags.progress:
        return str(flags.progress)
    if flags.quiet:
        return "silent"
    return "bar" if os.isatty(2) else "lines"
