"""The in-context encoder: episodes of subjects, scores, ridge baselines, training that resumes, the estimator."""

import itertools
import math
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import explained_variance_score, r2_score

from smidgen.kit.errors import BadInput
from smidgen.kit.files import read_tensors
from smidgen.kit.state import pack, unpack
from smidgen.learn import _encoder_episodes, incontext_encoder
from smidgen.learn._encoder_settings import Plateau
from smidgen.learn._encoder_training import CHECKPOINT
from smidgen.learn._encoder_weights import encoder_bytes, read_encoder
from smidgen.learn.incontext_encoder import (
    EncoderTrainingConfig,
    EpisodeSampler,
    InContextEncoder,
    Subject,
    WeightPrior,
    by_region,
    context_curve,
    explained_variance,
    noise_ceiling,
    r_squared,
    ridge_cv,
    standardized,
    synthetic_subject,
    train_encoder,
)
from smidgen.learn.reduced import reduce
from smidgen.learn.ridge import press
from smidgen.nets.hypernetwork import HypernetworkConfig, InContextLinearHypernet

E = 6
TINY = HypernetworkConfig(embed=E, hidden=16, depth=2, heads=2, ffn=16)
QUICK = EncoderTrainingConfig(net=TINY, updates=6, batch=4, context=(2, 8), queries=10, look_every=3, looks=1, warmup=2)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of a network that was not trained, but looks everywhere."""
    net, random = InContextLinearHypernet(TINY), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=random))
    path = tmp_path_factory.mktemp("weights") / "encoder.safetensors"
    path.write_bytes(encoder_bytes(net))
    return path


def stimuli(n, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, E))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def subject(seed=0, n=60, units=5, **more):
    """Responses in units of their own; each tells its stimulus and unit."""
    rng = np.random.default_rng(seed)
    y = 100 * rng.standard_normal((n, units)) * np.arange(1, units + 1) + 1000 * np.arange(units)
    return Subject(stimuli(n, seed), y.astype(np.float32), name=f"subject {seed}", **more)


def pairs_of(sampler, number, **more):
    """Subject, column, rows and whole batch, found again by their embeddings."""
    e = sampler.at(number, **more)
    for b, unit in enumerate(e.units_B.tolist()):
        s, column = sampler.owner(unit)
        both = torch.cat([e.x_BSE[b], e.query_BQE[b]]).numpy()
        rows = np.argmax(both @ sampler.subjects[s].features.T, axis=1)
        yield s, column, rows, torch.cat([e.y_BS[b], e.target_BQ[b]]).numpy()


# episodes


def test_episodes_are_what_was_recorded_of_allowed_stimuli_and_units():
    allowed = np.arange(10, 45)
    people = [subject(0).only(rows=allowed, units=[4, 1]), subject(1, units=3).only(rows=np.arange(60) % 2 == 0)]
    sampler = EpisodeSampler(people, context=(3, 9), queries=7, batch=8)
    assert sampler.count == 5 and [sampler.owner(u) for u in range(5)] == [(0, 4), (0, 1), (1, 0), (1, 1), (1, 2)]
    seen, sizes = set(), set()
    for number in range(30):
        for s, column, rows, y in pairs_of(sampler, number):
            own = people[s].responses[people[s].usable_rows, column].astype(np.float64)
            assert np.allclose(y, (people[s].responses[rows, column] - own.mean()) / own.std(), atol=1e-4)
            assert len(set(rows)) == len(rows) and set(rows) <= set(people[s].usable_rows)
            seen.add((s, column))
            sizes.add(len(rows) - 7)
    assert len(seen) == 5 and sizes == set(range(3, 10))


def test_episodes_are_known_by_their_number():
    a, b = (EpisodeSampler([subject()], context=(2, 9), queries=5, batch=3, seed=4) for _ in range(2))
    other = EpisodeSampler([subject()], context=(2, 9), queries=5, batch=3, seed=5)
    for number in (7, 0):
        assert torch.equal(a.at(number).x_BSE, b.at(number).x_BSE)
        assert not torch.equal(a.at(number, context=4).x_BSE, other.at(number, context=4).x_BSE)
    assert a.at(0, context=5).x_BSE.shape == (3, 5, E)


def test_responses_that_are_missing_are_masked():
    person = subject()
    person.responses[::3, :] = np.nan
    sampler = EpisodeSampler([person], context=(8, 8), queries=10, batch=6)
    e = sampler.at(0)
    for b, (_, _, rows, _) in enumerate(pairs_of(sampler, 0)):
        known = torch.cat([e.mask_BS[b], e.asked_BQ[b]]).numpy()
        assert np.array_equal(known, rows % 3 != 0)
    assert e.y_BS.isfinite().all() and e.target_BQ.isfinite().all() and not e.y_BS[~e.mask_BS].any()
    assert EpisodeSampler([subject()], context=(8, 8), queries=10).at(0).mask_BS is None


def test_recordings_stay_on_disk(tmp_path):
    person = subject(regions=list("aabbc"))
    person.write(tmp_path / "subject 0")
    opened = Subject.open(tmp_path / "subject 0")
    assert isinstance(opened.features, np.memmap) and isinstance(opened.responses, np.memmap)
    assert opened.responses.flags.f_contiguous and opened.regions == list("aabbc")
    whole, mapped = (EpisodeSampler([p], context=(2, 9), queries=5, batch=6).at(3) for p in (person, opened))
    assert torch.equal(whole.x_BSE, mapped.x_BSE) and torch.equal(whole.target_BQ, mapped.target_BQ)


def test_scales_do_not_depend_on_how_many_units_are_read_at_once(monkeypatch):
    whole = EpisodeSampler([subject()], context=(2, 9), queries=5)
    monkeypatch.setattr(_encoder_episodes, "AT_ONCE", 130)
    parts = EpisodeSampler([subject()], context=(2, 9), queries=5)
    assert np.array_equal(whole.means, parts.means) and np.array_equal(whole.spreads, parts.spreads)


def test_what_is_odd_is_said():
    long = subject()
    long.features[5:9] *= 2
    with pytest.warns(UserWarning, match="4 of 60 rows do not have unit length"):
        sampler = EpisodeSampler([long], context=(40, 40), queries=20, batch=2)
    assert torch.allclose(sampler.at(0).x_BSE.norm(dim=-1), torch.tensor(1.0), atol=1e-5)
    still = subject()
    still.responses[:, 2], still.responses[:, 3] = 0.1, np.nan
    with pytest.warns(UserWarning, match="2 of 5 units never vary"):
        sampler = EpisodeSampler([still], context=(2, 9), queries=5)
    assert {sampler.owner(u)[1] for u in range(sampler.count)} == {0, 1, 4}


def test_recordings_that_cannot_be_learned_from_are_refused(tmp_path):
    zero, flat = subject(), subject()
    zero.features[17] = 0
    flat.responses[:] = 3.0
    small = Subject(stimuli(60)[:, :4], subject().responses)
    for people, more, match in (
        ([], {}, "at least one"),
        ([subject(), small], {}, "one width"),
        ([subject(n=30)], {"context": (5, 20), "queries": 11}, "at least 20 of context and 11 queries, got 30"),
        ([zero], {}, "row 17 .*no direction"),
        ([flat], {}, "nothing to learn from"),
        ([subject()], {"context": (0, 4)}, "context"),
    ):
        with pytest.raises(BadInput, match=match):
            EpisodeSampler(people, **{"context": (2, 9), "queries": 5, **more})
    with pytest.raises(BadInput, match="features"):
        Subject(stimuli(5), np.zeros((6, 2)))
    with pytest.raises(BadInput, match="units of subject: expected numbers from 0 to 4"):
        Subject(stimuli(60), subject().responses, units=np.array([5]))
    (tmp_path / "features.npy").write_bytes(b"no array")
    with pytest.raises(BadInput, match="cannot be read"):
        Subject.open(tmp_path)


def test_sessions_are_standardised_apart():
    y = np.random.default_rng(0).standard_normal((30, 2))
    y[10:] = 5 * y[10:] + 40
    y[3, 0], y[:, 1] = np.nan, 7.0
    z = standardized(y, np.repeat([0, 1, 1], 10))
    for part in (z[:10, 0], z[10:, 0]):
        assert np.isclose(np.nanmean(part), 0, atol=1e-6) and np.isclose(np.nanstd(part), 1, atol=1e-6)
    assert np.isnan(z[3, 0]) and not z[:, 1].any()


# scores


def test_scores_are_those_of_scikit_learn_where_nothing_is_missing():
    rng = np.random.default_rng(0)
    y, p = rng.standard_normal((2, 40, 3))
    y[:, 1] += p[:, 1]
    assert np.allclose(explained_variance(p, y), explained_variance_score(y, p, multioutput="raw_values"))
    assert np.allclose(r_squared(p, y), r2_score(y, p, multioutput="raw_values"))
    assert np.allclose(explained_variance(p + 9, y), explained_variance(p, y))
    assert (r_squared(p + 9, y) < r_squared(p, y) - 30).all()
    y[7:20, 0] = np.nan
    kept = np.isfinite(y[:, 0])
    assert np.isclose(explained_variance(p, y)[0], explained_variance_score(y[kept, 0], p[kept, 0]))
    assert np.allclose(explained_variance(p, y, ceiling=[0.5, 0.5, 1]), explained_variance(p, y) / [0.5, 0.5, 1])


def test_units_that_do_not_vary_get_no_score():
    y, p = np.random.default_rng(0).standard_normal((2, 20, 4))
    y[:, 1], y[:, 2] = 0.1, np.nan
    with pytest.warns(UserWarning, match="3 of 4 units do not vary"):
        found = explained_variance(p, y, ceiling=[1, 1, 1, 0])
    assert np.array_equal(np.isnan(found), [False, True, True, True])
    with pytest.raises(BadInput, match="the same shape"):
        explained_variance(p, y[:, :2])
    with pytest.raises(BadInput, match="not finite"):
        explained_variance(y, p)


@pytest.mark.parametrize("averaged", [1, 4])
def test_noise_ceiling_is_the_score_of_a_perfect_model(averaged):
    rng = np.random.default_rng(0)
    noise = np.array([0.3, 1.0, 3.0])
    signal = rng.standard_normal((4000, 3))
    repeats = signal + np.sqrt(noise) * rng.standard_normal((4, 4000, 3))
    repeats[3, :1000] = np.nan  # measured three times only
    repeats[1:, 1000:1200, 1] = np.nan  # once: no use
    fresh = signal + np.sqrt(noise / averaged) * rng.standard_normal((4000, 3))
    ceiling = noise_ceiling(repeats, averaged)
    assert np.allclose(ceiling, 1 / (1 + noise / averaged), atol=0.03)
    assert np.allclose(explained_variance(signal, fresh, ceiling), 1, atol=0.12)
    pure = rng.standard_normal((2, 5000, 1))
    assert noise_ceiling(pure)[0] < 0.05
    assert np.isnan(noise_ceiling(np.zeros((2, 9, 1))))


def test_regions_are_summed_up():
    table = by_region({"ev": [0.1, 0.3, np.nan, 0.8], "r2": [0, 1, 2, 3]}, ["face", "face", "face", "place"])
    assert table.loc["face", "units"] == 3 and table.loc["face", "ev mean"] == pytest.approx(0.2)
    assert table.loc["face", "r2 median"] == 1 and table.loc["place", "ev mean"] == 0.8
    assert table.loc["face", "ev sem"] == pytest.approx(0.1)
    with pytest.raises(BadInput, match="regions"):
        by_region({"ev": [0.1]}, ["a", "b"])


def test_contexts_of_a_curve_are_disjoint_and_averaged():
    x, y, seen = stimuli(20), np.arange(20.0)[:, None], []

    class Constant:
        def predict(self, X):
            return y[:6]

    def fit(X, Y):
        seen.append(Y.ravel().tolist())
        return Constant()

    curve = context_curve(fit, (x, y), (x[:6], y[:6]), sizes=(4, 15), draws=5)
    assert [len(s) for s in seen] == [4, 4, 4, 4, 4, 15] and sorted(itertools.chain(*seen[:5])) == list(range(20))
    assert np.array_equal(curve, np.ones((2, 1)))
    with pytest.raises(BadInput, match="at most the 20"):
        context_curve(fit, (x, y), (x, y), sizes=(21,))


# baselines


def problem(n=25, d=8, units=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + 1
    return X, X @ rng.standard_normal((d, units)) + 4 * rng.standard_normal((n, units)) * np.arange(units) + 3


@pytest.mark.parametrize("folds", [None, 5])
@pytest.mark.parametrize("n", [25, 6])
def test_ridge_is_chosen_by_left_out_error_for_each_output(folds, n):
    X, Y = problem(n)
    strengths = (0.01, 1.0, 10.0, 100.0)
    found = ridge_cv(X, Y, strengths=strengths, folds=folds, seed=3)
    parts = np.arange(n) if folds is None else np.random.default_rng(3).permutation(n) % folds
    for v in range(Y.shape[1]):
        losses = []
        for s in strengths:
            off = np.empty(n)
            for part in np.unique(parts):
                rest = parts != part
                off[~rest] = Ridge(alpha=s).fit(X[rest], Y[rest, v]).predict(X[~rest]) - Y[~rest, v]
            losses.append(np.mean(off**2))
        assert found.strength_V[v] == strengths[int(np.argmin(losses))]
        line = Ridge(alpha=found.strength_V[v]).fit(X, Y[:, v])
        assert np.allclose(found.predict(X)[:, v], line.predict(X)) and np.allclose(found.coef_VE[v], line.coef_)
    assert len(set(found.strength_V)) > 1


def test_many_left_out_errors_are_those_of_each():
    X, Y = problem()
    Z, strengths = reduce(X).Z, np.array([0.3, 5.0])
    assert np.allclose(press(Z, Y, strengths), np.stack([press(Z, y, strengths) for y in Y.T], 1), rtol=1e-12)


def test_ridge_leaves_out_what_is_not_known():
    X, Y = problem()
    Y[3:9, 0] = Y[3:9, 2] = Y[:, 1] = np.nan
    found = ridge_cv(X, Y)
    rest = np.r_[0:3, 9:25]
    assert np.allclose(found.coef_VE[[0, 2]], ridge_cv(X[rest], Y[rest][:, [0, 2]]).coef_VE)
    assert np.allclose(found.coef_VE[3], ridge_cv(X, Y[:, 3:]).coef_VE[0])
    assert not found.predict(X)[:, 1].any() and np.isnan(found.strength_V[1])


@pytest.mark.parametrize("wrong", [{"strengths": (0.0, 1.0)}, {"strengths": ()}, {"folds": 1}])
def test_wrong_ridges_are_refused(wrong):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        ridge_cv(*problem(), **wrong)
    with pytest.raises(BadInput, match="same rows"):
        ridge_cv(problem()[0][:5], problem()[1])


def test_a_prior_that_knows_nothing_is_ridge():
    X, Y = problem()
    prior = WeightPrior(np.zeros(8), 0.25 * np.eye(8), noise=0.5)
    assert np.allclose(prior.fit(X, Y).predict(X), ridge_cv(X, Y, strengths=(2.0,)).predict(X))


def test_a_prior_finds_what_units_have_in_common():
    rng = np.random.default_rng(0)
    X, axes = rng.standard_normal((300, 8)), np.linalg.qr(rng.standard_normal((8, 2)))[0]
    W = axes @ rng.standard_normal((2, 400))
    Y = X @ W
    Y += Y.std(0) * rng.standard_normal(Y.shape)
    prior = WeightPrior.learn(X, Y)
    assert prior.noise == pytest.approx(0.5, abs=0.02)
    values, found = np.linalg.eigh(prior.cov_EE)
    assert values[-2] > 0.1 and values[:-2].mean() < 4e-4  # of least squares alone it would be noise / 300
    assert np.allclose(np.linalg.svd(found[:, -2:].T @ axes)[1], 1, atol=0.01)
    scores = [explained_variance(f(X[:10], Y[:10]).predict(X[50:]), X[50:] @ W).mean() for f in (prior.fit, ridge_cv)]
    assert scores[0] > scores[1] + 0.2


# training


def test_plateau_is_that_of_torch():
    ours = Plateau(least=1e-2)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.1, patience=5, cooldown=2, min_lr=1e-2, eps=0.0
    )
    losses = np.random.default_rng(0).uniform(0.9, 1.1, 60)
    losses[:12] += np.linspace(1, 0, 12)
    rates = []
    for loss in losses:
        ours.look(float(loss))
        theirs.step(float(loss))
        rates.append(optimizer.param_groups[0]["lr"])
        assert ours.scale == pytest.approx(rates[-1])
    assert len(set(np.round(rates, 6))) == 3 and ours.over


@pytest.mark.parametrize("stop", [2, 4])  # before and after the first validation
def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path, stop):
    people = [subject(0, units=10), subject(1, units=10)]
    people[0].responses[::7, 3] = np.nan
    whole = train_encoder(people, tmp_path / "whole", QUICK)
    asked = iter([True] * stop + [False])
    assert train_encoder(people, tmp_path / "parts", QUICK, go_on=lambda: next(asked)) is None
    with pytest.raises(BadInput, match="set resume"):
        train_encoder(people, tmp_path / "parts", QUICK)
    with pytest.raises(BadInput, match="other recordings or settings"):
        train_encoder(people[:1], tmp_path / "parts", QUICK, resume=True)
    parts = train_encoder(people, tmp_path / "parts", QUICK, resume=True)
    assert whole.read_bytes() == parts.read_bytes()
    assert train_encoder(people, tmp_path / "parts", QUICK, resume=True) == parts  # it had ended
    log = pd.read_json(tmp_path / "parts" / "log.jsonl", lines=True)
    assert log["step"].tolist() == [1, 2, 3, 4, 5, 6] and log["explained variance"].notna().sum() == 2
    assert (tmp_path / "parts" / CHECKPOINT).is_file()
    other = train_encoder(people, tmp_path / "other", replace(QUICK, seed=1))
    assert other.read_bytes() != whole.read_bytes()


def shared_direction(seed, units=30, n=120):
    """Units that all follow one of two directions, one to each half of the noise."""
    rng = np.random.default_rng(seed)
    x = stimuli(n, seed)
    sign = rng.choice([-1.0, 1.0], (2, units)) * (rng.random(units) < 0.5)[None] ** np.array([[1], [0]])
    signal = np.sqrt(E) * x[:, :2] @ sign
    return Subject(x, (signal + 0.3 * rng.standard_normal(signal.shape)).astype(np.float32), name=f"s{seed}")


def test_it_learns_what_units_have_in_common(tmp_path):
    """Six numbers and six directions; of new units' four pairs ridge cannot know that only two of them matter."""
    config = EncoderTrainingConfig(
        net=TINY, updates=120, batch=24, context=(2, 10), queries=30, lr=1e-2, warmup=20, look_every=120
    )
    path = train_encoder([shared_direction(s) for s in range(3)], tmp_path, config)
    new = shared_direction(9)
    pool, test = (new.features[:40], new.responses[:40]), (new.features[40:], new.responses[40:])
    ours, ridge = (context_curve(fit, pool, test, (4,)).mean() for fit in (InContextEncoder(path).fit, ridge_cv))
    assert ours > 0.4 and ours > ridge + 0.2


