"""A classifier read as an energy (Grathwohl et al., 2020, arXiv 1912.03263; TabEBM, arXiv 2409.16118):

    E(x) = -log sum_k exp(logit_k(x)),   p(x) proportional to exp(-E(x)),

which is low where the classifier is sure of any class. What tells two classes apart becomes a density of both, and
which of them is named first does not matter.

Three kinds of model serve: torch ones, through autograd; others with `logits`; and those with `predict_proba`, whose
logits are known only up to a shift of each row and are taken to sum to 0. The last two are differentiated by central
differences, two rows a feature: slow, and flat for trees.

Dims: N rows, D features, K classes.
"""

import sys
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.special import logsumexp

from smidgen.kit.errors import bad

LEAST = 1e-6  # probabilities are kept so far from 0
DELTA = 1e-3  # of central differences, in standard deviations
FAR = 10.0  # times the distance of the corners: there an energy must be no lower than at the rows
SLACK = 0.1  # nats


class Energy(Protocol):
    """An energy in nats of each row by itself: other rows of a batch change nothing."""

    def value(self, x_ND: np.ndarray) -> np.ndarray: ...  # [N]

    def value_and_gradient(self, x_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...  # [N], [N, D]


def logits_energy(logits_NK: np.ndarray) -> np.ndarray:
    """`-logsumexp` of each row of logits, `[N]` in nats."""
    return -logsumexp(logits_NK, axis=1)


def energy_of(model: Any) -> Energy:
    """The energy of a fitted classifier.

    Args:
        model: an `Energy` itself; or with `logits(X)` that gives `[N, K]`; or with `predict_proba(X)`. X is a tensor
            where the model is a `torch.nn.Module` or says `differentiable = True`, else an array.

    Raises:
        BadInput: it has none of these.
    """
    if hasattr(model, "value_and_gradient"):
        return model
    if hasattr(model, "logits"):
        return TorchEnergy(model) if _takes_tensors(model) else ArrayEnergy(model)
    if hasattr(model, "predict_proba"):
        return ArrayEnergy(model)
    raise bad("backbone", "a classifier with logits or predict_proba", type(model).__name__)


@dataclass(frozen=True)
class ArrayEnergy:
    """Of a model on arrays, with a gradient by central differences."""

    model: Any

    def value(self, x_ND: np.ndarray) -> np.ndarray:
        if not hasattr(self.model, "logits"):
            log_NK = np.log(np.maximum(np.asarray(self.model.predict_proba(x_ND), float), LEAST))
            return logits_energy(_checked(log_NK - log_NK.mean(1, keepdims=True), len(x_ND)))
        logits_NK = _checked(np.asarray(self.model.logits(x_ND), float), len(x_ND))
        _refuse_probabilities(logits_NK)
        return logits_energy(logits_NK)

    def value_and_gradient(self, x_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        N, D = x_ND.shape
        step_DD = DELTA * np.eye(D)
        sides = np.concatenate([x_ND[:, None] + step_DD, x_ND[:, None] - step_DD], 1).reshape(-1, D)
        e = self.value(np.concatenate([x_ND, sides]))
        up_NSD = e[N:].reshape(N, 2, D)
        return e[:N], (up_NSD[:, 0] - up_NSD[:, 1]) / (2 * DELTA)


@dataclass(frozen=True)
class TorchEnergy:
    """Of a model whose `logits` takes a tensor `[N, D]` and is differentiable in it."""

    model: Any

    def value(self, x_ND: np.ndarray) -> np.ndarray:
        return self.value_and_gradient(x_ND)[0]

    def value_and_gradient(self, x_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import torch

        weights = next(iter(getattr(self.model, "parameters", list)()), None)
        like = {} if weights is None else {"dtype": weights.dtype, "device": weights.device}
        with torch.enable_grad():
            x = torch.from_numpy(np.ascontiguousarray(x_ND, float)).to(**like).requires_grad_()
            logits = self.model.logits(x)
            if not (isinstance(logits, torch.Tensor) and logits.requires_grad):
                raise bad("logits", "a tensor that is differentiable in X", type(logits).__name__)
            _refuse_probabilities(_checked(logits.detach().double().cpu().numpy(), len(x_ND)))
            e = -torch.logsumexp(logits, 1)
            (gradient,) = torch.autograd.grad(e.sum(), x)
        return e.detach().double().cpu().numpy(), gradient.double().cpu().numpy()


def refuse_unbounded(energy: Energy, rows_ND: np.ndarray, distance: float, seed: int) -> None:
    """Raises BadInput where the energy is lower far from all rows than at them: chains would run off to infinity, as
    they do for linear classifiers and plain networks, whose logits grow without end.

    Args:
        distance: from the origin, beyond which there is no row; looked at are random directions at `FAR` times it.
    """
    direction_KD = np.random.default_rng(seed).standard_normal((64, rows_ND.shape[1]))
    direction_KD /= np.linalg.norm(direction_KD, axis=1, keepdims=True)
    near, far = (float(energy.value(x).mean()) for x in (rows_ND, FAR * distance * direction_KD))
    if not far >= near - SLACK:
        raise bad(
            "backbone",
            "an energy that rises away from the rows",
            f"{near:.3g} at them and {far:.3g} far from them",
            "Linear models and plain networks are sure far away; wrap them in data.tabebm.backbones.Faded.",
        )


def _takes_tensors(model: Any) -> bool:
    torch = sys.modules.get("torch")  # a module of torch cannot be without it
    return bool(getattr(model, "differentiable", False)) or (torch is not None and isinstance(model, torch.nn.Module))


def _checked(logits_NK: np.ndarray, rows: int) -> np.ndarray:
    if logits_NK.ndim != 2 or len(logits_NK) != rows or logits_NK.shape[1] < 2:
        raise bad("shape of the backbone's answer", f"({rows}, 2)", str(logits_NK.shape))
    return logits_NK


def _refuse_probabilities(logits_NK: np.ndarray) -> None:
    """Their log-sum-exp is nearly constant: an energy that says nothing, without a word."""
    if (logits_NK >= 0).all() and np.allclose(logits_NK.sum(1), 1, atol=1e-4):
        raise bad("logits", "logits", "probabilities", "Name the method predict_proba.")
