"""DPO and KTO against numbers by hand; masks; what cancels; stages that are skipped, stopped, resumed."""

import copy
import math

import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.lm import preference_train, stage
from smidgen.lm.generate import Sampling, next_tokens
from smidgen.lm.instruct import StageConfig, greedy_ids, instruct, said_of
from smidgen.lm.likelihood import log_likelihoods, padded
from smidgen.lm.preference import (
    Displaced,
    DisplacementGuard,
    Look,
    kto_losses,
    reference_drift,
    smoothed_dpo_losses,
)  # fmt: skip
from smidgen.lm.preference_train import DPOTrainer, Judged, KTOTrainer, unpaired
from smidgen.lm.stage import reference_log_likelihoods, weights_digest
from smidgen.lm.tuning import Example, Preference
from smidgen.lm.two_stages import TwoStages, diagnose, kl_along
from smidgen.nets.decoder import Decoder, DecoderConfig, flops_per_token
from smidgen.train import checkpoint


class Letters:
    """a to z and the space as 1 to 27."""

    end, words = 0, 28

    def encode(self, text):
        return [27 if c == " " else ord(c) - 96 for c in text]

    def decode(self, ids):
        return "".join(" " if i == 27 else chr(i + 96) for i in ids)


WORDS = Letters()
SHAPE = DecoderConfig(30, 16, 2, 2, 1, 24, 24, init_std=0.2)  # two more rows in the embedding than there are words
FAST = StageConfig(epochs=3, batch=2, lr=1e-2, save_every=2)
SHOWN = [Example("ab", "cd"), Example("ba", "dc ab"), Example("aa", "c")]
PAIRS = [Preference("abc", "de", "d fgh"), Preference("b", "cab", "e"), Preference("ca", "e b", "a c")]


def model(seed=1):
    return Decoder(SHAPE, seed)


def by_hand(decoder, prompt, answer):
    """Log-likelihood of an answer with its end, in double precision, one token after the other."""
    ids = [0, *WORDS.encode(prompt), *WORDS.encode(answer), 0]
    logs = decoder.double()(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
    decoder.float()
    first = 1 + len(prompt)
    return math.fsum(logs[i - 1, ids[i]].item() for i in range(first, len(ids)))


def gradients(decoder, value):
    decoder.zero_grad()
    value.backward()
    return torch.cat([p.grad.flatten() for p in decoder.parameters()])


# --- losses


def test_dpo_is_the_formula_in_double_precision():
    given = [torch.tensor(v, dtype=torch.float64) for v in ([-3.0, -9.5], [-4.0, -2.0], [-3.5, -9.0], [-3.0, -8.0])]
    for beta, s in ((0.1, 0.0), (0.7, 0.0), (0.7, 0.2)):
        wanted = []
        for good, bad, ref_good, ref_bad in zip(*(t.tolist() for t in given), strict=True):
            margin = beta * ((good - ref_good) - (bad - ref_bad))
            right, swapped = math.log1p(math.exp(-margin)), math.log1p(math.exp(margin))
            wanted.append((1 - s) * right + s * swapped)
        assert smoothed_dpo_losses(*given, beta, s).tolist() == pytest.approx(wanted, abs=1e-14)
    far = [torch.tensor([v], dtype=torch.float64) for v in (-1e4, 0.0, 0.0, 0.0)]
    assert smoothed_dpo_losses(*far, 1.0).item() == pytest.approx(1e4)  # no infinity


def test_what_a_preference_gives_the_one_it_takes_from_the_other():
    given = [torch.randn(5, generator=torch.Generator().manual_seed(i)).requires_grad_() for i in range(4)]
    for s in (0.0, 0.3):
        smoothed_dpo_losses(*given, 0.5, s).sum().backward()
        chosen, rejected, ref_chosen, ref_rejected = (t.grad for t in given)
        assert torch.equal(chosen, -rejected) and torch.equal(chosen, -ref_chosen)
        assert torch.equal(ref_chosen, -ref_rejected) and chosen.abs().min() > 0
        assert s or (chosen < 0).all()
        for t in given:
            t.grad = None
    s, beta = 0.3, 0.5  # smoothed, it wants a margin and no more
    chosen = torch.tensor([math.log((1 - s) / s) / beta], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, dtype=torch.float64)
    smoothed_dpo_losses(chosen, zero, zero, zero, beta, s).sum().backward()
    assert chosen.grad is not None and abs(chosen.grad.item()) < 1e-12


def test_kto_is_the_formula_and_its_drift_has_no_gradient():
    gained = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    good, mismatched = torch.tensor([True, False, False]), torch.tensor([0.6, 0.2], requires_grad=True)
    losses = kto_losses(gained, good, reference_drift(mismatched), 0.5, 1.0, 2.0)

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    wanted = [1 - sigmoid(0.5 * 0.6), 2 * (1 - sigmoid(0.5 * 2.4)), 2 * (1 - sigmoid(-0.5 * 0.1))]
    assert losses.tolist() == pytest.approx(wanted, abs=1e-7)
    losses.sum().backward()
    assert gained.grad is not None and mismatched.grad is None
    assert (torch.sign(gained.grad) == torch.tensor([-1, 1, 1])).all()
    assert reference_drift(torch.tensor([-3.0, 1.0])) == 0


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: smoothed_dpo_losses(*[torch.zeros(1)] * 4, 0.0), "beta"),
        (lambda: smoothed_dpo_losses(*[torch.zeros(1)] * 4, 0.1, 0.5), "label_smoothing"),
        (lambda: smoothed_dpo_losses(torch.zeros(2), *[torch.zeros(1)] * 3), "as many"),
        (lambda: kto_losses(torch.zeros(2), torch.tensor([True]), 0.0), "good_B"),
        (lambda: kto_losses(torch.zeros(1), torch.tensor([True]), 0.0, bad_weight=0.0), "bad_weight"),
        (lambda: DisplacementGuard(window=0), "window"),
        (lambda: StageConfig(epochs=0), "epochs"),
        (lambda: StageConfig(batch=0), "batch"),
        (lambda: TwoStages(words=WORDS, instruct=FAST, prefer=FAST, method="kto", label_smoothing=0.1), "smoothing"),
        (lambda: DPOTrainer(model(), words=WORDS, config=FAST).fit([]), "nothing to learn"),
        (lambda: DPOTrainer(model(), words=WORDS, config=FAST).fit([Preference("a", "b", "c" * 30)]), "at most 25"),
        (lambda: KTOTrainer(model(), words=WORDS, config=FAST).fit([Judged("a", "b", True)] * 3), "2 prompts"),
        (lambda: TwoStages(words=WORDS, instruct=FAST, prefer=FAST)(model(), [], []), "neither"),
    ],
)
def test_bad_input_is_named(act, said):
    with pytest.raises(BadInput, match=said):
        act()


