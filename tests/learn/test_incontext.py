"""The in-context learner with small random networks: tables, groups of classes, chunks, training that resumes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.kit.state import pack, unpack
from smidgen.learn import _incontext_answer as answer
from smidgen.learn import _incontext_bins as bins
from smidgen.learn import _incontext_held as held
from smidgen.learn import _incontext_table as table
from smidgen.learn import _incontext_training as training
from smidgen.learn import _incontext_weights as stored
from smidgen.learn import _incontext_wide as wide
from smidgen.learn._incontext_batches import Batches, surprise
from smidgen.learn._incontext_training import TrainingConfig, fit_network, optimizer_of
from smidgen.learn._incontext_weights import read_network, shipped, weight_bytes
from smidgen.learn.incontext import InContextClassifier, InContextRegressor
from smidgen.learn.logistic import LogisticClassifier
from smidgen.nets.cells import Cells, CellsConfig

TINY = CellsConfig(width=16, heads=2, layers=2, hidden=16)
BOTH = (InContextClassifier, InContextRegressor)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of a network that was not trained, but looks everywhere."""
    torch.set_num_threads(1)
    net = Cells(TINY)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=random))
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    path.write_bytes(weight_bytes(net))
    return str(path)


def data(n=40, d=4, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    X[rng.random((n, d)) < 0.05] = np.nan
    return X, np.arange(n) % classes


def said(head, X):
    return head.predict_proba(X) if hasattr(head, "predict_proba") else head.chances(X)[0]


@pytest.mark.parametrize("made", BOTH)
def test_order_of_rows_and_other_queries_say_nothing(made, weights):
    X, y = data()
    head, new = made(weights=weights).fit(X, y), data(seed=1)[0]
    whole = said(head, new)
    order = np.random.default_rng(0).permutation(len(X))
    assert np.allclose(whole, said(made(weights=weights).fit(X[order], y[order]), new), atol=1e-5)
    other = new.copy()
    other[1:] = 9.0
    assert np.array_equal(whole[0], said(head, other)[0])
    assert np.ptp(whole, axis=0).max() > 1e-3  # rows are told apart


@pytest.mark.parametrize("made", BOTH)
def test_chunks_give_the_same(made, weights, monkeypatch):
    X, y = data()
    head, new = made(weights=weights).fit(X, y), data(50, seed=1)[0]
    whole = said(head, new)
    monkeypatch.setattr(answer, "CELLS_AT_ONCE", 21)  # seven rows of three tokens
    assert np.allclose(whole, said(head, new), atol=1e-6)


@pytest.mark.parametrize("made", BOTH)
def test_columns_that_say_nothing_are_left_out(made, weights):
    X, y = data()
    new = data(seed=1)[0]
    plain = said(made(weights=weights).fit(X, y), new)
    more = [np.column_stack([np.full(len(t), np.nan), t[:, :2], np.full(len(t), 3.3), t[:, 2:]]) for t in (X, new)]
    assert np.array_equal(plain, said(made(weights=weights).fit(more[0], y), more[1]))
    nothing = said(made(weights=weights).fit(more[0][:, [0]], y), more[1][:, [0]])
    assert np.ptp(nothing, axis=0).max() == 0 and np.allclose(nothing.sum(1), 1)


def test_codes_spread_out_are_one_column_again(weights):
    rng = np.random.default_rng(3)
    codes, x = rng.integers(0, 4, 40), rng.standard_normal((40, 2))
    codes[:4] = range(4)
    y = np.arange(40) % 3
    hot = np.column_stack([x[:, :1], np.eye(4)[codes], x[:, 1:]])
    fits = [
        InContextClassifier(weights=weights).fit(hot, y).predict_proba(hot),
        InContextClassifier(weights=weights, categorical=(2,)).fit(np.column_stack([x, codes]), y),
        InContextClassifier(weights=weights).fit(
            frame := pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": np.array(list("wxyz"))[codes]}), y
        ),
    ]
    assert np.array_equal(fits[0], fits[1].predict_proba(np.column_stack([x, codes])))
    assert np.array_equal(fits[0], fits[2].predict_proba(frame))
    numbers = InContextClassifier(weights=weights).fit(np.column_stack([x, codes]), y)
    assert not np.allclose(fits[0], numbers.predict_proba(np.column_stack([x, codes])), atol=1e-3)
    unseen, unknown = frame.assign(c="v"), frame.assign(c=None)
    assert np.array_equal(fits[2].predict_proba(unseen), fits[2].predict_proba(unknown))


@pytest.mark.filterwarnings("ignore:47 classes")
def test_many_classes_are_split_into_groups(weights, monkeypatch):
    """With passes that say the truth with chance 0.9, so do two levels of them, and all is a distribution."""
    truth = np.arange(47)
    X = truth[:, None].repeat(3, 0).astype(float)
    y = truth.repeat(3)

    def knowing(net, shown, x_MD, rng, code):
        said = np.zeros((len(x_MD), net.config.classes))
        codes = np.unique(shown.y)
        said[:, codes] = 0.1 / max(len(codes) - 1, 1)
        for i, value in enumerate(x_MD[:, 0]):
            at = shown.y[np.argmin(abs(shown.x[:, 0] - value))]
            said[i, at] = 0.9
        return said

    monkeypatch.setattr(answer, "_alone", knowing)
    P = InContextClassifier(weights=weights, members=2).fit(X, y).predict_proba(truth[:, None].astype(float))
    assert P.shape == (47, 47)
    assert np.allclose(P.sum(1), 1)
    assert (P.argmax(1) == truth).all()
    assert np.allclose(np.diag(P), 0.81, atol=0.005)


def test_more_classes_columns_and_rows_than_are_read_at_once(weights, monkeypatch):
    monkeypatch.setattr(answer, "MOST_ROWS", 30)
    X, y = data(60, 130, classes=12)
    X[:, 77] = y
    head = InContextClassifier(weights=weights, members=1)
    with pytest.warns(UserWarning, match="130 columns|12 classes") as told:
        head.fit(X, y)
    assert [str(w.message).split(":")[0] for w in told] == ["130 columns", "12 classes"]
    P = head.predict_proba(X[:5])
    assert P.shape == (5, 12) and np.allclose(P.sum(1), 1) and P.min() > 0
    shown = head._shown(head.answers_)
    few = answer._fewer(shown, np.random.default_rng(0), shown.y)
    assert len(few.y) == 30 and set(few.y) == set(range(12))
    taken = [wide.chosen_columns(shown.x, shown.categorical, shown.y, np.random.default_rng(s)) for s in range(2)]
    assert all(len(set(t)) == wide.MOST_COLUMNS and 77 in t for t in taken)
    assert set(taken[0]) != set(taken[1])


def test_relation_to_the_target():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(90)
    X = np.column_stack([y**3, rng.standard_normal(90), np.digitize(y, [-1, 0, 1]) * 5 % 4, rng.integers(0, 3, 90)])
    found = wide.relation(X, np.array([False, False, True, True]), y)
    assert found[0] == pytest.approx(1) and found[2] > 0.7 and found[[1, 3]].max() < 0.1
    classes = wide.relation(X, np.array([False, False, True, True]), np.digitize(y, [0.0]))
    assert classes[2] == pytest.approx(1) and classes[0] > 0.6 and classes[[1, 3]].max() < 0.1


@pytest.mark.parametrize("made", BOTH)
def test_regressions_that_members_share_change_nothing(made, weights, monkeypatch):
    X, y = data(classes=4)
    X[:, 1] = np.arange(40) % 5
    head = made(weights=weights, members=3, categorical=(1,)).fit(X, y)
    shared = said(head, data(seed=1)[0])
    alone = answer._Pass.of
    monkeypatch.setattr(answer._Pass, "of", staticmethod(lambda *form: alone(*form[:5])))
    assert np.allclose(shared, said(head, data(seed=1)[0]), atol=1e-5)


def test_wide_tables_of_known_numbers_are_read_by_components(weights):
    rng = np.random.default_rng(0)
    factors, out = rng.standard_normal((90, 3)), rng.standard_normal((3, 120))
    X, y = factors @ out * np.geomspace(1e-3, 1e3, 120), np.arange(60) % 2
    codes = np.array(["u", "v", "w"])[np.arange(90) % 3]
    frame = pd.DataFrame(X).add_prefix("x").assign(code=codes)
    with pytest.warns(UserWarning, match="121 columns: .* 120 of them became 3 principal components"):
        head = InContextClassifier(weights=weights).fit(frame[:60], y)
    assert head.rows_.shape == (60, 3 + wide.TELLING + 1)  # nothing is lost, and the column of text stays
    factor = factors[:60] / factors[:60].std(0)
    assert np.linalg.matrix_rank(np.column_stack([head.rows_[:, :3], factor - factor.mean(0)]), tol=1e-6) == 3
    even = wide.learn_wide(X[:60] / X[:60].std(0), np.zeros(120, bool), y)
    assert even is not None  # units of columns say nothing
    assert np.allclose(abs(head.rows_[:, :3]), abs(wide.narrow(even, X[:60] / X[:60].std(0))[:, :3]), atol=1e-6)
    unknown, mean = frame[60:].copy(), frame[60:].copy()
    unwatched = next(i for i in range(120) if i not in head.wide_["stay"])
    unknown.iloc[:, unwatched], mean.iloc[:, unwatched] = np.nan, X[:60, unwatched].mean()
    assert np.allclose(head.predict_proba(unknown), head.predict_proba(mean), atol=1e-6)


def test_one_class_and_constant_numbers(weights):
    X, _ = data()
    assert (InContextClassifier(weights=weights).fit(X, ["a"] * 40).predict_proba(X) == 1).all()
    flat = InContextRegressor(weights=weights).fit(X, np.full(40, 7.5))
    assert np.allclose(flat.predict(X), 7.5) and np.allclose(flat.predict_interval(X), 7.5)


def test_numbers_follow_the_unit_of_the_target(weights):
    X, _ = data()
    y = np.random.default_rng(5).gamma(2.0, size=40)
    a, b = (InContextRegressor(weights=weights).fit(X, t) for t in (y, 1000 * y - 3))
    assert np.allclose(1000 * a.predict(X) - 3, b.predict(X), rtol=1e-4)
    assert np.allclose(1000 * a.crps(X, y), b.crps(X, 1000 * y - 3), rtol=1e-3)
    q = a.predict_quantiles(X, [0.001, 0.05, 0.5, 0.95, 0.999])
    assert (np.diff(q, axis=1) > 0).all()
    assert np.allclose(a.predict_interval(X, 0.9), q[:, [1, 3]])
    with pytest.raises(BadInput, match="levels"):
        a.predict_quantiles(X, [0.5, 1.0])


def test_targets_of_any_size(weights):
    X, _ = data()
    y = np.random.default_rng(5).gamma(2.0, size=40)
    plain = InContextRegressor(weights=weights).fit(X, y)
    for unit in (1e-13, 1e200):
        scaled = InContextRegressor(weights=weights).fit(X, unit * y)
        assert np.allclose(scaled.predict(X) / unit, plain.predict(X), rtol=1e-4)
    flat = InContextRegressor(weights=weights).fit(X, np.full(40, 2.0))
    assert np.allclose(flat.crps(X, np.full(40, 2.5)), 0.5)


def test_histograms_against_samples():
    """Mean, quantiles and CRPS of a histogram are those of a large sample from it."""
    rng = np.random.default_rng(0)
    edges = np.array([-2.0, -0.5, 0.0, 1.5, 2.0])
    chance = np.array([0.05, 0.2, 0.3, 0.15, 0.1, 0.2])
    bin_of = rng.choice(6, 400_000, p=chance)
    low, high = np.append(-2.0, edges)[bin_of], np.append(edges, 2.0)[bin_of]
    draw = low + (high - low) * rng.random(len(low))
    tail = bins.TAIL * rng.exponential(size=len(low))
    draw += np.where(bin_of == 0, -tail, 0) + np.where(bin_of == 5, tail, 0)
    assert bins.mean(chance[None], edges)[0] == pytest.approx(draw.mean(), abs=0.01)
    levels = np.array([0.01, 0.1, 0.5, 0.9, 0.99])
    assert np.allclose(bins.quantiles(chance[None], edges, levels)[0], np.quantile(draw, levels), atol=0.03)
    for y in (-4.0, 0.3, 3.0):
        exact = abs(draw - y).mean() - abs(draw[::2] - draw[1::2]).mean() / 2
        assert bins.crps(chance[None], edges, np.array([y]))[0] == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("made", BOTH)
def test_bad_input_says_what_is_wrong(made, weights):
    X, y = data()
    head = made(weights=weights)
    with pytest.raises(BadInput, match="target of row 3 is not known"):
        head.fit(X, np.where(np.arange(40) == 3, np.nan, y))
    frame = pd.DataFrame(X, columns=list("abcd"))
    mixed = frame.astype({"b": object})
    mixed.iloc[7, 1] = "n/a"
    with pytest.raises(BadInput, match=r"Column 'b' holds numbers, but 'n/a' in row 7"):
        head.fit(mixed, y)
    with pytest.raises(BadInput, match="Column 'b' was of numbers, but row 7 has 'n/a'"):
        said(head.fit(frame, y), mixed)
    with pytest.raises(BadInput, match="text where numbers are due"):
        head.fit(np.array([["a", "1"]] * 40, object), y)
    with pytest.raises(BadInput, match="categorical"):
        made(weights=weights, categorical=(4,)).fit(X, y)
    if made is InContextRegressor:
        with pytest.raises(BadInput, match="must be numbers, but holds 'b'"):
            head.fit(X, ["b"] * 40)
    with pytest.raises(BadInput, match="weights of the in-context learner are not there"):
        made(weights="none.safetensors").fit(X, y)


def test_weights_of_something_else_are_refused(weights, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(weight_bytes(Cells(TINY, seed=5)))
    X, y = data()
    head = InContextClassifier(weights=weights).fit(X, y)
    head.weights = str(path)
    with pytest.raises(BadInput, match="others than those of this model"):
        head.predict(X)
    data_ = path.read_bytes()
    wide = weight_bytes(Cells(CellsConfig(width=24, heads=2, layers=2, hidden=16)))
    assert len(wide) != len(data_)
    path.write_bytes(data_[:-4])
    with pytest.raises(BadInput, match="not a whole safetensors file"):
        read_network(path)


@pytest.mark.parametrize("made", BOTH)
def test_saved_model_says_the_same(made, weights):
    X, y = data()
    head = made(weights=weights, random_state=3).fit(X, y)
    arrays: dict[str, np.ndarray] = {}
    state = pack(head.get_state(), arrays)
    assert state["params"]["weights"] is None  # no path of this machine
    again = made.from_state(unpack(state, arrays))
    again.weights = weights
    assert np.array_equal(said(head, X), said(again, X))
    assert not np.array_equal(said(head, X), said(made(weights=weights, random_state=4).fit(X, y), X))


def test_saved_model_finds_the_weights_it_was_made_with(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    made = []
    for seed in range(2):
        (tmp_path / "new").write_bytes(weight_bytes(Cells(TINY, seed)))
        _, found = read_network(tmp_path / "new")
        made.append(found)
        (tmp_path / "new").rename(shipped(found))
    X, y = data()
    monkeypatch.setattr(stored, "NEWEST", made[0])
    head = InContextClassifier().fit(X, y)
    before = head.predict_proba(X)
    monkeypatch.setattr(stored, "NEWEST", made[1])  # a later version of the package
    assert np.array_equal(InContextClassifier.from_state(head.get_state()).predict_proba(X), before)
    head.fit(X, y)
    assert head.weights_hash_ == made[1]


def test_codes_with_unknown_places_and_categories_that_look_like_numbers():
    spread, categorical = table.fused(np.array([[np.nan, 1, 0], [0, 0, 1], [1, 1, 0.0]]), [(0, 3)])
    assert np.array_equal(spread[:, 0], [1, 2, np.nan], equal_nan=True) and categorical.all()
    X, y = data()
    levels = table.learn_levels(pd.DataFrame({"n": pd.Categorical([3, 1, 2]), "one": pd.Categorical(["x"] * 3)}))
    assert levels == {"0": ["1", "2", "3"], "1": ["x"]}


def test_shipped_weights_know_small_tables():
    """Better than logistic regression where the truth is curved, and not far behind where it is straight."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((440, 4))
    for score, most in ((X[:, 0] ** 2 + X[:, 1] - 1, 0.8), (X[:, 0] - X[:, 1], 1.5)):
        y = (score + 0.3 * rng.standard_normal(440) > 0).astype(int)
        loss = [
            -np.log(h.fit(X[:40], y[:40]).predict_proba(X[40:])[np.arange(400), y[40:]]).mean()
            for h in (InContextClassifier(), LogisticClassifier())
        ]
        assert loss[0] < most * loss[1]
    y = np.sin(2 * X[:, 0]) + X[:, 1] + 0.2 * rng.standard_normal(440)
    model = InContextRegressor().fit(X[:60], y[:60])
    low, high = model.predict_interval(X[60:]).T
    assert 0.8 < ((low <= y[60:]) & (y[60:] <= high)).mean() < 0.98
    assert ((model.predict(X[60:]) - y[60:]) ** 2).mean() < 0.4 * y.var()
    assert shipped().stat().st_size < 12 << 20


# -- training


@pytest.fixture
def few_held(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(held, "GROUPS", {"classes": (12, 3, 2, 1.0), "numbers": (12, 3, 0, 1.0)})
    monkeypatch.setattr(held, "TASKS", 4)
    monkeypatch.setattr(held, "AT_ONCE", 4)


def config(updates, **more):
    return TrainingConfig(net=TINY, updates=updates, tokens=400, look_every=4, warmup=2, grown=20, accumulate=1, **more)


def test_stopped_and_longer_trainings_give_the_same_bits(few_held, tmp_path):
    whole = fit_network(config(8), tmp_path / "whole", say=str)
    assert whole is not None
    log = (tmp_path / "whole/log.jsonl").read_text().splitlines()
    parts = None
    for sitting in range(3):  # three updates each: the last stop is within the fall
        count = iter(range(100))
        parts = fit_network(
            config(8), tmp_path / "parts", resume=sitting > 0, say=str, stopped=lambda c=count: next(c) >= 3
        )
        assert (parts is None) == (sitting < 2)
    assert parts is not None and parts.read_bytes() == whole.read_bytes()
    assert len((tmp_path / "parts/log.jsonl").read_text().splitlines()) == len(log) == 8
    with pytest.raises(BadInput, match="--resume"):
        fit_network(config(8), tmp_path / "whole", say=str)
    with pytest.raises(BadInput, match="another network"):
        fit_network(replace(config(8), net=replace(TINY, hidden=8)), tmp_path / "whole", resume=True, say=str)
    longer = fit_network(config(12), tmp_path / "whole", resume=True, say=str)  # on from before the fall
    fresh = fit_network(config(12), tmp_path / "fresh", say=str)
    assert longer is not None and fresh is not None and longer.read_bytes() == fresh.read_bytes()
    net, _ = read_network(longer)
    assert net.config == TINY


def test_a_training_that_only_fell_goes_on_from_its_end(few_held, tmp_path):
    fit_network(config(4, fall=1.0), tmp_path, say=str)
    told: list[str] = []
    assert fit_network(config(8, fall=0.5), tmp_path, resume=True, say=told.append)
    assert told[0] == "going on from update 4"


def test_a_fall_that_the_clock_began_goes_on_as_it_began(few_held, tmp_path, monkeypatch):
    def sitting(name, stop_at, resume=False):
        ticks, asked = iter(range(10**6)), iter(range(10**6))
        monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
        timed = replace(config(1), updates=None, hours=16 / 3600, fall=0.5)
        out = tmp_path / name
        return fit_network(timed, out, resume=resume, say=str, stopped=lambda: next(asked) >= stop_at)

    whole = sitting("whole", 99)
    assert sitting("parts", 5) is None and (tmp_path / "parts/fall").is_dir()
    parts = sitting("parts", 99, resume=True)
    assert whole is not None and parts is not None and whole.read_bytes() == parts.read_bytes()


def test_it_learns_clean_tasks():
    """A minute network that starts without trust in its advice, and two thousand tasks: much better than chance."""
    torch.set_num_threads(1)
    clean = Batches(tokens=1200, grown=10**6, numbers_every=10**9)
    net = Cells(replace(TINY, width=32, hidden=32))
    torch.nn.init.zeros_(net.trust_classes.bias)
    before, optimizer = _mean(net, clean), optimizer_of(net, 0.02, 0.02)
    for number in range(50):
        surprise(net, clean.at(number)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert _mean(net, clean) < min(before, np.log(2)) - 0.1


def _mean(net, batches):
    with torch.no_grad():
        return float(torch.cat([surprise(net, batches.at(500 + k)) for k in range(6)]).mean())


def test_batches_are_known_by_their_number():
    batches = Batches(tokens=600, grown=100)
    for number in (0, 60, 103):
        a, b = batches.at(number), Batches(tokens=600, grown=100).at(number)
        assert torch.equal(a.inputs.distance, b.inputs.distance) and torch.equal(a.asked, b.asked)
        if a.used is not None:
            assert a.used.gather(1, a.asked).all()  # every class that is asked for is shown
            assert (a.used.sum(1) >= 2).all()
    assert {batches.at(k).kind for k in range(8)} == {"classes", "numbers"}
    codes = torch.cat([batches.at(k).used for k in range(3)]).sum(0)  # pyright: ignore
    assert (codes > 0).all()  # two classes, but all codes are learned
    assert not torch.equal(batches.at(0).asked, replace(batches, seed=1).at(0).asked)
