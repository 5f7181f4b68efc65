"""Synthetic tasks: the same by number, what they announce, as flawed as asked, learnable and not trivial."""

from dataclasses import fields, replace

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV

from smidgen.data.prior_tasks import (
    FLAWS,
    MECHANISMS,
    ROLES,
    Curriculum,
    PriorConfig,
    PriorTasks,
    Stage,
    functions,
    only,
)
from smidgen.data.prior_tasks.columns import Plan, missing_cells, warped
from smidgen.data.prior_tasks.functions import FUNCTIONS
from smidgen.data.prior_tasks.mechanisms import mechanism
from smidgen.data.prior_tasks.settings import VERSION
from smidgen.data.prior_tasks.targets import balancing, cut_points, flipped, labels, numbers
from smidgen.kit.config import from_mapping, to_json
from smidgen.kit.errors import BadInput

CLEAN = dict.fromkeys(FLAWS, 0.0)


def made(count, rows=100, features=8, number=0, seed=1000, stage=None, n_context=None, **config):
    tasks = PriorTasks(PriorConfig(**config), seed)
    return tasks.batch(number, count, rows=rows, features=features, stage=stage, n_context=n_context)


# -- batches ------------------------------------------------------------------------------------------------------


def test_a_task_follows_from_its_number():
    whole = made(24, regression=0.4)
    np.random.seed(7)  # nobody else's generator plays a part
    parts = [made(count, number=number, regression=0.4) for number, count in ((17, 7), (0, 5), (5, 12))]
    for field in fields(whole):
        joined = np.concatenate([getattr(parts[i], field.name) for i in (1, 2, 0)])
        np.testing.assert_array_equal(getattr(whole, field.name), joined)  # to the bit, unknown cells too
    other = made(24, regression=0.4, seed=1001)
    assert not any(np.array_equal(whole.x[i], other.x[j]) for i in range(24) for j in range(24))
    assert not any(np.array_equal(whole.x[i], whole.x[j]) for i in range(24) for j in range(i))