# --- on a model


def test_only_the_tokens_of_answers_count_and_they_are_summed():
    policy, reference = model(1), model(2)
    trainer = DPOTrainer(policy, reference, words=WORDS, config=FAST, beta=0.3)
    together = trainer.loss(PAIRS)
    for pair, loss in zip(PAIRS, together, strict=True):
        margin = 0.0
        for sign, answer in ((1, pair.chosen), (-1, pair.rejected)):
            margin += sign * (by_hand(policy, pair.prompt, answer) - by_hand(reference, pair.prompt, answer))
        assert loss.item() == pytest.approx(math.log1p(math.exp(-0.3 * margin)), abs=1e-5)
        assert loss.item() == pytest.approx(trainer.loss([pair]).item(), abs=1e-6)  # other rows, other padding
    rows = [([0, 1], [2, 0]), ([0, 1, 2, 3], [4, 5, 6, 7, 0])]
    filled = [log_likelihoods(policy, *padded(rows, 24, fill)) for fill in (0, 9)]
    assert torch.equal(*filled)
    assert all(p.grad is None for p in reference.parameters())


def test_equal_answers_teach_nothing():
    policy = model()
    same = Preference("abc", "de f", "de f")
    trainer = DPOTrainer(policy, model(2), words=WORDS, config=FAST)
    assert trainer.loss([same]).item() == pytest.approx(math.log(2), abs=1e-7)
    size = gradients(policy, trainer.loss([PAIRS[0]]).sum()).abs().max()
    assert gradients(policy, trainer.loss([same]).sum()).abs().max() < 1e-6 * size


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_from_the_reference_good_answers_gain_on_bad_ones(kind, monkeypatch):
    policy, first, asked = model(), model(), []

    def counted(decoder, ids, targets):
        asked.append((decoder is trainer.reference, len(ids)))
        return log_likelihoods(decoder, ids, targets)

    for place in (preference_train, stage):
        monkeypatch.setattr(place, "log_likelihoods", counted)
    config = StageConfig(epochs=20, batch=6, lr=5e-3)
    if kind == "dpo":
        trainer = DPOTrainer(policy, words=WORDS, config=config)
        report = trainer.fit(PAIRS)
    else:
        trainer = KTOTrainer(policy, words=WORDS, config=config)
        report = trainer.fit(unpaired(PAIRS))
    assert report.finished and len(report.looks) == len([a for a in asked if not a[0]]) // (1 if kind == "dpo" else 2)
    assert [a for a in asked if a[0]] == [(True, 6 if kind == "dpo" else 12)]  # the reference: each answer once
    start, end = report.looks[0], report.looks[-1]
    assert (start.chosen_gain, start.rejected_gain) == pytest.approx((0, 0), abs=1e-5)
    assert start.loss == pytest.approx(math.log(2) if kind == "dpo" else 0.5, abs=1e-5)
    assert end.chosen_gain - end.rejected_gain > 3 and end.loss < 0.8 * start.loss
    assert report.reference_chosen == pytest.approx(
        sum(by_hand(first, p.prompt, p.chosen) for p in PAIRS) / 3, abs=1e-5
    )
    assert weights_digest(trainer.reference) == weights_digest(first) != weights_digest(policy)


