"""Stages of training: who is paid for what, which rows teach, and what the second stage takes over from the first."""

import copy
import math

import numpy as np
import pytest
import torch

from smidgen.data.label_sources import LabelSource, given_labels
from smidgen.kit.errors import BadInput
from smidgen.kit.seeds import derive_seed
from smidgen.learn.soft_label_stage import Stage, log_confidence_targets, probabilities, train_stage
from smidgen.learn.weak_to_strong import FewShotPrompt, SequentialSFT
from smidgen.tasks.metrics import METRICS

RNG = np.random.default_rng(0)
GOLD = RNG.integers(0, 2, 300).astype(float)
X = RNG.normal(size=(300, 5)) * 0.5 + np.outer(2 * GOLD - 1, [0.4, 0.3, 0, 0, 0])
SOFT = np.clip(np.where(RNG.random(300) < 0.25, 1 - GOLD, GOLD) * 0.6 + 0.2, 0, 1)
SHORT = {"presentations": 2000}
STAGES = (Stage("weak", **SHORT), Stage("oracle", **SHORT))


def sources():
    return {"weak": given_labels("weak", 0.1, SOFT), "oracle": given_labels("oracle", 1.0, GOLD)}


def fitted(counts, seed=0, stages=STAGES, **settings):
    return SequentialSFT(stages, **settings).fit(X, sources(), counts, seed=seed)


def test_labels_are_pulled_to_the_model_keeping_their_share():
    p, y = torch.tensor([0.1, 0.9, 0.4, 0.6, 0.3]), torch.tensor([0.0, 0.2, 1.0, 0.8, 0.0])  # two of five
    assert torch.equal(log_confidence_targets(p, y, 0), y)
    for step, c in ((100, 0.25), (200, 0.5), (9999, 0.5)):
        hard = np.zeros(5)
        hard[np.argsort(-p.numpy())[:2]] = 1
        assert log_confidence_targets(p, y, step).numpy() == pytest.approx((1 - c) * y.numpy() + c * hard)
    for one in (0.3, 0.7):  # no quantile of a single row
        got = log_confidence_targets(torch.tensor([one]), torch.tensor([0.5]), 200)
        assert float(got) == pytest.approx(0.25 + 0.5 * (one > 0.5))


@pytest.mark.parametrize(("rows", "held"), [(1, 0), (2, 0), (3, 2), (9, 2), (10, 2), (50, 10)])
def test_validation_rows_are_paid_for_and_teach_nothing(rows, held):
    """Each row has a feature of its own: its weight moves exactly if the row is learnt from."""
    source = {"oracle": given_labels("oracle", 2.0, np.arange(60) % 2.0)}
    sft = SequentialSFT([Stage("oracle", presentations=200)])
    sft.fit(np.eye(60), source, {"oracle": rows}, seed=rows)
    (report,) = sft.stages_
    moved = set(np.flatnonzero(sft.model_.weight.detach().numpy()[0]))
    assert len(report.validation) == held and set(report.validation) < set(report.rows) | {-1}
    assert moved == set(report.rows) - set(report.validation)
    assert source["oracle"].ids == list(report.rows) and report.cost == sft.cost_ == 2.0 * rows
    assert math.isnan(report.score) == (held == 0)
    assert report.updates == 1 or held


def test_the_best_look_is_kept_and_a_stage_without_gain_ends():
    noise = {"oracle": given_labels("oracle", 1.0, np.random.default_rng(1).integers(0, 2, 300))}
    sft = SequentialSFT([Stage("oracle", lr=0.3)]).fit(X, noise, {"oracle": 200}, seed=3)
    (report,) = sft.stages_
    own = list(report.validation)
    assert report.score == METRICS["auc"].score(noise["oracle"].ask(own), sft.predict_proba(X[own]))
    per_epoch = 5  # 160 rows in batches of 32: a look after each epoch
    assert report.best % per_epoch == report.updates % per_epoch == 0
    assert report.best <= report.updates < 30_000 // 200 * per_epoch
    assert report.updates >= 5 * per_epoch  # one look, and four without a gain


def test_the_second_stage_goes_on_from_the_first_with_a_fresh_optimizer():
    weak = fitted({"weak": 120}, seed=5)
    both = fitted({"weak": 120, "oracle": 40}, seed=5)
    assert both.stages_[0] == weak.stages_[0]
    model, rows = copy.deepcopy(weak.model_), list(both.stages_[1].rows)
    x = torch.from_numpy(X[rows]).float()
    train_stage(model, x, torch.from_numpy(GOLD[rows]).float(), STAGES[1], derive_seed(5, "stage", 1))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), both.model_.parameters(), strict=True))


def test_purchases_are_nested_and_meet_nowhere():
    small, large = fitted({"weak": 30, "oracle": 10}), fitted({"weak": 150, "oracle": 60})
    for a, b in zip(small.stages_, large.stages_, strict=True):
        assert a.rows == b.rows[: len(a.rows)]
    assert not set(large.stages_[0].rows) & set(large.stages_[1].rows)
    assert large.cost_ == pytest.approx(75)
    assert fitted({"oracle": 10}).stages_[0].rows == small.stages_[1].rows
    with pytest.raises(BadInput, match="only 100 rows are left"):
        fitted({"weak": 200, "oracle": 101})
    overlapping = fitted({"weak": 200, "oracle": 101}, disjoint=False)
    assert len(set(overlapping.stages_[0].rows) & set(overlapping.stages_[1].rows)) == 1


