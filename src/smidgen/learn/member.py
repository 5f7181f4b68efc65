"""A member: one view and one head, fitted together on some rows of a task.

It answers for all classes of the task, also those that its training rows lacked: what it cannot know gets the
small probability that a new class deserves (half a row each).
"""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from smidgen.data.views.rows import Rows
from smidgen.data.views.view import View
from smidgen.kit import methods
from smidgen.kit.config import from_mapping
from smidgen.kit.errors import BadInput
from smidgen.tasks.task import Column


def head_class(method: str, kind: str) -> Any:
    """The estimator class of a method for this kind of task. Raises BadInput when it has none."""
    found = getattr(methods.load(method), "CLASSIFIER" if kind == "classification" else "REGRESSOR", None)
    if found is None:
        raise BadInput(f"The method '{method}' does no {kind}.")
    return found


@dataclass
class Member:
    """One view and one head.

    Attributes:
        method, view, params: what it is made of; `params` are settings of the head.
        kind: "classification" or "regression"; classes: how many classes the task has (0 for regression).
        seen: class codes that the training rows had, `[k]`; head is None where there was only one.
    """

    method: str
    view: str
    kind: str
    classes: int
    params: dict[str, Any] = field(default_factory=dict)

    def fit(self, rows: Rows, target: np.ndarray, columns: tuple[Column, ...], seed: int) -> "Member":
        """Fits on the rows and their class codes (int) or values (float)."""
        self.columns_, self.rows_ = columns, len(rows)
        self.view_ = View(self.view, columns).fit(rows)
        self.seen_ = np.unique(target) if self.kind == "classification" else np.arange(0)
        self.head_ = None
        if self.kind == "classification" and len(self.seen_) < 2:
            return self
        made = head_class(self.method, self.kind)
        if self.params:
            from_mapping(made.Config, dict(self.params), where=self.method)
        head = made(**self.params, random_state=seed)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of a head's limits: scores tell
            learnt = rows.learnt.get(self.method)
            if learnt is None:
                self.head_ = head.fit(*self._with_pool(rows, target))
            else:
                self.head_ = head.fit(self.view_.transform(rows), target, pretrained=learnt)
        return self

    def _with_pool(self, rows: Rows, target: np.ndarray) -> tuple[Any, np.ndarray]:
        """Features and codes; of a method that learns from them, the rows without labels behind, with -1."""
        X = self.view_.transform(rows)
        if not rows.pool or self.kind != "classification" or not methods.card(self.method).unlabelled:
            return X, target
        more = self.view_.transform(rows.pool)
        both = sparse.vstack([X, more], format="csr") if sparse.issparse(X) else np.vstack([X, more])
        return both, np.concatenate([target, np.full(len(rows.pool), -1)])

    def predict(self, rows: Rows) -> np.ndarray:
        """Probabilities `[n, classes]`, or values `[n]`; float64."""
        if self.kind == "regression":
            assert self.head_ is not None
            return self.head_.predict(self.view_.transform(rows))
        known = np.ones((len(rows), 1)) if self.head_ is None else self.head_.predict_proba(self.view_.transform(rows))
        unseen = self.classes - len(self.seen_)
        if not unseen:
            return known
        share = 0.5 / (self.rows_ + 0.5 * self.classes)
        full = np.full((len(rows), self.classes), share)
        full[:, self.seen_] = known * (1 - unseen * share)
        return full

    def get_state(self) -> dict[str, Any]:
        """Everything that `predict` needs, as plain data (see `kit.state`)."""
        return {
            "method": self.method,
            "view": self.view,
            "kind": self.kind,
            "classes": self.classes,
            "params": self.params,
            "version": methods.card(self.method).version,
            "rows": self.rows_,
            "seen": self.seen_,
            "view_state": self.view_.get_state(),
            "head_state": None if self.head_ is None else self.head_.get_state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], columns: tuple[Column, ...]) -> "Member":
        """The member that `get_state` described. Raises BadInput for a method that is not installed."""
        made = cls(state["method"], state["view"], state["kind"], state["classes"], state["params"])
        made.columns_, made.rows_, made.seen_ = columns, state["rows"], np.asarray(state["seen"], np.int64)
        made.view_ = View.from_state(state["view_state"], columns)
        head = state["head_state"]
        made.head_ = None if head is None else head_class(made.method, made.kind).from_state(head)
        return made
