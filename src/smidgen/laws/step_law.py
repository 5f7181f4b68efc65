"""Learning rate and batch size for a language model of N parameters on D tokens (Step Law, 2025, arXiv 2503.04715).

lr = 1.79 N^-0.713 D^0.307; batch = 0.58 D^0.571 tokens: fitted by its authors on AdamW (beta2 0.95, weight decay 0.1)
for N from 0.06e9 to 1.07e9 non-embedding parameters and D from 2e9 to 100e9 tokens. Far outside of that it is an
extrapolation, and says so.
"""

from dataclasses import dataclass

from smidgen.kit.errors import bad

N_RANGE = (5.9e7, 1.07e9)  # non-embedding parameters of the published runs
D_RANGE = (2e9, 1e11)  # tokens of the published runs
# Factors by which rate and batch may be off, the other at its best, for a loss within 0.25 %: medians of the 17 cells
# of the released dense runs, by `optimal_step.OptimalStep.plateau`.
PLATEAU = (1.87, 1.90)
FAR = 10.0  # beyond this factor outside the range the law is not used


@dataclass(frozen=True)
class Step:
    """Predicted optimum. `lr`: peak rate of AdamW; `batch_tokens`; `outside`: how far out of the range of the runs
    that the law was fitted on, as a factor (1 inside)."""

    lr: float
    batch_tokens: float
    outside: float

    @property
    def usable(self) -> bool:
        return self.outside <= FAR


def step_law(parameters: float, tokens: float) -> Step:
    """The published law. Raises BadInput: not positive.

    Args:
        parameters: without embeddings. tokens: to be trained on.
    """
    for name, value in (("parameters", parameters), ("tokens", tokens)):
        if not value > 0:
            raise bad(name, "a number above 0", value)
    ratios = [max(low / v, v / high, 1.0) for v, (low, high) in ((parameters, N_RANGE), (tokens, D_RANGE))]
    lr = 1.79 * parameters**-0.713 * tokens**0.307
    return Step(lr, 0.58 * tokens**0.571, max(ratios))
