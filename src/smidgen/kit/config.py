"""Frozen dataclasses as configuration: from mappings and `name=value` strings, to JSON; unknown names are errors."""

import difflib
import json
import types
import typing
from dataclasses import MISSING, asdict, fields
from typing import Any, TypeVar

from smidgen.kit.errors import BadInput, bad

T = TypeVar("T")


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """A sentence that proposes what was probably meant."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(sorted(known)) or 'none'}."


def from_mapping(config: type[T], values: dict[str, Any], where: str = "") -> T:
    """Makes the dataclass, checking every name and type.

    Raises:
        BadInput: an unknown name (answered with the nearest one), a value of another type, or the class's own check.
    """
    where = where or config.__name__
    hints = typing.get_type_hints(config)
    known = {f.name: f for f in fields(config)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise BadInput(f"{where}: there is no setting '{name}'. {nearest(name, known)}")
    made = {name: _convert(value, hints[name], f"{where}.{name}") for name, value in values.items()}
    for name, field in known.items():
        if name not in made and field.default is MISSING and field.default_factory is MISSING:
            raise bad(f"{where}.{name}", "a value", "nothing")
    return config(**made)


def parse_settings(pairs: typing.Iterable[str]) -> dict[str, str]:
    """`["name=value", ...]` as a dictionary of strings; `from_mapping` gives them their types."""
    out = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name.strip():
            raise bad("--set", "name=value", pair)
        out[name.strip()] = value.strip()
    return out


def to_json(config: Any) -> str:
    """Canonical JSON (sorted names, no spaces): equal configurations give equal text."""
    return json.dumps(asdict(config), sort_keys=True, separators=(",", ":"), default=list)


def _convert(value: Any, kind: Any, where: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null") and type(None) in args):
            if type(None) in args:
                return None
            raise bad(where, "a value", value)
        for option in args:
            if option is not type(None):
                try:
                    return _convert(value, option, where)
                except BadInput:
                    continue
        raise bad(where, " or ".join(getattr(a, "__name__", str(a)) for a in args), value)
    if origin is typing.Literal:
        for option in args:
            if value == option or str(value) == str(option):
                return option
        raise bad(where, " or ".join(map(repr, args)), value)
    if origin in (tuple, list):
        items = [v.strip() for v in value.split(",")] if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise bad(where, "a list", value)
        return origin(_convert(v, args[0] if args else str, where) for v in items)
    if kind is bool:
        if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no", "1", "0"):
            return value.lower() in ("true", "yes", "1")
        if isinstance(value, bool):
            return value
        raise bad(where, "true or false", value)
    if kind in (int, float):
        try:
            if isinstance(value, bool):
                raise ValueError
            number = kind(value)
            if number != number or (kind is int and not isinstance(value, str) and number != value):
                raise ValueError
            return number
        except (TypeError, ValueError, OverflowError):
            raise bad(where, "a whole number" if kind is int else "a number", value) from None
    if kind is str:
        if not isinstance(value, str):
            raise bad(where, "text", value)
        return value
    return value
