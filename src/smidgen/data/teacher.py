"""A teacher: a large model, a service or a rule that is asked, and paid by the call.

One interface for all that learn from one. A `Teacher` takes prompts and gives completions; a `TeacherLedger` is the
door to it: it counts calls, tokens, seconds and what could not be read, and stops where the budget ends. Every call
costs, whatever came of it: a completion that is empty, refused, cut short or unreadable is counted and charged.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from smidgen.budget.meter import Meter
from smidgen.kit.errors import BadInput, bad


@dataclass(frozen=True)
class Prompt:
    """What a teacher is asked.

    Attributes:
        text: the last turn, the asker's. system: rules of the whole talk. turns: (asker, teacher) before it: worked
            demonstrations, or what the teacher wrote earlier.
        temperature: of sampling, 0 is greedy. max_tokens: of the completion. seed: for teachers that can repeat a draw.
        kind, fields: what the text was made from, for teachers that are rules and need not read it.
    """

    text: str
    system: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    temperature: float = 1.0
    max_tokens: int | None = None
    seed: int = 0
    kind: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def messages(self) -> list[dict[str, str]]:
        """As chat services take them: `role` and `content` of each turn."""
        talk = [(role, said) for pair in self.turns for role, said in zip(("user", "assistant"), pair, strict=True)]
        head = [("system", self.system)] if self.system else []
        return [{"role": role, "content": said} for role, said in [*head, *talk, ("user", self.text)]]


@dataclass(frozen=True)
class Completion:
    """What a teacher wrote. `finish`: "length" where it was cut short, "refused" where it said no. Tokens that it does
    not report (None) are counted as words."""

    text: str
    finish: Literal["stop", "length", "refused"] = "stop"
    prompt_tokens: int | None = None
    tokens: int | None = None


class Teacher(Protocol):
    """Who is asked. `name`: which model, of which version: work that was done with another one is not carried on."""

    name: str

    def ask(self, prompts: Sequence[Prompt]) -> Sequence[Completion]:
        """One completion a prompt, in their order. A teacher may answer many at once; retries are its own care."""
        ...


class CallableTeacher:
    """Any function as a teacher: `call(prompt)` gives a text, or a `Completion` where it knows more than the text.

    Args:
        call: asked one prompt after the other. What it raises ends the work; what was done is kept.
        name: as of `Teacher`.
    """

    def __init__(self, call: Callable[[Prompt], str | Completion], name: str) -> None:
        self.call, self.name = call, name

    def ask(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """One call a prompt. Raises BadInput where the function gives neither text nor a completion."""
        return [self._completion(self.call(prompt)) for prompt in prompts]

    def _completion(self, given: Any) -> Completion:
        if isinstance(given, Completion):
            return given
        if not isinstance(given, str):
            raise bad(f"what the teacher '{self.name}' gave", "a text or a Completion", type(given).__name__)
        return Completion(given)


@dataclass(frozen=True)
class TeacherBudget:
    """What teachers may cost together, whoever is asked for what.

    Attributes:
        calls: prompts, at most. No work is begun whose calls are not all there.
        tokens: of prompts and completions; None is no bound. As nobody knows a completion's length before, work that
            was begun below this bound is finished beyond it.
    """

    calls: int
    tokens: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("calls", self.calls), ("tokens", self.tokens)):
            if value is None and name == "tokens":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise bad(f"TeacherBudget.{name}", "a whole number above 0", value)

    def part(self, share: float) -> "TeacherBudget":
        """A share of it, rounded down. Raises BadInput where nothing is left."""
        return TeacherBudget(int(share * self.calls + 1e-9), None if self.tokens is None else int(share * self.tokens))


class Unparsable(BadInput):
    """A completion is not in the form that was asked for."""


@dataclass(frozen=True)
class Reply:
    """A completion as it was read: `value`, or None and `failure`: "empty", "refused", "cut" or "unparsable"."""

    completion: Completion
    tokens: int
    value: Any = None
    failure: str = ""


class TeacherLedger:
    """What teachers cost under one budget. One thread asks; a teacher may use many inside.

    Args:
        meter: a ledger of more than this, in which calls, tokens, seconds and failures of teachers are written too.
        clock: seconds, monotonic.

    Attributes:
        calls, tokens, seconds: spent so far. failures: completions of no use, by kind.
    """

    def __init__(
        self, budget: TeacherBudget, *, meter: Meter | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.budget, self.meter, self._clock = budget, meter, clock
        self.calls, self.tokens, self.seconds = 0, 0, 0.0
        self.failures: Counter[str] = Counter()
        self._longest = 0  # tokens of a call

    def affords(self, calls: int) -> bool:
        """Whether work of so many calls may be begun."""
        return self.calls + calls <= self.budget.calls and not self._tokens_spent

    def room(self) -> int:
        """How many calls may be begun at once: what is left, and under a bound of tokens what calls as long as the
        longest so far would leave of it, at least one."""
        left = self.budget.calls - self.calls
        if left <= 0 or self._tokens_spent:
            return 0
        if self.budget.tokens is None:
            return left
        return min(left, max(1, (self.budget.tokens - self.tokens) // self._longest) if self._longest else 1)

    def ask(
        self,
        teacher: Teacher,
        prompts: Sequence[Prompt],
        read: Callable[[str], Any] = str,
        *,
        take_cut: bool = False,
        begun: bool = False,
    ) -> list[Reply]:
        """Asks as many of the prompts, from the first, as the budget has room for, and reads what comes.

        Args:
            read: the value of a completion's text; raises Unparsable where there is none.
            take_cut: read completions that were cut short, too.
            begun: these calls finish work that was begun: tokens do not bound them.

        Returns:
            Fewer replies than prompts where the budget ended.

        Raises:
            BadInput: the teacher gave another number of completions. What the teacher raises: then all of these calls
                are charged, for nobody knows how many of them were made.
        """
        prompts = prompts[: max(0, self.budget.calls - self.calls) if begun else self.room()]
        if not prompts:
            return []
        began = self._clock()
        try:
            completions = list(teacher.ask(prompts))
            if len(completions) != len(prompts):
                raise bad(f"completions of '{teacher.name}'", f"{len(prompts)}, one a prompt", len(completions))
            if wrong := [c for c in completions if not isinstance(c, Completion)]:
                raise bad(f"what '{teacher.name}' gave", "a Completion for each prompt", type(wrong[0]).__name__)
            replies = [_read(p, c, read, take_cut) for p, c in zip(prompts, completions, strict=True)]
        except BaseException:
            self.charge(len(prompts), seconds=self._clock() - began)
            raise
        self._longest = max(self._longest, *(r.tokens for r in replies), 0)
        self.charge(
            len(replies),
            sum(r.tokens for r in replies),
            self._clock() - began,
            Counter(r.failure for r in replies if r.failure),
        )
        return replies

    def charge(
        self, calls: int, tokens: int = 0, seconds: float = 0.0, failures: Mapping[str, int] | None = None
    ) -> None:
        """Writes down what was spent: calls made here, or found in a file of an earlier run."""
        self.calls += calls
        self.tokens += tokens
        self.seconds += seconds
        self.failures.update(failures or {})
        if self.meter is not None:
            self.meter.add(
                teacher_calls=calls,
                teacher_tokens=tokens,
                teacher_seconds=seconds,
                teacher_failures=sum((failures or {}).values()),
            )

    def spent(self) -> dict[str, float]:
        """`calls`, `tokens`, `seconds`, `failures`, and these by kind."""
        kinds = {f"failures: {kind}": float(n) for kind, n in sorted(self.failures.items())}
        total = float(self.failures.total())
        whole = {"calls": float(self.calls), "tokens": float(self.tokens), "seconds": self.seconds, "failures": total}
        return {**whole, **kinds}

    @property
    def _tokens_spent(self) -> bool:
        return self.budget.tokens is not None and self.tokens >= self.budget.tokens


def _read(prompt: Prompt, completion: Completion, read: Callable[[str], Any], take_cut: bool) -> Reply:
    asked, wrote = completion.prompt_tokens, completion.tokens
    if asked is None:
        asked = sum(len(message["content"].split()) for message in prompt.messages())
    tokens = asked + (len(completion.text.split()) if wrote is None else wrote)
    failure = ""
    if completion.finish == "refused":
        failure = "refused"
    elif not completion.text.strip():
        failure = "empty"
    elif completion.finish == "length" and not take_cut:
        failure = "cut"
    if failure:
        return Reply(completion, tokens, failure=failure)
    try:
        return Reply(completion, tokens, read(completion.text))
    except Unparsable:
        return Reply(completion, tokens, failure="unparsable")


@dataclass(frozen=True)
class Example:
    """A row that a teacher's work begins with: a question, its answer where it is known, and by what it is named."""

    input: str
    output: str | None = None
    id: str = ""


def named_examples(examples: Sequence[Example]) -> list[Example]:
    """The examples, each with an id: its own, or its number from 0.

    Raises:
        BadInput: none; an empty question; a question or an id twice.
    """
    if not examples:
        raise bad("seeds", "at least one example", "none")
    named = [Example(e.input, e.output, e.id or str(i)) for i, e in enumerate(examples)]
    for what, keys in (("questions", [" ".join(e.input.split()) for e in named]), ("ids", [e.id for e in named])):
        if what == "questions" and "" in keys:
            raise bad(f"seed {keys.index('')}", "a question", "an empty text")
        first: dict[str, int] = {}
        for i, key in enumerate(keys):
            if first.setdefault(key, i) != i:
                raise bad(f"{what} of the seeds", "each once", f"seeds {first[key]} and {i} alike: {key}")
    return named
