"""TabEBM (Margeloiu et al., 2024, arXiv 2409.16118): synthetic rows of each class, without training a generator.

    made = TabEBM().augment(X, y, 100)          # real rows, then 100 made ones a class
    model.fit(made.X[made.real], made.y[made.real]); model.fit(made.X, made.y)      # compare: it does not always help

Each class has a task of its own: its rows against artificial negatives at far corners of the standardised space. A
classifier of that task is read as an energy, -logsumexp of its logits, and Langevin chains go down it from real rows.
The published classifier is TabPFN, differentiated through. Without it a kernel one stands in; others can be given.

Settings are frozen, and what was fitted is another object: no class, and no second table, meets an old energy.

Dims: N rows, D columns of the code, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from smidgen.data.tabebm.backbones import new_model
from smidgen.data.tabebm.energy import Energy, energy_of, refuse_unbounded
from smidgen.data.tabebm.sampler import Chains, SGLDSampler
from smidgen.data.tabebm.surrogate import corners, surrogate_task
from smidgen.data.tabebm.table import TableCode, is_missing, learn_code
from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed

Counts = int | Mapping[Any, int] | Literal["balance"]


class Augmented(NamedTuple):
    """Rows (of X's kind) and labels, real ones first; `real` `[N]` bool says which."""

    X: Any
    y: np.ndarray
    real: np.ndarray


@dataclass(frozen=True, kw_only=True)
class TabEBM:
    """Settings, as published but for the backbone.

    Attributes:
        backbone: "kernel", or a classifier (copied for each class), or what makes one: see `energy.energy_of` for what
            it must have. It is fitted to X `[N, D]`, y of 0 (the class) and 1 (negatives).
        step_size, noise_std, n_steps, reduction: of the chains, see `SGLDSampler`. start_std: noise on the rows that
            they start at, in standard deviations, >= 0.
        neg_distance: of the negatives along each column, in standard deviations. n_negatives: how many.
        contrast: what a class is told from: "corners", or "others", the rows of other classes, for comparison: such an
            energy is that of all classes alike.
        max_rows: more are drawn down to it, by class. random_state: of all that is drawn.
    """

    backbone: Any = "kernel"
    step_size: float = 0.1
    noise_std: float = 0.01
    n_steps: int = 200
    start_std: float = 0.01
    neg_distance: float = 5.0
    n_negatives: int = 4
    contrast: Literal["corners", "others"] = "corners"
    max_rows: int = 10_000
    reduction: Literal["sum", "mean"] = "sum"
    random_state: int = 0
    sampler: SGLDSampler = field(init=False, repr=False)

    def __post_init__(self) -> None:
        made = SGLDSampler(
            step_size=self.step_size, noise_std=self.noise_std, n_steps=self.n_steps, reduction=self.reduction
        )
        object.__setattr__(self, "sampler", made)
        if not 0 <= self.start_std < np.inf:
            raise bad("start_std", "0 or more", self.start_std)
        if self.contrast not in ("corners", "others"):
            raise bad("contrast", "corners or others", self.contrast)
        if self.max_rows < 2:
            raise bad("max_rows", "at least 2", self.max_rows)
        corners(self.n_negatives, 1, self.neg_distance, 0)
        if isinstance(self.backbone, str):
            new_model(self.backbone)

    def fit(self, X: Any, y: Any, categories: Sequence[Any] = ()) -> "ClassEnergies":
        """An energy for each class.

        Args:
            X: rows `[N, columns]`, training rows only: a matrix of numbers, or a DataFrame, whose columns of words
                become categories. y: labels `[N]`. categories: further columns that are, see `table.learn_code`.

        Raises:
            BadInput: what `table.learn_code` refuses, missing labels, fewer than two classes, or a backbone whose
                energy does not rise away from the rows.
        """
        labels, codes = _labels(y, len(X) if np.ndim(X) else 0)
        counts = np.bincount(codes)
        kept = self._kept(codes)
        code = learn_code(_take(X, kept), categories)
        rows, codes = code.encode(_take(X, kept)), codes[kept]
        own = tuple(rows[codes == c] for c in range(len(labels)))
        far = self.neg_distance * np.sqrt(code.width)
        energies = []
        for c, label in enumerate(labels):
            seed = derive_seed(self.random_state, "tabebm negatives", label)
            negatives = corners(self.n_negatives, code.width, self.neg_distance, seed)
            if self.contrast == "others":
                negatives = rows[codes != c]
            model = new_model(self.backbone)
            model.fit(*surrogate_task(own[c], negatives))
            energy = energy_of(model)
            refuse_unbounded(energy, own[c], far, derive_seed(seed, "far"))
            energies.append(energy)
        return ClassEnergies(self, code, labels, counts, own, tuple(energies))

    def augment(self, X: Any, y: Any, n_per_class: Counts, categories: Sequence[Any] = ()) -> Augmented:
        """Real rows and made ones; arguments and errors as of `fit` and `ClassEnergies.sample`."""
        made, labels = self.fit(X, y, categories).sample(n_per_class)
        real = np.repeat([True, False], [len(X), len(made)])
        return Augmented(_joined(X, made), np.concatenate([np.asarray(y), labels]), real)

    def _kept(self, codes: np.ndarray) -> np.ndarray:
        """Numbers of the rows that are used: each class gives its share, and one at least."""
        if len(codes) <= self.max_rows:
            return np.arange(len(codes))
        rng, share = np.random.default_rng(derive_seed(self.random_state, "tabebm rows")), self.max_rows / len(codes)
        own = [np.flatnonzero(codes == c) for c in range(codes.max() + 1)]
        return np.sort(np.concatenate([rng.permutation(rows)[: max(1, int(share * len(rows)))] for rows in own]))


@dataclass(frozen=True, eq=False)
class ClassEnergies:
    """What was fitted.

    Attributes:
        settings; code of the rows; classes: labels, sorted. By class: counts `[C]` of rows given, rows that are used
            (encoded), and energies.
    """

    settings: TabEBM
    code: TableCode
    classes: np.ndarray
    counts: np.ndarray
    rows: tuple[np.ndarray, ...]
    energies: tuple[Energy, ...]

    def energy(self, X: Any, label: Any) -> np.ndarray:
        """Of rows under one class, `[N]` in nats: the lower, the likelier, up to the class's unknown constant."""
        return self.energies[self._place(label)].value(self.code.encode(X))

    def sample(self, n_per_class: Counts, seed: int | None = None) -> tuple[Any, np.ndarray]:
        """Made rows and their labels, class by class.

        Args:
            n_per_class: for every class; or by label, others none; or "balance": as many as each lacks to the largest.
            seed: None: `random_state`. The same one gives the same rows.

        Raises:
            BadInput: a count below 1, an unknown label, or chains that ran off.
        """
        counts = self._counts(n_per_class)
        made = [self.chains(label, n, seed).x_ND for label, n in counts.items() if n]
        labels = np.repeat(np.array(list(counts), self.classes.dtype), list(counts.values()))
        return self.code.decode(np.concatenate([np.zeros((0, self.code.width)), *made])), labels

    def chains(self, label: Any, n: int, seed: int | None = None) -> Chains:
        """`n` chains of one class as they are, encoded, with the energies on their way."""
        c, settings = self._place(label), self.settings
        own = derive_seed(settings.random_state if seed is None else seed, "tabebm", self.classes[c])
        rng = np.random.default_rng(derive_seed(own, "starts"))
        start_ND = self.rows[c][rng.integers(len(self.rows[c]), size=n)]
        start_ND = start_ND + settings.start_std * rng.standard_normal(start_ND.shape)
        limit = 4 * settings.neg_distance * float(np.sqrt(self.code.width))  # beyond every corner
        sampler = replace(settings.sampler, limit=limit)
        return sampler.run(self.energies[c], start_ND, derive_seed(own, "noise"))

    def _counts(self, asked: Counts) -> dict[Any, int]:
        if isinstance(asked, str):
            if asked != "balance":
                raise bad("n_per_class", "a number, numbers by label, or 'balance'", asked)
            lacking = (self.counts.max() - self.counts).tolist()
            return dict(zip(self.classes, lacking, strict=True))
        if isinstance(asked, Mapping) and not asked:
            raise bad("n_per_class", "a number for some class", "none")
        if not isinstance(asked, Mapping):
            asked = dict.fromkeys(self.classes.tolist(), asked)
        counts = {self.classes[self._place(label)]: n for label, n in asked.items()}
        for label, n in counts.items():
            if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
                raise bad(f"n_per_class of {label}", "a whole number, at least 1", n)
        return dict(sorted(counts.items()))

    def _place(self, label: Any) -> int:
        at = np.flatnonzero(self.classes == label)
        if not len(at):
            raise bad("label", f"one of {', '.join(map(str, self.classes))}", str(label))
        return int(at[0])


def _labels(y: Any, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes, and the place of each label among them."""
    y = np.asarray(y)
    if y.shape != (rows,):
        raise bad("shape of y", f"({rows},), a label for each row", str(y.shape))
    missing = [i for i, label in enumerate(y.tolist()) if is_missing(label)]
    if missing:
        raise bad(f"label of row {missing[0] + 1}", "a class", "none")
    labels, codes = np.unique(y, return_inverse=True)
    if len(labels) < 2:
        raise bad("y", "at least 2 classes", f"one, {labels[0]}" if len(labels) else "no rows")
    return labels, codes


def _take(X: Any, rows: np.ndarray) -> Any:
    return X.iloc[rows] if hasattr(X, "iloc") else np.asarray(X)[rows]


def _joined(X: Any, made: Any) -> Any:
    if not hasattr(X, "iloc"):
        return np.concatenate([np.asarray(X), made])
    import pandas as pd

    return pd.concat([X, made], ignore_index=True)
