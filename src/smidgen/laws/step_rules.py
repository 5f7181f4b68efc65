"""Other published rules for learning rate and batch size, to set beside the Step Law: by compute alone (DeepSeek LLM,
2024, arXiv 2401.02954), as GPT-3 was trained by size alone (Brown et al., 2020, arXiv 2005.14165, table 2.1), and a
batch by the loss that training will reach (MiniCPM, `batch_law`), which Chinchilla's law of size and tokens tells.

On the 1,911 released dense runs the run nearest to each rule lies above the best of its cell, on the mean of 17 cells
and at worst, by (%): the Step Law 0.10 and 0.31, DeepSeek's rule 0.76 and 1.13, GPT-3's sizes 1.70 and 2.79, MiniCPM's
batch with the rate of the Step Law 1.90 and 3.29. The law was fitted to such runs and the others were not: each is of
its own schedule, optimizer and text.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.batch_law import batch_law
from smidgen.laws.nd_law import NDLaw
from smidgen.laws.step_law import step_law

# Hoffmann et al. (2022, arXiv 2203.15556), approach 3; nats a token of their text.
CHINCHILLA = NDLaw(406.4, 0.34, 410.7, 0.28, 1.69)
# Parameters, peak rate, batch in tokens; from memory of the paper. Between the sizes: straight lines of the logarithms.
GPT3 = (
    (1.25e8, 6e-4, 5e5), (3.5e8, 3e-4, 5e5), (7.6e8, 2.5e-4, 5e5), (1.3e9, 2e-4, 1e6), (2.7e9, 1.6e-4, 1e6),
    (6.7e9, 1.2e-4, 2e6), (1.3e10, 1e-4, 2e6), (1.75e11, 6e-5, 3.2e6),
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """What a rule gives: peak rate (None: it says nothing of it), batch in tokens, and whose rule it is."""

    name: str
    lr: float | None
    batch_tokens: float
    source: str


def deepseek_step(parameters: float, tokens: float) -> Rule:
    """lr = 0.3118 C^-0.125, batch = 0.2920 C^0.3271 tokens, with C = 6 N D: fitted at 1e17 to 2e19 operations, where
    their count of operations, attention included, is some percent above 6 N D."""
    flops = 6 * parameters * tokens
    return Rule("by compute", 0.3118 * flops**-0.125, 0.292 * flops**0.3271, "DeepSeek LLM, arXiv 2401.02954")


def gpt3_step(parameters: float, tokens: float) -> Rule:
    """Rate and batch of GPT-3's sizes, which count embeddings; `tokens` change nothing, as all had 3e11."""
    del tokens
    at = np.log(np.clip(parameters, GPT3[0][0], GPT3[-1][0]))
    n_S, lr_S, batch_S = np.log(np.array(GPT3)).T
    lr, batch = (math.exp(np.interp(at, n_S, values_S)) for values_S in (lr_S, batch_S))
    return Rule("by size", lr, batch, "GPT-3, arXiv 2005.14165")


def minicpm_step(parameters: float, tokens: float) -> Rule:
    """The batch for the loss that Chinchilla's law expects; its authors' rate is for another parametrization (muP)."""
    loss = float(CHINCHILLA.loss(parameters, tokens))
    return Rule("by expected loss", None, batch_law(loss).tokens, "MiniCPM, arXiv 2404.06395")


RULES: tuple[Callable[[float, float], Rule], ...] = (deepseek_step, gpt3_step, minicpm_step)


def other_rules(parameters: float, tokens: float) -> list[Rule]:
    """All of them, for a model of so many parameters (without embeddings) and tokens to be trained on.

    Raises:
        BadInput: not above 0, or not finite.
    """
    for name, value in (("parameters", parameters), ("tokens", tokens)):
        if not 0 < value < math.inf:
            raise bad(name, "a finite number above 0", value)
    return [rule(parameters, tokens) for rule in RULES]


def setting(rule: Callable[[float, float], Rule]) -> Callable[[tuple[float, ...]], tuple[float, float]]:
    """A rule as `step_excess.excess_of` takes it; where it has no rate, with that of the Step Law."""

    def of(cell: tuple[float, ...]) -> tuple[float, float]:
        found = rule(cell[0], cell[1])
        return step_law(cell[0], cell[1]).lr if found.lr is None else found.lr, found.batch_tokens

    return of
