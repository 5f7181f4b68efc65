"""How to split an annotation budget when nothing can be measured: what arXiv 2502.11284 concluded, each rule with how
well it is known.

The paper gives rules, not a formula. Where a number is needed between them it is ours, and marked so; a study
(`budget_split`) is better wherever one can be run.
"""

import math
from dataclasses import dataclass
from typing import Literal

from smidgen.kit.errors import bad
from smidgen.laws.budget_grid import cells

Task = Literal["style", "reasoning"]
Evidence = Literal["abstract", "notes", "interpolated"]
FEW = 1000  # examples, below which demonstrations alone are best
START = 0.1  # share of demonstrations that is enough against a cold start


@dataclass(frozen=True)
class AnnotationPrices:
    """Of one demonstration and of one preference, in the unit of the budget."""

    demonstration: float = 1.0
    preference: float = 1.0

    def __post_init__(self) -> None:
        for name in ("demonstration", "preference"):
            if not 0 < getattr(self, name) < math.inf:
                raise bad(f"price of a {name}", "above 0", getattr(self, name))

    @property
    def pair(self) -> tuple[float, float]:
        return self.demonstration, self.preference


def split_budget(total: float, sft_share: float, prices: AnnotationPrices | None = None) -> tuple[int, int]:
    """Whole demonstrations and preferences that the money buys; what demonstrations leave over buys preferences.

    Raises:
        BadInput: a share out of 0 to 1, or a total that buys nothing.
    """
    cell = cells([total], [sft_share], (prices or AnnotationPrices()).pair)[0]
    return cell.first, cell.second


@dataclass(frozen=True)
class Rule:
    """`evidence`: "abstract" (the paper's own, over four tasks and models below 10 B), "notes" (public notes on it, not
    checked against the text), "interpolated" (ours, in agreement with the others)."""

    name: str
    says: str
    evidence: Evidence


RULES = {
    rule.name: rule
    for rule in (
        Rule("few", f"Under about {FEW:,} examples all money goes to demonstrations.", "abstract"),
        Rule("mix", "Above that a mixture is best, often with a share of preferences that grows.", "abstract"),
        Rule("cold start", "Never no demonstrations where answers are reasoned in steps: under 10 % do.", "abstract"),
        Rule("style", "Style tasks (summaries, helpfulness) suffer less from a cold start.", "notes"),
        Rule("prices", "The dearer demonstrations are beside preferences, the less of the money they get.", "notes"),
        Rule("how much", f"The first {FEW:,} examples are demonstrations, all others preferences.", "interpolated"),
        Rule("how steeply", "The odds of the shares fall with the ratio of the prices.", "interpolated"),
    )
}


@dataclass(frozen=True)
class Advice:
    """A share of the money for demonstrations, what it buys, and the rules that led to it; it is known as well as the
    least of them."""

    share: float
    n_sft: int
    n_pref: int
    rules: tuple[Rule, ...]

    @property
    def evidence(self) -> Evidence:
        found: set[Evidence] = {rule.evidence for rule in self.rules}
        return "interpolated" if "interpolated" in found else "notes" if "notes" in found else "abstract"


def decision_rule(total: float, task: Task, prices: AnnotationPrices | None = None) -> Advice:
    """The split that the paper's conclusions suggest.

    Under 1,000 examples (counted as demonstrations) all money goes to these. From there on the share falls as
    1,000 / examples; its odds are divided by the price of a demonstration over that of a preference; for reasoning it
    stays at 0.1 or more.

    Args:
        task: "reasoning": the answer must be worked out in steps; "style": how it is said.
    Raises:
        BadInput: another task, or a total that buys nothing.
    """
    prices = prices or AnnotationPrices()
    if task not in ("style", "reasoning"):
        raise bad("task", "'style' or 'reasoning'", task)
    if not 0 < total < math.inf:
        raise bad("total", "above 0", total)
    examples, ratio = total / prices.demonstration, prices.demonstration / prices.preference
    names, share = ["few"], 1.0
    if examples > FEW:
        names, share = ["mix", "how much"], FEW / examples
        if ratio != 1:
            names += ["prices", "how steeply"]
            share /= share + (1 - share) * ratio
        if task == "style":
            names.append("style")
        elif share < START:
            names, share = [*names, "cold start"], START
    return Advice(share, *split_budget(total, share, prices), tuple(RULES[name] for name in names))
