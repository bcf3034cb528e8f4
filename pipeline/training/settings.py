"""TOML tables -> frozen dataclasses: unknown keys, types, ranges and choices are checked, near misses named."""

from __future__ import annotations

import difflib
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from ..errors import ConfigError
from ..setting import parse_setting


def number(default: float, low: float, high: float) -> Any:
    """A field for a number from `low` to `high`, both included."""
    return field(default=default, metadata={"low": low, "high": high})


def span(low: float, high: float, least: float, most: float) -> Any:
    """A field for a range [low, high] of numbers from `least` to `most`."""
    return field(default=(low, high), metadata={"low": least, "high": most, "ordered": True})


def read_toml(path: Path) -> dict[str, Any]:
    """The document of a TOML file. Raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", "pipeline/training/paper.toml is an example") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path} cannot be read: {reason}", "name a configuration that exists") from None


def lay_over(document: dict[str, Any], settings: Iterable[str]) -> None:
    """Apply `table.key=value` settings (TOML values; bare words are text) to a document, in place."""
    for setting in settings:
        parts, value, _ = parse_setting(setting, ConfigError, "data.batch=4")
        table = document
        for part in parts[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {setting!r}: {part} is not a table", "for example --set data.batch=4")
        table[parts[-1]] = value


def build[T](kind: type[T], table: Any, where: str) -> T:
    """An instance of a dataclass of a table's values; nested dataclasses are tables, tuples of them arrays."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where or 'the configuration'} must be a table, not {table!r}", "")
    hints = get_type_hints(kind)
    known = {each.name: each for each in fields(cast(Any, kind))}
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ConfigError(f"unknown key {_name(where, key)!r}", hint)
    values: dict[str, Any] = {}
    for key, each in known.items():
        if key in table:
            values[key] = _value(hints[key], table[key], _name(where, key), dict(each.metadata))
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ConfigError(f"{_name(where, key)} is missing", "pipeline/training/paper.toml is an example")
    try:
        return kind(**values)
    except ValueError as error:  # what only several fields together can say
        raise ConfigError(f"{where or 'the configuration'}: {error}", "") from None


def _value(kind: Any, value: Any, name: str, limits: dict[str, Any]) -> Any:
    origin = get_origin(kind)
    if is_dataclass(kind):
        return build(cast(type[Any], kind), value, name)
    if origin in (Union, types.UnionType):
        return _value(next(each for each in get_args(kind) if each is not type(None)), value, name, limits)
    if origin is Literal:
        if value not in get_args(kind):
            near = difflib.get_close_matches(str(value), get_args(kind), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"{name} cannot be {value!r}", f"{hint}there are {', '.join(get_args(kind))}")
        return value
    if origin is tuple:
        return _sequence(get_args(kind), value, name, limits)
    return _scalar(kind, value, name, limits)


def _sequence(kinds: tuple[Any, ...], value: Any, name: str, limits: dict[str, Any]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{name} must be a list, not {value!r}", "")
    if kinds[-1] is not ... and len(value) != len(kinds):
        raise ConfigError(f"{name} must have {len(kinds)} values, not {len(value)}", "")
    kind_of = [kinds[0]] * len(value) if kinds[-1] is ... else list(kinds)
    result = tuple(
        _value(kind, each, f"{name}[{i}]", limits) for i, (kind, each) in enumerate(zip(kind_of, value, strict=True))
    )
    if limits.get("ordered") and result[0] > result[1]:
        raise ConfigError(f"{name} must go from low to high, not {value!r}", "")
    return result


_SAID = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _scalar(kind: Any, value: Any, name: str, limits: dict[str, Any]) -> Any:
    fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{name} must be {_SAID[kind]}, not {value!r}", "")
    if "low" in limits and not limits["low"] <= value <= limits["high"]:  # not a number fails, too
        raise ConfigError(f"{name} must be from {limits['low']:g} to {limits['high']:g}, not {value!r}", "")
    return kind(value)


def _name(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
