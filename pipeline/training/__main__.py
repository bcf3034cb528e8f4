"""`python -m hdrunet_video.training CONFIG.toml`: flags, messages, signals, exit codes."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from pathlib import Path

from ..command import exit_code_of
from .config import BUNDLED, load_config

_DESCRIPTION = """Train HDRUNet. The configuration is checked before anything happens; config.py beside this module
explains every field. A run that was stopped at any moment goes on with the same command and --resume.
`torchrun --nproc-per-node N -m hdrunet_video.training CONFIG.toml` trains on N devices; `python -m
hdrunet_video.training evaluate --help` is about the command that compares models."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["evaluate"]:
        code: int = importlib.import_module("hdrunet_video.training.evaluate").main(arguments[1:])
        return code
    parser = argparse.ArgumentParser("python -m hdrunet_video.training", description=_DESCRIPTION)
    parser.add_argument("config", metavar="CONFIG.toml", help="a file, or paper, ours or further, which are built in")
    parser.add_argument("--set", metavar="TABLE.KEY=VALUE", action="append", default=[], help="change a field")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in run.output, if there is one"
    )
    parser.add_argument("--check", action="store_true", help="check configuration and pictures, then stop")
    parser.add_argument("--show", action="store_true", help="print the configuration, to copy and change")
    flags = parser.parse_args(arguments)
    try:
        return exit_code_of(parser.prog, lambda: _act(flags))
    except Exception:
        traceback.print_exc()
        print(f"{parser.prog}: bug: the last checkpoint is unharmed", file=sys.stderr)
        return 1


def _act(flags: argparse.Namespace) -> int:
    config = load_config(flags.config, flags.set)
    if flags.show:
        bundled = flags.config in BUNDLED
        path = Path(__file__).with_name(f"{flags.config}.toml") if bundled else Path(flags.config)
        print(path.read_text(encoding="utf-8"), end="")
        return 0
    from .start import train

    return train(config, resume=flags.resume, check=flags.check)


if __name__ == "__main__":
    raise SystemExit(main())
