"""What a law may look like: a formula with named parameters, in the coordinates in which they are fitted.

Nearly all laws of scaling are a sum of powers of their inputs, and `PowerSum` is that family. All forms give the
logarithm of a positive quantity (loss, error, rate) and its slope, for many sets of parameters at once.

Dims: K sets of parameters, R rows, P parameters, I inputs, J terms.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from smidgen.kit.errors import bad


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """An unknown. `low`, `high`: bounds of the fitted number; `prior`: mean and standard deviation of a normal one
    (None: flat); `log`: whether what is fitted is its logarithm, and the value that people read is the exponential."""

    name: str
    low: float = -math.inf
    high: float = math.inf
    prior: tuple[float, float] | None = None
    log: bool = False

    def shown(self, fitted: float) -> float:
        return math.exp(fitted) if self.log else fitted


class Form(Protocol):
    """A formula. `inputs`: names of the columns of x, in their order."""

    name: str
    inputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    def log_value(self, theta_KP: np.ndarray, x_RI: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(logarithm of the value `[K, R]`, its slope by each parameter `[K, R, P]`)."""
        ...

    def starts(self, x_RI: np.ndarray, log_y_R: np.ndarray) -> np.ndarray:
        """Where fits begin `[S, P]`."""
        ...


@dataclass(frozen=True)
class Term:
    """exp(scale) * product of inputs^(-exponent), or a constant where `exponents` is empty.

    Attributes:
        scale: the parameter that is the term's logarithm at inputs of 1.
        exponents: by input, the parameter that is its (negative) power, with a factor: `{"n": ("alpha", 1.0)}` falls
            with n. One parameter may stand in several places: then these are tied.
    """

    scale: str
    exponents: Mapping[str, tuple[str, float]] = field(default_factory=dict)


class PowerSum:
    """y = sum over terms of exp(scale) * prod inputs^(-factor * exponent).

    The logarithm of each term is linear in the parameters, so slopes are exact and cheap. `middle`, by input, keeps
    scale and exponent apart: a scale is the term's logarithm where that input has this value.

    Raises:
        BadInput: a term names a parameter or an input that is not there.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[str],
        parameters: Sequence[Parameter],
        terms: Sequence[Term],
        middle: Mapping[str, float] | None = None,
    ) -> None:
        self.name, self.inputs, self.parameters = name, tuple(inputs), tuple(parameters)
        self.terms, self.middle = tuple(terms), dict(middle or {})
        own = {p.name: i for i, p in enumerate(self.parameters)}
        for term in self.terms:
            for wanted, there in (
                *((name, own) for name in (term.scale, *(p for p, _ in term.exponents.values()))),
                *((name, self.inputs) for name in term.exponents),
            ):
                if wanted not in there:
                    raise bad(f"a term of {name}", f"one of {', '.join(there)}", wanted)
        self._place = own

    def features(self, x_RI: np.ndarray) -> np.ndarray:
        """What each parameter is multiplied with in the logarithm of each term: `[J, R, P]`."""
        log_x = {name: np.log(x_RI[:, i] / self.middle.get(name, 1.0)) for i, name in enumerate(self.inputs)}
        out_JRP = np.zeros((len(self.terms), len(x_RI), len(self.parameters)))
        for j, term in enumerate(self.terms):
            out_JRP[j, :, self._place[term.scale]] += 1.0
            for name, (parameter, factor) in term.exponents.items():
                out_JRP[j, :, self._place[parameter]] -= factor * log_x[name]
        return out_JRP

    def log_value(self, theta_KP: np.ndarray, x_RI: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features_JRP = self.features(x_RI)
        terms_JKR = np.einsum("jrp,kp->jkr", features_JRP, theta_KP)
        top_KR = terms_JKR.max(0)
        shares_JKR = np.exp(terms_JKR - top_KR)
        total_KR = shares_JKR.sum(0)
        shares_JKR /= total_KR
        return top_KR + np.log(total_KR), np.einsum("jkr,jrp->krp", shares_JKR, features_JRP)

    def starts(self, x_RI: np.ndarray, log_y_R: np.ndarray) -> np.ndarray:
        """Exponents from a coarse grid; each scale such that its term is a given share of the smallest or the largest
        value; starts of fits that lie out of bounds are moved to them."""
        import itertools

        exponents = [p.name for p in self.parameters if all(t.scale != p.name for t in self.terms)]
        scales = [t.scale for t in self.terms]
        slopes = [self._slopes(self.parameters[self._place[name]]) for name in exponents]
        shares = [(0.9, 0.3, 0.03)] * len(scales) if len(scales) < 4 else [(0.5, 0.05)] * len(scales)
        features_JRP = self.features(x_RI)
        out = []
        for powers in itertools.product(*slopes):
            base_P = np.zeros(len(self.parameters))
            base_P[[self._place[name] for name in exponents]] = powers
            sizes_JR = features_JRP @ base_P  # with all scales 0
            for share in itertools.product(*shares):
                theta_P = base_P.copy()
                for j, (scale, part) in enumerate(zip(scales, share, strict=True)):
                    # a constant lies below the smallest value, a falling term takes its part of each one
                    level = log_y_R.min() if not self.terms[j].exponents else np.mean(log_y_R - sizes_JR[j])
                    theta_P[self._place[scale]] = level + math.log(part)
                out.append(theta_P)
        starts_SP = np.array(out)
        low_P, high_P = bounds(self)
        return np.unique(np.clip(starts_SP, low_P, high_P), axis=0)

    @staticmethod
    def _slopes(parameter: Parameter) -> tuple[float, ...]:
        if parameter.prior is not None:
            mean, sd = parameter.prior
            return (mean - sd, mean, mean + sd)
        return (0.1, 0.3, 0.7) if parameter.low >= 0 else (-0.5, 0.1, 0.5)


def bounds(form: Form) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest fitted numbers `[P]`."""
    return np.array([p.low for p in form.parameters]), np.array([p.high for p in form.parameters])


def priors(form: Form) -> tuple[np.ndarray, np.ndarray]:
    """Means `[P]` and precisions `[P]` (0 where the prior is flat)."""
    means = np.array([p.prior[0] if p.prior else 0.0 for p in form.parameters])
    return means, np.array([1 / p.prior[1] ** 2 if p.prior else 0.0 for p in form.parameters])
