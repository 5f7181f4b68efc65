"""What each purchase would bring, and the best split of the money: from a learning curve, worths and prices.

Dims: K draws.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from smidgen.laws.allocate import Split, split
from smidgen.laws.curve import LEVEL, Curve
from smidgen.studies.losses import Scale
from smidgen.studies.prices import Offer

TIMES = (2, 4, 10)  # the labels that there are
UNLABELLED_MOST = 4  # times the labels: twice as many as the mixtures that are measured have
BEYOND = 0.999  # of what the curve carries, so that rounding does not leave it


@dataclass(frozen=True)
class Outlook:
    """Forecasts of one study.

    Attributes:
        curve: as it is expected on new rows. scale: of the metric. worths: by offer, plausible worths in labels `[K]`.
        labels: that there are.
    """

    curve: Curve
    scale: Scale
    offers: tuple[Offer, ...]
    worths: dict[str, np.ndarray]
    labels: int

    def log_losses(self, bought: dict[str, float], luck: bool) -> np.ndarray:
        """Plausible log losses after buying so much of each offer `[K]`."""
        total_K = np.full(len(next(iter(self.worths.values()))), float(self.labels))
        for name, amount in bought.items():
            total_K = total_K + min(amount, self.most(name)) * self.worths[name]
        total_K = np.clip(total_K, self.labels / 4, self.curve.carries * BEYOND)
        return self.curve.log_losses(total_K, luck)

    def most(self, offer: str) -> float:
        """How many of an offer's rows a forecast is made for: what more rows without labels would do was not seen."""
        return UNLABELLED_MOST * self.labels if offer == "unlabelled" else np.inf

    def score(self, log_losses_K: np.ndarray, level: float = LEVEL) -> tuple[float, list[float]]:
        """(likely score, its interval)."""
        ends = np.quantile(log_losses_K, [(1 - level) / 2, 0.5, (1 + level) / 2])
        low, middle, high = (self.scale.score(float(np.exp(e))) for e in ends)
        return middle, sorted((low, high))

    def now(self) -> tuple[float, list[float]]:
        return self.score(self.curve.log_losses(float(self.labels)))

    def forecasts(self, spend: float) -> list[dict[str, Any]]:
        """For each offer: 2, 4 and 10 times the labels, and what the money alone would buy."""
        out = []
        for offer in self.offers:
            amounts = {float(round((t - 1) * self.labels)) for t in TIMES} | {float(int(spend / offer.price))}
            for amount in sorted(a for a in amounts if 1 <= a <= self.most(offer.name)):
                estimate, interval = self.score(self.log_losses({offer.name: amount}, True))
                out.append({
                    "purchase": offer.name, "amount": amount, "total": self.labels + amount,
                    "cost": round(amount * offer.price, 6), "metric": self.scale.metric.name, "estimate": estimate,
                    "interval": interval, "level": LEVEL,
                })  # fmt: skip
        return out

    def split(self, spend: float) -> Split:
        """The money by offer, in their order."""
        prices_O = np.array([o.price for o in self.offers])

        def after(money_O: np.ndarray) -> np.ndarray:
            bought = {o.name: float(m / p) for o, m, p in zip(self.offers, money_O, prices_O, strict=True)}
            return np.exp(self.log_losses(bought, False))

        return split(after, len(self.offers), spend)

    def reaching(self, target: float) -> dict[str, Any] | None:
        """How much of the offer that gets there cheapest reaches the score; None where none within reach does."""
        wanted = self.scale.loss(target)
        total_K = self.curve.amounts(wanted)
        found = []
        for offer in self.offers:
            worth_K = np.maximum(self.worths[offer.name], 1e-9)
            more_K = np.sort(np.maximum(total_K - self.labels, 0.0) / worth_K)
            low, middle, high = (float(more_K[min(int(q * len(more_K)), len(more_K) - 1)]) for q in (0.05, 0.5, 0.95))
            if (
                np.isfinite(middle)
                and middle <= self.most(offer.name)
                and middle * max(float(np.median(worth_K)), 0) <= self.curve.carries
            ):
                found.append((middle * offer.price, offer, low, middle, high))
        if not found:
            return None
        cost, offer, low, middle, high = min(found, key=lambda f: f[0])
        ends = [round(low), round(high) if np.isfinite(high) else None]
        return {
            "purchase": offer.name,
            "amount": round(middle),
            "interval": ends,
            "cost": round(cost, 2),
            "level": LEVEL,
        }


def anchored(curve: Curve, factor: float) -> Curve:
    """The curve of a model whose loss is `factor` times that of the one that was measured."""
    return replace(curve, baseline=curve.baseline * factor)
