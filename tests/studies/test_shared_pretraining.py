"""What a method learns without labels is made once for a study, from rows that judge nothing, and kept by content."""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import smidgen
from smidgen.data.views import cache
from smidgen.data.views import encoders as views
from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BudgetSpent
from smidgen.studies import pretraining
from smidgen.studies.candidates import Candidate
from smidgen.studies.pool import Pool
from smidgen.tasks.read import read

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

from smidgen.learn import barlow_pictures  # noqa: E402

BRIEF = {"updates": 2, "batch": 8, "width": 4}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A table of 24 pictures with labels, and one of 20 without; a person took several."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(44):
        pixels = rng.integers(0, 90, (16, 16), np.uint8)
        pixels[i % 2 * 8 : i % 2 * 8 + 6] += 150
        Image.fromarray(pixels).save(folder / f"{i}.png")
    paths = [str(folder / f"{i}.png") for i in range(44)]
    own = pd.DataFrame(
        {"photo": paths[:24], "who": np.arange(24) // 2, "kind": np.array(["a", "b"])[np.arange(24) % 2]}
    )
    return own, pd.DataFrame({"photo": paths[24:], "who": np.arange(20)})


@pytest.fixture
def made(monkeypatch, tmp_path, inline):
    """Pretrainings that were made, each as (features, seed, what came of it); in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    real, found = barlow_pictures.pretrain, []

    def counted(X, params, seed):
        found.append((X, seed, real(X, params, seed)))
        return found[-1][2]

    monkeypatch.setattr(barlow_pictures, "pretrain", counted)
    return found


def fit(own, pool, seed=0, **more):
    settings = {f"barlow_pictures.{name}": value for name, value in BRIEF.items()}
    order = {"methods": "barlow_pictures", "settings": settings, "trials": 1, "unlabelled": pool, "seed": seed, **more}
    return smidgen.fit(own, "kind", **order)


def weights(fitted):
    (member,) = fitted.model.members
    return member.head_.weights_


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def test_all_folds_and_studies_share_one(photos, made, tmp_path):
    own, pool = photos[0].drop(columns="who"), photos[1].drop(columns="who")
    first = fit(own, pool, out=tmp_path / "model")
    assert first.summary["leaderboard"][0]["weight"] == 1 and first.summary["spent"]["fits"] >= 4
    assert len(made) == 1 and len(made[0][0]) == len(pool)  # of all folds, and of the last fit
    assert equal(weights(first), made[0][2]["weights"])
    turned = own.assign(kind=own.kind.to_numpy()[::-1])  # other labels: what was learnt is the same
    assert equal(weights(fit(turned, pool)), weights(first)) and len(made) == 1
    assert equal(weights(fit(own[:18], pool)), weights(first)) and len(made) == 1  # other rows with labels
    loaded = smidgen.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(pool), first.predict_proba(pool))
    fit(own, pool, seed=1)
    fit(own, pool[1:])
    assert len(made) == 3 and made[1][1] != made[0][1] == made[2][1]
    for path in (tmp_path / ".smidgen" / "cache" / "pretrained").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    again = fit(turned, pool, store="other.db")  # damaged: made anew, to the same bits
    assert len(made) == 4 and equal(weights(again), weights(first))


def test_rows_of_a_labelled_group_are_not_learnt_from(photos, made):
    own, pool = photos
    task = read(own, "kind", group="who", unlabelled=pool)
    assert (task.pool_groups >= 0).sum() == 12
    fit(own, pool, group="who")
    assert len(made) == 1 and len(made[0][0]) == 8
    free = fit(own.drop(columns="who"), pool[12:].drop(columns="who"))
    assert equal(weights(free), made[0][2]["weights"]) and len(made) == 1  # the cache knows them by what they are


def test_what_cannot_be_learnt_is_said_and_the_rest_goes_on(photos, made, monkeypatch):
    def broken(X, params, seed):
        raise ArithmeticError("too dark")

    monkeypatch.setattr(barlow_pictures, "pretrain", broken)
    found = fit(
        photos[0].drop(columns="who"), photos[1].drop(columns="who"), methods="barlow_pictures,naive_bayes", trials=3
    )
    notes = {r["method"]: r["note"] for r in found.summary["leaderboard"] if r["estimate"] is None}
    assert "its pretraining failed (ArithmeticError: too dark)" in notes["learn/barlow_pictures"]


def test_opening_the_pool_counts_towards_the_time(photos, made):
    own, pool = (part.drop(columns="who") for part in photos)
    late = time.monotonic() - 5.0
    said = []
    with pytest.raises(BudgetSpent, match=r"pictures without labels were opened \(1 of 20 are\)"):
        fit(own, pool, trials=None, time="9s", begun=late)
    assert not made
    dry = fit(own, pool, trials=None, time="9m", begun=late, dry_run=True, progress=said.append)
    assert [(e["done"], e["total"]) for e in said if "Opening" in e["text"]] == [(16, 20), (20, 20)]
    assert next(e for e in said if e["kind"] == "read")["seconds_left"] <= 535.0  # to a tenth
    (entry,) = dry.summary["plan"]
    assert dry.summary["seconds"] > 5.0 + entry["seconds"]


def test_what_is_not_tried_is_not_encoded(photos, made, monkeypatch):
    encoded = []
    real = views.encode
    monkeypatch.setattr(cache, "encode", lambda name, *rest: encoded.append(name) or real(name, *rest))
    own, pool = (part.drop(columns="who") for part in photos)
    found = smidgen.fit(own, "kind", unlabelled=pool, trials=2)
    notes = {r["method"]: r["note"] for r in found.summary["leaderboard"]}
    assert "with its pretraining; name it" in notes["learn/barlow_pictures"] and not made
    assert set(encoded) == {"hog", "pixels"}


def test_a_worker_makes_it_and_one_that_takes_too_long_is_ended(photos, tmp_path):
    own, pool = (part.drop(columns="who") for part in photos)
    task = read(own, "kind", unlabelled=pool)
    rows, c = Rows(task.frame, pool=Rows(task.unlabelled)), Candidate("learn/barlow_pictures", "picture", BRIEF)
    endless = replace(c, params={"updates": 10**5})
    with Pool(1) as workers:
        workers.load(task, rows)
        with pytest.raises(pretraining.Unfinished, match="took longer"):
            pretraining.pretrain_within(workers, task, rows, endless, 0, folder=tmp_path, seconds=0.5)
        assert not rows.learnt and not list(tmp_path.iterdir())
        spent = pretraining.pretrain_within(workers, task, rows, c, 0, folder=tmp_path, seconds=None)
    assert spent.cpu_seconds > 0
    here = pretraining.pretrain(task, rows, c.method, c.view, c.params, 0)["learnt"]
    assert equal(rows.learnt[c.method]["weights"], here["weights"])