def test_weights_can_be_drawn_to_those_of_ridge_and_trained_further(tmp_path):
    people = [synthetic_subject(stimuli(80, s), 20, noise=0.1, seed=s) for s in range(2)]
    config = replace(QUICK, updates=40, batch=12, context=(20, 30), lr=1e-2, look_every=40, schedule="plateau")
    x, y = people[0].features[:40], people[0].responses[:40]
    aim = ridge_cv(people[0].features, people[0].responses).coef_VE
    apart = []
    for weight in (0.0, 20.0):
        path = train_encoder(people, tmp_path / str(weight), replace(config, weights_loss=weight))
        apart.append(np.square(InContextEncoder(path).fit(x, y).coef_ - aim).mean())
    assert apart[1] < apart[0]
    on = train_encoder(people, tmp_path / "on", replace(config, updates=1, lr=1e-9), start=path)
    assert np.allclose(InContextEncoder(on).fit(x, y).coef_, InContextEncoder(path).fit(x, y).coef_, atol=1e-5)
    with pytest.raises(BadInput, match="other sizes"):
        train_encoder(people, tmp_path / "no", replace(config, net=replace(TINY, hidden=8)), start=path)


def test_synthetic_units_have_nothing_in_common_and_the_noise_asked_for():
    made = synthetic_subject(stimuli(2000), 600, noise=1.0)
    fitted = ridge_cv(made.features, made.responses, strengths=(1e-3,))
    scores = explained_variance(fitted.predict(made.features), made.responses)
    assert scores.mean() == pytest.approx(0.5, abs=0.01)
    directions = np.linalg.eigvalsh(np.cov(fitted.coef_VE.T))
    assert directions.min() > 0.6 * directions.max()


