"""The baseline: exact frequencies and means, whatever the columns say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.learn.constant import ConstantClassifier, ConstantRegressor


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=30).filter(lambda y: len(set(y)) > 1), st.integers(0, 2**32 - 1)
)
def test_half_a_row_is_added_to_each_class(y, seed):
    rng = np.random.default_rng(seed)
    X, new = rng.normal(size=(len(y), 2)), rng.normal(size=(5, 2)) * 1e6
    made = ConstantClassifier(random_state=seed).fit(X, y)
    counts = np.array([y.count(c) + 0.5 for c in sorted(set(y))])
    expected = counts / (len(y) + 0.5 * len(set(y)))
    np.testing.assert_allclose(made.predict_proba(new), np.tile(expected, (5, 1)), rtol=1e-12)
    assert (made.predict(new) == sorted(set(y))[int(np.argmax(counts))]).all()


def test_the_mean():
    made = ConstantRegressor().fit(np.zeros((3, 1)), [1.0, 2.0, 6.0])
    assert made.predict(np.ones((2, 1))).tolist() == [3.0, 3.0]


@pytest.mark.parametrize("kind", [ConstantClassifier, ConstantRegressor])
def test_its_state_is_all_of_it(kind):
    X, y = np.arange(6.0).reshape(6, 1), np.array([0, 0, 0, 1, 1, 0])
    made = kind(random_state=3).fit(X, y)
    again = kind.from_state(made.get_state())
    assert again.predict(X).tobytes() == made.predict(X).tobytes() and again.random_state == 3
