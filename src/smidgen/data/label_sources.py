"""Who gives labels, and what each label costs: an oracle, or somebody cheaper who is often wrong.

A `LabelSource` answers questions about rows of one pool and keeps a ledger of them. Labels are soft: the probability
of class 1. `WeakLabeller` is such a cheap one, made to be as good as one asks (its training stops there).

Two classes, 0 and 1. Dims: N rows of a pool, n of them that are asked for.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.budget.meter import Meter
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed

Query = Callable[[list[int]], Any]  # of n row numbers: n probabilities of class 1


class LabelSource:
    """Labels of rows, paid by the row. A row that was paid for is remembered and costs nothing again.

    Args:
        name: of the source. cost: of one label, 0 or more, in the unit of the budget.
        query: gives `[n]` probabilities of class 1 for row numbers.
        pool: the rows that may be asked for, or how many there are (then from 0).
        meter: a ledger of more than this, in which `labels` and `label_cost` are written too.

    Raises:
        BadInput: a negative cost, or a pool with a row twice.
    """

    def __init__(
        self, name: str, cost: float, query: Query, pool: int | Iterable[int], *, meter: Meter | None = None
    ) -> None:
        if not 0 <= cost < np.inf:
            raise bad(f"cost of '{name}'", "0 or more", cost)
        rows = list(range(pool)) if isinstance(pool, int) else [int(i) for i in pool]
        self.name, self.cost, self.query, self.meter = name, float(cost), query, meter
        self.pool = frozenset(rows)
        if len(self.pool) < len(rows):
            raise bad(f"pool of '{name}'", "each row once", f"{len(rows) - len(self.pool)} twice")
        self._paid: dict[int, float] = {}

    def ask(self, rows: Iterable[int]) -> np.ndarray:
        """Probabilities of class 1, float32 `[n]`, in the order of `rows`.

        Raises:
            BadInput: more labels than the pool has, a row that is twice asked for or not in the pool, an answer that is
                not one number from 0 to 1 a row. Nothing is charged then.
        """
        asked = [int(i) for i in rows]
        if len(asked) > len(self.pool):
            raise bad(f"labels of '{self.name}'", f"at most {len(self.pool):,}, the rows of its pool", len(asked))
        if len(set(asked)) < len(asked):
            raise bad(f"labels of '{self.name}'", "each row once", f"{len(asked) - len(set(asked))} rows twice")
        unknown = [i for i in asked if i not in self.pool]
        if unknown:
            raise bad(f"labels of '{self.name}'", "rows of its pool", f"row {unknown[0]}")
        new = [i for i in asked if i not in self._paid]
        if new:
            given_n = np.asarray(self.query(new), np.float32)
            if given_n.shape != (len(new),) or not ((given_n >= 0) & (given_n <= 1)).all():
                wrong = given_n[~((given_n >= 0) & (given_n <= 1))]
                said = f"a label of {wrong[0]:g}" if wrong.size else f"shape {given_n.shape}"
                raise bad(f"labels of '{self.name}'", f"{len(new)} numbers from 0 to 1", said)
            self._paid |= zip(new, given_n.tolist(), strict=True)
            if self.meter:
                self.meter.add(labels=len(new), label_cost=self.cost * len(new))
        return np.array([self._paid[i] for i in asked], np.float32)

    @property
    def ids(self) -> list[int]:
        """Rows that were paid for, in the order in which they were."""
        return list(self._paid)

    @property
    def spent(self) -> float:
        """What they cost together."""
        return self.cost * len(self._paid)

    def ledger(self) -> list[dict[str, Any]]:
        """A record a label, in the order of payment: `source`, `id`, `label`, `cost`."""
        return [{"source": self.name, "id": i, "label": y, "cost": self.cost} for i, y in self._paid.items()]


def given_labels(name: str, cost: float, labels_N: Sequence[float] | np.ndarray, **settings: Any) -> LabelSource:
    """A source whose labels are known beforehand: an oracle's gold ones, or predictions. Row i has the i-th."""
    held_N = np.asarray(labels_N, np.float32)
    return LabelSource(name, cost, lambda rows: held_N[rows], len(held_N), **settings)


def check_disjoint(**rows: Iterable[int]) -> None:
    """That no row was bought from two sources, given by name. Raises BadInput, naming two that share one."""
    owner: dict[int, str] = {}
    for name, ids in rows.items():
        own = {int(i) for i in ids}
        met = sorted(own & owner.keys())
        if met:
            raise BadInput(
                f"{len(met):,} rows have a label of '{name}' and one of '{owner[met[0]]}', row {met[0]} for one: take "
                "other rows, or allow it with disjoint=False."
            )
        owner |= dict.fromkeys(own, name)


def shuffled_errors(soft_N: np.ndarray, gold_N: np.ndarray, seed: int = 0) -> np.ndarray:
    """Labels that are as wrong as `soft_N`, but anywhere: error sizes |soft - gold| are kept and dealt anew over the
    rows. Tells how much of what a source costs a model lies in the pattern of its errors.

    Raises:
        BadInput: gold labels other than 0 and 1, or not one a row.
    """
    soft, gold = np.asarray(soft_N, float), np.asarray(gold_N, float)
    if soft.shape != gold.shape or not np.isin(gold, (0, 1)).all():
        raise bad("gold_N", f"{soft.shape} labels of 0 and 1", gold.shape)
    size = np.abs(soft - gold)[np.random.default_rng(derive_seed(seed, "errors")).permutation(len(soft))]
    return np.where(gold == 1, 1 - size, size).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class WeakConfig:
    """How a weak labeller learns.

    Attributes:
        target: accuracy on held-out rows at which it stops; None: it learns to the end. Of uneven classes a constant
            answer is as accurate as the larger one is common: ask for more than that, or make classes even.
        epochs, batch: a target is looked at after each update, so small batches stop nearer to it.
        lr, weight_decay: of AdamW, on tf-idf rows of norm 1. max_words: the most frequent ones.
    """

    target: float | None = None
    epochs: int = 40
    batch: int = 4
    lr: float = 0.05
    weight_decay: float = 0.01
    max_words: int = 5000

    def __post_init__(self) -> None:
        if self.target is not None and not 0.5 < self.target <= 1:
            raise bad("target", "an accuracy above 0.5, up to 1", self.target)
        for name in ("epochs", "batch", "max_words"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))