def test_mismatched_answers_are_those_of_other_prompts():
    answers = [Judged(p, a, True) for p, a in (("a", "b"), ("a", "c"), ("b", "d"), ("c", "e"), ("a", "f"))]
    assert preference_train._elsewhere(answers) == [2, 2, 3, 4, 2]


def test_the_reference_is_read_from_its_file_and_only_its_own(tmp_path):
    rows = [([0, 1, 2], [3, 0]), ([0, 4], [5, 6, 0])]
    kept = tmp_path / "reference.safetensors"
    first = reference_log_likelihoods(model(1), rows, 0, kept)
    state = checkpoint.load_file(kept)
    checkpoint.save_file({**state, "nats": state["nats"] + 1}, kept)  # read, and not computed again
    assert torch.equal(reference_log_likelihoods(model(1), rows, 0, kept), first + 1)
    before = kept.stat().st_mtime_ns
    other = reference_log_likelihoods(model(2), rows, 0, kept)
    assert not torch.allclose(other, first) and torch.allclose(other, reference_log_likelihoods(model(2), rows, 0))
    assert kept.stat().st_mtime_ns > before
    assert len(reference_log_likelihoods(model(2), rows[:1], 0, kept)) == 1


def test_displacement_is_told_once_it_lasts():
    def looks(*gains):
        return [Look(i + 1, 0.5, -9.0, -9.0, c, r) for i, (c, r) in enumerate(gains)]

    guard = DisplacementGuard(tolerance=1.0, window=2)
    assert guard.check(looks((-9, -20))) is None  # too few
    assert guard.check(looks((0, 0), (-1.5, -8))) is None  # -0.75 on the mean
    assert guard.check(looks((9, 9), (-1, -4), (-2, -8))) == Displaced(3, -1.5, -6.0)
    assert guard.check(looks((-2, 0), (-2, 0))) is None  # no margin: the model is just worse
    assert guard.check(looks((2, -1), (3, -2))) is None
    assert guard.check(looks((math.nan, -4), (-3, -8))) == Displaced(2, -3.0, -6.0)


def test_a_guard_may_end_the_stage():
    alike = [Preference("abc", "ddddd", "dddde"), Preference("b", "eeeee", "eeeed")]  # both likelihoods fall together
    config = StageConfig(epochs=60, batch=2, lr=2e-2)
    told, stopped = (
        DPOTrainer(
            model(), words=WORDS, config=config, guard=DisplacementGuard(tolerance=0.0, window=1, action=action)
        ).fit(alike)
        for action in ("tell", "stop")
    )
    assert told.finished and told.displaced is not None and told.displaced.chosen_gain < 0
    assert not stopped.finished and stopped.displaced == told.displaced
    assert stopped.looks[-1].step == told.displaced.step and stopped.looks == told.looks[: len(stopped.looks)]


# --- both stages


def stages(**settings):
    return TwoStages(
        words=WORDS, instruct=FAST, prefer=StageConfig(epochs=3, batch=2, lr=3e-3, save_every=2), **settings
    )


class After:
    """Says no after so many updates."""

    def __init__(self, updates):
        self.left = updates

    def __call__(self):
        self.left -= 1
        return self.left >= 0


def test_a_stage_without_rows_is_skipped():
    shown, base, both = (stages()(model(), *rows) for rows in ((SHOWN, []), ([], PAIRS), (SHOWN, PAIRS)))
    alone = model()
    config = StageConfig(**{**vars(FAST), "seed": preference_seed()})
    assert instruct(alone, WORDS, SHOWN, config).step == 5  # 3 epochs of 3 rows in pairs
    assert weights_digest(shown.model) == weights_digest(alone) and shown.preferences is None
    assert all(map(math.isnan, shown.numbers().values()))

    def likely(decoder):
        return sum(by_hand(decoder, p.prompt, p.chosen) for p in PAIRS) / len(PAIRS)

    assert base.preferences is not None and both.preferences is not None
    assert base.preferences.reference_chosen == pytest.approx(likely(model()), abs=1e-5)  # the base is the reference
    assert both.preferences.reference_chosen == pytest.approx(likely(alone), abs=1e-5)  # or what stage 1 made of it
    assert len({weights_digest(t.model) for t in (shown, base, both)}) == 3


