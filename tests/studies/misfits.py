"""Methods from outside that misbehave, as source: a package of them is made for the tests of studies."""

LIGHT = "logistic,lda,naive_bayes,knn"

BASE = """
import os, time
from pathlib import Path
import numpy as np
from smidgen.learn.constant import ConstantClassifier

CARD = {"title": "T", "tldr": "For tests.", "tasks": ("classification",), "seconds": (0.001, 0.0)}

class Outside(ConstantClassifier):
    def _fit(self, X, codes):
        super()._fit(X, codes)
        self.act(X)

    def act(self, X):
        ACT
"""
# Chance: probabilities that a random direction of its own gives, whatever the labels are.
COIN = """
    def _proba(self, X):
        z = np.random.default_rng(SEED).normal(size=X.shape[1])
        up = 1 / (1 + np.exp(-2 * X @ z / np.sqrt(X.shape[1])))
        return np.c_[1 - up, up]
"""
COINS = [f"coin_{i:02}" for i in range(12)]
BODIES = {
    "sleeper": "time.sleep(1000)",
    "raiser": "raise ArithmeticError('this one always fails')",
    "nans": "self.frequencies_ = self.frequencies_ * np.nan",
    "unsure": "self.frequencies_ = self.frequencies_ * 2",
    "eater": "self.eaten = [np.ones(5_000_000) for _ in range(200)]",
    "hungry": "if len(X) == 50: raise MemoryError('no room for so many rows')",
    "gate_a": "wait()",
    "gate_b": "wait()",
}
REST = """

def wait():
    while not Path(os.environ["SMIDGEN_TEST_GATE"]).exists():
        time.sleep(0.01)


CLASSIFIER = Outside
"""