def test_the_least_confident_rows_are_asked_for():
    stages = (STAGES[0], Stage("oracle", sampling="least_confident", **SHORT))
    weak = fitted({"weak": 100})
    free = sorted(set(range(300)) - set(weak.stages_[0].rows))
    p = probabilities(weak.model_, torch.from_numpy(X).float())
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    got = fitted({"weak": 100, "oracle": 20}, stages=stages).stages_[1].rows
    assert set(got) == set(sorted(free, key=lambda i: -entropy[i])[:20])
    with pytest.raises(BadInput, match="no model yet"):
        SequentialSFT(stages[::-1])


def test_examples_of_a_prompt_are_paid_for_and_not_trained_on():
    texts, seen = [f"text {i}" for i in range(40)], []

    def encode(given):
        seen.append(given)
        return np.eye(40)[[int(t.split()[-1]) for t in given]]

    weak = {"weak": LabelSource("weak", 0.1, lambda rows: [0.7 if i % 2 else 0.2 for i in rows], 40)}
    sft = SequentialSFT([Stage("weak", **SHORT)], encode=encode, few_shot=(2, "weak"))
    sft.fit(texts, weak, {"weak": 10}, seed=1)
    shown = sft.stages_[0].rows[:2]
    prefix = "".join(f"text {i}\n{i % 2}\n\n" for i in shown)
    assert seen[0] == [f"{prefix}{t}\n" for t in texts]
    assert sft.cost_ == pytest.approx(1.0) and len(weak["weak"].ids) == 10
    moved = set(np.flatnonzero(sft.model_.weight.detach().numpy()[0]))
    assert moved == set(sft.stages_[0].rows) - set(sft.stages_[0].validation) - set(shown)
    sft.predict_proba(["text 3"])
    assert (
        seen[-1] == [f"{prefix}text 3\n"] == FewShotPrompt(sft.prompt_.texts, sft.prompt_.labels).prefixed(["text 3"])
    )
    with pytest.raises(BadInput, match="more labels than the prompt takes"):
        sft.fit(texts, weak, {"weak": 2})


def test_an_adapter_learns_what_a_head_cannot():
    rng = np.random.default_rng(2)
    x = rng.choice([-1.0, 1.0], (400, 2)) + rng.normal(size=(400, 2)) * 0.1
    y = (x[:, 0] * x[:, 1] > 0).astype(float)
    area = {}
    for network in ("linear", "adapter"):
        sft = SequentialSFT([Stage("oracle", patience=40)], network=network)
        sft.fit(x, {"oracle": given_labels("oracle", 1, y)}, {"oracle": 200})
        area[network] = METRICS["auc"].score(y, sft.predict_proba(x))
    assert area["adapter"] > 0.95 and area["linear"] < 0.7


def test_small_batches_without_stopping_run_their_epochs():
    for rows, updates in ((50, 150), (150, 150), (1200, 150)):
        stage = Stage.without_stopping("oracle", rows)
        y = np.arange(rows) % 2
        sft = SequentialSFT([stage]).fit(y[:, None], {"oracle": given_labels("oracle", 1, y)}, {"oracle": rows})
        assert sft.stages_[0].updates == updates and not sft.stages_[0].validation


def test_soft_labels_are_learnt_as_they_are():
    """The best constant for labels of mean 0.3 is 0.3, and not 0."""
    source = {"weak": given_labels("weak", 0.1, np.tile([0.2, 0.4], 100))}
    stage = Stage("weak", val_frac=0.0, presentations=40_000, lr=0.02)
    sft = SequentialSFT([stage]).fit(np.ones((200, 1)), source, {"weak": 200})
    assert sft.predict_proba([[1.0]])[0] == pytest.approx([0.7, 0.3], abs=0.01)


def test_labels_of_a_source_that_is_not_there_are_refused():
    with pytest.raises(BadInput, match="weak or oracle, got orcale"):
        fitted({"weak": 50, "orcale": 20})


def test_a_stage_with_wrong_numbers_is_refused_before_labels_are_bought():
    for name, value in (("lr", 0.0), ("lr", math.nan), ("warmup", -1), ("weight_decay", -0.1), ("beta2", 1.0)):
        with pytest.raises(BadInput, match=name):
            Stage("weak", **{name: value})


def test_settings_of_a_stage_reach_its_training():
    weights = {}
    for name, more in (("xent", {}), ("logconf", {"loss": "logconf"}), ("decay", {"weight_decay": 0.5})):
        stage = Stage("weak", val_frac=0.0, presentations=20_000, **more)
        weights[name] = next(fitted({"weak": 100}, stages=[stage]).model_.parameters()).detach()
    assert not torch.allclose(weights["xent"], weights["logconf"])
    assert weights["decay"].norm() < 0.98 * weights["xent"].norm()
