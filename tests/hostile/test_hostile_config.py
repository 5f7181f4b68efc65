"""Every field of every settings class: misspelt, of another type, missing, out of range. The error names the field,
what came, and what is allowed or nearest.
"""

import ast
import importlib
import inspect
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import smidgen
from smidgen.kit import methods
from smidgen.kit.config import from_mapping
from smidgen.kit.errors import BadInput

MODULES = ("smidgen.kit.methods", "smidgen.nets.decoder", "smidgen.papers.catalogue", "smidgen.papers.evidence")
EXTREMES = (-1, 0, -(10**9), 10**30, float("nan"), float("inf"), float("-inf"))


def settings_classes() -> list[type]:
    """Frozen dataclasses that are read from text or files: the settings of methods, and those of the modules above."""
    found: dict[str, type] = {}
    for name in methods.names():
        if methods.card(name).extra in (None, "text"):
            module = methods.load(name)
            for made in (getattr(module, n, None) for n in ("Config", "CLASSIFIER", "REGRESSOR")):
                config = made if is_dataclass(made) else getattr(made, "Config", None)
                if isinstance(config, type) and is_dataclass(config):
                    found[f"{config.__module__}.{config.__qualname__}"] = config
    for name in MODULES:
        for _, config in inspect.getmembers(importlib.import_module(name), inspect.isclass):
            if is_dataclass(config) and config.__dataclass_params__.frozen and config.__module__ == name:
                found[f"{name}.{config.__qualname__}"] = config
    return [found[name] for name in sorted(found)]


CLASSES = settings_classes()
FIELDS = [(c, f) for c in CLASSES for f in fields(c)]
NEEDED = {"hidden": 8, "shape": [1, 8, 8], "image_size": [8, 8], "block": "C"}  # where no value is as good as another
NEEDED_BY = {"TrainingConfig": {"updates": 3}}
PLAIN = (bool, int, float, str, int | None, float | None, str | None)


def test_there_are_as_many_as_before():
    assert len(CLASSES) >= 20 and len(FIELDS) >= 120


@pytest.mark.parametrize("config", CLASSES, ids=lambda c: c.__qualname__)
def test_every_field_misspelt_is_answered_with_the_nearest(config: type):
    for field in fields(config):
        for wrong in {field.name + "s", field.name[:-1] or "q", field.name.replace("_", "-")} - names(config):
            with pytest.raises(BadInput, match="there is no setting") as error:
                from_mapping(config, {wrong: 1})
            said = str(error.value)
            assert f"'{wrong}'" in said and (field.name in said or "Did you mean" in said), said


@pytest.mark.parametrize("config", CLASSES, ids=lambda c: c.__qualname__)
def test_every_field_of_another_type_is_named_with_what_came(config: type):
    hints = get_type_hints(config)
    for field in fields(config):
        if hints[field.name] in PLAIN:
            for value in ({"a": 1}, ["x"], "no such thing" if hints[field.name] not in (str, str | None) else 7):
                with pytest.raises(BadInput) as error:
                    from_mapping(config, {field.name: value})
                assert field.name in str(error.value) and str(value)[:5] in str(error.value), (field.name, value)


@pytest.mark.parametrize("config", CLASSES, ids=lambda c: c.__qualname__)
def test_every_field_that_must_be_there_is_missed(config: type):
    for field in fields(config):
        if field.default is MISSING and field.default_factory is MISSING:
            with pytest.raises(BadInput) as error:
                from_mapping(config, {k: v for k, v in least(config).items() if k != field.name})
            assert field.name in str(error.value)


@pytest.mark.parametrize("config", CLASSES, ids=lambda c: c.__qualname__)
def test_numbers_out_of_all_range_are_named_or_taken(config: type):
    """No other error; NaN is never a setting."""
    hints = get_type_hints(config)
    for field in fields(config):
        if hints[field.name] in (int, float, int | None, float | None):
            for value in EXTREMES:
                said = refusal(config, {**least(config), field.name: value})
                assert field.name in said or str(value) in said or (said == "" and value == value), (field.name, value)


def test_the_settings_of_every_other_room():
    """Those that no method has: found by their name, loaded here, as many need torch."""
    pytest.importorskip("torch")
    checks = [test_every_field_misspelt_is_answered_with_the_nearest, test_every_field_that_must_be_there_is_missed]
    checks += [
        test_every_field_of_another_type_is_named_with_what_came,
        test_numbers_out_of_all_range_are_named_or_taken,
    ]
    classes = [one for one in written_settings() if one not in CLASSES]
    for config in classes:
        assert refusal(config, least(config)) == "", config
        for check in checks:
            check(config)
    assert len(classes) >= 46 and sum(len(fields(config)) for config in classes) >= 362


def written_settings() -> list[type]:
    """Every frozen dataclass of the library (its papers apart) that is called ...Config."""
    found, root = [], Path(smidgen.__file__).parent
    for path in sorted(p for p in root.rglob("*.py") if "papers" not in p.parts):
        made = [
            n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef) and n.name.endswith("Config")
        ]
        made = [n.name for n in made if any("frozen=True" in ast.unparse(d) for d in n.decorator_list)]
        if made:
            module = importlib.import_module(".".join(("smidgen", *path.relative_to(root).with_suffix("").parts)))
            found += [getattr(module, name) for name in made]
    return found


def refusal(config: type, values: dict[str, Any]) -> str:
    try:
        from_mapping(config, values)
    except BadInput as error:
        return str(error)
    return ""


def names(config: Any) -> set[str]:
    return {field.name for field in fields(config)}


def least(config: Any) -> dict[str, Any]:
    """Values for what has no default."""
    hints = get_type_hints(config)
    given = {int: 2, float: 0.5, str: "x", bool: True}
    needed = [f for f in fields(config) if f.default is MISSING and f.default_factory is MISSING]
    found = {f.name: given.get(hints[f.name], []) for f in needed}
    return {name: NEEDED.get(name, value) for name, value in (found | NEEDED_BY.get(config.__name__, {})).items()}
