"""Method lookup: the file system is the registry.

A module of a method room that has a literal `CARD` at its top is a method: `learn/logistic.py` is `learn/logistic`.
Cards are read with `ast`; nothing is imported until a method is wanted. Another package adds methods through the
entry-point group `smidgen.methods`: name = `room/method`, value = its module.
"""

import ast
import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from smidgen.kit.config import from_mapping, nearest
from smidgen.kit.errors import BadInput

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("learn", "lm", "compress", "data")


@dataclass(frozen=True, kw_only=True)
class MethodCard:
    """What a method is, readable without importing it.

    Attributes:
        title, tldr: a name and one sentence for people.
        modalities: of "table", "text", "image", "series", "tokens": whose columns it can take.
        tasks: of "classification", "regression".
        features: "linear" (standardised numbers, one-hot), "tree" (raw numbers, ordinal codes), "cells" (raw numbers,
            NaN where unknown, one-hot), "picture" (32 x 32 x 3 values of 0 to 255), "tokens" (128 ids of word pieces),
            "columns" (as they are). "picture" and "tokens" are for tasks of one image, or one text, alone.
        sparse: takes sparse matrices (tf-idf).
        unlabelled: learns from rows without labels too: its `fit` gets them behind the others, with the code -1.
        needs_unlabelled: is not worth trying without such rows.
        pretraining: rough seconds of what it learns once from rows without labels alone, for all fits of a study:
            (fixed, for 10^3 such rows); empty: it does not. Its module then has `pretrain(X, params, seed)`, and its
            `fit` takes that as `pretrained`.
        extra, package: the install extra and import name it needs, if any.
        max_rows, max_classes, max_features: above these it is not tried.
        seconds: rough cost of one fit on one core: (fixed, for 10^6 row x feature x class, for 10^6 pairs of rows x
            class, for 10^3 rows, for 10^3 rows of a batch, or of tokens where it is bounded in them); those that do not
            matter may be left off.
        batch, batch_tokens: rows that each of a fixed number of updates reads, where there are so many, and about how
            many tokens at most; 0: any.
        bytes_per_pair: working memory for each pair of training rows (kernels), bytes.
        bytes_per_row: model bytes for each training row and feature, rough; 0 where the model does not grow.
        version: raised when its results change; part of every trial's key.
        papers: numbers of the papers it comes from.
    """

    title: str
    tldr: str
    modalities: tuple[str, ...] = ("table", "text", "image")
    tasks: tuple[str, ...] = ("classification", "regression")
    features: str = "linear"
    sparse: bool = False
    unlabelled: bool = False
    needs_unlabelled: bool = False
    pretraining: tuple[float, ...] = ()
    extra: str | None = None
    package: str | None = None
    max_rows: int | None = None
    max_classes: int | None = None
    max_features: int | None = None
    seconds: tuple[float, ...] = (0.01, 1.0)
    batch: int = 0
    batch_tokens: int = 0
    bytes_per_row: float = 0.0
    bytes_per_pair: float = 0.0
    version: int = 1
    papers: tuple[str, ...] = ()
    name: str = ""


def names(room: str | None = None) -> list[str]:
    """All methods, sorted: `["learn/forest", ...]`; of one room if given."""
    found = [name for name in [*_files(), *_entry_points()] if room is None or name.startswith(room + "/")]
    return sorted(set(found))


@cache
def card(name: str) -> MethodCard:
    """The method's card. Raises BadInput for an unknown name, with the nearest one."""
    path = _files().get(name)
    if path is None and name in _entry_points():
        try:
            return from_mapping(MethodCard, {**load(name).CARD, "name": name}, where=f"card of {name}")
        except Exception as error:  # another package's code: whatever is wrong with it, ours goes on
            raise BadInput(
                f"The method '{name}' of another package cannot be used ({type(error).__name__}: {error})."
            ) from error
    if path is None:
        raise BadInput(f"There is no method '{name}'. {nearest(name, names())}")
    return from_mapping(MethodCard, {**(_literal_card(path) or {}), "name": name}, where=f"card of {name}")


def load(name: str) -> ModuleType:
    """Imports the method's module."""
    if name in _files():
        return importlib.import_module("smidgen." + name.replace("/", "."))
    if name in _entry_points():
        return _entry_points()[name].load()
    raise BadInput(f"There is no method '{name}'. {nearest(name, names())}")


def resolve(name: str) -> str:
    """The full name for a full or a short one: `logistic` is `learn/logistic`."""
    known = names()
    if name in known:
        return name
    short = [k for k in known if k.split("/", 1)[1] == name]
    if len(short) == 1:
        return short[0]
    raise BadInput(f"There is no method '{name}'. {nearest(name, [*known, *(k.split('/', 1)[1] for k in known)])}")


@cache
def _files() -> dict[str, Path]:
    return {
        f"{room}/{path.stem}": path
        for room in ROOMS
        for path in sorted((ROOT / room).glob("*.py"))
        if not path.stem.startswith("_") and _literal_card(path) is not None
    }


@cache
def _entry_points() -> dict[str, Any]:
    return {e.name: e for e in importlib.metadata.entry_points(group="smidgen.methods")}


@cache
def _literal_card(path: Path) -> dict[str, Any] | None:
    text = path.read_text(encoding="utf-8")
    if "\nCARD = " not in text:
        return None
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "CARD":
            return ast.literal_eval(node.value)
    return None
