"""What is held out: whole documents of many, ends of long ones, nothing of few short ones; never what is trained on."""

import json

import pytest

from smidgen.lm.corpus import open_corpus
from smidgen.lm.prepare import EVERY, _divided, prepare, survey


def corpus(folder, name, texts):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    return open_corpus([path])


def test_many_short_documents_are_held_out_whole(tmp_path):
    texts = [f"Document {i} says {i * i}." for i in range(3 * EVERY)]
    kept, held = zip(*_divided(corpus(tmp_path, "a", texts), len(texts)), strict=True)
    assert [t for t in held if t] == texts[EVERY - 1 :: EVERY] and len([t for t in kept if t]) == len(texts) - 3


def test_few_long_documents_lose_their_ends(tmp_path):
    long, short = "word " * 1000, "A short one."
    (a, b), (c, d) = _divided(corpus(tmp_path, "a", [long, short]), 2)
    assert a + b == long and 100 <= len(b) <= 300 and (c, d) == (short, "")


def test_a_corpus_may_be_called_held_and_few_short_texts_hold_nothing_out(tmp_path):
    corpora = {n: corpus(tmp_path, n, [f"{n} {i} and more words here" for i in range(9)]) for n in ("a", "held")}
    surveys = {n: survey(c) for n, c in corpora.items()}
    made = prepare(corpora, surveys, 300, tmp_path / "work")
    assert made.held is None and [len(p.starts(0, len(p))) for p in made.parts] == [9, 9]
    again = prepare(corpora, surveys, 300, tmp_path / "work")
    assert again.tokenizer.identity == made.tokenizer.identity
    assert [p.fingerprint for p in again.parts] == [p.fingerprint for p in made.parts]


@pytest.mark.parametrize("other", [["one two"], ["one", "two "], ["one", "two", "three"]])
def test_a_survey_tells_texts_apart(tmp_path, other):
    first = survey(corpus(tmp_path, "a", ["one", "two"]))
    assert first.documents == 2 and first.bytes == 6
    assert survey(corpus(tmp_path, "b", ["one", "two"])) == first != survey(corpus(tmp_path, "c", other))
