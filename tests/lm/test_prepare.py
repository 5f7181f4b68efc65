"""What is held out: whole documents of many, ends of long ones, nothing of few short ones; never what is trained on."""

import json
import math

import pytest

from smidgen.kit.errors import BadInput
from smidgen.lm.corpus import open_corpus
from smidgen.lm.evaluate import evaluate
from smidgen.lm.held import documents
from smidgen.lm.model import LanguageModel
from smidgen.lm.prepare import EVERY, _divided, prepare, sample, survey
from smidgen.nets.decoder import Decoder, DecoderConfig


def corpus(folder, name, texts):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    return open_corpus([path])


def test_many_short_documents_are_held_out_whole(tmp_path):
    texts = [f"Document {i} says {i * i}." for i in range(4 * EVERY)]
    kept, held, judged = zip(*_divided(corpus(tmp_path, "a", texts), len(texts)), strict=True)
    assert [t for t in held if t] == texts[EVERY - 1 :: 2 * EVERY]
    assert [t for t in judged if t] == texts[2 * EVERY - 1 :: 2 * EVERY]
    assert sorted([*filter(None, kept), *filter(None, held), *filter(None, judged)]) == sorted(texts)


def test_few_long_documents_lose_their_ends(tmp_path):
    long, short = "word " * 1000, "A short one."
    (a, b, c), rest = _divided(corpus(tmp_path, "a", [long, short]), 2)
    assert a + b + c == long and 100 <= len(b) == len(c) <= 300 and rest == (short, "", "")


def test_a_corpus_may_be_called_held_and_few_short_texts_hold_nothing_out(tmp_path):
    corpora = {n: corpus(tmp_path, n, [f"{n} {i} and more words here" for i in range(9)]) for n in ("a", "held")}
    surveys = {n: survey(c) for n, c in corpora.items()}
    made = prepare(corpora, surveys, 300, tmp_path / "work")
    assert not made.held and not made.judged and made.held_by({"a": 1.0, "held": 1.0}) is None
    assert [len(p.starts(0, len(p))) for p in made.parts.values()] == [9, 9]
    again = prepare(corpora, surveys, 300, tmp_path / "work")
    assert again.tokenizer.identity == made.tokenizer.identity
    assert [p.fingerprint for p in again.parts.values()] == [p.fingerprint for p in made.parts.values()]


def test_a_sample_is_spread_over_the_texts():
    texts = [chr(97 + i) * 10 for i in range(20)]
    assert list(sample(texts, 1.0)) == list(sample(texts, 3.0)) == texts
    assert list(sample(texts, 0.25)) == texts[3::4]


def test_words_are_not_made_of_what_is_held_out(tmp_path):
    texts = ["xylophone " * 9 if i % EVERY == EVERY - 1 else f"the cat sees {i} dogs" for i in range(2 * EVERY)]
    corpora = {"a": corpus(tmp_path, "a", texts)}
    made = prepare(corpora, {"a": survey(corpora["a"])}, 400, tmp_path / "work")
    assert len(made.tokenizer.encode(" xylophone")) == 10 and len(made.tokenizer.encode(" cat")) == 1


def test_a_part_whose_only_shard_is_damaged_is_made_anew_on_request(tmp_path):
    corpora = {"a": corpus(tmp_path, "a", [f"Document {i} says {i * i}." for i in range(90)])}
    surveys, work = {"a": survey(corpora["a"])}, tmp_path / "work"
    made = prepare(corpora, surveys, 300, work)
    path = work / "parts" / "a" / "00000.tokens"
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(BadInput, match=r"is corrupt .*Remove .*parts/a, so"):
        prepare(corpora, surveys, 300, work)
    again = prepare(corpora, surveys, 300, work, "skip")
    assert again.parts["a"].fingerprint == made.parts["a"].fingerprint and not again.skipped
    assert "tokenized anew" in again.again[0]


def test_bits_a_byte_of_a_mix_are_of_its_mixed_text(tmp_path):
    texts = {"a": ["aaaa " * 900], "b": [" ".join(str(i * i) for i in range(900))]}
    corpora = {n: corpus(tmp_path, n, t) for n, t in texts.items()}
    made = prepare(corpora, {n: survey(c) for n, c in corpora.items()}, 300, tmp_path / "work")
    words = made.tokenizer.words
    model = LanguageModel(Decoder(DecoderConfig(words, 32, 1, 2, 2, 32, 16)).eval(), made.tokenizer)
    shares = {"a": 3.0, "b": 1.0}
    found = made.held_by(shares, judged=True).judge(model)
    each = {n: evaluate(model, documents(made.judged[n], model, 10**6)) for n in texts}
    nats, size = ({n: e[k] / e["tokens"] for n, e in each.items()} for k in ("nats", "bytes"))
    wanted = (3 * nats["a"] + nats["b"]) / (3 * size["a"] + size["b"]) / math.log(2)
    assert found["bits_per_byte"] == pytest.approx(wanted, rel=1e-6)
    assert found["parts"] == {n: pytest.approx(e["bits_per_byte"]) for n, e in each.items()}
    assert found["judged_tokens"] == sum(e["tokens"] for e in each.values())
    assert "".join(documents(made.judged["b"], model, 10**6)) == texts["b"][0][-200:]


@pytest.mark.parametrize("other", [["one two"], ["one", "two "], ["one", "two", "three"]])
def test_a_survey_tells_texts_apart(tmp_path, other):
    first = survey(corpus(tmp_path, "a", ["one", "two"]))
    assert first.documents == 2 and first.bytes == 6
    assert survey(corpus(tmp_path, "b", ["one", "two"])) == first != survey(corpus(tmp_path, "c", other))


def test_a_part_of_what_is_judged_is_spread_over_it(tmp_path):
    texts = [f"{i} " * 30 for i in range(40 * EVERY)]
    corpora = {"a": corpus(tmp_path, "a", texts)}
    made = prepare(corpora, {"a": survey(corpora["a"])}, 300, tmp_path / "work")
    model = LanguageModel(Decoder(DecoderConfig(made.tokenizer.words, 32, 1, 2, 2, 32, 16)), made.tokenizer)
    every = list(documents(made.judged["a"], model, 10**6))
    assert every == texts[2 * EVERY - 1 :: 2 * EVERY]
    assert list(documents(made.judged["a"], model, len(made.judged["a"]) // 4)) == every[::4]
