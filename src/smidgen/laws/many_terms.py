"""Sums of powers with many terms, some of whose parameters may be known.

`PowerSum` begins its fits on a grid, which has too many places for seven exponents: here they begin at random ones.
What is known stands still: a law of what quantization adds is fitted on top of a law of size and data that was fitted
to other runs before.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.form import Parameter, PowerSum, Term, bounds

STARTS = 96
NOTHING = 1e-300  # for the scale of a known term that is 0


class ManyTerms(PowerSum):
    """As `PowerSum`. `known`: values of parameters, as people read them, that are not fitted; scales where inputs are
    1, whatever `middle` is.

    Raises:
        BadInput: as `PowerSum`, or a known parameter that is not one of its own.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[str],
        parameters: Sequence[Parameter],
        terms: Sequence[Term],
        middle: Mapping[str, float] | None = None,
        known: Mapping[str, float] | None = None,
    ) -> None:
        known, middle = dict(known or {}), dict(middle or {})
        wrong = [k for k in known if k not in {p.name for p in parameters}]
        if wrong:
            raise bad(f"what is known of {name}", ", ".join(p.name for p in parameters), wrong[0])
        moved = {
            term.scale: sum(factor * known.get(p, 0.0) * math.log(middle.get(i, 1.0)) for i, (p, factor) in
                            term.exponents.items())
            for term in terms
        }  # fmt: skip
        fixed = [_fixed(p, known[p.name], moved.get(p.name, 0.0)) if p.name in known else p for p in parameters]
        super().__init__(name, inputs, fixed, terms, middle)
        self.known = frozenset(known)

    def starts(self, x_RI: np.ndarray, log_y_R: np.ndarray) -> np.ndarray:
        """Exponents at random, log-uniform from 0.05 to 3; each term of a random share of the values."""
        rng = np.random.default_rng(0)
        low_P, high_P = bounds(self)
        scales = [term.scale for term in self.terms]
        features_JRP = self.features(x_RI)
        out_SP = np.zeros((STARTS, len(self.parameters)))
        for i, p in enumerate(self.parameters):
            if p.name not in scales:
                out_SP[:, i] = np.exp(rng.uniform(math.log(0.05), math.log(3.0), STARTS))
                if p.low < 0:
                    out_SP[:, i] *= rng.choice([-1.0, 1.0], STARTS)
        out_SP = np.clip(out_SP, low_P, high_P)
        for j, term in enumerate(self.terms):
            i = self._place[term.scale]
            share_S = np.log(rng.uniform(0.02, 0.9, STARTS))
            size_SR = out_SP @ features_JRP[j].T  # with the scale at 0, or at what is known of it
            level_S = log_y_R.min() if not term.exponents else (log_y_R - size_SR).mean(1)
            if term.scale not in self.known:
                out_SP[:, i] = level_S + share_S
        return np.clip(out_SP, low_P, high_P)


def _fixed(parameter: Parameter, value: float, moved: float) -> Parameter:
    """With bounds that leave it no room; a prior that costs nothing, so that it is not counted as an unknown."""
    fitted = (math.log(max(value, NOTHING)) if parameter.log else value) - moved
    return replace(parameter, low=fitted, high=fitted, prior=(fitted, 1.0))


def one(name: str = "one") -> Parameter:
    """An exponent of 1: for an input whose power is known."""
    return Parameter(name=name, low=1.0, high=1.0, prior=(1.0, 1.0))
