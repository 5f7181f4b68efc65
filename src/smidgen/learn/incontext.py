"""A network that has seen a great many small tables reads yours and answers: nothing is tuned, nothing trained.

`fit` keeps the rows; each prediction is a few forward passes over them (`members`), each with columns, classes and
codes in another order, whose chances are averaged. Beside the cells the network reads what a few regressions in closed
form guess of each row (`nets.guesses`). It was trained on synthetic tasks alone (`learn.incontext_train`; the idea:
Müller et al., 2022, arXiv 2112.10510; Hollmann et al., 2025). A saved model is its rows and the hash of the weights.

Up to 100 columns and 2,000 rows are read as they are. Of more columns, numbers that are all known, as embeddings are,
become principal components, and those that tell most stay beside them; if that is still too many each member takes
some, half by their own relation to the target and half by chance. Of more rows each member takes a random part. More
than 10 classes are split into groups.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.extras import need
from smidgen.learn import _incontext_bins as bins
from smidgen.learn import _incontext_table as table
from smidgen.learn._incontext_wide import MOST_CLASSES, MOST_COLUMNS, MOST_ROWS, learn_wide, narrow
from smidgen.learn.base import Head

CARD = {
    "title": "In-context network",
    "tldr": "A small network, trained on made-up tables alone, reads yours and answers; nothing is tuned.",
    "features": "cells",
    "extra": "text",
    "package": "torch",
    "seconds": (0.1, 40.0, 0.8),
    "bytes_per_row": 8.0,
    "bytes_per_pair": 100.0,
}

HUGE = 1e100  # cells beyond it are as far as cells can be


@dataclass(frozen=True, kw_only=True)
class InContextConfig:
    """weights: a file that `learn.incontext_train` made; None: the one that comes with the package. members: forward
    passes, each on the table in another form. categorical: places of the columns of an array that are codes without
    order; of a DataFrame columns of text or categories are such without being named."""

    weights: str | None = None
    members: int = 4
    categorical: tuple[int, ...] = ()

    def __post_init__(self):
        if not 1 <= self.members <= 64:
            raise bad("members", "1 to 64", self.members)


class _InContext(Head):
    """What classes and numbers share: reading the table.

    Attributes:
        rows_ `[N, D]`: of labelled rows what is telling, NaN: unknown, codes last; answers_ `[N]`. levels_: of columns
        of text; kept_, runs_: which columns are telling, and which are one column of codes spread out. wide_: how a
        wide table is made narrow, or None.
        weights_hash_: of the weights.
    """

    Config = InContextConfig

    def __init__(
        self,
        weights: str | None = None,
        members: int = 4,
        categorical: tuple[int, ...] = (),
        random_state: int = 0,
    ):
        self.weights = weights
        self.members = members
        self.categorical = categorical
        self.random_state = random_state

    def network(self) -> Any:
        """The network and the hash of its weights, see `_incontext_weights.read_network`."""
        need("torch", extra="text", why="The in-context learner")
        from smidgen.learn._incontext_weights import NEWEST, read_network, shipped

        own = shipped(getattr(self, "weights_hash_", NEWEST))  # a saved model's may be older ones
        return read_network(Path(self.weights).absolute() if self.weights else own)

    def _read(self, X: Any, y: Any) -> np.ndarray:
        """Learns the table's form; y, checked. Sets all but `answers_`."""
        config = self.config()
        vars(self).pop("weights_hash_", None)
        _, self.weights_hash_ = self.network()
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        _check_target(y, isinstance(self, RegressorMixin))
        frame = table.columns_of(X)
        self.levels_ = {} if frame is None else table.learn_levels(frame)
        numeric = isinstance(self, RegressorMixin)
        x, y = _numbers(
            lambda v: validate_data(self, v, y, dtype=np.float64, ensure_all_finite="allow-nan", y_numeric=numeric),
            X if frame is None else table.coded(frame, self.levels_),
        )
        coded = np.zeros(x.shape[1], bool)
        coded[[int(place) for place in self.levels_]] = True
        for place in config.categorical:
            if not 0 <= place < x.shape[1]:
                raise bad("categorical", f"places from 0 to {x.shape[1] - 1}", place)
            coded[place] = True
        self.kept_ = table.telling(x)
        self.coded_ = coded[self.kept_]
        x = x[:, self.kept_]
        plain = np.where(self.coded_, np.nan, x)  # codes are no part of a run
        self.runs_ = np.array(table.one_hot_runs(plain), np.int64).reshape(-1, 2)
        self.wide_ = None
        whole, codes = self._form(x)
        target = np.asarray(y, np.float64) if numeric else np.unique(y, return_inverse=True)[1]
        self.wide_ = learn_wide(whole, codes, target)
        self.rows_ = self._form(x)[0]
        self._tell_limits(whole.shape[1])
        return y

    def _tell_limits(self, columns: int) -> None:
        N, D = self.rows_.shape
        if N > MOST_ROWS:
            _warn(f"{N:,} rows: each of {self.members} passes reads {MOST_ROWS:,} of them, drawn at random")
        if self.wide_ is not None:
            done = f"{len(self.wide_['plain'])} of them became {self.wide_['axes'].shape[1]} principal components"
            _warn(f"{columns} columns: at most {MOST_COLUMNS} are read at once; {done}, and those that tell most stay")
        if D > MOST_COLUMNS:
            _warn(f"{D} columns: each of {self.members} passes reads {MOST_COLUMNS}, half of them those that tell most")

    def _form(self, x_NF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns as the network reads them, and which are codes."""
        x_NF = np.clip(x_NF, -HUGE, HUGE)
        x, spread = table.fused(x_NF, [(int(a), int(b)) for a, b in self.runs_])
        inside = np.zeros(x_NF.shape[1], bool)
        for a, b in self.runs_:
            inside[a:b] = True
        categorical = spread.copy()
        categorical[: (~inside).sum()] = self.coded_[~inside]
        if self.wide_ is not None:
            x, stay = narrow(self.wide_, x), np.asarray(self.wide_["stay"])
            categorical = np.append(np.zeros(x.shape[1] - len(stay), bool), categorical[stay])
        return x, categorical

    def _queries(self, X: Any) -> np.ndarray:
        """New rows `[M, D]` in the form of `rows_`."""
        check_is_fitted(self)
        frame = table.columns_of(X)
        made = X if frame is None else table.coded(frame, self.levels_)
        x: Any = _numbers(
            lambda v: validate_data(self, v, reset=False, dtype=np.float64, ensure_all_finite="allow-nan"), made
        )
        return self._form(x[:, self.kept_])[0]

    def _shown(self, y: np.ndarray) -> Any:
        from smidgen.learn._incontext_answer import Shown

        categorical = self._form(np.zeros((0, len(self.kept_))))[1]
        return Shown(self.rows_, categorical, y)

    def _known_net(self) -> Any:
        net, found = self.network()
        if found != self.weights_hash_:
            raise BadInput(
                "The weights of the in-context learner are others than those of this model (expected "
                f"{self.weights_hash_}): fit it again, or give weights=FILE of those."
            )
        return net

    def get_state(self) -> dict[str, Any]:
        """As every head's, without the path: where the weights lie is the reader's business, not the folder's."""
        state = super().get_state()
        return {**state, "params": {**state["params"], "weights": None}}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class InContextClassifier(ClassifierMixin, _InContext):
    """Classes. One class alone gets chance 1; every other answer has half a row's worth of the class frequencies.

    Attributes:
        classes_: sorted; answers_: their codes; share_: the class frequencies. For the others see `_InContext`.
    """

    def fit(self, X: Any, y: Any) -> "InContextClassifier":
        """Keeps X `[N, F]` (numbers, NaN: unknown; or a DataFrame, also with text) and y `[N]`.

        Raises:
            BadInput: no weights; a target that is not known; text in a column of numbers.
        """
        y = self._read(X, y)
        check_classification_targets(y)
        self.classes_, self.answers_ = np.unique(y, return_inverse=True)
        self.share_ = np.bincount(self.answers_) / len(y)
        if len(self.classes_) > MOST_CLASSES:
            _warn(
                f"{len(self.classes_)} classes: they are split into groups of {MOST_CLASSES} at most, and those again"
            )
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities `[M, C]`, float64, in the order of `classes_`."""
        x = self._queries(X)
        C = len(self.classes_)
        if C == 1 or not self.rows_.shape[1] or not len(x):
            return np.tile(self.share_, (len(x), 1))
        from smidgen.learn._incontext_answer import class_chances

        said = class_chances(self._known_net(), self._shown(self.answers_), x, C, self.members, self.random_state)
        weight = 0.5 / (0.5 + len(self.answers_))
        return (1 - weight) * said + weight * self.share_

    def predict(self, X: Any) -> np.ndarray:
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]


class InContextRegressor(RegressorMixin, _InContext):
    """Numbers, as a histogram for each row: its mean, and intervals.

    Attributes:
        answers_: standardised targets; mean_, spread_: of the targets. For the others see `_InContext`.
    """

    def fit(self, X: Any, y: Any) -> "InContextRegressor":
        """Keeps X `[N, F]` (as the classifier) and y `[N]`, finite. Raises as the classifier."""
        y = np.asarray(self._read(X, y), np.float64)
        size = float(np.abs(y).max()) or 1.0
        mean, spread = float((y / size).mean()), float((y / size).std())
        spread = spread if spread > 1e-12 else 0.0
        self.mean_, self.spread_ = mean * size, spread * size
        self.answers_ = (y / size - mean) / (spread or 1.0)
        return self

    def chances(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """The histogram of each row: chances `[M, C]`, and the edges `[C - 1]` between bins in the target's unit."""
        chance, edges = self._said(X)
        return chance, self.mean_ + self.spread_ * edges

    def predict(self, X: Any) -> np.ndarray:
        """Means `[M]`."""
        said = self._said(X)  # first: it says so when the estimator is not fitted
        return self.mean_ + self.spread_ * bins.mean(*said)

    def predict_quantiles(self, X: Any, levels: Any) -> np.ndarray:
        """Values `[M, len(levels)]` that the target is below with these chances."""
        levels = np.asarray(levels, np.float64)
        if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
            raise bad("levels", "a list of numbers above 0 and below 1", levels.tolist())
        said = self._said(X)
        return self.mean_ + self.spread_ * bins.quantiles(*said, levels)

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Lower and upper ends `[M, 2]` of the interval that leaves out as much on both sides."""
        if not 0 < coverage < 1:
            raise bad("coverage", "above 0 and below 1", coverage)
        return self.predict_quantiles(X, [(1 - coverage) / 2, (1 + coverage) / 2])

    def crps(self, X: Any, y: Any) -> np.ndarray:
        """Continuous ranked probability score of each row `[M]`, in the target's unit; lower is better."""
        said, off = self._said(X), np.asarray(y, np.float64) - self.mean_
        return self.spread_ * bins.crps(*said, off / self.spread_) if self.spread_ else np.abs(off)

    def _said(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Chances `[M, C]` and edges `[C - 1]` of the standardised target."""
        x, net = self._queries(X), self._known_net()
        edges = net.edges.double().numpy()
        if self.rows_.shape[1] and self.spread_ and len(x):
            from smidgen.learn._incontext_answer import bin_chances

            return bin_chances(net, self._shown(self.answers_), x, self.members, self.random_state), edges
        share = np.bincount(np.searchsorted(edges, self.answers_), minlength=len(edges) + 1)  # nothing to tell rows by
        return np.tile(share / share.sum(), (len(x), 1)), edges


def _warn(text: str) -> None:
    warnings.warn(text + ".", UserWarning, stacklevel=4)


def _check_target(y: Any, numeric: bool) -> None:
    """Raises BadInput for a target that is not known, or text where a number is due."""
    if getattr(y, "ndim", 1) != 1 and not hasattr(y, "iloc"):
        return
    unknown = np.asarray(pd.isna(pd.Series(np.asarray(y, object).ravel())))
    if unknown.any():
        raise BadInput(
            f"The target of row {int(unknown.argmax())} is not known ({int(unknown.sum())} rows in all; NaN): "
            "leave these rows out."
        )
    texts = [v for v in np.ravel(np.asarray(y, object)) if isinstance(v, str)] if numeric else []
    if texts:
        raise BadInput(f"The target must be numbers, but holds {texts[0]!r}: for classes use InContextClassifier.")


def _numbers(check: Any, X: Any) -> Any:
    """The checked array; text where numbers are due as BadInput that says where."""
    try:
        return check(X)
    except ValueError as error:
        if "could not convert string to float" not in str(error):
            raise
        raise BadInput(
            f"X holds text where numbers are due ({error}): replace it by numbers or NaN, or give a DataFrame, whose "
            "columns of text are read as categories."
        ) from None


CLASSIFIER, REGRESSOR = InContextClassifier, InContextRegressor