def test_draws_have_not_changed():
    """Shipped weights were trained on these very tasks: whoever changes the draws raises VERSION and this."""
    batch = made(6, rows=40, features=6, seed=0, regression=0.3)
    assert VERSION == 2
    assert batch.mechanism.tolist() == GOLDEN["mechanism"]
    assert batch.n_classes.tolist() == GOLDEN["n_classes"] and batch.n_context.tolist() == GOLDEN["n_context"]
    at = np.arange(1, 41)
    assert (batch.y @ at).tolist() == pytest.approx(GOLDEN["y"], rel=1e-4, abs=1e-3)
    assert np.nansum(np.arcsinh(batch.x), axis=2) @ at == pytest.approx(GOLDEN["x"], rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("stage", [Stage(), Stage(severity=0.0, fill=0.1), Stage(context=(0.05, 0.1), classes=(7, 10))])
def test_batches_are_what_they_announce(stage):
    batch = made(150, rows=60, features=12, stage=stage, regression=0.2)
    assert {a.dtype.name for a in (batch.x, batch.y)} == {"float32"} and len(batch) == 150
    assert not np.isinf(batch.x).any() and np.isfinite(batch.y).all()
    low, high = stage.context
    assert (batch.n_context >= max(2, round(low * 60))).all() and (batch.n_context <= round(high * 60)).all()
    assert (batch.n_features >= np.ceil(stage.fill * 12)).all() and batch.n_features.max() == 12
    padding = np.arange(12) >= batch.n_features[:, None]
    assert ((batch.role == ROLES.index("padding")) == padding).all() and not batch.categorical[padding].any()
    assert not batch.x.transpose(0, 2, 1)[padding].any()  # 0, not unknown
    for i in range(150):
        x, y, x_query, y_query = batch.one(i)
        assert np.isfinite(x).any(0).all()  # a column is known somewhere in the context
        both = np.concatenate([x, x_query])
        assert (np.nanmin(both, 0) < np.nanmax(both, 0)).mean() > 0.7
        codes = both[:, batch.categorical[i, : batch.n_features[i]]]
        assert ((codes == np.rint(codes)) & (codes >= 0) | np.isnan(codes)).all()
        z = (both - np.nanmean(both, 0)) / np.maximum(np.nanstd(both, 0), 1e-12)
        assert np.nanquantile(np.abs(z), 0.9) < 4
        if batch.n_classes[i]:
            assert np.unique(y).tolist() == list(range(batch.n_classes[i])) and set(y_query) <= set(y)
            assert 2 <= batch.n_classes[i] <= max(stage.classes[1], 2)
        else:
            assert abs(batch.y[i].mean()) < 1e-3 and batch.y[i].std() == pytest.approx(1, abs=1e-3)
            assert len(np.unique(batch.y[i])) > 2
    share = (batch.n_classes == 0).mean()
    assert abs(share - 0.2) < 4 * np.sqrt(0.16 / 150)


def test_sizes_are_kept():
    batch = made(60, n_context=17, stage=Stage(classes=(5, 5)), weights=only("linear"))
    assert set(batch.n_context) == {17} and (batch.n_classes == 5).mean() > 0.9  # noise may erase a rare class
    assert (made(20, rows=10, n_context=4, stage=Stage(classes=(9, 9))).n_classes == 2).all()  # no room for more
    one = made(5, stage=Stage(classes=(1, 1)))
    assert (one.n_classes == 1).all() and not one.y.any()
    tiny = made(40, rows=4, features=1, n_context=3, regression=0.3)
    assert np.isfinite(tiny.y).all() and all(np.ptp(y) > 0 for y in tiny.y)
    # Small contexts get every class without becoming a special draw: the first rows are as likely to be any class.
    rare = made(300, rows=50, n_context=25, stage=Stage(classes=(2, 2)), weights=only("linear"), **CLEAN)
    assert abs(rare.y[:, 0].mean() - 0.5) < 4 * np.sqrt(0.25 / 300)
    assert abs(rare.y[:, :25].mean() - rare.y[:, 25:].mean()) < 0.02


# -- flaws --------------------------------------------------------------------------------------------------------


def _few_values(batch, i):
    return min(len(np.unique(c)) for c in batch.x[i, :, : batch.n_features[i]].T) <= 30


def _uneven(batch, i):
    count = np.bincount(batch.y[i].astype(int))
    return count.max() > 2 * count.min()


def _scales(batch, i):
    spread = batch.x[i, :, : batch.n_features[i]].std(0)
    return spread.max() > 3 * spread.min()


SEEN = {
    "missing": lambda b, i: np.isnan(b.x[i]).any(),
    "categorical": lambda b, i: b.categorical[i].any(),
    "irrelevant": lambda b, i: (b.role[i] == ROLES.index("irrelevant")).any(),
    "redundant": lambda b, i: (b.role[i] == ROLES.index("redundant")).any(),
    "discretised": _few_values,
    "imbalance": _uneven,
    "scaled": _scales,
}


@pytest.mark.parametrize("flaw", SEEN)
def test_flaws_come_as_often_as_asked(flaw):
    n, stage = 200, Stage(severity=0.5, classes=(4, 4), fill=1.0)
    ask = CLEAN | {"weights": only("linear"), "noise": 0.1}
    often = made(n, rows=120, stage=stage, **ask | {flaw: 0.6})
    share = np.mean([SEEN[flaw](often, i) for i in range(n)])
    assert abs(share - 0.3) < 4 * np.sqrt(0.21 / n) + (0.03 if flaw == "imbalance" else 0)  # a few are drawn near equal
    never = made(60, rows=120, stage=stage, **ask)
    assert np.mean([SEEN[flaw](never, i) for i in range(60)]) <= (0.05 if flaw == "imbalance" else 0)


def test_cells_are_missing_for_the_reason_given():
    x = np.random.default_rng(0).standard_normal((200, 6))
    gaps = {}
    for why in ("chance", "own", "other"):
        rng, differ = np.random.default_rng(1), []
        for _ in range(40):
            unknown = missing_cells(rng, x, 0.4, why)
            share = unknown.mean(0)
            assert 0 < share.max() <= 0.4 and unknown.any()
            for j in np.flatnonzero(share > 0.1):
                differ.append(abs(x[unknown[:, j], j].mean() - x[~unknown[:, j], j].mean()))
        gaps[why] = np.median(differ)
    assert gaps["own"] > 0.5 and max(gaps["chance"], gaps["other"]) < 0.25
    rates = [np.isnan(made(1, number=i, missing=1.0, missing_most=0.2).x).mean() for i in range(20)]
    assert 0 < max(rates) <= 0.2 and min(rates) > 0


def test_warps_keep_the_order():
    x = np.random.default_rng(0).uniform(-1, 1, (80, 60))
    bent = warped(np.random.default_rng(1), x)
    assert np.array_equal(bent.argsort(0), x.argsort(0)) and np.isfinite(bent).all()
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, bent.T, strict=True)]
    assert 0.1 < np.mean(np.array(r) > 0.9999) < 0.5 and min(r) < 0.95  # a quarter is left alone


