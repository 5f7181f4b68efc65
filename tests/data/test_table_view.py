"""Table views: finite, stateless towards other rows, and the same after a save."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.data.views.rows import Rows
from smidgen.data.views.view import View, choices
from smidgen.kit.errors import BadInput
from smidgen.kit.files import parse_tensors, tensor_bytes
from smidgen.kit.state import pack, unpack
from smidgen.tasks.task import Column, Task

STYLES = ["linear", "tree"]
COLUMNS = tuple(
    Column(name=n, kind=k)
    for n, k in (
        ("age", "number"),
        ("income", "number"),
        ("flag", "number"),
        ("flat", "number"),
        ("none", "number"),
        ("gap", "number"),
        ("city", "category"),
        ("sex", "category"),
        ("when", "date"),
    )
)


def frame(n: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    gap = rng.normal(size=n)
    gap[::7] = np.nan
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "income": np.exp(rng.normal(8, 2, n)),
            "flag": rng.random(n) < 0.3,
            "flat": 3.0,
            "none": np.nan,
            "gap": gap,
            "city": rng.choice(["Ulm", "Bonn", "Kiel", None], n, p=[0.5, 0.3, 0.15, 0.05]),
            "sex": rng.choice(["f", "m"], n),
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), "D"),
        }
    )


def saved(view: View) -> View:
    arrays: dict[str, np.ndarray] = {}
    plain = pack(view.get_state(), arrays)
    return View.from_state(unpack(plain, parse_tensors(tensor_bytes(arrays))), COLUMNS)


@pytest.mark.parametrize("style", STYLES)
def test_rows_stand_alone_and_a_saved_view_gives_the_same_bits(style):
    view, new = View(style, COLUMNS).fit(Rows(frame())), Rows(frame(40, 1))
    X = view.transform(new)
    assert X.dtype == np.float64
    assert np.isfinite(X).all()
    alone = np.vstack([view.transform(new.take(np.array([i]))) for i in range(len(new))])
    assert np.array_equal(X, alone)
    assert np.array_equal(X, saved(view).transform(new))


def test_linear_numbers_are_standard_and_bounded():
    view = View("linear", (Column(name="age", kind="number"), Column(name="income", kind="number")))
    X = view.fit(Rows(frame(200))).transform(Rows(frame(200)))
    assert X.shape == (200, 2)
    assert np.allclose(X.mean(0), 0, atol=0.02)
    assert np.allclose(X.std(0), 1, atol=0.05)
    far = pd.DataFrame({"age": [1e300, -np.inf], "income": ["1e9", "abc"]})
    assert np.abs(view.transform(Rows(far))).max() <= 5
    skew = pd.Series(X[:, 1]).skew()
    assert abs(skew) < 0.5 * pd.Series(frame(200).income).skew()


@pytest.mark.parametrize("style", STYLES)
def test_what_training_never_saw(style):
    train = frame(30).assign(gap=np.arange(30.0), city=["Ulm", "Bonn"] * 15)
    view = View(style, COLUMNS).fit(Rows(train))
    new = frame(3).assign(
        gap=np.nan, city=["Atlantis", None, "Ulm"], age=np.nan, when=pd.NaT, sex="x", none=5.0, flat=9.0
    )
    X = view.transform(Rows(new))
    assert np.isfinite(X).all()
    assert X.shape[1] == view.transform(Rows(train)).shape[1]


def test_missing_has_a_column_only_when_training_had_it():
    one = (Column(name="gap", kind="number"),)
    assert View("linear", one).fit(Rows(frame())).transform(Rows(frame())).shape[1] == 2
    assert View("linear", one).fit(Rows(frame().assign(gap=range(60)))).transform(Rows(frame())).shape[1] == 1


@pytest.mark.parametrize("style", [*STYLES, "cells"])
def test_rare_levels_are_pooled_and_new_ones_join_them(style):
    many = pd.DataFrame({"city": ["a"] * 9 + ["b"] * 9 + [f"once{i}" for i in range(5)]})
    view = View(style, (Column(name="city", kind="category"),)).fit(Rows(many))
    X = view.transform(Rows(pd.DataFrame({"city": ["once1", "new", "a", 3]})))
    assert X.shape[1] == 3
    assert np.array_equal(X[0], X[1])
    assert np.array_equal(X[0], X[3])
    assert not np.array_equal(X[0], X[2])


def test_a_level_is_the_same_whatever_type_the_reader_gave_it():
    column = (Column(name="code", kind="category"),)
    view = View("linear", column).fit(Rows(pd.DataFrame({"code": ["1", "2", "3"] * 5})))
    as_text, as_float = (view.transform(Rows(pd.DataFrame({"code": v}))) for v in (["1", "3"], [1.0, 3.0]))
    assert np.array_equal(as_text, as_float)


def test_many_levels_are_codes_by_frequency_for_trees():
    names = [f"l{i:02}" for i in range(30)]
    rows = [n for i, n in enumerate(names) for _ in range(40 - i)]
    view = View("tree", (Column(name="c", kind="category"),)).fit(Rows(pd.DataFrame({"c": rows})))
    assert view.transform(Rows(pd.DataFrame({"c": names})))[:, 0].tolist() == list(range(30))


def test_cells_keep_what_is_unknown_and_spread_all_codes():
    names = [f"l{i:02}" for i in range(30)] * 3
    rows = pd.DataFrame({"c": names, "gap": [np.nan, *range(89)], "flat": 1.0, "full": range(90)})
    kinds = {"c": "category", "gap": "number", "flat": "number", "full": "number"}
    view = View("cells", tuple(Column(name=n, kind=k) for n, k in kinds.items())).fit(Rows(rows))
    X = view.transform(Rows(rows.assign(c=["new", *names[1:]], full=[None, *range(1, 90)])))
    assert X.shape == (90, 32)
    assert not X[0, :30].any() and (X[1:, :30].sum(1) == 1).all() and set(np.unique(X[:, :30])) == {0, 1}
    assert np.isnan(X[0, 30:]).all() and np.isfinite(X[1:]).all()


def test_dates_say_what_varies():
    hours = pd.DataFrame({"when": pd.date_range("2024-03-04", periods=24, freq="h")})
    view = View("tree", (Column(name="when", kind="date"),)).fit(Rows(hours))
    X = view.transform(Rows(hours))
    assert X.shape[1] == 2  # days and hours; one day has one year, month and weekday
    as_text = view.transform(Rows(hours.assign(when=hours.when.astype(str))))
    assert np.array_equal(X, as_text)


def test_nothing_to_see_is_still_a_column():
    flat = (Column(name="flat", kind="number"), Column(name="id", kind="id"))
    assert View("linear", flat).fit(Rows(frame())).transform(Rows(frame())).tolist() == [[0.0]] * 60


def test_choices_follow_the_columns():
    task = Task(
        frame=frame(),
        target=np.zeros(60, np.int64),
        kind="classification",
        columns=COLUMNS,
        metric="log_loss",
        classes=("a", "b"),
    )
    assert choices(task, for_features="linear", sparse=True) == ["linear"]
    assert choices(task, for_features="tree", sparse=False) == ["tree"]
    with pytest.raises(BadInput, match="linear"):
        View("liner", COLUMNS)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.floats(), st.text(max_size=3), st.integers(-(10**400), 10**400), st.booleans()),
        min_size=1,
        max_size=12,
    ),
    st.lists(st.one_of(st.none(), st.floats(), st.text(max_size=3)), min_size=1, max_size=4),
    st.sampled_from(["number", "category", "date"]),
    st.sampled_from(STYLES),
)
def test_any_cells_give_a_finite_matrix(cells, new, kind, style):
    view = View(style, (Column(name="x", kind=kind),)).fit(Rows(pd.DataFrame({"x": pd.Series(cells, dtype=object)})))
    for values in (cells, new):
        X = view.transform(Rows(pd.DataFrame({"x": pd.Series(values, dtype=object)})))
        assert X.shape[0] == len(values)
        assert np.isfinite(X).all()
