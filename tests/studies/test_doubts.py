"""Doubts: labels that were made wrong are found and named by the person's own rows; noise is not doubted."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.studies.doubts import LEAST, MOST, doubted, doubts, gaps, mean_predictions
from smidgen.studies.estimate import Judged
from smidgen.studies.fit import fit
from smidgen.tasks.read import read


def once(predicted) -> Judged:
    return Judged(np.arange(len(predicted)), np.asarray(predicted, float), np.ones(len(predicted)))


def sure(truth, classes=2, p=0.9) -> np.ndarray:
    """Every row gets its own class with probability p."""
    out = np.full((len(truth), classes), (1 - p) / (classes - 1))
    out[np.arange(len(truth)), truth] = p
    return out


def test_wrong_labels_are_named_by_the_rows_of_the_file(table, tmp_path, inline):
    """Unlabelled rows between them do not shift the numbers, and no cell of a row gets into the summary."""
    frame = table("tab_banknote", 90)
    names = sorted(frame.target.unique())
    flipped = [10, 41, 77]
    frame["target"] = frame.target.map({names[0]: "real", names[1]: "forged"})
    frame.loc[flipped, "target"] = frame.target[flipped].map({"real": "forged", "forged": "real"})
    frame["note"] = [f"written{i:02}here" for i in range(len(frame))]
    frame.loc[[0, 1, 30, 60], "target"] = None
    frame.to_csv(tmp_path / "t.csv", index=False)
    made = fit(
        str(tmp_path / "t.csv"),
        "target",
        trials=6,
        methods="lda,logistic,knn",
        store=str(tmp_path / "d.db"),
        out=tmp_path / "m",
    )
    said = made.summary["doubts"]
    found = {r["row"] for r in said["labels"]}
    assert found <= {i + 1 for i in flipped} and len(found) >= 2  # one flipped row may lie between the classes
    assert {i + 1 for i in flipped} <= {r["row"] for r in said["wrong"]}
    for r in said["labels"]:
        assert r["truth"] == frame.target[r["row"] - 1] != r["predicted"] and r["given"] < 0.5 < r["probability"]
    assert "written" not in json.dumps({k: made.summary[k] for k in ("doubts", "comparisons")})


def test_unreadable_images_do_not_shift_the_numbers_and_names_are_relative(tmp_path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    for i in range(9):
        Image.new("L", (8, 8), 20 * i).save(tmp_path / "pictures" / f"{i}.png")
    (tmp_path / "pictures" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    target = ["a", "b", "a", None, "b", "a", "b", "a", "b"]
    rows = pd.DataFrame({"image": [f"pictures/{i}.png" for i in range(9)], "target": target})
    rows.to_csv(tmp_path / "t.csv", index=False)
    task = read(tmp_path / "t.csv", "target")
    said = doubts(once(1 - sure(task.target)), task)
    assert [(r["row"], r["name"]) for r in said["wrong"]] == [
        (i + 1, f"pictures/{i}.png") for i in (0, 1, 4, 5, 6, 7, 8)
    ]
    for i, c in enumerate(target):
        (tmp_path / "folder" / str(c)).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 20 * i).save(tmp_path / "folder" / str(c) / f"{i}.png")
    task = read(tmp_path / "folder")
    said = doubts(once(1 - sure(task.target, 3)), task)
    assert {r["row"] for r in said["wrong"]} == {None} and "a/0.png" in {r["name"] for r in said["wrong"]}


@given(st.integers(10, 60), st.integers(2, 5), st.floats(0.5, 0.95), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_class_frequencies_doubt_no_label(n, classes, first, seed):
    """What the baseline says of every row, with a large first class: the rare ones are no errors for that."""
    rng = np.random.default_rng(seed)
    shares = np.r_[first, np.full(classes - 1, (1 - first) / (classes - 1))]
    truth = rng.choice(classes, n, p=shares)
    assert len(doubted(np.tile(shares, (n, 1)), truth)) == 0


def test_noise_is_seldom_doubted():
    """40 rows with labels at random and a model that is as unsure as it should be."""
    rng = np.random.default_rng(0)
    count = []
    for _ in range(50):
        up = 1 / (1 + np.exp(-0.7 * rng.normal(size=40)))
        count.append(len(doubted(np.c_[1 - up, up], rng.integers(0, 2, 40))))
    assert np.mean(count) < 1


def test_the_most_doubtful_comes_first_and_a_class_of_few_rows_is_left_out():
    truth = np.repeat([0, 1, 2], [20, 20, LEAST - 1])
    p = sure(truth, 3)
    p[3], p[25] = [0.08, 0.9, 0.02], [0.95, 0.03, 0.02]
    p[40], p[7] = [0.95, 0.03, 0.02], [0.02, 0.08, 0.9]  # of, and towards, the class of two rows
    assert doubted(p, truth).tolist() == [25, 3]


def test_at_most_twenty_are_listed_and_all_are_counted(table):
    task = read(table("tab_banknote", 60), "target", kind="classification")
    p = sure(task.target)
    surest = np.linspace(0.6, 0.95, 30)  # the later the row, the surer, and wrong
    p[:30] = sure(1 - task.target[:30])
    p[:30] = np.where(p[:30] > 0.5, surest[:, None], 1 - surest[:, None])
    said = doubts(once(p), task)
    assert [r["row"] for r in said["wrong"]] == list(range(30, 30 - MOST, -1)) and said["counts"]["wrong"] == 30
    assert said["wrong"][0]["probability"] == pytest.approx(0.95) and len(said["labels"]) <= said["counts"]["labels"]
    assert doubts(Judged(np.zeros(0, int), np.zeros((0, 2)), np.zeros(0)), task) is None


def test_a_row_counts_by_the_mean_of_what_was_said_of_it():
    judged = Judged(np.array([2, 0, 2]), np.array([[0.2, 0.8], [0.5, 0.5], [0.6, 0.4]]), np.array([0.5, 1.0, 0.5]))
    rows, p = mean_predictions(judged)
    np.testing.assert_array_equal(rows, [0, 2])
    np.testing.assert_allclose(p, [[0.5, 0.5], [0.4, 0.6]])


def test_far_values_of_a_regression(table):
    frame = table("tab_concrete", 60)
    frame.loc[12, "target"] = 4000.0
    task = read(frame, "target")
    rng = np.random.default_rng(0)
    predicted = table("tab_concrete", 60).target.to_numpy() + rng.uniform(-5, 5, 60)
    said = doubts(once(predicted), task)
    assert [r["row"] for r in said["labels"]] == [13] == [r["row"] for r in said["wrong"]]
    assert said["labels"][0]["truth"] == 4000.0 and said["labels"][0]["gap"] > 100


@pytest.mark.parametrize(("off", "last"), [([0] * 5 + [8], 4.79), ([0] * 6, 0), ([1e-300] * 3 + [2e-300] * 3, 0.6745)])
def test_gaps_are_finite_where_most_rows_are_met_exactly(off, last):
    made = gaps(np.zeros(6), np.array(off, float))
    assert np.isfinite(made).all() and made[5] == pytest.approx(last, abs=0.01)
