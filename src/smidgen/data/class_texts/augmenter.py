"""Labelled texts and made ones together: a generator for each class, and what is dropped of what it writes.

Split before you augment: made texts are near copies of their parents, and a validation row that is a parent's neighbour
is half known. What may not be known at all (a test set) is given as `test`, and nothing like it is kept.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from smidgen.budget.meter import Meter
from smidgen.data.class_texts.centroid import SHOWN, CentroidFilter
from smidgen.data.class_texts.generator import ClassTextGenerator, Generated
from smidgen.data.class_texts.repetition import RepetitionDetector
from smidgen.data.novelty import NoveltyFilter, NoveltyIndex
from smidgen.kit.errors import SmidgenError, bad

Classes = Sequence[Any] | Literal["minority"] | None
Reason = str  # "" (kept), or why a text was dropped: see `GenerativeAugmenter`


class AugmentationError(SmidgenError):
    """Nothing that was made is of use."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """Where a made text comes from.

    Attributes:
        label, parent: class, and row of the given texts whose prefix it continues. temperature: of its sampling.
        distance: to the centre of its class; NaN without a filter or where it was dropped before.
        reason: "" where it is kept, else why not. row: its place among the texts that came out; -1 where dropped.
    """

    text: str
    label: Any
    parent: int
    temperature: float
    distance: float
    reason: Reason
    row: int = -1


@dataclass(frozen=True, kw_only=True)
class ClassReport:
    """What one class cost and brought.

    Attributes:
        texts: given ones. steps, loss, training_seconds: of its language model (of all classes' where they share one).
        made, tokens, seconds: texts written, their tokens, and the time for that.
        kept, dropped: made texts, and how many were not kept by reason. wanted: to balance; None: all that are good.
        delta: of the filter. farthest: the kept texts that a person should look at, with their distances.
    """

    texts: int
    steps: int
    loss: float
    training_seconds: float
    made: int
    tokens: int
    seconds: float
    kept: int
    dropped: Mapping[str, int]
    wanted: int | None
    delta: float | None
    farthest: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Augmented:
    """The given texts, then those that were made and kept. `provenance`: of all that were made; `costs`: by class."""

    texts: list[str]
    labels: np.ndarray
    provenance: list[Made]
    costs: Mapping[Any, ClassReport]

    @property
    def parents(self) -> np.ndarray:
        """`[n]`: of each text the given one it comes from; a given one is its own. Groups for folds."""
        kept = sorted((m for m in self.provenance if m.row >= 0), key=lambda m: m.row)
        return np.array([*range(len(self.texts) - len(kept)), *(m.parent for m in kept)])


@dataclass(frozen=True, kw_only=True)
class GenerativeAugmenter:
    """Reasons why a text is dropped, in the order in which it is asked: "empty", "cut" (on request), "repetitive",
    "far" (from the centre of its class), "test", "seed" or "earlier" (a copy, or nearly, of a test text, a given one or
    one made before), "not needed" (the class is full).

    Attributes:
        generator: of what kind; each class gets a fresh one (`ClassTextGenerator.fresh`).
        filter: None keeps what is far too. dedup: which likeness is a copy; None keeps copies, which weigh parents.
        repetitive: None keeps those too. drop_cut: texts that were cut off for their length.
        test: texts that nothing kept may be like, beside those that `dedup` names.
        one_model: one language model for all classes, with the class in the prefix, instead of one for each.
        balance: None: all that are good; "largest": as many rows as the largest class; a number: as many rows.
    """

    generator: ClassTextGenerator
    filter: CentroidFilter | None = None
    dedup: NoveltyFilter | None = NoveltyFilter()
    repetitive: RepetitionDetector | None = RepetitionDetector()
    drop_cut: bool = False
    test: tuple[str, ...] = ()
    one_model: bool = False
    balance: int | Literal["largest"] | None = None
    meter: Meter | None = field(default=None, compare=False)

    def augment(self, texts: Sequence[str], labels: Any, classes: Classes = None) -> Augmented:
        """Adds texts to these classes.

        Args:
            texts, labels: training rows alone. classes: None: all; "minority": the one with the fewest rows; or a list.
        Raises:
            BadInput: lengths differ, a class is not there, or as `ClassTextGenerator.fit`. AugmentationError: nothing
                that was made is kept, for any class.
        """
        texts, y = list(texts), np.asarray(labels)
        chosen, counts = _chosen(texts, y, classes)
        novelty = self._novelty(texts)
        shared = self._shared(texts, y) if self.one_model else None
        out, provenance, costs = list(texts), [], {}
        for label in chosen:
            rows = np.flatnonzero(y == label)
            wanted = self._wanted(counts, label)
            generator, parents = shared or self._fitted([texts[i] for i in rows], label), rows if shared else None
            start = time.perf_counter()
            made = [] if wanted == 0 else generator.generate(None if parents is None else parents.tolist())
            seconds = time.perf_counter() - start
            origin = np.arange(len(texts)) if shared else rows
            judged, delta = self._judge(made, label, origin, [texts[i] for i in rows], novelty)
            judged = _place(judged, wanted, len(out))
            kept = [m for m in judged if m.row >= 0]
            out += [m.text for m in sorted(kept, key=lambda m: m.row)]
            provenance += judged
            far = sorted(((m.text, m.distance) for m in kept if m.distance == m.distance), key=lambda t: -t[1])
            fitted = generator.fitted_
            costs[label] = ClassReport(
                texts=len(rows), steps=fitted.steps, loss=fitted.loss, training_seconds=fitted.seconds, made=len(made),
                tokens=sum(m.tokens for m in made), seconds=seconds, kept=len(kept),
                dropped=dict(Counter(m.reason for m in judged if m.reason)), wanted=wanted, delta=delta,
                farthest=far[:SHOWN],
            )  # fmt: skip
        if self.meter is not None:
            models = list(costs.values())[: 1 if shared else None]
            self.meter.add(steps=sum(c.steps for c in models), tokens=sum(c.tokens for c in costs.values()))
        if len(out) == len(texts) and any(c.made for c in costs.values()):
            why = dict(sum((Counter(c.dropped) for c in costs.values()), Counter()))
            raise AugmentationError(
                f"Nothing that was made is kept ({why}): raise the temperature, or loosen the filter."
            )
        new = np.array([m.label for m in sorted(provenance, key=lambda m: m.row) if m.row >= 0], dtype=y.dtype)
        return Augmented(out, np.concatenate([y, new]), provenance, costs)

    def sweep(
        self, texts: Sequence[str], label: Any, temperatures: Sequence[float], per_instance: int = 2
    ) -> list[dict[str, Any]]:
        """What temperatures bring for the texts of one class, its language model trained once: a row for each with the
        shares of what was made that is kept, or dropped by reason. Low ones recall, high ones drift."""
        generator = self._fitted(list(texts), label)
        rows = []
        for temperature in temperatures:
            made = generator.generate(temperature=temperature, per_instance=per_instance)
            judged, _ = self._judge(made, label, np.arange(len(texts)), list(texts), self._novelty(texts))
            shares = {reason or "kept": n / len(judged) for reason, n in Counter(m.reason for m in judged).items()}
            rows.append({"temperature": temperature, "made": len(made), "kept": 0.0, **shares})
        return rows

    def _fitted(self, texts: list[str], label: Any) -> ClassTextGenerator:
        return self.generator.fresh(str(label)).fit(texts)

    def _shared(self, texts: list[str], y: np.ndarray) -> ClassTextGenerator:
        return self.generator.fresh("all classes").fit(texts, [str(label) for label in y])

    def _novelty(self, texts: Sequence[str]) -> NoveltyIndex | None:
        if self.dedup is None:
            return None
        test = (*self.dedup.test, *self.test)
        d = self.dedup
        settings = NoveltyFilter(test, d.max_similarity, d.max_test_similarity, encode=d.encode, encoder=d.encoder)
        return settings.start(texts)

    def _wanted(self, counts: Mapping[Any, int], label: Any) -> int | None:
        if self.balance is None:
            return None
        return max(0, (max(counts.values()) if self.balance == "largest" else self.balance) - counts[label])

    def _judge(
        self, made: list[Generated], label: Any, origin: np.ndarray, own: list[str], novelty: NoveltyIndex | None
    ) -> tuple[list[Made], float | None]:
        """Each made text with the reason why it is dropped, and the filter's delta."""
        reasons = [self._reading(one) for one in made]
        far, delta = np.full(len(made), np.nan), None
        if self.filter is not None:
            centre = self.filter.fit(own)
            delta, asked = centre.delta, [i for i, reason in enumerate(reasons) if not reason]
            far[asked] = centre.filter([made[i].text for i in asked]).distances
        out = []
        for one, reason, distance in zip(made, reasons, far.tolist(), strict=True):
            if not reason and delta is not None and distance > delta:
                reason = "far"
            if not reason and novelty is not None:
                reason = novelty.admit(one.text)
            out.append(Made(text=one.text, label=label, parent=int(origin[one.parent]), temperature=one.temperature,
                            distance=distance, reason=reason))  # fmt: skip
        return out, delta

    def _reading(self, one: Generated) -> Reason:
        if not one.text.strip():
            return "empty"
        if self.drop_cut and not one.ended:
            return "cut"
        return "repetitive" if self.repetitive is not None and self.repetitive(one.text) else ""


def _chosen(texts: list[str], y: np.ndarray, classes: Classes) -> tuple[list[Any], dict[Any, int]]:
    if y.shape != (len(texts),):
        raise bad("labels", f"one for each of {len(texts)} texts", y.shape)
    counts = dict(Counter(y.tolist()))
    if classes == "minority":
        return [min(counts, key=lambda c: (counts[c], str(c)))], counts
    chosen = sorted(counts, key=str) if classes is None else list(classes)
    missing = [c for c in chosen if c not in counts]
    if missing or not chosen:
        raise bad("classes", f"some of {', '.join(sorted(map(str, counts)))}", missing or "none")
    return chosen, counts


def _place(judged: list[Made], wanted: int | None, first: int) -> list[Made]:
    """Rows for what is kept; where not all are needed each parent gives one, then each a second, and so on."""
    turn: Counter[int] = Counter()
    order = []
    for i, one in enumerate(judged):
        if not one.reason:
            order.append((turn[one.parent], i))
            turn[one.parent] += 1
    order = [i for _, i in (sorted(order) if wanted is not None else order)]
    taken = sorted(order if wanted is None else order[:wanted])
    rows = {i: first + n for n, i in enumerate(taken)}
    full = set(order) - set(taken)
    return [
        replace(one, row=rows[i]) if i in rows else replace(one, reason="not needed") if i in full else one
        for i, one in enumerate(judged)
    ]
