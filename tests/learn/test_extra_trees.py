"""Extra trees: what they add to scikit-learn's."""

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.ensemble import ExtraTreesClassifier as Theirs

from smidgen.kit.errors import BadInput
from smidgen.learn.extra_trees import ExtraTreesClassifier


def test_before_shrinkage_they_are_scikit_learns():
    X, y = load_wine(return_X_y=True)
    ours = ExtraTreesClassifier(trees=30, random_state=5, prior_rows=2.0).fit(X[::3], y[::3])
    theirs = Theirs(30, max_features=0.5, random_state=5).fit(X[::3], y[::3]).predict_proba(X)
    rows = len(X[::3])
    prior = np.bincount(y[::3]) / rows
    np.testing.assert_allclose(ours.predict_proba(X), (rows * theirs + 2 * prior) / (rows + 2), atol=1e-12)


def test_certainty_is_refused():
    X, y = load_wine(return_X_y=True)
    with pytest.raises(BadInput, match="prior_rows"):
        ExtraTreesClassifier(prior_rows=0).fit(X, y)