class WeakLabeller:
    """Logistic regression on words (tf-idf) that may stop learning early.

    Attributes:
        accuracy_: on the held-out rows, where it stopped; None without such rows. As it stopped because of it, its
            accuracy on other rows is a little lower.
        gold_: gold labels behind it, held-out ones included: a price that "weak" labels do not show. updates_: done.
    """

    accuracy_: float | None

    def __init__(self, config: WeakConfig | None = None) -> None:
        self.config = config or WeakConfig()

    def fit(
        self,
        texts: Sequence[str],
        labels_N: Sequence[int] | np.ndarray,
        held: tuple[Sequence[str], Sequence[int] | np.ndarray] | None = None,
        *,
        seed: int = 0,
    ) -> "WeakLabeller":
        """Learns labels 0 and 1 of texts. Deterministic in `seed`, on one thread.

        Args:
            held: texts and labels that stop it; needed for a target.
        Raises:
            BadInput: other labels, one class only, no held-out rows for a target, or a target that is met by a constant
                answer, or by nothing that was learnt.
        """
        import torch
        from sklearn.feature_extraction.text import TfidfVectorizer

        from smidgen.train.loop import LoopConfig, Run, train

        y_N = _binary("labels", labels_N, len(texts))
        if len(np.unique(y_N)) < 2:
            raise bad("labels", "both classes", f"only {y_N[0]:g}")
        target = self.config.target
        if target is not None and held is None:
            raise bad("held", "texts and labels that stop the training at the target", None)
        self.words_ = TfidfVectorizer(max_features=self.config.max_words, token_pattern=r"(?u)\b\w+\b")
        x_NV = self.words_.fit_transform(texts)
        held_x = self.words_.transform(held[0]) if held else None
        held_y = _binary("held-out labels", held[1], len(held[0])) if held else np.zeros(0)
        if target is not None and max(held_y.mean(), 1 - held_y.mean()) >= target:
            raise bad("target", f"above {max(held_y.mean(), 1 - held_y.mean()):.3f}, a constant answer's", target)
        network = torch.nn.Linear(x_NV.shape[1], 1)
        for p in network.parameters():
            torch.nn.init.zeros_(p)
        settings = self.config
        per_epoch = -(-len(y_N) // settings.batch)
        steps = settings.epochs * per_epoch

        def batches(number: int) -> tuple[Any, ...]:
            epoch, place = divmod(number, per_epoch)
            order = np.random.default_rng(derive_seed(seed, "weak", epoch)).permutation(len(y_N))
            rows = order[place * settings.batch : (place + 1) * settings.batch]
            return torch.from_numpy(x_NV[rows].toarray()).float(), torch.from_numpy(y_N[rows])

        def loss_of(model: Any, x: Any, y: Any) -> tuple[Any, int]:
            return torch.nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], y, reduction="sum"), len(y)

        def go_on() -> bool:
            self._take(network)
            self.accuracy_ = float(((self._logits(held_x) > 0) == (held_y > 0.5)).mean()) if held else None
            return target is None or self.accuracy_ is None or self.accuracy_ < target

        optimizer = torch.optim.AdamW(network.parameters(), settings.lr, weight_decay=settings.weight_decay)
        run = train(
            Run(network, optimizer), batches, loss_of, lambda _: 1.0, LoopConfig(clip=None),
            steps=steps, go_on=go_on if target is not None else None,
        )  # fmt: skip
        reached = not go_on()
        if target is not None and not reached:
            raise BadInput(
                f"The weak labeller came to an accuracy of {self.accuracy_:.3f}, not to {target:g}: give it more rows "
                "or epochs, or a lower target."
            )
        self.updates_, self.gold_ = run.step, len(y_N) + len(held_y)
        return self

    def soft_labels(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of class 1, float32 `[n]`."""
        logits_n = self._logits(self.words_.transform(texts))
        return (1 / (1 + np.exp(-logits_n))).astype(np.float32)

    def source(self, texts: Sequence[str], cost: float, name: str = "weak", **settings: Any) -> LabelSource:
        """A source of its labels for the rows of a pool of texts."""
        return LabelSource(name, cost, lambda rows: self.soft_labels([texts[i] for i in rows]), len(texts), **settings)

    def _take(self, network: Any) -> None:
        self.coef_ = network.weight.detach().numpy()[0].astype(float)
        self.intercept_ = float(network.bias.detach())

    def _logits(self, x_nV: Any) -> np.ndarray:
        return x_nV @ self.coef_ + self.intercept_


def _binary(what: str, labels_N: Any, rows: int) -> np.ndarray:
    y_N = np.asarray(labels_N, np.float32)
    if y_N.shape != (rows,) or not len(y_N) or not np.isin(y_N, (0, 1)).all():
        raise bad(what, f"{rows:,} of 0 and 1", f"{len(y_N):,} of {np.unique(y_N)[:5].tolist()}")
    return y_N
