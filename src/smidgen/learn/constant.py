"""Class frequencies, or the mean: what can be said without looking at any column.

Every study tries it: it is the baseline of the report, and in a blend it keeps probabilities modest where the
columns carry little.
"""

import numpy as np

from smidgen.learn.base import ClassifierHead, RegressorHead

CARD = {
    "title": "Constant",
    "tldr": "Class frequencies (or the mean), whatever the columns say: the baseline.",
    "seconds": (0.001, 0.0),
}


class ConstantClassifier(ClassifierHead):
    """Predicts the smoothed class frequencies (half a row added to each class)."""

    def __init__(self, random_state: int = 0):
        self.random_state = random_state

    def _fit(self, X, codes):
        counts = np.bincount(codes, minlength=len(self.classes_)) + 0.5
        self.frequencies_ = counts / counts.sum()

    def _proba(self, X):
        return np.repeat(self.frequencies_[None], X.shape[0], 0)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


class ConstantRegressor(RegressorHead):
    """Predicts the mean of the targets."""

    def __init__(self, random_state: int = 0):
        self.random_state = random_state

    def _fit(self, X, y):
        self.mean_ = float(y.mean())

    def _value(self, X):
        return np.full(X.shape[0], self.mean_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags


CLASSIFIER, REGRESSOR = ConstantClassifier, ConstantRegressor
