"""Prompts of the synthesis strategies as data: what a teacher is asked for each task, and how its text is read."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.data.teacher import Example, Prompt, Unparsable
from smidgen.kit.config import from_mapping, nearest
from smidgen.kit.errors import BadInput, bad

FILE = Path(__file__).with_name("strategy_prompts.toml")
_PLACE = re.compile(r"\{([a-z]+)\}")
_WANTED = {"answer": {"question"}, "rephrase": {"question"}, "new": {"examples"}}
_ALLOWED = {"answer": {"question", "labels"}, "rephrase": {"question", "labels"}, "new": {"examples", "labels"}}


@dataclass(frozen=True, kw_only=True)
class StrategyPrompts:
    """The prompts of one task; the fields are explained in `strategy_prompts.toml`.

    Attributes:
        labels: the allowed answers; empty: any. An answer that is none of them is unparsable.
        max_tokens: of a completion; None leaves it to the teacher.

    Raises:
        BadInput: a prompt without the place for its question, or with one that there is not; a pattern that is no
            regular expression with one group; `keep` neither "whole" nor "final".
    """

    answer: str
    rephrase: str
    new: str
    question_pattern: str
    answer_pattern: str
    keep: str = "whole"
    system: str = ""
    labels: tuple[str, ...] = ()
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        for kind, wanted in _WANTED.items():
            found = set(_PLACE.findall(getattr(self, kind)))
            if not wanted <= found <= _ALLOWED[kind]:
                places = ", ".join(f"{{{p}}}" for p in sorted(_ALLOWED[kind]))
                raise bad(f"prompt '{kind}'", f"{{{min(wanted)}}}, and no place but {places}", sorted(found))
            if "labels" in found and not self.labels:
                raise bad("labels", f"the allowed answers, which the prompt '{kind}' names", "none")
        keys = [label.casefold() for label in self.labels]
        if "" in keys or len(set(keys)) < len(keys):
            raise bad("labels", "none empty, and no two alike up to capitals", ", ".join(self.labels))
        for name in ("question_pattern", "answer_pattern"):
            try:
                groups = re.compile(getattr(self, name)).groups
            except re.error as error:
                raise bad(name, "a regular expression", f"{getattr(self, name)} ({error})") from None
            if groups != 1:
                raise bad(name, "one group", f"{groups} in {getattr(self, name)}")
        if self.keep not in ("whole", "final"):
            raise bad("keep", "'whole' or 'final'", self.keep)

    def ask_answer(self, question: str, *, temperature: float, seed: int) -> Prompt:
        """For the responder."""
        return self._prompt("answer", {"question": question}, {"question": question}, temperature, seed)

    def ask_question(self, kind: str, parents: Sequence[Example], *, temperature: float, seed: int) -> Prompt:
        """For the augmenter: kind "rephrase" of the one parent, or "new" after the model of all."""
        shown = {"question": parents[0].input} if kind == "rephrase" else {"examples": _shown(parents)}
        return self._prompt(kind, shown, {"parents": tuple(parents)}, temperature, seed)

    def read_question(self, text: str) -> str:
        """Raises Unparsable where the text holds no question."""
        return _last(self.question_pattern, text)

    def read_answer(self, text: str) -> tuple[str, str]:
        """(what a student learns, the final answer). Raises Unparsable where there is none, or none of the labels."""
        final = _last(self.answer_pattern, text)
        if self.labels:
            known, key = {label.casefold(): label for label in self.labels}, final.casefold()
            label = known.get(key, known.get(key.rstrip(".")))
            if label is None:
                raise Unparsable(f"The answer '{final[:80]}' is none of the labels.")
            final = label
        return (text.strip() if self.keep == "whole" else final), final

    def final(self, output: str) -> str:
        """The final answer in a seed's output: what the pattern finds there, else all of it."""
        try:
            return _last(self.answer_pattern, output)
        except Unparsable:
            return output.strip()

    def _prompt(
        self, kind: str, shown: Mapping[str, str], given: Mapping[str, object], temperature: float, seed: int
    ) -> Prompt:
        values = {**shown, "labels": ", ".join(self.labels)}
        text = _PLACE.sub(lambda place: values[place[1]], getattr(self, kind)).strip()
        return Prompt(
            text, self.system, temperature=temperature, max_tokens=self.max_tokens, seed=seed, kind=kind, fields=given
        )


def load_prompts(task: str = "generic", *, labels: Sequence[str] = (), path: Path | None = None) -> StrategyPrompts:
    """The prompts of a task, from the file that comes with the library or from one in its form.

    Raises:
        BadInput: there is no such task; the file is missing or not in this form; prompts that name labels get none.
    """
    tasks = _tasks(Path(path) if path else FILE)
    if task not in tasks:
        raise BadInput(f"There are no prompts for the task '{task}'. {nearest(task, tasks)}")
    return from_mapping(StrategyPrompts, {**tasks[task], "labels": tuple(labels)}, where=f"prompts of '{task}'")


def _tasks(path: Path) -> dict[str, dict[str, Any]]:
    try:
        tasks = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as prompts ({str(error)[:120]}).") from None
    if not all(isinstance(values, dict) for values in tasks.values()):
        raise BadInput(f"{path}: expected a table of prompts for each task.")
    return tasks


def _shown(examples: Sequence[Example]) -> str:
    """Numbered, with the answers that are known."""
    parts = []
    for number, example in enumerate(examples, 1):
        answer = "" if example.output is None else f"\nAnswer: {example.output}"
        parts.append(f"Example {number}:\n{example.input}{answer}")
    return "\n\n".join(parts)


def _last(pattern: str, text: str) -> str:
    found = [match[1] for match in re.finditer(pattern, text)]
    if not found or not (found[-1] or "").strip():
        raise Unparsable(f"There is nothing of the form {pattern} in a completion of {len(text)} characters.")
    return found[-1].strip()
