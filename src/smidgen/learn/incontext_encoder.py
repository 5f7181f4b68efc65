"""Linear read-outs of new output units from a handful of (stimulus, response) pairs, without fitting anything.

A unit is whatever answers to stimuli: a voxel, a sensor, a rater, a customer. A network that has seen many units of
earlier subjects reads a new unit's few pairs and gives weights of a linear predictor in one forward pass, for any
number of pairs and of units at once (BraInCoRL: Yu et al., 2025, arXiv 2505.15813). There are no weights of everyone:
units resemble those of your own earlier subjects.

    subjects = [Subject(features, responses), ...]                 # or Subject.open(folder), memory-mapped
    path = train_encoder(subjects, "encoder")
    new = InContextEncoder(path).fit(X, Y)                         # 20 stimuli, Y [20, units], NaN: not measured
    new.predict(X_test); new.coef_; new.attention(); new.read_out(["a face", "a house"])

Compare with `ridge_cv` on the same pairs, and with `WeightPrior`, what units have in common as one normal distribution.

Dims: S pairs of context, V units, E embedding, M new stimuli, K queries, L layers, H heads.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import tensor_bytes, write_bytes
from smidgen.learn._encoder_episodes import (
    EpisodeSampler,
    Subject,
    standardized,
    synthetic_subject,
    unit_norm,
)
from smidgen.learn._encoder_scores import by_region, context_curve, explained_variance, noise_ceiling, r_squared
from smidgen.learn._encoder_settings import EncoderTrainingConfig
from smidgen.learn._encoder_training import train_encoder
from smidgen.learn._encoder_weights import read_encoder
from smidgen.learn._many_ridge import LinearReadout, WeightPrior, ridge_cv
from smidgen.learn.base import Head
from smidgen.nets.hypernetwork import InContextLinearHypernet

__all__ = [
    "EncoderTrainingConfig",
    "EpisodeSampler",
    "InContextEncoder",
    "LinearReadout",
    "Subject",
    "WeightPrior",
    "by_region",
    "context_curve",
    "explained_variance",
    "noise_ceiling",
    "r_squared",
    "ridge_cv",
    "standardized",
    "synthetic_subject",
    "train_encoder",
]

NUMBERS_AT_ONCE = 4 << 20  # in the largest intermediate result of a forward pass


@dataclass(frozen=True, kw_only=True)
class InContextEncoderConfig:
    """weights: a file that `train_encoder` made. device: where the forward passes run."""

    weights: str | None = None
    device: str = "cpu"


class InContextEncoder(MultiOutputMixin, RegressorMixin, Head):
    """Many outputs that share their inputs, each with a read-out from its own context.

    Attributes:
        X_, Y_: the context, `[S, E]` and `[S, V]`. coef_ `[V, E]`, intercept_ `[V]`: the read-outs, in the units of the
            responses; without the first axis where y had one dimension.
        weights_hash_: of the network's weights.
    """

    Config = InContextEncoderConfig

    def __init__(self, weights: str | Path | None = None, device: str = "cpu"):
        self.weights = weights
        self.device = device

    def fit(self, X: Any, y: Any) -> "InContextEncoder":
        """Keeps the context and reads the units out, once.

        Args:
            X: embeddings `[S, E]`, of unit length (else divided by it, with a warning).
            y: responses `[S, V]` or `[S]`; NaN: not measured. Any scale, if the network standardises by context (it
                does unless told otherwise in training); else mean 0 and deviation 1 of the unit, as in training.
        Raises:
            BadInput: no weights, embeddings of another width than in training, responses that do not fit or are
                infinite.
        """
        net, self.weights_hash_ = self._net()
        checked: Any = validate_data(self, X, dtype=np.float32)
        if checked.shape[1] != net.config.embed:
            raise bad("X", f"embeddings of {net.config.embed} numbers, as in training", checked.shape[1])
        Y = np.asarray(y, np.float64)
        if Y.ndim not in (1, 2) or len(Y) != len(checked):
            raise bad("y", f"responses [{len(checked)}, units] or [{len(checked)}]", f"shape {Y.shape}")
        if np.isinf(Y).any():
            raise BadInput("y: it holds infinite responses. Write NaN where there is none.")
        self.X_, self.Y_ = unit_norm(checked, "X"), Y.reshape(len(Y), -1)
        if unknown := int(np.isnan(self.Y_).all(0).sum()):
            warnings.warn(f"y: of {unknown} units no response is known: what they are said to do is worth nothing.",
                          UserWarning, stacklevel=2)  # fmt: skip
        parts = [net.weights(*pairs).cpu().double().numpy() for pairs in self._chunks(net)]
        w_VW = np.concatenate([np.zeros((0, net.config.embed + 1)), *parts])
        self.coef_, self.intercept_ = w_VW[:, :-1], w_VW[:, -1]
        if Y.ndim == 1:
            self.coef_, self.intercept_ = self.coef_[0], float(self.intercept_[0])
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Responses `[M, V]` (or `[M]`) to new stimuli `[M, E]`."""
        return unit_norm(self._check_X(X), "X") @ self.coef_.T + self.intercept_

    def score(self, X: Any, y: Any, sample_weight: None = None) -> float:
        """Mean R2 over the units that vary; NaN in y does not count."""
        return float(np.nanmean(r_squared(self.predict(X), y)))

    def attention(self) -> np.ndarray:
        """Which stimuli mattered: attention of the read-out to each pair, `[V, L, H, S]`; 0 where a response is
        unknown. Its mean over axes 1 and 2 is one number for each stimulus."""
        check_is_fitted(self)
        net, found = self._net()
        if found != self.weights_hash_:
            raise BadInput("The weights of this encoder have changed since it was fitted: fit it again.")
        return np.concatenate([net.attention(*pairs).cpu().numpy() for pairs in self._chunks(net)])

    def read_out(
        self, queries: Sequence[str] | np.ndarray, encode: Callable[[list[str]], Any] | None = None
    ) -> pd.DataFrame:
        """What each unit is selective for, asked in words: a row for each query, a column for each unit: the predicted
        response beyond that to the mean stimulus of the context.

        Args:
            queries: texts, or their embeddings `[K, E]`.
            encode: texts to embeddings in the space of the stimuli; default: all-MiniLM-L6-v2, of 384 numbers.
        Raises:
            BadInput: embeddings of another width.
        """
        check_is_fitted(self)
        names = list(queries) if not isinstance(queries, np.ndarray) else list(range(len(queries)))
        if not isinstance(queries, np.ndarray):
            if encode is None:
                from smidgen.nets import minilm

                encode = minilm.load().encode
            queries = np.asarray(encode(list(queries)))
        if queries.ndim != 2 or queries.shape[1] != self.X_.shape[1]:
            raise bad("queries", f"embeddings [K, {self.X_.shape[1]}], as the stimuli", f"shape {queries.shape}",
                      "Give encode= of the space of the stimuli.")  # fmt: skip
        beyond = unit_norm(queries, "queries", warn=False) - self.X_.mean(0)
        return pd.DataFrame(beyond @ np.atleast_2d(self.coef_).T, index=pd.Index(names, name="query"))

    def export(self, path: Path | str, *, attention: bool = False) -> None:
        """Writes `coef` `[V, E]` and `intercept` `[V]`, and on request `attention`, as one safetensors file."""
        check_is_fitted(self)
        arrays = {"coef": np.atleast_2d(self.coef_), "intercept": np.atleast_1d(self.intercept_)}
        write_bytes(Path(path), tensor_bytes(arrays | ({"attention": self.attention()} if attention else {})))

    def get_state(self) -> dict[str, Any]:
        """As every head's, without the path: read-outs need no weights any more."""
        state = super().get_state()
        return {**state, "params": {**state["params"], "weights": None}}

    def _net(self) -> tuple[InContextLinearHypernet, str]:
        if self.weights is None:
            raise BadInput("InContextEncoder needs weights=FILE: `train_encoder` makes it from earlier subjects.")
        net, found = read_encoder(self.weights)
        return net.to(self.device), found

    def _chunks(self, net: InContextLinearHypernet) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Pairs of a few units at a time: embeddings, responses, and which are known."""
        config, tokens = net.config, len(self.X_) + net.config.registers
        few = max(NUMBERS_AT_ONCE // (tokens * max(config.heads * tokens, 2 * config.ffn)), 1)
        x_SE = torch.from_numpy(self.X_).to(self.device)
        with torch.inference_mode():
            for start in range(0, self.Y_.shape[1], few):
                y_BS = np.ascontiguousarray(self.Y_[:, start : start + few].T, np.float32)
                known = np.isfinite(y_BS)
                mask_BS = None if known.all() else torch.from_numpy(known).to(self.device)
                yield x_SE.expand(len(y_BS), -1, -1), torch.from_numpy(y_BS).to(self.device), mask_BS