def test_wrong_labels_are_as_many_as_asked():
    y = np.arange(1000) % 4
    changed = [(flipped(np.random.default_rng(s), y, 0.2) != y).mean() for s in range(20)]
    assert np.mean(changed) == pytest.approx(0.2 * 3 / 4, abs=0.02) and max(changed) <= 0.2
    fits = {}
    for chance in (0.0, 1.0):
        ask = CLEAN | {"label_noise": chance, "label_noise_most": 1.0, "noise": 0.0, "weights": only("linear")}
        batch = made(20, rows=200, features=3, n_context=199, stage=Stage(classes=(2, 2)), **ask)
        tries = [batch.one(i)[:2] for i in range(20)]
        fits[chance] = np.mean([LogisticRegression(C=100).fit(x, y).score(x, y) for x, y in tries])
    assert fits[0.0] > 0.9 and fits[1.0] < fits[0.0] - 0.1


def test_noise_of_numbers_is_of_the_kind_asked():
    z = np.random.default_rng(0).standard_normal((4000, 2))

    def noise(**kind):
        y = numbers(
            np.random.default_rng(1), z, 0.5, **(dict.fromkeys(("heavy", "uneven", "few", "bent"), False) | kind)
        )
        return y - z[:, 0] * np.cov(y, z[:, 0])[0, 1] / z[:, 0].var()

    plain, heavy, uneven = noise(), noise(heavy=True), noise(uneven=True)
    assert plain.std() == pytest.approx(0.5 / np.sqrt(1.25), rel=0.05)
    assert (heavy**4).mean() / (heavy**2).mean() ** 2 > 6 > 4 > (plain**4).mean() / (plain**2).mean() ** 2
    grows = [np.corrcoef(np.abs(e), z[:, 1])[0, 1] for e in (plain, uneven)]
    assert abs(grows[0]) < 0.1 and grows[1] > 0.3


# -- parts --------------------------------------------------------------------------------------------------------


def test_labels_have_their_shares_and_ties_stay_together():
    rng = np.random.default_rng(0)
    share = np.array([0.5, 0.3, 0.15, 0.05])
    z = rng.standard_normal((1000, 4))
    edges = cut_points(z[:, 0], share)
    assert np.bincount(np.searchsorted(edges, z[:, 0])).tolist() == [500, 300, 150, 50]
    for way in ("cuts", "argmax", "prototypes"):
        got = np.bincount(labels(np.random.default_rng(3), z, share, way, 0.0), minlength=4) / 1000
        assert got == pytest.approx(share, abs=0.03), way
    assert np.abs(balancing(z, np.full(4, 0.25))).max() < 0.3
    tied = np.repeat([0.0, 1.0, 2.0, 7.0], [400, 10, 300, 290])
    assert np.searchsorted(cut_points(tied, np.full(3, 1 / 3)), [0, 1, 2, 7]).tolist() == [0, 1, 1, 2]
    assert len(cut_points(tied, np.full(9, 1 / 9))) == 3 and len(cut_points(np.zeros(5), share)) == 0
    assert cut_points(tied, np.array([0.01, 0.01, 0.98])).tolist() == [0.5, 1.5]  # a gap for each edge


def test_functions_are_of_their_kind():
    rng = np.random.default_rng(0)
    x, other = rng.standard_normal((2, 50, 8))

    def of(name, x, seed):
        return FUNCTIONS[name](np.random.default_rng(seed), x, 3)

    for seed in range(20):
        for name in ("forest", "rules"):  # they know of columns only the order of rows
            assert np.array_equal(of(name, x, seed), of(name, np.exp(x), seed))
        assert np.allclose(of("linear", x + other, seed), of("linear", x, seed) + of("linear", other, seed))
        few = of("sparse_linear", x, seed)
        assert 1 <= sum(not np.allclose(of("sparse_linear", x + step, seed), few) for step in np.eye(8)) <= 4
        assert np.abs(of("linear", x, seed)).sum(0).all()
        assert np.array_equal(of("network", x, seed), of("network", x, seed))
    near, far = x + 0.01, x + 3.0
    draws = [[of("gaussian_process", at, seed) for at in (x, near, far)] for seed in range(20)]
    same, close, apart = (np.mean([d[0] * d[k] for d in draws]) for k in range(3))
    assert same == pytest.approx(32, rel=0.15) and close > 0.99 * same and apart < 0.8 * same


