"""Filters of text against closed forms and small cases; what is fitted survives a folder."""

import json
import math
import re
from collections import Counter

import numpy as np
import pytest

from smidgen.data.filters import steps
from smidgen.data.filters.joiner import Continuation, SentenceJoiner
from smidgen.data.filters.keywords import KeywordDensityFilter
from smidgen.data.filters.ngrams import ByteModel
from smidgen.data.filters.perplexity import PerplexityFilter
from smidgen.data.filters.pieces import sentences
from smidgen.data.filters.repeats import ConsecutiveDeduplicator
from smidgen.data.filters.rules import RuleCleaner, is_garbled
from smidgen.kit.errors import BadInput

ANIMALS = ("cat", "horse", "crow", "frog")
PLACES = ("garden", "river", "old barn", "market")
GOOD = [f"The {a} saw a {b} by the {p}." for a in ANIMALS for b in ANIMALS for p in PLACES]


def slow_chance(texts: list[str], order: int, context: bytes, byte: int) -> float:
    """Witten and Bell by dictionaries."""
    p = 1 / 256
    for k in range(order):
        h = context[len(context) - k :]
        after: Counter[int] = Counter()
        for text in texts:
            raw = b"\0" * (order - 1) + text.encode()
            after.update(raw[i] for i in range(order - 1, len(raw)) if raw[i - k : i] == h)
        if after:
            p = (after[byte] + len(after) * p) / (after.total() + len(after))
    return p


@pytest.mark.parametrize("order", [1, 3, 8])
def test_the_byte_model_is_the_slow_one_and_its_chances_sum_to_one(order):
    texts = ["abracadabra", "", "bar ☃ a"]
    model = ByteModel.fit(texts, order)
    start = b"\0" * (order - 1)
    for text in ("abra", "xyz", "☃"):
        raw = start + text.encode()
        slow = [slow_chance(texts, order, raw[i - order + 1 : i], raw[i]) for i in range(order - 1, len(raw))]
        assert model(text) == pytest.approx(-np.mean(np.log(slow)))
    assert sum(slow_chance(texts, order, start, b) for b in range(256)) == pytest.approx(1)
    assert model("") == 0.0
    again = ByteModel.load(model.state())
    assert again("abra") == model("abra")


def test_lots_of_texts_count_as_one_corpus(monkeypatch):
    whole = ByteModel.fit(GOOD)
    from smidgen.data.filters import ngrams

    real = ngrams._lots
    monkeypatch.setattr(ngrams, "_lots", lambda texts: real(texts, 100))
    parts = ByteModel.fit(GOOD)
    assert np.array_equal(whole.grams, parts.grams) and np.array_equal(whole.counts, parts.counts)


def test_perplexity_filter_drops_what_surprises():
    model = ByteModel.fit(GOOD[::2])
    found = PerplexityFilter.fit(model, GOOD[1::2], loss=0.1)
    kept = found.keep(GOOD[1::2])
    assert 0.9 <= kept.mean() < 1  # the limit is one of the texts' own values
    junk = ["rTsa e.tac eh", "<div id=7>", "", "   "]
    assert not found.keep(junk).any() and found.apply([*junk, GOOD[0]]) == [GOOD[0]]
    own = PerplexityFilter(lambda text: math.log(len(text)), 5.0)
    assert own.apply(["abc", "abcde", "abcdef"]) == ["abc", "abcde"]
    with pytest.raises(BadInput, match="at least 1, got 0.5"):
        PerplexityFilter(model, 0.5)
    with pytest.raises(BadInput, match="no texts"):
        PerplexityFilter.fit(model, [])


def test_keyword_density_goes_by_the_share_of_terms():
    found = KeywordDensityFilter(("cat", "river"), 0.25)
    assert found.density("The cat, the CAT and a river!") == pytest.approx(3 / 7)
    assert found.keep(["A cat is in it.", "It is a cat.", "cat", "...", "no no no no cat"]).tolist() == [
        False, True, True, False, False,
    ]  # fmt: skip
    fitted = KeywordDensityFilter.fit(GOOD, loss=0.1)
    assert set(fitted.terms) == {"saw", "old", "barn", *ANIMALS, *(p for p in PLACES if " " not in p)}
    assert fitted.keep(GOOD).mean() >= 0.9 and not fitted.keep(["Contact us and log in here."]).any()
    assert KeywordDensityFilter.fit(GOOD, ["Crow"]).terms == ("crow",)
    assert KeywordDensityFilter.fit(["A frog sings", "The frog", "Crow sings"], least=2).terms == ("frog", "sings")
    with pytest.raises(BadInput, match="no terms"):
        KeywordDensityFilter((), 0.1)