@pytest.mark.parametrize(
    "wrong", [{"updates": 0}, {"lr": 0.0}, {"fall": 0.0}, {"optimizer": "sgd"}, {"schedule": "step"}, {"warmup": -1}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        EncoderTrainingConfig(**wrong)


def test_one_unit_cannot_be_held_back_from_itself(tmp_path):
    with pytest.raises(BadInput, match="give valid"):
        train_encoder([subject(units=1)], tmp_path, QUICK)


# estimator


def test_read_outs_are_those_of_the_network_in_any_form(weights, monkeypatch):
    x, y, new = stimuli(12), subject().responses[:12].astype(np.float64), stimuli(7, seed=5)
    model = InContextEncoder(weights).fit(x, y)
    w = read_encoder(weights)[0].weights(torch.from_numpy(x)[None], torch.from_numpy(y[:, 2].astype(np.float32))[None])
    assert np.allclose(model.coef_[2], w[0, :-1]) and np.isclose(model.intercept_[2], w[0, -1])
    assert np.allclose(model.predict(new), new @ model.coef_.T + model.intercept_)
    one = InContextEncoder(weights).fit(x, y[:, 2])
    assert one.coef_.shape == (E,) and np.allclose(one.predict(new), model.predict(new)[:, 2], rtol=1e-5)
    order = np.random.default_rng(0).permutation(12)
    assert np.allclose(InContextEncoder(weights).fit(x[order], y[order]).predict(new), model.predict(new), rtol=1e-4)
    units = InContextEncoder(weights).fit(x, 1e3 * y + 5).predict(new)
    assert np.allclose(units, 1e3 * model.predict(new) + 5, rtol=1e-4)
    attention = model.attention()
    monkeypatch.setattr(incontext_encoder, "NUMBERS_AT_ONCE", 1)
    assert np.allclose(InContextEncoder(weights).fit(x, y).coef_, model.coef_, rtol=1e-4)
    assert np.allclose(InContextEncoder(weights).fit(x, y).attention(), attention, atol=1e-5)


def test_missing_responses_are_no_context(weights):
    x, y = stimuli(12), subject().responses[:12].astype(np.float64)
    y[[2, 5], 0], y[:, 3], y[1, 4] = np.nan, np.nan, np.nan
    with pytest.warns(UserWarning, match="of 1 units no response is known"):
        model = InContextEncoder(weights).fit(x, y)
    kept = np.isfinite(y[:, 0])
    assert np.allclose(model.coef_[0], InContextEncoder(weights).fit(x[kept], y[kept, 0]).coef_, rtol=1e-4)
    attention = model.attention()
    assert attention.shape == (5, TINY.depth, TINY.heads, 12)
    assert np.array_equal(attention.any((1, 2)), np.isfinite(y).T) and attention.sum(-1).max() < 1
    assert not model.predict(x)[:, 3].any() and np.isfinite(model.predict(x)).all()


def test_asked_in_words(weights):
    x, y = stimuli(12), subject().responses[:12]
    model, words = InContextEncoder(weights).fit(x, y), {"a face": 3 * x[4], "a house": x[7]}
    table = model.read_out(list(words), encode=lambda texts: [words[t] for t in texts])
    assert table.index.tolist() == ["a face", "a house"] and table.shape == (2, 5)
    assert np.allclose(table, model.predict(x[[4, 7]]) - model.predict(x).mean(0), rtol=1e-3, atol=1e-2)
    assert np.allclose(InContextEncoder(weights).fit(x, y[:, 1]).read_out(x[[4, 7]])[0], table[1], rtol=1e-3)
    with pytest.raises(BadInput, match="encode="):
        model.read_out(["a face"], encode=lambda texts: np.ones((1, 9)))


def test_it_is_kept_and_exported(weights, tmp_path):
    x, y = stimuli(12), subject().responses[:12]
    model, arrays = InContextEncoder(weights).fit(x, y), {}
    loaded = InContextEncoder.from_state(unpack(pack(model.get_state(), arrays), arrays))
    assert np.array_equal(loaded.predict(x), model.predict(x)) and loaded.weights is None
    model.export(tmp_path / "units.safetensors", attention=True)
    found = read_tensors(tmp_path / "units.safetensors")
    assert np.array_equal(found["coef"], model.coef_) and np.array_equal(found["intercept"], model.intercept_)
    assert np.array_equal(found["attention"], model.attention())
    assert model.score(x, y) == pytest.approx(r2_score(y, model.predict(x)))


def test_wrong_input_is_said(weights, tmp_path):
    x, y = stimuli(12), subject().responses[:12].astype(np.float64)
    with pytest.warns(UserWarning, match="X: 12 of 12 rows do not have unit length"):
        doubled = InContextEncoder(weights).fit(2 * x, y)
    plain = InContextEncoder(weights).fit(x, y)
    assert np.allclose(doubled.coef_, plain.coef_, rtol=1e-4)
    with pytest.warns(UserWarning, match="unit length"):
        assert np.allclose(plain.predict(3 * x), plain.predict(x), rtol=1e-4)
    other = tmp_path / "other.safetensors"
    other.write_bytes(weights.read_bytes()[:-8])
    for model, args, match in (
        (InContextEncoder(), (x, y), "needs weights=FILE"),
        (InContextEncoder(tmp_path / "none"), (x, y), "no weights"),
        (InContextEncoder(other), (x, y), "damaged"),
        (InContextEncoder(weights), (x[:, :4], y), "embeddings of 6 numbers"),
        (InContextEncoder(weights), (x, y[:5]), r"responses \[12"),
        (InContextEncoder(weights), (x, np.where(y > y.mean(), math.inf, y)), "infinite"),
        (InContextEncoder(weights), (x * (np.arange(12) != 3)[:, None], y), "row 3 .*no direction"),
        (InContextEncoder(weights), (x[:0], y[:0]), "minimum of 1"),
    ):
        with pytest.raises(ValueError, match=match):
            model.fit(*args)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(weights.read_bytes())
    fitted = InContextEncoder(copy).fit(x, y)
    copy.write_bytes(encoder_bytes(InContextLinearHypernet(TINY, seed=8)))
    os.utime(copy, ns=(1, 1))  # written later, even where a clock is coarse
    with pytest.raises(BadInput, match="have changed"):
        fitted.attention()
