"""What to ask a teacher for: more answers, rephrased questions, or new questions (arXiv 2409.19759).

With S seed questions and Q calls (one answer, or one written question, is one call):
    answer augmentation   the same questions, Q / S sampled answers each            1 call a row
    question rephrase     a seed in other words, and its answer                     2 calls; 1 where it is taken over
    new question          a question after the model of some seeds, and its answer  2 calls
Few calls a seed favour the first, many the last; `strategy_choice` recommends, and `studies.strategies` measures.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from smidgen.data.generation import Generated, Item, Synthetic, generate
from smidgen.data.teacher import Example, Teacher, TeacherBudget
from smidgen.data.verification import Check
from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.laws.budget_grid import nested

__all__ = [
    "AbstractStrategy", "AnswerAugmentation", "Generated", "Mixed", "NewQuestion", "QuestionRephrase", "Synthetic",
    "training_rows",
]  # fmt: skip


class AbstractStrategy(ABC):
    """A way to spend calls; a frozen dataclass, so that equal settings are equal."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short, for tables and for rows."""

    @abstractmethod
    def items(self, seeds: Sequence[Example], seed: int) -> Iterator[Item]:
        """The rows to be made, endless and in a fixed order. Raises BadInput where it cannot work with these seeds."""

    def generate(
        self,
        seeds: Sequence[Example],
        budget: TeacherBudget,
        augmenter: Teacher,
        responder: Teacher,
        **settings: Any,
    ) -> Generated:
        """Makes rows until the budget ends; arguments, settings and errors are those of `generation.generate`."""
        return generate(self, seeds, budget, augmenter, responder, **settings)


@dataclass(frozen=True)
class AnswerAugmentation(AbstractStrategy):
    """More sampled answers to the seed questions, which do not change.

    Attributes:
        verify: says whether an answer is right, given the seed's own where it has one (`data.verification`).
        keep_wrong: keep rows that it says are wrong, marked as such.
        temperature: of sampling; at 0 all answers to a question would be one.
    """

    verify: Check | None = None
    keep_wrong: bool = False
    temperature: float = 0.7

    def __post_init__(self) -> None:
        _check_temperature(self.temperature, sampled=True)

    @property
    def name(self) -> str:
        return "answers"

    def items(self, seeds: Sequence[Example], seed: int) -> Iterator[Item]:
        for parent in _round(len(seeds), seed):
            yield Item(
                strategy=self.name, parents=(parent,), temperature=self.temperature, verify=self.verify,
                keep_wrong=self.keep_wrong,
            )  # fmt: skip


@dataclass(frozen=True)
class QuestionRephrase(AbstractStrategy):
    """Seed questions in other words.

    Attributes:
        reuse_answer: take over the answer of a seed that has one, which saves the second call.
        verify, keep_wrong, temperature: as of `AnswerAugmentation`; an answer that is taken over is not checked.
    """

    reuse_answer: bool = False
    verify: Check | None = None
    keep_wrong: bool = False
    temperature: float = 0.7

    def __post_init__(self) -> None:
        _check_temperature(self.temperature, sampled=True)

    @property
    def name(self) -> str:
        return "rephrased"

    def items(self, seeds: Sequence[Example], seed: int) -> Iterator[Item]:
        for parent in _round(len(seeds), seed):
            yield Item(
                strategy=self.name, parents=(parent,), write="rephrase", temperature=self.temperature,
                answer=not (self.reuse_answer and seeds[parent].output is not None),
                verify=self.verify, keep_wrong=self.keep_wrong,
            )  # fmt: skip


@dataclass(frozen=True)
class NewQuestion(AbstractStrategy):
    """New questions, each after the model of `n_context` seeds drawn at random.

    Attributes:
        verify, keep_wrong: as of `AnswerAugmentation`; nobody knows the right answer, so only a check that needs none
            can say anything.
        temperature: of question and answer.
    """

    n_context: int = 4
    verify: Check | None = None
    keep_wrong: bool = False
    temperature: float = 0.7

    def __post_init__(self) -> None:
        _check_temperature(self.temperature, sampled=False)
        if isinstance(self.n_context, bool) or not isinstance(self.n_context, int) or self.n_context < 1:
            raise bad("n_context", "a whole number above 0", self.n_context)

    @property
    def name(self) -> str:
        return "new"

    def items(self, seeds: Sequence[Example], seed: int) -> Iterator[Item]:
        if self.n_context > len(seeds):
            raise bad("n_context", f"at most the {len(seeds)} seeds", self.n_context)
        rng = np.random.default_rng(derive_seed(seed, "context"))
        while True:
            parents = rng.choice(len(seeds), self.n_context, replace=False)
            yield Item(
                strategy=self.name, parents=tuple(parents.tolist()), write="new", temperature=self.temperature,
                verify=self.verify, keep_wrong=self.keep_wrong,
            )  # fmt: skip


@dataclass(frozen=True)
class Mixed(AbstractStrategy):
    """Several strategies side by side, each with its share of the calls at every moment: a smaller budget has the same
    shares, up to a row.

    Attributes:
        parts: (strategy, share); shares are above 0 and sum to 1. No two strategies are alike.
    """

    parts: tuple[tuple[AbstractStrategy, float], ...]

    def __post_init__(self) -> None:
        shares = [share for _, share in self.parts]
        if not shares or not all(share > 0 for share in shares) or abs(sum(shares) - 1) > 1e-6:
            raise bad("shares", "numbers above 0 that sum to 1", shares)
        if any(isinstance(part, Mixed) for part, _ in self.parts):
            raise bad("parts", "single strategies", "a mixture of mixtures")
        if len({part for part, _ in self.parts}) < len(self.parts):
            raise bad("parts", "each strategy once", [part.name for part, _ in self.parts])

    @property
    def name(self) -> str:
        return "mixed: " + ", ".join(f"{share:.0%} {part.name}" for part, share in self.parts)

    def items(self, seeds: Sequence[Example], seed: int) -> Iterator[Item]:
        streams = [part.items(seeds, seed) for part, _ in self.parts]
        ready = [next(stream) for stream in streams]
        planned = [0] * len(streams)
        while True:  # whoever's next row leaves it least ahead of its share
            at = min(range(len(ready)), key=lambda k: ((planned[k] + ready[k].calls) / self.parts[k][1], k))
            planned[at] += ready[at].calls
            yield ready[at]
            ready[at] = next(streams[at])


def training_rows(seeds: Sequence[Example], rows: Sequence[Synthetic]) -> tuple[list[str], list[str]]:
    """(questions, answers) to train on: the seeds that have answers, then what was made of them."""
    own = [(e.input, e.output) for e in seeds if e.output is not None]
    pairs = [*own, *((row.input, row.output) for row in rows)]
    return [question for question, _ in pairs], [answer for _, answer in pairs]


def _round(seeds: int, seed: int) -> Iterator[int]:
    """Seeds in one fixed order, again and again; the same for all strategies."""
    order = nested(seeds, seed, "seeds").tolist()
    for i in count():
        yield order[i % seeds]


def _check_temperature(temperature: float, sampled: bool) -> None:
    if not 0 <= temperature < float("inf"):
        raise bad("temperature", "0 or more", temperature)
    if sampled and temperature == 0:
        raise bad("temperature", "above 0", temperature, "At 0 every sample of a question is the same text.")