def test_rules_keep_whole_sentences_of_a_page():
    page = """<html><head><title>Frogs</title><style>p {color: red;}</style><script>var a = "<p>No. Not this one.";
    </script></head><body><h1>About frogs</h1><p>Frogs &amp; toads live near water. They sing at ni</p>
    <p>Write to frog@pond.org or +49 30 1234 5678, see https://pond.org/a?b=1. Click here to win.</p>
    <p>3 &lt; 4 holds in 1999. ####===***(((. La rivi\u00c3\u00a8re est large.</p></body></html>"""
    assert RuleCleaner().clean(page).splitlines() == [
        "Frogs & toads live near water.", "Write to or, see.", "3 < 4 holds in 1999.",
    ]  # fmt: skip
    plain = 'He said: "It is 3.5 km, if x<y and 100 2000 300 hold." She left us.'
    assert RuleCleaner().clean(plain) == plain
    assert RuleCleaner(blocked=("KM",), shortest=13).clean(plain) == ""  # "km" is blocked
    assert RuleCleaner(shortest=5).apply(["No end", "这是一个句子。再来一句吗？好的好的！", ""]) == [
        "这是一个句子。 再来一句吗？ 好的好的！"
    ]
    assert is_garbled("a\ufffdb") and is_garbled("\x01 abc") and not is_garbled("Das Café ist größer.")
    assert sentences('A "b." C?  D 3.5 e') == ['A "b."', "C?", "D 3.5 e"]


def test_a_long_page_of_open_tags_is_read_in_time():
    text = "<script>" * 20_000 + "<p" * 20_000
    assert RuleCleaner().clean(text) == ""


def test_related_sentences_are_joined():
    joiner = SentenceJoiner(lambda a, b: float(bool(set(a.split()) & set(b.split()))))
    assert joiner.join("Cats run.\n\nCats sleep.\nDogs bark.\nDogs bark. Dogs eat.\nDogs eat.").splitlines() == [
        "Cats run. Cats sleep.", "Dogs bark.", "Dogs bark. Dogs eat.", "Dogs eat.",
    ]  # fmt: skip


def test_what_follows_is_learnt_from_documents():
    documents = [f"The {a} came first.\nThen the {a} was gone.\nNobody saw that {a} again." for a in ANIMALS * 3]
    follows = Continuation.fit(documents)
    assert follows("A crow sat there.", "The crow flew.") > 0.5 > follows("A crow sat there.", "The frog sang.")
    with pytest.raises(BadInput, match="at least 2 documents"):
        Continuation.fit(["One. Two."])


def test_repeats_in_a_row_and_of_earlier_sets_go():
    none = ConsecutiveDeduplicator(shortest=8)
    texts = ["Menu.\nMenu.\nA story. A  story. The end.\nMenu.", "menu.\nA new story."]
    assert none.apply(texts) == ["Menu.\nA story. The end.\nMenu.", "A new story."]
    later = none.remember(["Something else here.", "a NEW story."]).remember(["Menu."])
    assert later.apply(texts) == ["Menu.\nA story. The end.\nMenu."] and len(later.known) == 2


def test_steps_survive_a_folder_and_say_what_they_left(tmp_path):
    documents = [f"{a} {b}" for a, b in zip(GOOD, GOOD[1:], strict=False)]
    made = [
        RuleCleaner(shortest=11),
        ConsecutiveDeduplicator().remember(GOOD[:3]),
        SentenceJoiner(Continuation.fit(documents), 0.6),
        PerplexityFilter.fit(ByteModel.fit(documents), documents),
        KeywordDensityFilter.fit(documents),
    ]
    texts = [*documents, "<p>" + GOOD[5] + "</p>", GOOD[0], "Log in or sign up here.", "xq zzv kkw."]
    left, counts = steps.run(made, texts)
    assert [c.step for c in counts] == list(steps.KINDS)[:1] + ["repeats", "join", "perplexity", "keywords"]
    assert [c.texts for c in counts] == sorted((c.texts for c in counts), reverse=True)
    assert GOOD[5] in left and len(documents) - 3 <= counts[-1].texts < counts[0].texts == len(texts)
    steps.save(made, tmp_path / "f")
    again = steps.load(tmp_path / "f")
    assert steps.run(again, texts) == (left, counts)
    assert not re.search(r"pickle|__", (tmp_path / "f" / steps.STATE).read_text())
    steps.save([PerplexityFilter(len, 9.0)], tmp_path / "f")
    with pytest.raises(BadInput, match="`scorer`"):
        steps.load(tmp_path / "f")
    assert steps.load(tmp_path / "f", scorer=len)[0].apply(["a", "a" * 30]) == ["a"]
    (tmp_path / "f" / steps.STATE).write_text(json.dumps({"schema": 1, "steps": [{"kind": "magic"}]}))
    with pytest.raises(BadInput, match="damaged"):
        steps.load(tmp_path / "f")