def preference_seed():
    from smidgen.kit.seeds import derive_seed

    return derive_seed(0, "stage", 0)


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_stopped_anywhere_and_resumed_it_ends_with_the_same_bits(method, tmp_path):
    tune = stages(method=method, guard=DisplacementGuard(tolerance=0.0, window=1))
    whole = tune(model(), SHOWN, PAIRS, 7)
    assert whole.finished and whole.preferences is not None
    for cut in (0, 3, 5, 7):
        folder = tmp_path / str(cut)
        part = tune(model(), SHOWN, PAIRS, 7, folder=folder, go_on=After(cut))
        assert not part.finished
        torch.rand(3)  # the state of the generators does not matter
        again = tune(model(), SHOWN, PAIRS, 7, folder=folder)
        assert again.finished and repr(again.preferences) == repr(whole.preferences)  # NaN is equal there
        assert weights_digest(again.model) == weights_digest(whole.model)
    with pytest.raises(BadInput, match="another stage"):
        tune(model(2), SHOWN, PAIRS, 7, folder=folder)
    with pytest.raises(BadInput, match="another stage"):
        tune(model(), SHOWN[:2], PAIRS, 7, folder=folder)


def test_work_is_counted_and_stretched():
    tune, base = stages(), model()

    def forward(*lengths):
        return sum(n * flops_per_token(SHAPE, n, training=False) for n in lengths)

    pair = PAIRS[0]  # 3 letters, then 2 and 5, each with a start; the end is only a target
    assert tune.work(base, [], [pair]) == pytest.approx((3 * 3 * forward(6, 9), forward(6, 9)))
    assert tune.work(base, SHOWN[:1], []) == pytest.approx((3 * 3 * forward(5), 0))
    kto = stages(method="kto").work(base, [], [pair])
    assert kto == pytest.approx((3 * 4 * forward(6, 9), 2 * forward(6, 9)))
    longer = tune(base, [], PAIRS, stretch=2.0).preferences
    assert longer is not None and len(longer.looks) == 9  # 6 epochs of 3 pairs, 2 an update


# --- answers and diagnosis


def test_greedy_answers_are_those_of_generation_one_by_one():
    decoder = model(3)
    instruct(decoder, WORDS, SHOWN, StageConfig(epochs=30, batch=3, lr=1e-2))
    with torch.no_grad():  # rows of the embedding that are no words: one of the two would be likeliest anywhere
        decoder.model.embed_tokens.weight[28], decoder.model.embed_tokens.weight[29] = 50.0, -50.0
    prompts = ["ab", "c", "ba", "abcabc", "aa", "x"]
    ids = greedy_ids(decoder, WORDS, prompts, 6)
    for prompt, row in zip(prompts, ids, strict=True):
        alone = list(next_tokens(decoder, [0, *WORDS.encode(prompt)], Sampling(0, max_tokens=6), 0, WORDS.words))
        assert [i for i in row if i] == alone and (row[-1] == 0) == (len(alone) < 6)
    said = [said_of(ids, WORDS, len(ids) == 6) for ids in greedy_ids(decoder, WORDS, [e.prompt for e in SHOWN], 6)]
    assert [(s.text, s.reason) for s in said] == [(e.answer, "end") for e in SHOWN]
    assert greedy_ids(decoder, WORDS, [], 6) == []
    with pytest.raises(BadInput, match="at most 23"):
        greedy_ids(decoder, WORDS, ["a" * 30], 6)


def test_divergence_and_diagnosis():
    a, b, rows = model(1), model(2), [([0, 1, 2], [3, 4, 0]), ([0, 5], [6, 0])]
    assert kl_along(a, a, rows, 0).abs().max() < 1e-9
    wanted = []
    for prompt, answer in rows:
        ids = torch.tensor([[*prompt, *answer]])
        p, q = (m(ids)[0].double().log_softmax(-1)[len(prompt) - 1 : -1] for m in (a, b))
        wanted.append((p.exp() * (p - q)).sum().item())
    assert kl_along(a, b, rows, 0).tolist() == pytest.approx(wanted, rel=1e-4)
    tuned = copy.deepcopy(a)
    instruct(tuned, WORDS, [Example(p.prompt, p.chosen) for p in PAIRS], StageConfig(epochs=40, batch=3, lr=1e-2))
    found = diagnose(
        tuned, a, WORDS, PAIRS, [p.prompt for p in PAIRS], max_tokens=8,
        well_formed=lambda prompt, said: said.text == "cab",
    )  # fmt: skip
    assert found.chosen > found.reference_chosen + 3 and found.chosen_gain > 3 and found.preferred == 1
    assert (found.ended, found.well_formed, found.tokens) == (1, pytest.approx(1 / 3), pytest.approx(8 / 3))
    assert found.kl > 1 > 1e-9 > diagnose(a, a, WORDS, PAIRS, ["a"], max_tokens=4).kl
