"""What each purchase would bring, and the best split of the money: from a learning curve, worths and prices.

Dims: K draws.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from smidgen.laws.allocate import Split, split
from smidgen.laws.curve import LEVEL, Curve
from smidgen.studies.blur import Blur
from smidgen.studies.losses import Scale
from smidgen.studies.prices import Offer

TIMES = (2, 4, 10)  # the labels that there are
UNLABELLED_MOST = 4  # times the labels: twice as many as the mixtures that are measured have
LEAST_WORTH = 0.02  # of a clean label; what is worth less is as good as nothing
AMOUNTS = 60  # of each offer, on the way to a target
BEYOND = 0.999  # of what the curve carries, so that rounding does not leave it


@dataclass(frozen=True)
class Outlook:
    """Forecasts of one study.

    Attributes:
        curve: as it is expected on new rows. scale: of the metric. worths: by offer, plausible worths in labels `[K]`.
        labels: that there are. blur: what wrong labels cost beyond that; None: nothing. rates: by offer, plausible
            shares of wrong labels `[K]`; what is not named has its own.
    """

    curve: Curve
    scale: Scale
    offers: tuple[Offer, ...]
    worths: dict[str, np.ndarray]
    labels: int
    blur: Blur | None = None
    rates: dict[str, np.ndarray] = field(default_factory=dict)

    def log_losses(self, bought: dict[str, float], luck: bool) -> np.ndarray:
        """Plausible log losses after buying so much of each offer `[K]`."""
        total_K = np.full(len(next(iter(self.worths.values()))), float(self.labels))
        rows, wrong_K = float(self.labels), np.zeros(len(total_K))
        for offer in self.offers:
            amount = min(bought.get(offer.name, 0.0), self.most(offer))
            total_K = total_K + amount * self.worths[offer.name]
            rows += amount if offer.kind != "unlabelled" else 0.0
            wrong_K = wrong_K + amount * self.rates.get(offer.name, offer.error or 0.0)
        total_K = np.clip(total_K, self.labels / 4, self.curve.carries * BEYOND)
        log_K = self.curve.log_losses(total_K, luck)
        if self.blur and wrong_K.any():
            now_K = self.curve.log_losses(float(self.labels), False)
            times_K = np.exp(self.curve.log_losses(total_K, False) - now_K)
            log_K = np.log(np.exp(log_K) + self.blur.cost(wrong_K / rows, times_K))
        return log_K

    def most(self, offer: Offer) -> float:
        """How many of an offer's rows a forecast is made for: as many as are worth the labels that the curve carries;
        what still more rows without labels would do was not seen."""
        worth = max(float(np.median(self.worths[offer.name])), LEAST_WORTH)
        reach = float(int(self.reach / worth))
        return min(reach, float(UNLABELLED_MOST * self.labels)) if offer.kind == "unlabelled" else reach

    def score(self, log_losses: Callable[[bool], np.ndarray]) -> tuple[float, list[float]]:
        """(likely score, its interval) of plausible log losses with or without the luck of one training: it widens the
        interval and does not move the score, so that what there is now has the study's own."""
        ends = np.quantile(log_losses(True), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        low, high = (self.scale.score(float(np.exp(e))) for e in ends)
        return self.scale.score(float(np.exp(np.median(log_losses(False))))), sorted((low, high))

    def now(self) -> tuple[float, list[float]]:
        return self.at(self.labels)

    def at(self, labels: float) -> tuple[float, list[float]]:
        """`score` with so many clean labels in all."""
        return self.score(lambda luck: self.curve.log_losses(float(labels), luck))

    def forecasts(self, spend: float) -> list[dict[str, Any]]:
        """For each offer: 2, 4 and 10 times the labels, and what the money alone would buy, as far as it is known."""
        out = []
        for offer in self.offers:
            most = self.most(offer)
            amounts = {float(round((t - 1) * self.labels)) for t in TIMES}
            amounts.add(min(float(int(spend / offer.price + 1e-9)), most))
            for amount in sorted(a for a in amounts if 1 <= a <= most):
                estimate, interval = self.score(lambda luck, b={offer.name: amount}: self.log_losses(b, luck))
                out.append({
                    "purchase": offer.name, "amount": amount, "total": self.labels + amount,
                    "cost": round(amount * offer.price, 6), "metric": self.scale.metric.name, "estimate": estimate,
                    "interval": interval, "level": LEVEL,
                })  # fmt: skip
        return out

    @property
    def reach(self) -> float:
        """Labels, or what is worth as much, that forecasts go beyond those that there are."""
        return self.curve.carries - self.labels

    def split(self, spend: float) -> Split:
        """The money by offer, in their order: whole items, together no more than forecasts reach, and none that is
        expected to do harm. What cannot be spent so is kept."""
        prices_O = np.array([o.price for o in self.offers])
        worth_O = np.array([max(float(np.median(self.worths[o.name])), LEAST_WORTH) for o in self.offers])
        most_O = np.array([self.most(o) for o in self.offers])

        def after(money_O: np.ndarray) -> np.ndarray:
            bought = {o.name: float(m / p) for o, m, p in zip(self.offers, money_O, prices_O, strict=True)}
            return np.exp(self.log_losses(bought, False))

        def mean(count_O: np.ndarray) -> float:
            return float(np.log(np.maximum(after(count_O * prices_O), 1e-12)).mean())

        first = split(after, len(self.offers), spend)
        count_O = np.floor(np.minimum(first.money / prices_O, most_O) + 1e-9)
        for o in np.argsort(-prices_O / worth_O):  # beyond the reach the dearest labels are given back first
            over = max(float(worth_O @ count_O) - self.reach, 0.0)
            count_O[o] -= min(count_O[o], np.ceil(over / worth_O[o]))
        each_OO = np.eye(len(prices_O))
        while True:  # what is left, to whoever gains most by it; what does harm is given back
            room_O = np.maximum(np.minimum(most_O - count_O, (self.reach - worth_O @ count_O) / worth_O), 0.0)
            more_O = np.floor(np.minimum((spend - count_O @ prices_O) / prices_O, room_O) + 1e-9)
            tried = [count_O + more_O[o] * each_OO[o] for o in np.flatnonzero(more_O > 0)]
            tried += [count_O - count_O[o] * each_OO[o] for o in np.flatnonzero(count_O > 0)]
            best = min(tried, key=mean, default=count_O)
            if not mean(best) < mean(count_O):
                break
            count_O = best
        money_O = count_O * prices_O
        return Split(money_O, after(money_O), first.best_O)

    def reaching(self, target: float) -> tuple[dict[str, Any] | None, list[str]]:
        """(how much of the offer that gets there cheapest reaches the score, the offers that likely do not reach it
        within what forecasts are made for). None where none does."""
        wanted = np.log(max(self.scale.loss(target), 1e-12))
        found, failing = [], []
        for offer in self.offers:
            amounts_A = np.geomspace(1.0, max(self.most(offer), 2.0), AMOUNTS)
            log_AK = np.stack([self.log_losses({offer.name: float(a)}, False) for a in amounts_A])
            more_K = np.sort(_first_below(amounts_A, log_AK, wanted))
            low, middle, high = (float(more_K[min(int(q * len(more_K)), len(more_K) - 1)]) for q in (0.05, 0.5, 0.95))
            if np.isfinite(middle):
                found.append((middle * offer.price, offer, low, middle, high))
            else:
                failing.append(offer.name)
        if not found:
            return None, failing
        _, offer, low, middle, high = min(found, key=lambda f: f[0])
        amount = math.ceil(middle)
        return {
            "purchase": offer.name,
            "amount": amount,
            "interval": [round(low), math.ceil(high) if np.isfinite(high) else None],
            "cost": round(amount * offer.price, 2),
            "level": LEVEL,
        }, failing


def _first_below(amounts_A: np.ndarray, log_AK: np.ndarray, wanted: float) -> np.ndarray:
    """Of each draw, the first amount at which its log loss is at most `wanted` `[K]`, by lines between logarithms;
    infinite where none is."""
    below_AK = log_AK <= wanted
    first_K, draws = below_AK.argmax(0), np.arange(log_AK.shape[1])
    before_K = np.maximum(first_K - 1, 0)
    high_K, low_K = log_AK[before_K, draws], log_AK[first_K, draws]
    share_K = np.where(first_K > 0, (high_K - wanted) / np.maximum(high_K - low_K, 1e-12), 1.0)
    at_K = amounts_A[before_K] * (amounts_A[first_K] / amounts_A[before_K]) ** share_K
    return np.where(below_AK.any(0), at_K, np.inf)


def anchored(curve: Curve, factor: float) -> Curve:
    """The curve of a model whose loss is `factor` times that of the one that was measured."""
    return replace(curve, baseline=curve.baseline * factor)