def test_rows_of_a_forest_are_equal_where_they_reach_the_same_leaves(monkeypatch):
    x, drawn = np.random.default_rng(0).standard_normal((60, 3)), []

    def remember(*arguments):
        drawn.append(cuts(*arguments))
        return drawn[-1]

    cuts = functions._cuts
    monkeypatch.setattr(functions, "_cuts", remember)
    for seed in range(12):
        z = functions.forest(np.random.default_rng(seed), x, 2)
        leaves = []
        for row in x:
            reached = []
            for column, threshold in zip(*drawn[-1], strict=True):
                node = 0
                while node < len(column):
                    node = 2 * node + (2 if row[column[node]] > threshold[node] else 1)
                reached.append(node)
            leaves.append(tuple(reached))
        same = np.array([[a == b for b in leaves] for a in leaves])
        assert np.array_equal(same, (z[:, None] == z).all(2)) and len(set(leaves)) > 1


@pytest.mark.parametrize("name", MECHANISMS)
def test_mechanisms_at_their_edges(name):
    for seed, (width, outputs, rows) in enumerate([(1, 1, 4), (1, 10, 30), (2, 2, 12), (3, 4, 50), (40, 1, 60)] * 3):
        rng = np.random.default_rng(seed)
        levels = np.where(rng.random(width) < 0.5, rng.integers(2, 4, width), 0)
        codes = (levels > 0) & (rng.random(width) < 0.5)
        shown, z = mechanism(rng, name, Plan(rows, outputs, outputs, levels, codes, 0.1))
        assert shown.shape == (rows, width) and z.shape == (rows, outputs) and np.isfinite(shown).all()
        assert np.abs(z.mean(0)).max() < 1e-9 and np.isin(z.std(0).round(6), (0, 1)).all()
        for j in np.flatnonzero(levels):
            assert set(shown[:, j]) <= set(range(levels[j])) and len(set(shown[:, j])) > 1
        assert np.abs(shown[:, levels == 0]).max(initial=0) < 30


# -- learnable ----------------------------------------------------------------------------------------------------


def _prepared(x, x_query):
    middle = np.nanmedian(x, 0)
    x, x_query = (np.where(np.isnan(a), middle, a).astype(float) for a in (x, x_query))
    spread = x.std(0) + 1e-12
    return np.clip((x - middle) / spread, -5, 5), np.clip((x_query - middle) / spread, -5, 5)


def test_classes_can_be_learned_and_not_all_perfectly():
    gain, score = {}, []
    for name in MECHANISMS:
        batch = made(6, rows=200, n_context=100, stage=Stage(severity=0.6, classes=(2, 4)), weights=only(name))
        assert (batch.mechanism == MECHANISMS.index(name)).all()
        for i in range(6):
            x, y, x_query, y_query = batch.one(i)
            x, x_query = _prepared(x, x_query)
            models = LogisticRegression(max_iter=500), ExtraTreesClassifier(15, min_samples_leaf=2, random_state=0)
            score.append(max((m.fit(x, y).predict(x_query) == y_query).mean() for m in models))
            gain.setdefault(name, []).append(score[-1] - (y_query == np.bincount(y.astype(int)).argmax()).mean())
    assert min(np.mean(g) for g in gain.values()) > 0.05, {n: np.mean(g) for n, g in gain.items()}
    assert np.mean(np.concatenate(list(gain.values())) > 0.02) > 0.7
    assert 0.6 < np.mean(score) < 0.93 and np.mean(np.array(score) > 0.99) < 0.2


def test_numbers_can_be_learned_and_not_all_perfectly():
    batch = made(30, rows=200, n_context=100, stage=Stage(severity=0.5), regression=1.0, heavy_tailed=0.0)
    share = []
    for i in range(30):
        x, y, x_query, y_query = batch.one(i)
        x, x_query = _prepared(x, x_query)
        models = RidgeCV(np.logspace(-2, 3, 6)), ExtraTreesRegressor(20, min_samples_leaf=2, random_state=0)
        share.append(max(m.fit(x, y).score(x_query, y_query) for m in models))
    share = np.array(share)
    assert (share > 0.05).mean() > 0.7 and 0.2 < np.median(share) < 0.95 and (share > 0.99).mean() < 0.3


