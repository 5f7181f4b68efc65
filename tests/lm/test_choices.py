"""Likelihoods of answers against the whole softmax, and which option is chosen by each measure."""

import math

import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.lm import tokenizer
from smidgen.lm.choices import Question, accuracy, choose, lettered, scores
from smidgen.lm.likelihood import log_likelihoods, padded
from smidgen.lm.model import LanguageModel
from smidgen.nets.decoder import Decoder, DecoderConfig

TOKENIZER = tokenizer.train(["the cat sat on the mat and the rat \n" * 20], 290)
CONFIG = DecoderConfig(TOKENIZER.words, 48, 2, 6, 2, 80, 64, init_std=0.3)
MODEL = LanguageModel(Decoder(CONFIG, seed=1), TOKENIZER)


def slow(prompt: str, answer: str) -> float:
    """From the logits of the whole text."""
    ids = [TOKENIZER.end, *TOKENIZER.encode(prompt)]
    own = TOKENIZER.encode(answer)
    with torch.no_grad():
        logs = MODEL.decoder(torch.tensor([ids + own])).log_softmax(-1)[0]
    return sum(float(logs[len(ids) - 1 + i, token]) for i, token in enumerate(own))


def test_rows_of_any_lengths_have_the_likelihoods_of_the_whole_softmax():
    rows = [([1, 2, 3], [4, 5]), ([7], [8, 9, 10, 11, 12]), ([3, 3, 3, 3], [1])]
    ids, targets = padded(rows, 64, 0)
    assert ids.shape == targets.shape == (3, 5)
    assert targets.tolist()[0] == [-100, -100, 4, 5, -100] and targets.tolist()[1] == [8, 9, 10, 11, 12]
    logs = MODEL.decoder(ids).log_softmax(-1)
    expected = [sum(logs[r, len(p) - 1 + i, t] for i, t in enumerate(a)) for r, (p, a) in enumerate(rows)]
    torch.testing.assert_close(log_likelihoods(MODEL.decoder, ids, targets), torch.stack(expected))
    assert padded([([1] * 60, [2] * 5)], 64, 0)[0].shape == (1, 64)  # the last token is only a target
    for wrong, says in (([], "no prompts"), ([([], [1])], "0 and 1"), ([([1] * 60, [2] * 6)], "at most 65")):
        with pytest.raises(BadInput, match=says):
            padded(wrong, 64, 0)


def test_each_measure_is_what_it_says():
    question = Question("the cat", (" sat", " sat on the mat", " rat"))
    sums = [slow("the cat", o) for o in question.options]
    assert scores(MODEL, question, "sum") == pytest.approx(sums, abs=1e-4)
    tokens = [len(TOKENIZER.encode(o)) for o in question.options]
    assert scores(MODEL, question, "token") == pytest.approx(
        [s / n for s, n in zip(sums, tokens, strict=True)], abs=1e-4
    )
    per_byte = [s / len(o) for s, o in zip(sums, question.options, strict=True)]
    assert scores(MODEL, question) == pytest.approx(per_byte, abs=1e-4)
    prior = [s - slow("", o) for s, o in zip(sums, question.options, strict=True)]
    assert scores(MODEL, question, "prior") == pytest.approx(prior, abs=1e-4)
    assert choose(MODEL, question) == per_byte.index(max(per_byte))
    spaced = Question("the cat ", ("sat", "sat on the mat", "rat"))  # the space belongs to the word after it
    assert scores(MODEL, spaced, "sum") == pytest.approx(sums, abs=1e-4)


def test_marks():
    questions = [Question("the", (" cat", " rat", " mat"), a) for a in range(3)]
    assert accuracy(MODEL, questions) == {
        "accuracy": pytest.approx(1 / 3),
        "chance": pytest.approx(1 / 3),
        "questions": 3,
    }
    with pytest.raises(BadInput, match="no questions"):
        accuracy(MODEL, [])
    with pytest.raises(BadInput, match="needs its answer"):
        accuracy(MODEL, [Question("a", ("b", "c"))])


def test_letters_are_asked_for_after_solved_questions():
    first = lettered("2 + 2?", ["3", "4"], 1)
    assert first.prompt == "2 + 2?\nA. 3\nB. 4\nAnswer:" and first.options == (" A", " B")
    second = lettered("1 + 1?", ["2", "5"], solved=[first])
    assert second.prompt == "2 + 2?\nA. 3\nB. 4\nAnswer: B\n\n1 + 1?\nA. 2\nB. 5\nAnswer:"
    with pytest.raises(BadInput, match="needs its answer"):
        lettered("?", ["a", "b"], solved=[second])


def test_what_does_not_fit_is_refused():
    with pytest.raises(BadInput, match="at most 65 tokens"):
        scores(MODEL, Question("x" * 80, (" a", " b")))
    with pytest.raises(BadInput, match="sum or token or byte or prior"):
        scores(MODEL, Question("x", (" a", " b")), "length")  # type: ignore[arg-type]
    for options, answer in (((" a",), None), ((" a", " "), None), ((" a", " b"), 2)):
        with pytest.raises(BadInput):
            Question("x", options, answer)
    assert math.isfinite(scores(MODEL, Question("", (" a", " b")))[0])  # a question of nothing is the start alone
