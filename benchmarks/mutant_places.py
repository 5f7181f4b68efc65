"""Where code can be mutated, and the mutants of a place, as Cosmic Ray makes them.

Left out, because no test can or should tell them apart: annotations, the marks `*` and `/` of a signature, what is
written into the text of an error that is raised (an f-string in a `raise`), `is` in place of `==` (equal texts and
small numbers are often one object), and what does not compile. Cosmic Ray itself leaves docstrings and texts alone.
"""

import ast
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

Position = tuple[int, int]  # line from 1, column from 0
IDENTITY = ("ReplaceComparisonOperator_Eq_Is", "ReplaceComparisonOperator_NotEq_IsNot")
SEES = {  # the only nodes in which these families of operators find anything; there are 210 of them
    "ReplaceBinaryOperator": "operator",
    "ReplaceComparisonOperator": "comparison",
    "NumberReplacer": "number",
}


@dataclass(frozen=True)
class Mutant:
    """One change: the `occurrence`-th time that a whole walk of the module meets the operator."""

    module: str  # as "kit.config"
    operator: str
    occurrence: int
    line: int
    column: int

    @property
    def family(self) -> str:
        """What kind of change: `+` to `-` and `+` to `*` are one."""
        return self.operator.split("_")[0]


def mutants(path: Path, module: str) -> list[Mutant]:
    """All mutants of a module but those that are left out, in the order of the operators."""
    text = path.read_text(encoding="utf-8")
    nodes = list(ast_nodes(get_ast(text)))
    seen_by = {family: [node for node in nodes if node.type == kind] for family, kind in SEES.items()}
    spans = list(left_out(ast.parse(text)))
    lines = text.splitlines()
    found = []
    for name, operator in _operators().items():
        seen = seen_by.get(name.split("_")[0], nodes)
        positions = [start for node in seen for start, _ in operator.mutation_positions(node)]
        for occurrence, (line, column) in enumerate(positions):
            out = any(first <= (line, column) < last for first, last in spans)
            if not out and name not in IDENTITY and not _mark(lines[line - 1], column):
                found.append(Mutant(module, name, occurrence, line, column))
    return found


@cache
def _operators() -> dict[str, object]:
    made = {name.removeprefix("core/"): get_operator(name) for name in operator_names()}
    return {name: operator() for name, operator in made.items() if not operator.arguments()}


def left_out(tree: ast.Module) -> Iterator[tuple[Position, Position]]:
    """Spans of the source in which nothing is mutated; columns count characters, as long as a line is ASCII."""
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parts = [node.returns]
        elif isinstance(node, ast.arg | ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.Raise):
            parts = [part for part in ast.walk(node) if isinstance(part, ast.JoinedStr)]
        for part in parts:
            if part is not None:
                yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)  # type: ignore[attr-defined]


def _mark(line: str, column: int) -> bool:
    """Whether a star or a stroke stands alone between commas or brackets: a mark of a signature."""
    before, after = line[:column].rstrip(), line[column + 1 :].lstrip()
    return line[column] in "*/" and before[-1:] in ("(", ",", "") and after[:1] in (",", ")")


def mutated(text: str, mutant: Mutant) -> str | None:
    """The module with the change; None where that does not compile or is the same program."""
    try:
        made = mutate_code(text, _operators()[mutant.operator], mutant.occurrence)
    except AttributeError:  # the tool cannot replace an exception with a dot in its name
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            same = made is None or ast.dump(ast.parse(made)) == ast.dump(ast.parse(text))
            compile(made or "", "mutant", "exec")
    except (SyntaxError, ValueError):
        return None
    return None if same else made


def draw(found: list[Mutant], seed: int) -> Iterator[Mutant]:
    """One mutant of each place, places and mutants in random order.

    A place has eleven changes of one `+` and two of one number; by places no kind of change outweighs the others.
    """
    chance = random.Random(seed)
    places: dict[tuple[str, int, int, str], list[Mutant]] = {}
    for mutant in found:
        places.setdefault((mutant.module, mutant.line, mutant.column, mutant.family), []).append(mutant)
    order = sorted(places)
    chance.shuffle(order)
    for place in order:
        yield chance.choice(places[place])
