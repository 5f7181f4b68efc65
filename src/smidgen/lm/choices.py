"""Multiple choice by likelihood: the answer is the option that the model finds likeliest after the question.

No text is generated, so that a small model that cannot write the answer can still be asked for it. The usual measures
of an option differ in what they forgive: longer options have more tokens, and some are likely whatever is asked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, get_args

import torch

from smidgen.kit.errors import BadInput, bad
from smidgen.lm.likelihood import log_likelihoods, padded
from smidgen.lm.model import LanguageModel
from smidgen.nets.products import full_speed

By = Literal["sum", "token", "byte", "prior"]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Question:
    """
    Attributes:
        prompt: all that stands before an option, examples included. options: texts that go on from it (with their
            space). answer: place of the right one, if known.
    """

    prompt: str
    options: tuple[str, ...]
    answer: int | None = None

    def __post_init__(self) -> None:
        if len(self.options) < 2 or not all(o.strip() for o in self.options):
            raise bad("options", "at least 2, none of them empty", list(self.options))
        if self.answer is not None and not 0 <= self.answer < len(self.options):
            raise bad("answer", f"0 to {len(self.options) - 1}", self.answer)


def lettered(
    question: str, options: Sequence[str], answer: int | None = None, solved: Iterable[Question] = ()
) -> Question:
    """A question whose options are listed with letters before it asks for one, as MMLU's are; solved ones come first.

    Raises:
        BadInput: more options than letters, or a solved question without its answer.
    """
    if len(options) > len(LETTERS):
        raise bad("options", f"at most {len(LETTERS)}", len(options))
    shots = []
    for one in solved:
        if one.answer is None:
            raise BadInput("A solved question needs its answer.")
        shots.append(f"{one.prompt}{one.options[one.answer]}\n\n")
    lines = [f"{LETTERS[i]}. {option}" for i, option in enumerate(options)]
    prompt = "\n".join([question, *lines, "Answer:"])
    return Question("".join(shots) + prompt, tuple(f" {LETTERS[i]}" for i in range(len(options))), answer)


@torch.no_grad()
def scores(model: LanguageModel, question: Question, by: By = "byte") -> list[float]:
    """A score of each option, nats; the largest is the model's answer.

    Args:
        by: "sum": log P(option | prompt). "token", "byte": the same for each of its tokens, or bytes. "prior": less
            log P(option) without the prompt, so that what is likely anyway gains nothing (Holtzman et al., 2021).
    Raises:
        BadInput: prompt and option are longer than the context (nothing is cut), or an unknown measure.
    """
    if by not in get_args(By):
        raise bad("by", " or ".join(get_args(By)), by)
    words, start = model.tokenizer, [model.tokenizer.end]
    prompt = question.prompt.rstrip()
    space = question.prompt[len(prompt) :]  # as a word begins with its space in the tokenizer
    options = [words.encode(space + option) for option in question.options]
    found = _log_likelihoods(model, [*start, *words.encode(prompt)], options)
    if by == "prior":
        return [a - b for a, b in zip(found, _log_likelihoods(model, start, options), strict=True)]
    if by == "token":
        return [s / len(option) for s, option in zip(found, options, strict=True)]
    if by == "byte":
        return [s / len(option.encode()) for s, option in zip(found, question.options, strict=True)]
    return found


def choose(model: LanguageModel, question: Question, by: By = "byte") -> int:
    """Place of the option with the largest score; of equal ones the first."""
    found = scores(model, question, by)
    return found.index(max(found))


def accuracy(model: LanguageModel, questions: Iterable[Question], by: By = "byte") -> dict[str, Any]:
    """Share of right answers, `accuracy`; that of guessing, `chance`; and how many `questions`.

    Raises:
        BadInput: no questions, or one without an answer.
    """
    right, chance = [], []
    for question in questions:
        if question.answer is None:
            raise BadInput("A question to be marked needs its answer.")
        right.append(choose(model, question, by) == question.answer)
        chance.append(1 / len(question.options))
    if not right:
        raise BadInput("There are no questions.")
    return {"accuracy": fmean(right), "chance": fmean(chance), "questions": len(right)}


def _log_likelihoods(model: LanguageModel, prompt: list[int], options: list[list[int]]) -> list[float]:
    rows = [(prompt, option) for option in options]
    ids_BT, targets_BT = padded(rows, model.decoder.config.max_len, model.tokenizer.end)
    with full_speed():
        return log_likelihoods(model.decoder, ids_BT, targets_BT).tolist()
