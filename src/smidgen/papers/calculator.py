"""Expressions of two operations made of GSM8K's own calculations, to be worked out in steps: the task of claim 016.

A fact is a calculation of the training answers, "24/2=12", with whole numbers up to 30. Two facts make a chain where
the second goes on with the result of the first, in the order in which it would be worked out anyway:

    prompt "24/2+10?"    answer "24/2=12;12+10=22;#22"    worse answers "24/2=9;9+10=19;#19" and "#19"

Each step is a fact that the corpus of the base holds; the chain, and the form of the answer, are not in it.
Dims: F facts, C chains, N ids of a stream.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from smidgen.kit.errors import BadInput
from smidgen.kit.seeds import derive_seed
from smidgen.lm.tuning import Example, Preference

LARGEST = 30
QUESTION = 40  # characters of a question in the base's corpus
STEPS = re.compile(r"\d+[-+*/]\d+=\d+;\d+[-+*/]\d+=\d+;#\d+")
_FACT = re.compile(r"<<(\d+)([-+*/])(\d+)=(\d+)>>")
_FINAL = re.compile(r"#(\d+)$")
_CHARACTERS = "0123456789+-*/=<>;#?\nabcdefghijklmnopqrstuvwxyz ,.$%':"


class Characters:
    """Characters as ids from 1, in lower case; what is not known is a space. 0 starts and ends a document."""

    end = 0
    words = len(_CHARACTERS) + 1

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {c: i for i, c in enumerate(_CHARACTERS, 1)}

    def encode(self, text: str) -> list[int]:
        return [self._ids.get(c, self._ids[" "]) for c in text.lower()]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(_CHARACTERS[i - 1] for i in ids if i != self.end)


@dataclass(frozen=True)
class Fact:
    """`a sign b = result`."""

    a: int
    sign: str
    b: int
    result: int

    def __str__(self) -> str:
        return f"{self.a}{self.sign}{self.b}={self.result}"

    def as_written(self) -> str:
        """As GSM8K's answers have it, calculator marks and all: "24/2=<<24/2=12>>12"."""
        return f"{self.a}{self.sign}{self.b}=<<{self}>>{self.result}"


@dataclass(frozen=True)
class Chain:
    """Two facts, the second of which begins with the first one's result."""

    first: Fact
    second: Fact

    @property
    def prompt(self) -> str:
        return f"{self.first.a}{self.first.sign}{self.first.b}{self.second.sign}{self.second.b}?"

    @property
    def answer(self) -> str:
        return f"{self.first};{self.second};#{self.second.result}"

    @property
    def demonstration(self) -> Example:
        return Example(self.prompt, self.answer)


def work_out(a: int, sign: str, b: int) -> int | None:
    """The result, where it is a whole number from 0 to 30."""
    if sign == "/" and (b == 0 or a % b):
        return None
    value = a // b if sign == "/" else {"+": a + b, "-": a - b, "*": a * b}[sign]
    return value if 0 <= value <= LARGEST else None


def facts_of(answers: Iterable[str]) -> list[Fact]:
    """Right calculations with whole numbers up to 30, as often as they occur."""
    out = []
    for answer in answers:
        for a, sign, b, result in _FACT.findall(answer):
            fact = Fact(int(a), sign, int(b), int(result))
            if max(fact.a, fact.b) <= LARGEST and work_out(fact.a, sign, fact.b) == fact.result:
                out.append(fact)
    return out


def chains_of(facts: Iterable[Fact]) -> list[Chain]:
    """All chains whose expression means the same from left to right as by the rule that * and / come first, each
    expression once."""
    known = sorted(set(facts), key=str)
    going_on: dict[int, list[Fact]] = {}
    for fact in known:
        going_on.setdefault(fact.a, []).append(fact)
    made = {}
    for first in known:
        for second in going_on.get(first.result, ()):
            if first.sign in "*/" or second.sign in "+-":
                chain = Chain(first, second)
                made.setdefault(chain.prompt, chain)
    return list(made.values())


def preference_of(chain: Chain, seed: int) -> Preference:
    """The right answer against one with a wrong first step that is then gone on with, or, half the time, a wrong
    result alone."""
    rng = np.random.default_rng(derive_seed(seed, "worse", chain.prompt))
    right, second = chain.second.result, chain.second
    if rng.random() < 0.5:
        for wrong in _near(chain.first.result, rng):
            end = work_out(wrong, second.sign, second.b)
            if end is not None and end != right:
                first = Fact(chain.first.a, chain.first.sign, chain.first.b, wrong)
                return Preference(
                    chain.prompt, chain.answer, f"{first};{Fact(wrong, second.sign, second.b, end)};#{end}"
                )
    return Preference(chain.prompt, chain.answer, f"#{next(iter(_near(right, rng)))}")


def _near(value: int, rng: np.random.Generator) -> list[int]:
    """Other numbers from 0 to 30, at most 9 away, in random order."""
    near = [v for v in range(max(0, value - 9), min(LARGEST, value + 9) + 1) if v != value]
    return [near[i] for i in rng.permutation(len(near))]


def final_number(answer: str) -> int | None:
    """What stands after the last "#", to the end of the answer."""
    found = _FINAL.search(answer)
    return int(found[1]) if found else None


def base_stream(
    solved: Sequence[Sequence[Fact]], questions: Sequence[str], words: Characters, seed: int, rounds: int
) -> np.ndarray:
    """Ids `[N]` of what the base learns from, in windows: the facts of each answer in their order, a line each,
    mostly bare ("24/2=12") and in a quarter of the answers as these have them; answers in a new order each round,
    and the beginning of a question after every fourth.

    Raises:
        BadInput: no facts or no questions.
    """
    solved = [facts for facts in solved if facts]
    if not solved or not questions:
        raise BadInput("The base needs facts and questions to learn from.")
    rng = np.random.default_rng(derive_seed(seed, "base stream"))
    out: list[int] = []
    for _ in range(rounds):
        for number, place in enumerate(rng.permutation(len(solved)).tolist()):
            written = Fact.as_written if rng.random() < 0.25 else str
            out += [words.end, *words.encode("".join(f"{written(fact)}\n" for fact in solved[place]))]
            if number % 4 == 3:
                question = questions[int(rng.integers(len(questions)))]
                out += [words.end, *words.encode(question[:QUESTION])]
    return np.array(out, np.int64)
