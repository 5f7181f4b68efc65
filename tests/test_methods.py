"""The contract of every method, found by `kit.methods`, never listed here."""

import dataclasses
import inspect
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from smidgen.kit import methods
from smidgen.kit.config import from_mapping, to_json
from smidgen.kit.errors import BadInput
from smidgen.kit.extras import installed
from smidgen.kit.state import pack, unpack

ROOT = Path(__file__).resolve().parents[1]
NAMES = methods.names()
HEADS = [(name, kind) for name in methods.names("learn") for kind in methods.card(name).tasks]


def ready(name: str):
    """The method's module; skips where its optional package is absent."""
    card = methods.card(name)
    if card.package and not installed(card.package):
        pytest.skip(f"{card.package} is not installed")
    return methods.load(name)


def estimator(name: str, kind: str):
    return getattr(ready(name), "CLASSIFIER" if kind == "classification" else "REGRESSOR")


def test_all_methods_are_seen():
    """A battery can shrink unseen: count the files another way, and hold a floor."""
    cards = [
        p
        for room in methods.ROOMS
        for p in (ROOT / "src/smidgen" / room).glob("*.py")
        if re.search(r"^CARD\b", p.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len([n for n in NAMES if n.startswith(methods.ROOMS)]) == len(cards) >= 12
    assert {methods.resolve(n.split("/")[1]) for n in methods.names("learn")} == set(methods.names("learn"))


@pytest.mark.parametrize("name", NAMES)
def test_card_is_complete(name):
    card = methods.card(name)
    assert card.title
    assert card.tldr.endswith(".")
    assert set(card.modalities) <= {"table", "text", "image", "series", "tokens"} and card.modalities
    assert set(card.tasks) <= {"classification", "regression"} and card.tasks
    assert card.features in ("linear", "tree", "cells", "columns", "picture", "tokens")
    assert card.unlabelled or not card.needs_unlabelled
    assert 2 <= len(card.seconds) <= 5 and min(card.seconds) >= 0 and (len(card.seconds) == 5) == (card.batch > 0)
    assert card.version >= 1
    assert all(re.fullmatch(r"\d{3}", p) for p in card.papers)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert card.extra is None or card.extra in extras
    assert card.package is None or card.extra


@pytest.mark.parametrize("name", NAMES)
def test_public_names_are_documented(name):
    module = ready(name)
    assert module.__doc__
    own = [v for v in vars(module).values() if getattr(v, "__module__", "") == module.__name__]
    named = [v for v in own if (inspect.isclass(v) or inspect.isfunction(v)) and not v.__name__.startswith("_")]
    bare = sorted({v.__name__ for v in named if not v.__doc__})
    assert not bare, f"without docstring: {bare}"


@pytest.mark.parametrize(("name", "kind"), HEADS)
def test_config_is_frozen_and_survives_json(name, kind):
    made = estimator(name, kind)
    config = made.Config()
    assert dataclasses.is_dataclass(config) and made.Config.__dataclass_params__.frozen
    assert made.Config.__doc__
    assert from_mapping(made.Config, json.loads(to_json(config))) == config
    arguments = {k: p.default for k, p in inspect.signature(made).parameters.items()}
    assert arguments == {**{f.name: getattr(config, f.name) for f in dataclasses.fields(config)}, "random_state": 0}
    with pytest.raises(BadInput):
        from_mapping(made.Config, {"no_such_setting": 1})


@pytest.mark.parametrize("name", methods.names("learn"))
def test_card_and_module_offer_the_same_tasks(name):
    module = ready(name)
    doors = {"classification": "CLASSIFIER", "regression": "REGRESSOR"}
    offered = {kind for kind, door in doors.items() if hasattr(module, door)}
    assert offered == set(methods.card(name).tasks)


def seen(features: str, rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
    """Rows as a method's view gives them."""
    if features == "picture":  # 16 x 16
        return rng.integers(0, 256, (len(codes), 768)) * 0.5 + 40.0 * codes[:, None]
    if features == "tokens":
        return np.where(np.arange(128) < 6, rng.integers(1000, 1004, (len(codes), 128)) + 500 * codes[:, None], 0.0)
    return rng.standard_normal((len(codes), 4)) * (1 if len(codes) == 11 else 3) + codes[:, None] * (len(codes) == 11)


def brief(made) -> dict:
    """Settings with which a training is a matter of a second."""
    return {f.name: 3 for f in dataclasses.fields(made.Config) if f.name in ("updates", "epochs")}


@pytest.mark.parametrize(("name", "kind"), HEADS)
def test_small_fit_is_sane_repeatable_and_saves_itself(name, kind):
    """Eleven rows, a class of one: finite, never certain, the same again, bit-equal after a round trip."""
    rng = np.random.default_rng(7)
    codes = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2])
    X, more = seen(methods.card(name).features, rng, codes), seen(methods.card(name).features, rng, np.arange(30) % 3)
    X_new = np.concatenate([X, more])
    y = np.array(["a", "b", "c"])[codes] if kind == "classification" else X[:, 0] * 2 + rng.standard_normal(11)
    made = estimator(name, kind)(**brief(estimator(name, kind)), random_state=3)
    fitted, again = clone(made).fit(X, y), clone(made).fit(X, y)
    predict = "predict_proba" if kind == "classification" else "predict"
    out = getattr(fitted, predict)(X_new)
    assert out.dtype == np.float64
    assert np.isfinite(out).all()
    if kind == "classification":
        assert out.shape == (41, 3)
        assert np.allclose(out.sum(1), 1, atol=1e-9)
        assert out.min() > 0 and out.max() < 1
        assert list(fitted.classes_) == ["a", "b", "c"]
    else:
        assert out.shape == (41,)
    assert np.array_equal(out, getattr(again, predict)(X_new))
    arrays: dict[str, np.ndarray] = {}
    state = json.loads(json.dumps(pack(fitted.get_state(), arrays)))
    loaded = type(made).from_state(unpack(state, arrays))
    assert np.array_equal(out, getattr(loaded, predict)(X_new))