def test_labels_that_come_out_constant_are_drawn_again():
    """With two distinct rows in a column, rules often say the same of all: the target must still vary."""
    for regression in (0.0, 1.0):
        ask = CLEAN | {"weights": only("rules"), "noise": 0.0, "regression": regression, "categorical": 1.0}
        batch = made(150, rows=6, features=1, n_context=4, **ask)
        assert all(np.ptp(y) > 0 for y in batch.y)


# -- settings -----------------------------------------------------------------------------------------------------


def test_a_curriculum_grows_from_small_and_clean():
    plan = Curriculum()
    first, last = plan.at(0.0), plan.at(1.0)
    assert first.severity == 0 and first.classes == (2, 2) and first.features[1] <= 4 and first.rows[1] <= 64
    assert (
        replace(last, start=1.0) == Stage() and last.severity == 1 and last.classes[1] == 10 and last.features[1] == 100
    )
    steps = [plan.at(p) for p in np.linspace(0, 1, 101)]
    for name in ("rows", "features", "classes"):
        most = [getattr(s, name)[1] for s in steps]
        assert most == sorted(most) and len(set(most)) > 5
    assert [s.severity for s in steps] == sorted(s.severity for s in steps)
    assert plan.at(0.3) == plan.stages[2]
    halfway = Curriculum((Stage(start=0.0, rows=(16, 64), severity=0.0), Stage(rows=(16, 256)))).at(0.5)
    assert halfway.rows == (16, 128) and halfway.severity == 0.5

    shapes = [last.shape(0, step) for step in range(300)]
    assert shapes == [last.shape(0, step) for step in range(300)] and len(set(shapes)) > 200
    assert all(s.rows * s.features <= last.cells or s.rows == last.rows[0] for s in shapes)
    assert all(32 <= s.rows <= 384 and 1 <= s.features <= 100 and 2 <= s.n_context < s.rows for s in shapes)
    assert max(s.features for s in shapes) > 80 and max(s.rows for s in shapes) > 300
    clean = made(40, rows=64, features=4, stage=first)
    assert np.isfinite(clean.x).all() and not clean.categorical.any() and (clean.n_classes == 2).all()
    assert np.abs(clean.x[clean.x != 0]).max() < 12


def test_settings_survive_json():
    import json

    config = PriorConfig(weights=only("forest", "rules"), missing=0.9)
    assert from_mapping(PriorConfig, json.loads(to_json(config))) == config


def test_what_is_refused():
    tasks = PriorTasks()
    for call, said in (
        (lambda: PriorConfig(missing=1.2), "missing: expected from 0 to 1"),
        (lambda: PriorConfig(weights=(1.0,)), "8 numbers"),
        (lambda: PriorConfig(weights=(0.0,) * 8), "not all 0"),
        (lambda: PriorConfig(noise=-1.0), "0 or more"),
        (lambda: PriorConfig(missing_most=1.0), "below 1"),
        (lambda: only("forrest"), "Did you mean 'forest'"),
        (lambda: only(), "at least one name"),
        (lambda: Stage(classes=(2, 11)), "from 1 to 10"),
        (lambda: Stage(rows=(2, 9)), "of 4 or more"),
        (lambda: Stage(features=(5, 3)), "least, most"),
        (lambda: Stage(context=(0.0, 0.5)), "above 0 and below 1"),
        (lambda: Stage(severity=2.0), "from 0 to 1"),
        (lambda: Stage(cells=0), "at least 1"),
        (lambda: Curriculum((Stage(start=0.5),)), "the first 0"),
        (lambda: Curriculum().at(1.5), "progress"),
        (lambda: tasks.batch(-1, 2, rows=10, features=2), "number: expected at least 0"),
        (lambda: tasks.batch(0, 0, rows=10, features=2), "count"),
        (lambda: tasks.batch(0, 1, rows=3, features=2), "rows: expected at least 4"),
        (lambda: tasks.batch(0, 1, rows=10, features=0), "features"),
        (lambda: tasks.batch(0, 1, rows=10, features=2, n_context=10), "from 2 to 9"),
    ):
        with pytest.raises(BadInput, match=said):
            call()
    assert replace(Stage(), severity=0.1).severity == 0.1


GOLDEN = {
    "mechanism": [7, 7, 0, 4, 2, 5],
    "n_classes": [0, 0, 0, 4, 0, 2],
    "n_context": [9, 21, 23, 26, 26, 14],
    "y": [30.0773, -45.5596, -116.0175, 1319.0, 29.3439, 491.0],
    "x": [-1857.972, 350.604, -343.969, 7406.88, 289.781, 2928.106],
}
