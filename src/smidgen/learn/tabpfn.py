"""TabPFN (Hollmann et al., 2025): a network that was trained to read a small table and answer, if it is installed.

It learns nothing from the rows beyond reading them, so a saved model is its training rows and the hash of the weights.
The weights are a file of the user's, never fetched: many versions carry licences of their own (some non-commercial).
Only safetensors files are taken, since other checkpoints can carry code; `tabpfn` 8 reads them.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.extras import need
from smidgen.learn.base import ClassifierHead, RegressorHead

CARD = {
    "title": "TabPFN",
    "tldr": "A network pretrained on made-up tables reads yours; needs a local weights file, never downloaded.",
    "features": "tree",
    "extra": "tabfm",
    "package": "tabpfn",
    "max_rows": 10_000,
    "max_classes": 10,
    "max_features": 500,
    "seconds": (3.0, 100.0),
    "bytes_per_row": 8.0,
}
WEIGHTS = "SMIDGEN_TABPFN_WEIGHTS"


@dataclass(frozen=True, kw_only=True)
class TabPFNConfig:
    """weights: path of a safetensors checkpoint; None: the environment variable SMIDGEN_TABPFN_WEIGHTS.
    estimators: forward passes, each on the table in another form."""

    weights: str | None = None
    estimators: int = 4

    def __post_init__(self):
        if not 1 <= self.estimators <= 64:
            raise bad("estimators", "1 to 64", self.estimators)


class _TabPFN:
    """What classes and values share."""

    Config = TabPFNConfig
    _kind: str

    def __init__(self, weights: str | None = None, estimators: int = 4, random_state: int = 0):
        self.weights = weights
        self.estimators = estimators
        self.random_state = random_state

    def _keep(self, X: np.ndarray, y: np.ndarray) -> None:
        path = weights_file(self._config.weights)  # type: ignore[attr-defined]
        need("tabpfn", extra="tabfm", why="The method learn/tabpfn")
        self.weights_hash_ = file_hash(path)
        self.rows_, self.answers_ = X, y

    def _reader(self) -> Any:
        path = weights_file(self.weights)
        if file_hash(path) != self.weights_hash_:
            raise BadInput(f"{path} is not the weights file of this model: expected SHA-256 {self.weights_hash_}.")
        package = need("tabpfn", extra="tabfm", why="The method learn/tabpfn")
        return getattr(package, self._kind)(
            model_path=str(path),
            n_estimators=self.estimators,
            device="cpu",
            random_state=self.random_state,
            n_preprocessing_jobs=1,
        ).fit(self.rows_, self.answers_)

    def get_state(self) -> dict[str, Any]:
        """As every head's, without the path: where the weights lie is the reader's business, not the folder's."""
        state = super().get_state()  # type: ignore[misc]
        return {**state, "params": {**state["params"], "weights": None}}


class TabPFNClassifier(_TabPFN, ClassifierHead):
    """Probabilities as the network gives them, with half a row's worth of the class frequencies."""

    _kind = "TabPFNClassifier"

    def _fit(self, X, codes):
        self._keep(X, codes)
        self.prior_ = np.bincount(codes) / len(codes)

    def _proba(self, X):
        said = np.asarray(self._reader().predict_proba(X), np.float64)
        weight = 0.5 / (0.5 + len(self.answers_))
        return (1 - weight) * said / said.sum(1, keepdims=True) + weight * self.prior_

    @classmethod
    def from_state(cls, state):
        return _known_hash(super().from_state({**state, "params": {**state["params"], "weights": None}}))


class TabPFNRegressor(_TabPFN, RegressorHead):
    """The mean of the distribution that the network gives."""

    _kind = "TabPFNRegressor"

    def _fit(self, X, y):
        self._keep(X, y)

    def _value(self, X):
        return np.asarray(self._reader().predict(X), np.float64)

    @classmethod
    def from_state(cls, state):
        return _known_hash(super().from_state({**state, "params": {**state["params"], "weights": None}}))


def weights_file(path: str | None) -> Path:
    """The weights file that the settings or the environment name.

    Raises:
        BadInput: none is named, it is absent, or it is not a safetensors file.
    """
    path = path or os.environ.get(WEIGHTS) or None
    if path is None:
        raise BadInput(
            "learn/tabpfn needs a local weights file and downloads none: set weights=FILE "
            f"or {WEIGHTS}=FILE (a safetensors checkpoint of TabPFN; mind its licence)."
        )
    if Path(path).suffix != ".safetensors":
        raise bad("weights", "a .safetensors file", path, "Other checkpoints can carry code and are not loaded.")
    if not Path(path).is_file():
        raise bad("weights", "a file", f"{path}, which is none")
    return Path(path).absolute()


def file_hash(path: Path) -> str:
    """SHA-256 of the file's bytes, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _known_hash(head: Any) -> Any:
    if not isinstance(getattr(head, "weights_hash_", None), str):
        raise BadInput("This model does not say which weights it needs: the model folder is damaged or was edited.")
    return head


CLASSIFIER, REGRESSOR = TabPFNClassifier, TabPFNRegressor
