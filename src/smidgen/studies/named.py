"""The methods and settings that a person names, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from smidgen.kit import methods as registry
from smidgen.kit.config import from_mapping, nearest, parse_settings
from smidgen.kit.errors import BadInput, bad
from smidgen.learn.member import head_class


def wanted_methods(names: str | Sequence[str] | None) -> list[str] | None:
    """Full names, sorted, of "a,b" or a list; None: all that suit."""
    if names is None:
        return None
    listed = [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)
    return sorted({registry.resolve(n) for n in listed if n})


def own_settings(
    settings: Mapping[str, Any] | Sequence[str] | None, wanted: list[str] | None
) -> dict[str, dict[str, Any]]:
    """`logistic.strength=1` (or `strength=1` with one method wanted) as settings by method, checked by its
    dataclass.
    """
    pairs = dict(settings) if isinstance(settings, Mapping) else parse_settings(settings or ())
    out: dict[str, dict[str, Any]] = {}
    for name, value in pairs.items():
        method, dot, field = name.rpartition(".")
        if not dot:
            if not wanted or len(wanted) != 1:
                raise bad("--set", "METHOD.NAME=VALUE, or one method in --methods", name)
            method = wanted[0]
        out.setdefault(registry.resolve(method), {})[field] = value
    for method, own in out.items():
        if wanted and method not in wanted:
            raise BadInput(f"--set {method}: that method is not among --methods. {nearest(method, wanted)}")
        card = registry.card(method)
        config = head_class(method, card.tasks[0]).Config
        made = from_mapping(config, own, where=method)
        out[method] = {f.name: asdict(made)[f.name] for f in fields(config) if f.name in own}
    return out


def flat(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Settings by method as `own_settings` takes them."""
    return {f"{method}.{name}": value for method, own in settings.items() for name, value in own.items()}
