"""Losses of tuning against numbers by hand, and that tuning does what it is for."""

import math

import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.lm import tokenizer
from smidgen.lm.choices import Question, scores
from smidgen.lm.generate import Sampling, complete
from smidgen.lm.likelihood import padded
from smidgen.lm.model import LanguageModel
from smidgen.lm.stage import places
from smidgen.lm.tuning import Example, Preference, TuneConfig, dpo, dpo_losses, sft, supervised_loss
from smidgen.nets.decoder import Decoder, DecoderConfig

TOKENIZER = tokenizer.train(["the cat sat on the mat and the rat ran \n" * 20], 290)
CONFIG = DecoderConfig(TOKENIZER.words, 32, 1, 2, 1, 48, 24)
MODEL = LanguageModel(Decoder(CONFIG, seed=1), TOKENIZER)


def test_only_answers_are_learnt():
    ids, targets = padded([([5, 6, 7], [8, 9]), ([5], [6])], 24, 0)
    loss, count = supervised_loss(MODEL.decoder, ids, targets)
    logs = MODEL.decoder(ids).log_softmax(-1)
    assert count == 3
    assert loss.item() == pytest.approx(-(logs[0, 2, 8] + logs[0, 3, 9] + logs[1, 0, 6]).item(), abs=1e-5)


def test_preference_losses_are_those_of_the_formula():
    got = dpo_losses(*(torch.tensor(v) for v in ([-1.0, -5.0], [-2.0, -5.0], [-3.0, -5.0], [-1.0, -5.0])), beta=0.5)
    # gained: (-1 + 3) - (-2 + 1) = 3, then 0
    assert got.tolist() == pytest.approx([math.log(1 + math.exp(-1.5)), math.log(2)])


def test_tuned_on_examples_it_answers_and_ends():
    examples = [Example("the cat", " sat"), Example("the rat", " ran")]
    losses = []
    tuned = sft(MODEL, examples, TuneConfig(steps=40, batch=2, lr=1e-2), lambda u: losses.append(u.loss))
    assert losses[-1] < 0.1 < 4 < losses[0]
    for example in examples:
        said = complete(tuned, example.prompt, Sampling(0, max_tokens=8))
        assert (said.text, said.reason) == (example.answer, "end")
    assert all(map(torch.equal, MODEL.decoder.parameters(), Decoder(CONFIG, seed=1).parameters()))


def test_preferences_move_likelihoods_apart_from_the_reference():
    pairs = [
        Preference("the cat", " sat", " ran"),
        Preference("the rat", " ran", " sat"),
        Preference("the", " mat", " on"),
    ]
    losses = []
    tuned = dpo(MODEL, pairs, TuneConfig(steps=20, batch=3, lr=1e-2), 0.5, on_update=lambda u: losses.append(u.loss))
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4) and losses[-1] < 0.2
    for pair in pairs:
        asked = Question(pair.prompt, (pair.chosen, pair.rejected))
        before, after = scores(MODEL, asked, "sum"), scores(tuned, asked, "sum")
        assert after[0] - before[0] > after[1] - before[1]
    again = dpo(
        tuned, pairs, TuneConfig(steps=1, batch=3), 0.5, reference=MODEL, on_update=lambda u: losses.append(u.loss)
    )
    assert losses[-1] < 0.2  # from the reference that was given, not from itself
    assert again.tokenizer is MODEL.tokenizer


def test_every_example_comes_once_an_epoch():
    config = TuneConfig(steps=1, batch=3, seed=2)
    epochs = [p for n in range(5) for p in places(n, config, 5)]
    assert [sorted(epochs[i : i + 5]) for i in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3 and epochs[:5] != epochs[5:10]


def test_bad_input_is_named_before_anything_is_trained():
    config = TuneConfig(steps=1)
    with pytest.raises(BadInput, match="nothing to learn"):
        sft(MODEL, [], config)
    with pytest.raises(BadInput, match="at most 25 tokens"):
        dpo(MODEL, [Preference("a", "b", "c" * 40)], config)
    other = LanguageModel(MODEL.decoder, tokenizer.train(["abc abc abc"], 260))
    with pytest.raises(BadInput, match="another tokenizer"):
        dpo(MODEL, [Preference("a", "b", "c")], config, reference=other)
    for wrong in ({"steps": 0}, {"batch": 0}, {"lr": 0.0}, {"warmup": 2.0}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            TuneConfig(**{"steps": 1, **wrong})
