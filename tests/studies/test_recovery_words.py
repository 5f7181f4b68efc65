"""Recovery of scores, likeness and separation of texts, scales of losses: small examples worked by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import silhouette_score

from smidgen.kit.errors import BadInput
from smidgen.studies import text_similarity as ts
from smidgen.studies.losses import Scale
from smidgen.studies.recovery import recovery, recovery_table, run_recovery
from smidgen.studies.text_separation import class_separation, copy_similarity

NAN = math.nan


@pytest.mark.parametrize(
    ("quant", "base", "up", "percent"),
    [(0.4, 0.5, True, 80), (0.6, 0.5, True, 120), (0.0, 0.5, True, 0), (-0.1, 0.5, True, -20), (0.5, 0.4, False, 80),
     (0.5, 0.0, False, 0)],
)  # fmt: skip
def test_percent_of_a_score(quant, base, up, percent):
    assert recovery(quant, base, up) == pytest.approx(percent)
    assert recovery(0.4, 0.5) == recovery(0.4, 0.5, True)


@pytest.mark.parametrize(
    ("quant", "base", "up"),
    [(0.4, 0.0, True), (0.4, -0.1, True), (0.4, math.inf, True), (math.inf, 0.4, True), (NAN, 0.4, True),
     (0.4, NAN, True), (0.0, 0.4, False), (-0.1, 0.4, False), (math.inf, 0.4, False)],
)  # fmt: skip
def test_what_cannot_be_a_percent(quant, base, up):
    with pytest.raises(BadInput, match="score: expected finite, and above 0 where it is divided by, got"):
        recovery(quant, base, up)


def frame(scores):
    rows = [(m, t, s, v) for (m, t), own in scores.items() for s, v in enumerate(own)]
    return pd.DataFrame(rows, columns=["method", "task", "seed", "score"])


def test_a_table_of_what_is_kept_is_paired_where_both_are_known():
    scores = {
        ("float", "up"): [0.5, 0.8, 0.4], ("float", "down"): [2.0, 1.0, 4.0],
        ("q", "up"): [0.4, NAN, 0.3], ("q", "down"): [4.0, 1.25, 5.0],
    }  # fmt: skip
    table = recovery_table(frame(scores), higher_is_better=["up"]).set_index(["method", "task"])
    assert list(table.index) == [(m, t) for m in ("float", "q") for t in ("up", "down", "all tasks")]
    up, down, both = (table.loc["q"].loc[t] for t in ("up", "down", "all tasks"))
    assert up[["mean", "recovery", "seeds"]].tolist() == pytest.approx([0.35, (80 + 75) / 2, 2])
    assert up["std"] == pytest.approx(np.std([0.4, 0.3], ddof=1)) and up["of_means"] == pytest.approx(100 * 0.7 / 0.9)
    ends = stats.t.interval(0.95, 1, 77.5, stats.sem([80, 75]))
    assert up[["low", "high"]].tolist() == pytest.approx(list(ends))
    assert down[["recovery", "of_means", "seeds"]].tolist() == pytest.approx([70, 100 * 7 / 10.25, 3])
    assert both[["recovery", "seeds"]].tolist() == pytest.approx([((80 + 50) / 2 + (75 + 80) / 2) / 2, 2])
    assert both["of_means"] == pytest.approx((up["of_means"] + down["of_means"]) / 2) and math.isnan(both["mean"])
    assert (table.loc["float"]["recovery"] == 100).all()
    narrow = recovery_table(frame(scores), level=0.5, higher_is_better=["up"]).set_index(["method", "task"])
    assert narrow.loc[("q", "down"), ["low", "high"]].tolist() == pytest.approx(
        list(stats.t.interval(0.5, 2, 70, stats.sem([50, 80, 80])))
    )


def test_one_seed_has_no_interval_and_one_task_no_mean():
    one = recovery_table(frame({("float", "a"): [0.5, NAN], ("q", "a"): [0.4, 0.3]})).set_index("method")
    assert list(one["task"]) == ["a", "a"] and one.loc["q", "recovery"] == pytest.approx(80)
    assert one.loc["q", ["std", "low", "high"]].isna().all() and one.loc["q", "seeds"] == 1
    none = recovery_table(frame({("float", "a"): [NAN, NAN], ("q", "a"): [0.4, 0.3]})).set_index("method")
    assert none.loc["q", ["mean", "recovery", "of_means", "low"]].isna().all() and none.loc["q", "seeds"] == 0
    with pytest.raises(BadInput, match="base: expected q or r, got float"):
        recovery_table(frame({("q", "a"): [1.0], ("r", "a"): [1.0]}))


def test_scores_are_asked_for_a_model_at_a_time(tmp_path):
    asked = []

    def score(method, seed):
        asked.append((method, seed))
        return lambda task: len(method) + seed + len(task) / 10

    found = run_recovery(["float", "q"], ["aa", "b"], [0, 1], score, store=tmp_path / "r", space="one")
    assert asked == [("float", 0), ("float", 1), ("q", 0), ("q", 1)] and found.finished
    assert found.table[["method", "seed", "task", "score"]].to_numpy().tolist()[:3] == [
        ["float", 0, "aa", 5.2], ["float", 0, "b", 5.1], ["float", 1, "aa", 6.2],
    ]  # fmt: skip
    run_recovery(["float", "q"], ["aa", "b"], [0, 1], score, store=tmp_path / "r", space="one")
    assert len(asked) == 4
    with pytest.raises(BadInput, match="another study"):
        run_recovery(["float", "q"], ["aa", "b"], [0, 1], score, store=tmp_path / "r", space="other")
    with pytest.raises(BadInput, match="base: expected q or r, got float"):
        run_recovery(["q", "r"], ["a"], [0, 1], score)
    with pytest.raises(BadInput, match="seeds: expected at least 2, for an error bar, got 1"):
        run_recovery(["float"], ["a"], [3, 3], score)
    assert run_recovery(["float"], ["a"], [0, 1], score).table["score"].tolist() == pytest.approx([5.1, 6.1])
    late = run_recovery(["float"], ["a"], [0, 1], score, max_seconds=0)
    assert not late.finished and len(late.table) == 0


# -- texts --


def test_words_are_counted_in_lower_case_and_by_letters():
    assert ts.words("It's 3 Über-cats, don_t!") == ["it", "s", "3", "über", "cats", "don_t"]
    assert ts.rouge_1("a a a b", "a c") == pytest.approx(2 * 1 / 6) == ts.rouge_l("a a a b", "a c")
    assert ts.rouge_1("a a b", "a a c c") == pytest.approx(2 * 2 / 7) and ts.rouge_1("a", "") == 0
    assert ts.rouge_l("a b c d", "b a d c") == pytest.approx(2 * 2 / 8) and ts.rouge_l("?", "!") == 1.0
    assert [ts.longest_common(*pair) for pair in ((["x"], []), ([], []), ("abcbdab", "bdcaba"), ("aaa", "aa"))] == [
        0, 0, 4, 2,
    ]  # fmt: skip


def test_cosines_of_vectors_and_of_nothing():
    vectors = {"a": [2.0, 0], "b": [3.0, 4], "none": [0.0, 0], "tiny": [1e-3, 0]}
    asked = []

    def encode(texts):
        asked.append(texts)
        return np.array([vectors[t] for t in texts])

    pairs = (("a", "b"), ("a", "none"), ("none", "none"), ("b", "b"), ("a", "tiny"))
    found = ts.output_similarity([a for a, _ in pairs], [b for _, b in pairs], encode)
    assert list(found.columns) == ["rouge1", "rougeL", "embed_cos", "sts", "same"]
    assert found["embed_cos"].tolist() == pytest.approx([0.6, 0, 0, 1, 1]) and len(asked) == 2
    assert found["sts"].tolist() == pytest.approx([3, 0, 0, 5, 5])
    assert found["same"].tolist() == [False, False, True, True, False]
    for a, b in (([], []), (["a"], []), (["a"], ["b", "a"])):
        with pytest.raises(BadInput, match=f"texts: expected as many of both, at least one, got {len(a)} and {len(b)}"):
            ts.output_similarity(a, b, encode)


def test_classes_by_hand():
    z = np.array([[1.0, 0], [2.0, 0], [0, 3.0], [0.6, 0.8]])
    found = class_separation(z, ["x", "x", "y", "y"])
    assert found["intra"] == pytest.approx((1 + 0.8) / 2) and found["inter"] == pytest.approx((0 + 0.6) / 2)
    assert found["centroid_cos"] == pytest.approx(0.6 / math.sqrt(0.6**2 + 1.8**2))
    assert found["silhouette"] == pytest.approx(silhouette_score(z, ["x", "x", "y", "y"], metric="cosine"))
    far = class_separation([[1.0, 0], [0, 1.0]], [0, 1])
    assert math.isnan(far["intra"]) and far["inter"] == far["centroid_cos"] == far["silhouette"] == 0.0
    same = class_separation([[1.0, 0]] * 4, [0, 0, 1, 1])
    assert same["silhouette"] == pytest.approx(0, abs=1e-9)
    for y in ([0, 0], []):
        alone = class_separation(np.ones((len(y), 2)), y)
        assert alone.keys() == {"silhouette", "centroid_cos", "intra", "inter"} and all(map(math.isnan, alone.values()))
    groups = class_separation(z, ["x", "y", "x", "y"], [1, 1, 2, 2])
    assert list(groups) == ["1", "2"] and groups["2"]["inter"] == pytest.approx(0.8)
    three = np.random.default_rng(0).normal(size=(9, 3))
    labels = [0, 0, 0, 0, 1, 1, 1, 2, 2]
    unit = three / np.linalg.norm(three, axis=1, keepdims=True)
    centre = np.array([unit[np.array(labels) == c].mean(0) for c in range(3)])
    centre /= np.linalg.norm(centre, axis=1, keepdims=True)
    cosines = [centre[a] @ centre[b] for a, b in ((0, 1), (0, 2), (1, 2))]
    own = class_separation(three, labels)
    assert own["centroid_cos"] == pytest.approx(np.mean(cosines))
    assert own["silhouette"] == pytest.approx(silhouette_score(three, labels, metric="cosine"))


def test_vectors_that_do_not_fit_are_refused():
    with pytest.raises(BadInput, match=r"embeddings: expected a vector for each of 3 labels, got shape \(2, 2\)"):
        class_separation(np.ones((2, 2)), [0, 1, 1])
    with pytest.raises(BadInput, match=r"got shape \(2,\)"):
        class_separation(np.ones(2), [0, 1])
    with pytest.raises(BadInput, match="embeddings: expected no vector of zeros, got 2 of them"):
        class_separation([[1.0, 0], [0, 0], [0, 0]], [0, 1, 1])
    assert copy_similarity([[1.0, 0], [0, 2.0]], [[3.0, 0], [3.0, 4.0]]) == pytest.approx((1 + 0.8) / 2)
    with pytest.raises(BadInput, match="got 1 of them"):
        copy_similarity([[1.0, 0]], [[0.0, 0]])


# -- scales --


@pytest.mark.parametrize(
    ("name", "family", "known", "pairs"),
    [
        ("accuracy", "error", True, [(0.8, 0.2), (1.0, 0.0)]), ("balanced_accuracy", "error", False, [(0.75, 0.25)]),
        ("macro_f1", "error", False, [(0.5, 0.5)]), ("auc", "error", False, [(0.9, 0.1)]),
        ("log_loss", "log_loss", True, [(0.7, 0.7), (2.5, 2.5)]), ("brier", "log_loss", False, [(0.3, 0.3)]),
        ("rmse", "rmse", True, [(3.0, 3.0)]), ("mae", "rmse", False, [(3.0, 3.0)]),
        ("mse", "rmse", True, [(9.0, 3.0), (0.0, 0.0)]), ("r2", "rmse", True, [(0.75, 0.5), (-3.0, 2.0), (1.0, 0.0)]),
    ],
)  # fmt: skip
def test_scores_and_losses(name, family, known, pairs):
    scale = Scale.of(name)
    assert (scale.family, scale.is_known, scale.metric.name) == (family, known, name)
    for score, loss in pairs:
        assert scale.loss(score) == pytest.approx(loss) and scale.score(loss) == pytest.approx(score)


def test_losses_that_cannot_be_are_bounded():
    assert Scale.of("mse").loss(-1e-9) == 0.0 == Scale.of("r2").loss(1 + 1e-9)
    assert Scale.of("accuracy").score(1.5) == 0.0 and Scale.of("accuracy").score(0.25) == 0.75
    assert Scale.of("rmse").score(1.5) == 1.5
