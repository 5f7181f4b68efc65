"""The shortening study at its bounds: what it refuses, the order of its trials, its defaults, its frozen encoder."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.studies import shortening
from smidgen.studies.shortening import BASELINES, HACKS, RAW, Draw, ShorteningStudy, frozen_encoder, measure

TEXTS = ["the apple is red", "an iron is grey", "the apple fell down", "iron is of the earth"]
LABELS = ["fruit", "metal", "fruit", "metal"]


class Words:
    """Says what the first known word is; keeps what it was given."""

    classes_ = np.array(["fruit", "metal"])

    def __init__(self, length: int = 0, seed: int = 0) -> None:
        self.texts: list[str] = []

    def fit(self, texts: Any, labels: Any) -> "Words":
        self.texts, self.labels = list(texts), list(labels)
        return self

    def predict(self, texts: Any) -> np.ndarray:
        return np.array(["fruit" if "apple" in t.split() else "metal" for t in texts])

    def predict_proba(self, texts: Any) -> np.ndarray:
        return np.array([[1.0, 0.0] if "apple" in t.split() else [0.0, 1.0] for t in texts])


def draw(seed: int = 0) -> Draw:
    return Draw((TEXTS, LABELS), (TEXTS[:2], LABELS[:2]), (TEXTS[2:], LABELS[2:]))


def study(**changes: Any) -> ShorteningStudy:
    settings = {"hacks": {"stop words": {"remove_stopwords": True}}, "lengths": [6, 4], "model_factory": Words}
    return ShorteningStudy(**{**settings, "seeds": [0, 1, 2], "special_tokens": 0, **changes})


def test_trials_begin_with_another_cell_for_each_seed(tmp_path: Path) -> None:
    result = study(baselines={}).run(draw, tmp_path / "s")
    rows = [json.loads(line) for line in (tmp_path / "s").read_text().splitlines()[1:]]
    cells = [(r["config"]["hack"], r["config"]["length"], r["seed"]) for r in rows]
    both, short = (RAW, "stop words"), [(RAW, 4), ("stop words", 4)]
    assert cells[:6] == [(both[(seed + i) % 2], 6, seed) for seed in range(3) for i in range(2)]
    todo = [(RAW, 6), ("stop words", 6), *short]
    turned = [todo[seed:] + todo[:seed] for seed in range(3)]
    assert cells[6:] == [(h, n, seed) for seed, own in enumerate(turned) for h, n in own if n == 4]
    assert result.trials == 12 and [(r["hack"], r["length"]) for r in result.rows] == todo
    assert all(r["seeds"] == 3 for r in result.rows) and result.best == "stop words"


def test_lengths_are_sorted_and_seeds_kept_once() -> None:
    made = study(lengths=(4, 9, 4), seeds=(3, 1, 3))
    assert made.lengths == [4, 9] and made.seeds == [3, 1] and list(made.baselines) == ["head and tail", "windows"]
    plain = ShorteningStudy(HACKS, [3], Words, [0])  # one token beside the two special ones
    assert plain.special_tokens == 2 and plain.baselines == BASELINES and len(plain.hacks) == 7
    for wrong, says in (
        ({"hacks": {}}, r"hacks, lengths, seeds: expected at least one each, got \(0, 2, 3\)"),
        ({"lengths": []}, r"got \(1, 0, 3\)"), ({"seeds": []}, r"got \(1, 2, 0\)"),
        ({"lengths": [2], "special_tokens": 2}, "lengths: expected more than the 2 special tokens, got 2"),
        ({"lengths": [0]}, "more than the 0 special tokens, got 0"),
        ({"hacks": {"raw": {}}}, r"names other than 'raw' and those of the baselines, got \['raw'\]"),
        ({"baselines": {"raw": {}}}, r"got \['raw'\]"),
        ({"baselines": {"stop words": {}}}, r"got \['stop words'\]"),
        ({"hacks": {"x": {"max_tokens": 3, "odd": 1}}}, r"hacks\['x'\]: .*windows, got \['max_tokens', 'odd'\]"),
        ({"baselines": {"y": {"tokenizer": 3}}}, r"hacks\['y'\]: .*got \['tokenizer'\]"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=says):
            study(**wrong)
    others: list[dict[str, Any]] = [{"lengths": [6]}, {"special_tokens": 1}, {"name": "m"}, {"baselines": {}}]
    spaces = {study(**more)._space for more in ({}, {"hacks": {"a": {"remove_stopwords": True}}}, *others)}
    assert len(spaces) == 6 and study(seeds=[9])._space in spaces


def test_tokens_are_counted_with_the_special_ones() -> None:
    model = Words()
    got = measure({}, 5, draw(), model)  # three of each text are read
    assert [len(t.split()) for t in model.texts] == [3] * 4 and got["tokens"] == 5.0
    assert got["validation"] == got["test"] == 1.0 and got["processor_seconds"] >= 0
    short = measure({"remove_stopwords": True}, 16, draw(), model, special_tokens=1)
    assert model.texts[0] == "apple red" and short["tokens"] < 5 and short["kept"] == 1.0
    split = Words()
    many = measure({"windows": True}, 4, draw(), split, special_tokens=2)
    assert all(len(t.split()) <= 2 for t in split.texts) and len(split.texts) == len(split.labels) > 4
    assert split.labels[0] == "fruit" and split.labels[-1] == "metal" and many["tokens"] > 4
    assert many["test"] == many["validation"] == 1.0  # an apple is in half of its windows: the first of equals
    bare = measure({}, 5, Draw((TEXTS, LABELS), (TEXTS, LABELS)), Words())
    assert math.isnan(bare["validation"]) and bare["test"] == 1.0


def test_a_draw_is_known_by_all_of_its_parts() -> None:
    part, other = (TEXTS[:2], LABELS[:2]), (TEXTS[:2], LABELS[1::-1])
    made = [Draw(part, part), Draw(other, part), Draw(part, other), Draw(part, part, part), Draw(part, part, other)]
    assert len({d.identity for d in made}) == 5
    assert (
        Draw(part, part, ([], [])).identity == made[0].identity == Draw((tuple(TEXTS[:2]), LABELS[:2]), part).identity
    )
    numbers = Draw((TEXTS[:2], np.array([0, 1])), part).identity
    assert numbers == Draw((TEXTS[:2], [0, 1]), part).identity != Draw((TEXTS[:2], [1, 0]), part).identity


def test_nothing_measured_and_nothing_to_choose_on_are_errors(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="draw: expected a validation part, to choose on, got none"):
        study().run(lambda seed: Draw(*[(TEXTS, LABELS)] * 2), tmp_path / "s")

    def broken(length: int, seed: int) -> Any:
        raise ValueError("no model")

    with pytest.raises(BudgetSpent) as spent:
        study(model_factory=broken).run(draw, tmp_path / "s")
    assert str(spent.value) == (
        "The study ended before any cell was measured: allow more trials or time, or look into the errors in "
        f"{tmp_path / 's'}."
    )
    few = study().run(draw, tmp_path / "t", max_trials=1)
    assert few.trials == 1 and not few.finished and few.best is None and len(few.rows) == 1


def test_the_first_of_equally_good_hacks_is_chosen() -> None:
    made = study(hacks={"b": {}, "a": {}, "c": {}})
    cells: Any = {(h, 6): {0: {"validation": v}, 1: {"validation": w}} for h, v, w in (
        ("b", 0.5, 0.7), ("a", 0.7, 0.5), ("c", 0.9, math.nan))}  # fmt: skip
    assert made._best(cells) == "b"
    cells["a", 6][0]["validation"] = 0.71
    assert made._best(cells) == "a"
    for own in cells.values():
        own[1]["validation"] = math.nan
    assert made._best(cells) is None
    assert shortening._shown(0.256, ".1f") == "0.3" and shortening._shown(math.inf, ".1f") == "-"


def test_the_encoder_is_frozen_and_reads_so_many_tokens_and_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    from smidgen.nets import minilm

    asked = []

    def encode(texts: Any, *, max_tokens: int, layers: int) -> np.ndarray:
        asked.append((max_tokens, layers))
        return np.array([[float("apple" in t), float(len(t))] for t in texts])

    monkeypatch.setattr(minilm, "load", lambda: SimpleNamespace(encode=encode))
    made = frozen_encoder(16)
    assert made.fit(TEXTS * 3, LABELS * 3).predict(TEXTS).tolist() == LABELS and set(asked) == {(16, 3)}
    assert made[-1].random_state == 0 and frozen_encoder(8, 4, layers=1)[-1].random_state == 4
    frozen_encoder(8, 4, layers=1).fit(TEXTS, LABELS)
    assert asked[-1] == (8, 1)
