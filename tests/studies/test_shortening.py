"""The shortening study: what it measures, how it chooses, and that it goes on where it stopped."""

import json
import math

import numpy as np
import pytest

from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.nets import minilm
from smidgen.studies.shortening import RAW, Draw, ShorteningStudy, frozen_encoder, measure

HACKS = {"stop words": {"remove_stopwords": True}, "punctuation": {"remove_punctuation": True}}
FILLER = ["it", "is", "of", "the", "and", "to", "in", "a", "that", "there,"]


def draw(seed: int) -> Draw:
    """Texts of 16 words whose first 8 say nothing, whose next 2 tell the class, then of nothing again."""
    rng = np.random.default_rng(seed)

    def part(n: int) -> tuple[list[str], np.ndarray]:
        labels = np.arange(n) % 2
        told = [("apple pear", "iron steel")[y].split() for y in labels]
        return [" ".join([*rng.permutation(FILLER * 2)[:8], *t, *rng.permutation(FILLER)[:6]]) for t in told], labels

    return Draw(part(20), part(10), part(10))


def words_model(length: int, seed: int):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    return make_pipeline(CountVectorizer(vocabulary=["apple", "pear", "iron", "steel"]), MultinomialNB())


def study(**changes) -> ShorteningStudy:
    settings = {"hacks": HACKS, "lengths": [16, 6], "model_factory": words_model, "seeds": [0, 1], "special_tokens": 0}
    return ShorteningStudy(**{**settings, **changes})


def by_cell(result) -> dict:
    return {(r["hack"], r["length"]): {k: v for k, v in r.items() if k != "processor_seconds"} for r in result.rows}


def test_thinned_texts_keep_what_a_cut_loses(tmp_path):
    result = study().run(draw, tmp_path / "s")
    rows = by_cell(result)
    assert result.best == "stop words" and result.finished
    assert list(rows) == [
        *((h, 16) for h in (RAW, "stop words", "punctuation", "head and tail", "windows")),
        *((h, 6) for h in (RAW, "stop words", "head and tail", "windows")),
    ]
    assert all(rows[h, 16]["test"] == 1 for h in (RAW, "stop words", "windows"))
    assert rows[RAW, 6]["test"] == rows["head and tail", 6]["test"] == 0.5  # neither end tells the class
    assert rows["stop words", 6]["test"] == rows["windows", 6]["test"] == rows["windows", 6]["validation"] == 1
    assert rows["stop words", 6]["gain"] == 0.5 and rows["stop words", 6]["gain_error"] == 0
    assert rows[RAW, 6]["kept"] == 0 and rows["stop words", 6]["kept"] == rows["windows", 6]["kept"] == 1
    assert rows[RAW, 6]["tokens"] == 6 and rows["windows", 6]["tokens"] > 16 > rows["stop words", 6]["tokens"]
    assert all(r["processor_seconds"] > 0 and r["seeds"] == 2 for r in result.rows)
    lines = result.table().splitlines()
    assert len(lines) == 2 + len(rows) and len({line.count("|") for line in lines}) == 1
    assert next(line for line in lines if "**stop words** | 6 |" in line).count("+50.0 ± 0.0") == 1


class Articles:
    """Says 1 of texts with a "the"."""

    def fit(self, texts, labels):
        return self

    def predict(self, texts):
        return np.array([int("the" in t.split()) for t in texts])


def test_the_choice_reads_the_validation_part_alone(tmp_path):
    texts = ["the cat, the dog"] * 4
    for validation, best in ((0, "stop words"), (1, "punctuation")):
        one = Draw((texts, [0, 1, 0, 1]), (texts, [1 - validation] * 4), (texts, [validation] * 4))
        shown = study(model_factory=lambda length, seed: Articles(), baselines={}).run(
            lambda seed, one=one: one, tmp_path / best
        )
        assert shown.best == best


@pytest.mark.parametrize("cut_at", [1, 11])
def test_stopped_and_resumed_it_measures_nothing_twice(tmp_path, cut_at):
    whole = study().run(draw, tmp_path / "whole")
    made = []

    def counted(length: int, seed: int, limit: float = math.inf):
        if len(made) >= limit:
            raise KeyboardInterrupt
        made.append((length, seed))
        return words_model(length, seed)

    with pytest.raises(KeyboardInterrupt):
        study(model_factory=lambda length, seed: counted(length, seed, cut_at)).run(draw, tmp_path / "s")
    result = study(model_factory=counted).run(draw, tmp_path / "s")
    assert by_cell(result) == by_cell(whole) and result.trials == whole.trials == len(made) == 18


def test_budgets(tmp_path):
    with pytest.raises(BudgetSpent):
        study().run(draw, tmp_path / "s", max_trials=0)
    few = study().run(draw, tmp_path / "s", max_trials=4)
    assert few.trials == 4 and not few.finished and few.best is None  # a hack without its second seed is not chosen
    assert study().run(draw, tmp_path / "s", max_seconds=0).trials == 4
    assert study().run(draw, tmp_path / "s").finished


def test_other_texts_are_measured_anew_and_other_studies_refused(tmp_path):
    study().run(draw, tmp_path / "s")
    assert study().run(lambda seed: draw(seed + 7), tmp_path / "s").trials == 36
    for other in ({"name": "another model"}, {"lengths": [16]}, {"hacks": {"stop words": {"remove_stopwords": True}}}):
        with pytest.raises(BadInput, match="another search space"):
            study(**other).run(draw, tmp_path / "s")


def test_what_fails_is_never_chosen_and_is_shown(tmp_path):
    def shaky(length: int, seed: int):
        if length == 6:
            raise MemoryError("too small a machine")
        return words_model(length, seed)

    result = study(model_factory=shaky, baselines={}).run(draw, tmp_path / "s")
    assert math.isnan(by_cell(result)[RAW, 6]["test"]) and result.best == "stop words"
    assert "| raw | 6 | - | - |" in result.table()
    errors = [json.loads(line).get("error") for line in (tmp_path / "s").read_text().splitlines()]
    assert errors.count("MemoryError: too small a machine") == 4


def test_errors(tmp_path):
    for wrong, words in (
        ({"hacks": {}}, "at least one"),
        ({"lengths": [2], "special_tokens": 2}, "special tokens"),
        ({"hacks": {"raw": {}}}, "raw"),
        ({"hacks": {"windows": {}}}, "windows"),
        ({"hacks": {"x": {"remove_stopword": True}}}, "remove_stopword"),
    ):
        with pytest.raises(BadInput, match=words):
            study(**wrong)
    with pytest.raises(BadInput, match="validation"):
        study().run(lambda seed: Draw(draw(0).train, draw(0).test), tmp_path / "s")


def test_with_the_sentence_encoder():
    if not minilm.available():
        pytest.skip("needs the sentence encoder")
    got = measure(HACKS["stop words"], 16, draw(0), frozen_encoder(16, layers=1), tokenizer=minilm.load().tokenizer)
    assert got["test"] > 0.8 and 4 <= got["tokens"] <= 16
    with pytest.raises(BadInput, match="3 to 512"):
        frozen_encoder(600).fit(["a", "b"], [0, 1])
