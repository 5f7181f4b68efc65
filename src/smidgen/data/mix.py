"""Batches from domains of very different sizes: upsample the small ones, or weigh their losses (arXiv 2410.04579).

A domain is anything with examples of its own: a language, a source, a machine, a class. `TemperatureSampler` draws
batches as lists of (domain, index); its schedule says how often each domain comes. `scalarization_weights` is the other
way: proportional draws, weighted losses, the same gradient on average and never less noise where gradients are equally
large. `data.variance` measures which of the two is noisier.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from smidgen.data.mix_schedules import (
    Constant,
    RunLength,
    Schedule,
    check_sizes,
    domain_probabilities,
    schedule_from,
    to_dict,
)
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed

Item = tuple[str, int]
Draws = Literal["iid", "queues"]


def scalarization_weights(sizes: Mapping[str, int], tau: float) -> dict[str, float]:
    """w_i = p(i; tau) / p(i; 1): with them, proportional draws have the mean gradient of draws at tau. Mean 1."""
    target, natural = domain_probabilities(sizes, tau), domain_probabilities(sizes, 1.0)
    return {name: target[name] / natural[name] for name in sizes}


def variance_factor(
    sizes: Mapping[str, int],
    tau: float,
    squares: Mapping[str, float] | None = None,
    mean_square: float = 0.0,
) -> float:
    """How many times the gradient noise of draws at tau that of weighted proportional draws is (theorem 1).

    sum_i p(i;tau)^2 / p(i;1) g_i^2 over sum_i p(i;tau) g_i^2; at least 1 where all g_i are equal. It can be below 1
    where the large domains have the larger gradients.

    Args:
        squares: g_i^2, mean squared norm of one example's gradient by domain; equal ones by default.
        mean_square: squared norm of the mean gradient, taken off both sides: variances in place of second moments.
    """
    target, natural = domain_probabilities(sizes, tau), domain_probabilities(sizes, 1.0)
    g2 = squares or dict.fromkeys(sizes, 1.0)
    weighted = sum(target[n] ** 2 / natural[n] * g2[n] for n in sizes)
    sampled = sum(target[n] * g2[n] for n in sizes)
    if not sampled > mean_square:
        raise bad("mean_square", f"below the mean of the squares, {sampled:g}", mean_square)
    return (weighted - mean_square) / (sampled - mean_square)


def batch_weights(batch: Sequence[Item], weights: Mapping[str, float], normalize: bool = False) -> np.ndarray:
    """The loss weight of each example; `normalize`: they average 1 over the batch, which biases the gradient."""
    out = np.array([weights[domain] for domain, _ in batch], np.float64)
    return out * (len(out) / out.sum()) if normalize else out


class TemperatureSampler:
    """A torch batch sampler over domains: `DataLoader(dataset, batch_sampler=sampler)`, `dataset[(domain, index)]`.

    Every batch is a function of the seed and its step alone (with "queues" also of what was drawn before), whatever
    the number of ranks: a rank takes every world-th example of the global batch.

    Args:
        sizes: examples of each domain.
        temperature: a number or a schedule (`mix_schedules`).
        batch_size: of all ranks together.
        draws: "iid", or "queues": each domain is gone through in random order, shuffled anew when it is exhausted.
        steps: batches in all; None: no end.
        weighting: proportional draws with scalarization at this temperature: `loss_weights` gives the weights. Then
            `temperature` must be left at 1.

    Raises:
        BadInput: an empty domain, a schedule that does not fit the run, sampling and weighting at once (the small
            domains would be corrected for twice), a batch that the ranks cannot share evenly.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        temperature: float | Schedule = 1.0,
        batch_size: int = 32,
        seed: int = 0,
        *,
        draws: Draws = "iid",
        steps: int | None = None,
        weighting: float | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        check_sizes(sizes)
        if batch_size < 1 or world < 1 or batch_size % world or not 0 <= rank < world:
            raise bad("batch_size", f"a multiple of the {world} ranks (and 0 <= rank < world)", (batch_size, rank))
        if draws not in ("iid", "queues"):
            raise bad("draws", "'iid' or 'queues'", draws)
        self.sizes, self.batch_size, self.seed = dict(sizes), batch_size, seed
        self.draws: Draws = draws
        self.rank, self.world, self.run = rank, world, RunLength(steps, batch_size)
        self.schedule = Constant(float(temperature)) if isinstance(temperature, int | float) else temperature
        if weighting is not None and self.schedule != Constant(1.0):
            raise bad("temperature", "1 beside `weighting`", temperature, "Small domains would be corrected for twice.")
        self.schedule.check(self.sizes, self.run)
        self.weights = scalarization_weights(sizes, weighting) if weighting is not None else None
        self.step = 0
        self.seen = dict.fromkeys(self.sizes, 0)
        self._orders: dict[str, tuple[int, np.ndarray]] = {}

    def __len__(self) -> int:
        if self.run.steps is None:
            raise TypeError("a sampler without `steps` has no length")
        return self.run.steps

    def __iter__(self) -> Iterator[list[Item]]:
        """From the current step to the last."""
        while self.run.steps is None or self.step < self.run.steps:
            yield self.take()

    def take(self) -> list[Item]:
        """This rank's part of the next batch."""
        batch = self._draw(self.step)
        self.step += 1
        return batch[self.rank :: self.world]

    def loss_weights(self, batch: Sequence[Item], normalize: bool = False) -> np.ndarray:
        """Of each example of a batch: all 1, unless the sampler was made with `weighting`."""
        return batch_weights(batch, self.weights or dict.fromkeys(self.sizes, 1.0), normalize)

    def probabilities(self, step: int | None = None) -> dict[str, float]:
        """Of the domains at a step (default: the next)."""
        return self.schedule.probabilities(self.sizes, self.step if step is None else step, self.run)

    def epochs(self) -> dict[str, float]:
        """How many times each domain's examples were drawn, on average, by all ranks together."""
        return {name: self.seen[name] / size for name, size in self.sizes.items()}

    def state_dict(self, consumed: int | None = None) -> dict[str, Any]:
        """All that is needed to go on with the exact next batch; plain numbers and text, fit for JSON.

        Args:
            consumed: batches that were trained on, where a loader with workers has drawn further ahead than that.
        """
        at = self if consumed is None or consumed == self.step else self._replayed(consumed)
        return {
            "step": at.step,
            "seen": dict(at.seen),
            "sizes": dict(self.sizes),
            "seed": self.seed,
            "batch_size": self.batch_size,
            "draws": self.draws,
            "steps": self.run.steps,
            "schedule": to_dict(self.schedule),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state, on any number of ranks. Raises BadInput when it is of another mix or schedule.

        A run at one temperature may be made longer or shorter.
        """
        mine = self.state_dict()
        fixed = () if isinstance(self.schedule, Constant) else ("steps",)
        for key in ("sizes", "seed", "batch_size", "draws", *fixed):
            if state[key] != mine[key]:
                raise bad(f"{key} of the saved sampler", repr(mine[key]), state[key])
        if schedule_from(state["schedule"]) != self.schedule:
            raise bad("schedule of the saved sampler", repr(self.schedule), state["schedule"])
        self.step, self.seen = int(state["step"]), {k: int(v) for k, v in state["seen"].items()}

    def _replayed(self, step: int) -> "TemperatureSampler":
        if not 0 <= step <= self.step:
            raise bad("consumed", f"0 to {self.step} batches", step)
        other = TemperatureSampler(
            self.sizes, self.schedule, self.batch_size, self.seed, draws=self.draws, steps=self.run.steps
        )
        for number in range(step):
            names = other._domains(number, np.random.default_rng(derive_seed(self.seed, "mix", number)))
            for name, count in zip(*np.unique(names, return_counts=True), strict=True):
                other.seen[str(name)] += int(count)
        other.step = step
        return other

    def _draw(self, step: int) -> list[Item]:
        rng = np.random.default_rng(derive_seed(self.seed, "mix", step))
        names = self._domains(step, rng)
        shares = rng.random(len(names))
        batch = []
        for name, share in zip(names, shares, strict=True):
            size = self.sizes[name]
            batch.append((name, self._next(name) if self.draws == "queues" else int(share * size)))
            self.seen[name] += 1
        return batch

    def _domains(self, step: int, rng: np.random.Generator) -> list[str]:
        chances = self.probabilities(step)
        names = list(self.sizes)
        edges = np.cumsum([chances[n] for n in names])
        places = np.searchsorted(edges, rng.random(self.batch_size) * edges[-1], side="right")
        return [names[i] for i in np.minimum(places, len(names) - 1)]

    def _next(self, name: str) -> int:
        """The next of a domain's queue."""
        epoch, place = divmod(self.seen[name], self.sizes[name])
        if self._orders.get(name, (-1,))[0] != epoch:
            rng = np.random.default_rng(derive_seed(self.seed, "queue", name, epoch))
            self._orders[name] = epoch, rng.permutation(self.sizes[name])
        return int(self._orders[name][1][place])


def members(labels: Any) -> dict[str, np.ndarray]:
    """Rows by label (as text), in order: classes as domains, for training on imbalanced classes.

    `rows[domain][index]` is the row of a drawn (domain, index); sizes are the lengths.
    """
    labels = np.asarray(labels).astype(str)
    order = np.argsort(labels, kind="stable")
    names, starts = np.unique(labels[order], return_index=True)
    return {str(name): rows for name, rows in zip(names, np.split(order, starts[1:]), strict=True)}


def class_weights(labels: Any, tau: float) -> dict[Any, float]:
    """Loss weights by class for a scikit-learn estimator's `class_weight`: tau infinite is its "balanced"."""
    classes, counts = np.unique(np.asarray(labels), return_counts=True)
    by_place = scalarization_weights({str(i): int(c) for i, c in enumerate(counts)}, tau)
    return {c.item() if isinstance(c, np.generic) else c: by_place[str(i)] for i, c in enumerate(classes)}


def check_single_correction(sampler: TemperatureSampler, weights: Mapping[str, float] | None) -> None:
    """Raises BadInput where a loop would weigh the losses of draws that are upsampled already."""
    if weights and len(set(weights.values())) > 1 and sampler.schedule != Constant(1.0):
        raise BadInput("Upsampled draws and weighted losses correct for small domains twice: leave one of them out.")
