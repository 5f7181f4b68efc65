"""Shortening of long texts: what is dropped, what stays, where it is cut."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError

from smidgen.data import stopwords
from smidgen.data.shorten import TextShortener, pieces, rank_checkpoints, shorten_each, tokenizer_fertility, windows
from smidgen.data.tokens import counter, cut
from smidgen.kit.errors import BadInput
from smidgen.nets import minilm

ENGLISH = [
    "The cat, however, did not sit on the mat; it was at the window.",
    "We have been to the museum and to the park of the town.",
]
FRENCH = [
    "Le chat n'est pas sur le tapis, il est à la fenêtre de la maison.",
    "Nous avons été dans le musée et dans le parc de la ville.",
]


def thin(text: str, **settings) -> str:
    return TextShortener(stopwords="en", **settings).fit([text]).transform([text])[0]


def test_the_four_hacks():
    text = ENGLISH[0]
    assert thin(text) == "cat, however, not sit mat; window."
    assert thin(text, keep_negations=False) == "cat, however, sit mat; window."
    assert thin(text, remove_punctuation=True) == "cat however not sit mat window"
    assert thin("red Red blue, red!", remove_stopwords=False, drop_repeated=True) == "red blue,"
    rare = TextShortener(remove_stopwords=False, min_frequency=2, stopwords="en").fit(
        ["green tea", "green tea", "black tea"]
    )
    assert rare.transform(["black green tea oolong"]) == ["green tea"]  # counts are of `fit` alone


def test_negations_stay_in_a_given_set_too():
    shortener = TextShortener(stopwords={"Not", "the"}).fit(["The tea is not hot"])
    assert shortener.transform(["The tea is not hot"]) == ["tea is not hot"]


def test_elided_articles():
    shortener = TextShortener(stopwords="fr").fit(FRENCH)
    assert shortener.transform(["L’arbre n'est pas dans l'eau."]) == ["arbre n'est pas eau."]


def test_language_is_guessed_and_a_wrong_list_warned_of():
    assert TextShortener().fit(ENGLISH).language_ == "en"
    assert TextShortener().fit(FRENCH).language_ == "fr"
    with pytest.warns(UserWarning, match="another language|look French"):
        TextShortener(stopwords="en").fit(FRENCH)
    with pytest.warns(UserWarning, match="another language"):
        TextShortener().fit(["кошка сидит на окне"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TextShortener(stopwords="fr").fit(FRENCH)


def test_real_texts_have_the_language_that_they_are_in(data_folder):
    import pandas as pd

    found = pd.read_json(data_folder / "langid_udhr" / "test.jsonl.gz", lines=True)
    codes = {"eng": "en", "fra": "fr", "deu": "de", "spa": "es", "ita": "it", "por": "pt", "nld": "nl", "ind": "id"}
    hits = []
    for label, texts in found.groupby(found.label.astype(str))["text"]:
        code = codes.get(label[:3])
        if code:
            words = " ".join(texts).lower().split()
            hits.append(stopwords.guess(words)[0] == code)
    assert len(hits) >= 5 and np.mean(hits) == 1


@pytest.mark.parametrize("code", stopwords.languages())
def test_lists_say_where_they_come_from(code):
    found = stopwords.load(code)
    assert found.source and found.licence and found.language == code
    assert len(found.stop_words) > 100 and len(found.negations) > 5
    assert all(w == w.lower() for w in found.all) and not found.stop_words & found.negations


def test_nothing_left_falls_back_to_the_raw_text_and_is_counted():
    shortener = TextShortener(stopwords="en").fit(ENGLISH)
    assert shortener.transform(["the of and", "", "  ", "...", "tea"]) == ["the of and", "", "  ", "...", "tea"]
    assert shortener.spent_["fell_back"] == 2
    assert shortener.spent_["texts"] == 5


def test_errors():
    with pytest.raises(NotFittedError):
        TextShortener().transform(ENGLISH)
    for settings_ in ({"keep": "last"}, {"min_frequency": 0}, {"max_tokens": 2}, {"stopwords": "xx"}):
        with pytest.raises(BadInput):
            TextShortener(**settings_).fit(ENGLISH)
    with pytest.raises(BadInput, match="texts"):
        TextShortener().fit("one text")
    with pytest.raises(BadInput, match=r"texts\[1\]"):
        TextShortener().fit(["a", None])


def letters(text: str) -> list[str]:
    """A tokenizer that makes a token of every three letters of a word."""
    return [w[i : i + 3] for w in text.split() for i in range(0, len(w), 3)]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text("abcé", min_size=1, max_size=9), min_size=1, max_size=30),
    st.integers(1, 40),
    st.sampled_from(["first", "head_tail"]),
)
def test_cutting_keeps_whole_words_within_the_limit(words, limit, keep):
    text, count = " ".join(words), counter(letters)
    got = cut(text, limit, count, keep).split()
    assert len(got) == 1 or count(" ".join(got)) <= limit
    if keep == "first":
        assert got == words[: len(got)]
        assert len(got) == len(words) or count(" ".join(words[: len(got) + 1])) > limit  # not one word fewer than fit
    else:
        assert any(got == words[:i] + words[len(words) - (len(got) - i) :] for i in range(len(got) + 1))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_pieces_are_the_text(text):
    assert "".join(a + b for a, b in pieces(text)) == text.rstrip()
    short = TextShortener(stopwords="en").fit([]).transform([text])[0]
    assert (
        TextShortener(stopwords="en").fit([]).transform([short])[0].split() == short.split()
    )  # thinning once is enough


def test_windows_read_everything():
    words = [f"w{i}" for i in range(100)]
    got = [w.split() for w in windows(" ".join(words), 30, counter(None))]
    assert all(len(w) <= 30 for w in got)
    assert sorted({w for one in got for w in one}) == sorted(words)
    assert got[0][-1] in got[1]


def test_coverage_and_special_tokens_with_a_real_tokenizer():
    if not minilm.available():
        pytest.skip("needs the sentence encoder")
    tokenizer = minilm.load().tokenizer
    text = " ".join(ENGLISH * 20) + " zebra giraffe"
    shortener = TextShortener(stopwords="en", max_tokens=64, tokenizer=tokenizer).fit([text])
    short = shortener.transform([text])[0]
    assert len(tokenizer.encode(short).ids) <= 64 < len(tokenizer.encode(text).ids)
    assert shortener.spent_["tokens_out"] <= 62 and shortener.spent_["tokens_in"] > 300
    assert shortener.coverage([text])["kept"] <= 1
    tail = TextShortener(stopwords="en", max_tokens=64, tokenizer=tokenizer, keep="head_tail", drop_repeated=True).fit(
        [text]
    )
    assert tail.coverage([text]) == {"kept": 1.0, "raw_kept": 1.0}
    assert shortener.coverage([text])["raw_kept"] < 1


def test_fertility_and_ranking():
    texts = ["abcdef ab"] * 10 + ["abc " * 200]
    found = tokenizer_fertility(letters, texts)
    assert found["p50"] == 3
    assert found["share_over"] == {128: 1 / 11, 256: 0.0, 512: 0.0}
    assert found["tokens_per_word"] == pytest.approx((30 + 200) / (20 + 200))
    ranked = rank_checkpoints({"letters": letters, "words": str.split, "bytes": str.encode}, texts, limit=100)
    assert [r["name"] for r in ranked] == ["words", "letters", "bytes"]
    assert ranked[1]["inside"] == pytest.approx(130 / 230)
    json.dumps(ranked)


def test_each_long_text_by_itself():
    long = (" ".join(ENGLISH) + " ") * 12
    got = shorten_each([ENGLISH[0], long, "кошка " * 300])
    assert got[0] == ENGLISH[0] and got[2] == "кошка " * 300
    assert len(got[1].split()) < 0.6 * len(long.split()) and "not" in got[1]
    assert shorten_each([long])[0] == got[1]
