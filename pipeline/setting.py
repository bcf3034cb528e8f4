"""`table.key=value`, as `--set` takes it for presets and for the training."""

from __future__ import annotations

import tomllib
from typing import Any

from .errors import HdrunetError


def parse_setting(setting: str, error: type[HdrunetError], example: str) -> tuple[list[str], Any, str]:
    """(the key's parts, its value, the value as it was typed): the value is TOML, and bare words are text.

    Raises `error`, with `example` in its hint, where there is no key or no value.
    """
    key, equals, text = setting.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise error(f"--set {setting!r} is not key=value", f"For example --set {example}")
    try:
        return parts, tomllib.loads(f"value = {text}")["value"], text
    except tomllib.TOMLDecodeError:
        return parts, text.strip(), text
