"""Carrying out a strategy: an endless list of items, each one or two calls of teachers, until the budget ends.

The list depends on the strategy, the seeds and one number alone, so that a smaller budget makes the first rows of a
larger one, and work that was stopped goes on. Each batch is announced in the file before it is asked and written when
it is done: whatever happens, no call is made that the file does not know of, and the budget holds over all runs.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smidgen.budget.meter import Meter
from smidgen.data.generation_file import GenerationFile, Outcome, identity
from smidgen.data.novelty import NoveltyFilter, NoveltyIndex
from smidgen.data.strategy_prompts import StrategyPrompts, load_prompts
from smidgen.data.teacher import Example, Prompt, Teacher, TeacherBudget, TeacherLedger, named_examples
from smidgen.data.verification import Check
from smidgen.kit.errors import bad
from smidgen.kit.files import digest
from smidgen.kit.seeds import derive_seed

PLAIN = NoveltyFilter()


@dataclass(frozen=True, kw_only=True)
class Item:
    """One row to be made.

    Attributes:
        strategy: the name of whose it is. parents: numbers of its seeds.
        write: "rephrase" or "new": the augmenter writes the question; "": it is the parent's own.
        answer: whether the responder is asked; else the parent's answer is taken.
        temperature: of what is sampled. verify, keep_wrong: see the strategies.
    """

    strategy: str
    parents: tuple[int, ...]
    write: str = ""
    answer: bool = True
    temperature: float = 0.7
    verify: Check | None = None
    keep_wrong: bool = False

    @property
    def calls(self) -> int:
        """At most: an answer is not asked for a question that is no use."""
        return bool(self.write) + self.answer


class Plan(Protocol):
    """What is carried out: a strategy."""

    def items(self, seeds: Sequence[Example], seed: int) -> Iterator[Item]:
        """Endless, and always the same. Raises BadInput where the strategy cannot work with these seeds."""
        ...


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """A row that teachers made.

    Attributes:
        input, output: question and what a student learns. parent_ids: ids of the seeds it comes from.
        strategy: its name. calls: what the row cost. total_calls: of this and all earlier rows, dropped ones included.
        verified: what the check said; None: there was none, or it could not know.
        augmenter, responder: names of the teachers that wrote question and answer; "": a seed's own.
    """

    input: str
    output: str
    parent_ids: tuple[str, ...]
    strategy: str
    calls: int
    verified: bool | None = None
    total_calls: int = 0
    augmenter: str = ""
    responder: str = ""


@dataclass(frozen=True)
class Generated:
    """What came of a budget.

    Attributes:
        rows: in the order of their making. spent: see `TeacherLedger.spent`; its seconds are those of this run.
        dropped: rows that were paid and not kept, by reason.
    """

    rows: list[Synthetic]
    spent: dict[str, float]
    dropped: dict[str, int]

    def within(self, calls: int) -> list[Synthetic]:
        """The rows that a budget of so many calls would have made."""
        return [row for row in self.rows if row.total_calls <= calls]


def generate(
    plan: Plan,
    seeds: Sequence[Example],
    budget: TeacherBudget,
    augmenter: Teacher,
    responder: Teacher,
    *,
    prompts: StrategyPrompts | str = "generic",
    novelty: NoveltyFilter | None = PLAIN,
    seed: int = 0,
    store: Path | str | None = None,
    batch: int = 8,
    meter: Meter | None = None,
) -> Generated:
    """Makes rows until the budget ends; nothing is asked again that the store holds.

    Args:
        augmenter: writes questions. responder: writes answers. They may be the same.
        prompts: of the task, or its name.
        novelty: written questions that it does not let through are dropped, before an answer is paid for. It begins
            anew with these seeds. None: all are kept.
        store: a file of JSON lines, made when absent; with it work goes on where it stopped, also with a larger budget.
        batch: items asked at once. A kill or an error of a teacher loses at most so many; they count as paid.
        meter: gets what teachers cost in this run.

    Raises:
        BadInput: no seeds, or one twice; a budget that is less than one item; a store of other work, in use, or
            damaged. What a teacher raises.
    """
    named = named_examples(seeds)
    prompts = load_prompts(prompts) if isinstance(prompts, str) else prompts
    if batch < 1:
        raise bad("batch", "at least 1", batch)
    items = plan.items(named, seed)
    upcoming = next(items)
    if budget.calls < upcoming.calls:
        raise bad("budget", f"at least {upcoming.calls} calls, one row of '{upcoming.strategy}'", budget.calls)
    work = _Work(named, prompts, novelty, augmenter, responder, seed, TeacherLedger(budget))
    space = digest(
        json.dumps([identity(v) for v in (plan, named, seed, prompts, augmenter.name, responder.name)]),
        novelty.identity if novelty else "",
    )
    with GenerationFile(store, space) as file:
        number = 0
        for entry in file.known:  # as far as this budget goes, which may be smaller than that of an earlier run
            if isinstance(entry, int):
                work.ledger.charge(entry, failures={"lost": entry})
                continue
            if not work.ledger.affords(upcoming.calls):
                break
            work.remember(upcoming, entry)
            number, upcoming = number + 1, next(items)
        work.ledger.meter = meter
        while work.ledger.affords(upcoming.calls):
            todo: list[Item] = []
            room = work.ledger.room()
            while len(todo) < batch and (not todo or sum(i.calls for i in todo) + upcoming.calls <= room):
                todo.append(upcoming)
                upcoming = next(items)
            file.announce(number, len(todo), sum(i.calls for i in todo))
            outcomes = work.carry_out(todo, number)
            file.write(outcomes)
            number += len(todo)
    return Generated(work.rows, work.ledger.spent(), dict(work.dropped))


class _Work:
    """The state of a generation: what was paid, let through and made."""

    def __init__(
        self,
        seeds: list[Example],
        prompts: StrategyPrompts,
        novelty: NoveltyFilter | None,
        augmenter: Teacher,
        responder: Teacher,
        seed: int,
        ledger: TeacherLedger,
    ) -> None:
        self.seeds, self.prompts, self.seed, self.ledger = seeds, prompts, seed, ledger
        self.augmenter, self.responder = augmenter, responder
        self.index: NoveltyIndex | None = novelty.start([e.input for e in seeds]) if novelty else None
        self.rows: list[Synthetic] = []
        self.dropped: Counter[str] = Counter()
        self._total = 0

    def remember(self, item: Item, outcome: Outcome) -> None:
        """An outcome from the file."""
        kind, _, failure = outcome.dropped.partition(": ")
        read = kind in ("question", "answer")
        self.ledger.charge(outcome.calls, outcome.tokens, failures={failure: 1} if read else None)
        if self.index and item.write and kind not in ("question", "like"):
            self.index.add(outcome.input)
        self._take(item, outcome)

    def carry_out(self, items: list[Item], first: int) -> list[Outcome]:
        """Asks for the questions of all items, then for the answers of those that are of use."""
        numbers = range(first, first + len(items))
        questions = [self.seeds[item.parents[0]].input for item in items]
        calls, tokens, dropped = [0] * len(items), [0] * len(items), [""] * len(items)
        writing = [i for i, item in enumerate(items) if item.write]
        replies = self.ledger.ask(
            self.augmenter,
            [self._ask_question(items[i], numbers[i]) for i in writing],
            self.prompts.read_question,
            begun=True,
        )
        for i, reply in zip(writing, replies, strict=True):
            calls[i], tokens[i] = 1, reply.tokens
            questions[i] = reply.value or ""
            dropped[i] = f"question: {reply.failure}" if reply.failure else ""
            if self.index and not dropped[i] and (like := self.index.admit(questions[i])):
                dropped[i] = f"like: {like}"
        answering = [i for i, item in enumerate(items) if item.answer and not dropped[i]]
        replies = self.ledger.ask(
            self.responder,
            [self._ask_answer(items[i], questions[i], numbers[i]) for i in answering],
            self.prompts.read_answer,
            begun=True,
        )
        outputs = [self.seeds[item.parents[0]].output or "" for item in items]
        verified: list[bool | None] = [None] * len(items)
        for i, reply in zip(answering, replies, strict=True):
            calls[i], tokens[i] = calls[i] + 1, tokens[i] + reply.tokens
            if reply.failure:
                dropped[i] = f"answer: {reply.failure}"
                continue
            outputs[i], final = reply.value
            verified[i] = self._verified(items[i], questions[i], final)
            if verified[i] is False and not items[i].keep_wrong:
                dropped[i] = "wrong answer"
        outcomes = [
            Outcome(
                item=number, calls=calls[i], tokens=tokens[i], input=questions[i], output=outputs[i],
                verified=verified[i], dropped=dropped[i],
            )
            for i, number in enumerate(numbers)
        ]  # fmt: skip
        for item, outcome in zip(items, outcomes, strict=True):
            self._take(item, outcome)
        return outcomes

    def _take(self, item: Item, outcome: Outcome) -> None:
        self._total += outcome.calls
        if outcome.dropped:
            self.dropped[outcome.dropped] += 1
            return
        self.rows.append(
            Synthetic(
                input=outcome.input,
                output=outcome.output,
                parent_ids=tuple(self.seeds[p].id for p in item.parents),
                strategy=item.strategy,
                calls=outcome.calls,
                verified=outcome.verified,
                total_calls=self._total,
                augmenter=self.augmenter.name if item.write else "",
                responder=self.responder.name if item.answer else "",
            )
        )

    def _ask_question(self, item: Item, number: int) -> Prompt:
        seed = derive_seed(self.seed, "question", number)
        parents = [self.seeds[p] for p in item.parents]
        return self.prompts.ask_question(item.write, parents, temperature=item.temperature, seed=seed)

    def _ask_answer(self, item: Item, question: str, number: int) -> Prompt:
        seed = derive_seed(self.seed, "answer", number)
        return self.prompts.ask_answer(question, temperature=item.temperature, seed=seed)

    def _verified(self, item: Item, question: str, final: str) -> bool | None:
        if item.verify is None:
            return None
        known = None if item.write == "new" else self.seeds[item.parents[0]].output
        said = item.verify(question, final, None if known is None else self.prompts.final(known))
        return None if said is None else bool(said)
