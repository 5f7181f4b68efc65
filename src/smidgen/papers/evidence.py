"""Evidence: what the full run of a claim measured, one JSON file a claim, with all that is needed to doubt it.

In a source tree it lies in `docs/evidence/`, where only a complete full-scale run from a clean tree writes; a built
package carries a copy. What is read is distrusted: the verdict is judged again from the numbers of the seeds.
"""

import ast
import hashlib
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smidgen.kit.config import from_mapping
from smidgen.kit.errors import BadInput
from smidgen.kit.files import read_json, write_json
from smidgen.papers import catalogue
from smidgen.papers.catalogue import Entry
from smidgen.papers.judge import JudgedPart, judge

SCHEMA = 1
MAX_BYTES = 4 << 20
SOURCE = catalogue.HERE.parent
TREE = SOURCE.parents[1]  # of the project, when run from its source


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Contents of an evidence file.

    Attributes:
        number: of the paper. verdict: holds, direction only or fails here. seeds: how many were judged.
        parts: for each part its statement, margin, null, verdict, mean gain, interval and gain of each seed.
        runs: for each seed what it measured (`values`) and its `seconds`.
        seconds, peak_memory_bytes: of the whole run.
        claim_sha256: of the claim's file. parts_sha256: of the code of what implements it, layout and comments apart.
        commit: of the tree that ran. machine, versions, date (UTC).
    """

    schema: int = SCHEMA
    number: str
    scale: str
    verdict: str
    seeds: int
    parts: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    seconds: float
    peak_memory_bytes: int
    claim_sha256: str
    parts_sha256: dict[str, str]
    commit: str
    machine: dict[str, Any]
    versions: dict[str, str]
    date: str


def in_source_tree() -> bool:
    return (TREE / "pyproject.toml").is_file() and (TREE / "src" / "smidgen") == SOURCE


def folder() -> Path:
    """Where evidence is read from."""
    return TREE / "docs" / "evidence" if in_source_tree() else catalogue.HERE / "evidence"


def read(number: str) -> Evidence | None:
    """The evidence of a claim; None where there is none yet.

    Raises:
        BadInput: the file is damaged, of a newer smidgen, or its verdict is not what its own numbers say.
    """
    path = folder() / f"{number}.json"
    return read_file(path, number) if path.exists() or path.is_symlink() else None


def read_file(path: Path, number: str) -> Evidence:
    """The evidence of one file, as `read`."""
    values = read_json(path, MAX_BYTES)
    if not isinstance(values, dict) or not isinstance(values.get("schema"), int):
        raise BadInput(f"{path} is not evidence: the file is damaged or was edited.")
    if values["schema"] > SCHEMA:
        raise BadInput(f"{path} was written by a newer smidgen (schema {values['schema']}): update smidgen.")
    try:
        found = from_mapping(Evidence, values, where=path.name)
        _check(found, number)
    except (BadInput, ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise BadInput(f"{path} is damaged or was edited ({str(error)[:160]}).") from None
    return found


def _check(found: Evidence, number: str) -> None:
    if found.number != number:
        raise ValueError(f"it is of paper {found.number}")
    if not isinstance(found.claim_sha256, str) or found.verdict not in ("holds", "direction only", "fails here"):
        raise ValueError("the verdict or the hash is none")
    if len(found.runs) != found.seeds or [r["seed"] for r in found.runs] != list(range(found.seeds)):
        raise ValueError("runs and seeds do not match")
    for run in found.runs:
        if not all(isinstance(v, int | float) or v is None for v in run["values"].values()):
            raise ValueError("a measured value is no number")
    for part in found.parts:
        _ = part["name"], part["verdict"], part["gains"]
    path = catalogue.claim_files().get(number)
    if path and sha256(path) == found.claim_sha256:  # else the rule may have changed since; `stale` says so
        again = judge(catalogue.entry(number).claim, [numbers(run) for run in found.runs])
        if again.verdict != found.verdict:
            raise ValueError(f"its numbers say '{again.verdict}', it says '{found.verdict}'")
        for ours, theirs in zip(again.parts, found.parts, strict=True):
            if not _same(ours, theirs):
                raise ValueError(f"its part '{theirs['name']}' is not what its numbers give")


def _same(ours: JudgedPart, theirs: dict[str, Any]) -> bool:
    """Whether a part says what the numbers of the seeds say, but for the last digits."""

    def close(a: float | None, b: float | None) -> bool:
        return a == b if a is None or b is None else math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)

    ends = zip(ours.interval or (None, None), theirs["interval"] or (None, None), strict=True)
    return (
        (ours.name, ours.verdict) == (theirs["name"], theirs["verdict"])
        and close(ours.mean, theirs["mean"])
        and all(close(a, b) for a, b in [*ends, *zip(ours.gains, theirs["gains"], strict=True)])
    )


def numbers(run: dict[str, Any]) -> dict[str, float]:
    return {k: float("nan") if v is None else float(v) for k, v in run["values"].items()}


def measured() -> tuple[dict[str, Evidence], list[BadInput]]:
    """All evidence by number, and an error for each file that cannot be trusted (it is left out)."""
    out, errors = {}, []
    for path in sorted(folder().glob("*.json")):
        try:
            out[path.stem] = read_file(path, path.stem)
        except BadInput as error:
            errors.append(error)
    return out, errors


def remark(number: str) -> str:
    """What people wrote about the result, `NNN.md` beside the evidence: above all why a claim fails here."""
    path = folder() / f"{number}.md"
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def write(found: Evidence, path: Path) -> None:
    """Writes the file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(found))


def stale(entry: Entry, found: Evidence | None) -> str:
    """Why the evidence of a claim no longer counts; empty when it does."""
    if found is None:
        return "it has no evidence"
    if found.claim_sha256 != sha256(entry.path):
        return "its claim changed after it was measured"
    if found.seeds != entry.claim.seeds:
        return f"it has {found.seeds} seeds, the claim asks for {entry.claim.seeds}"
    return ""


def changed_parts(entry: Entry, found: Evidence) -> list[str]:
    """Modules that implement the system and changed after it was measured: a reason to measure again, no fault."""
    now = parts_sha256(entry.claim.implements)
    return sorted(name for name in now if found.parts_sha256.get(name) != now[name])


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def parts_sha256(names: Iterable[str]) -> dict[str, str]:
    """Digest of the code of each module among dotted names (`learn.naive_bayes.SharedVarianceGaussianNB`).

    Raises:
        ValueError: a name that no module of ours holds.
    """
    out = {}
    for name in names:
        module, path = _module(name)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        out[module] = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return out


def _module(name: str) -> tuple[str, Path]:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        for path in (SOURCE.joinpath(*parts[:end]).with_suffix(".py"), SOURCE.joinpath(*parts[:end]) / "__init__.py"):
            if path.is_file():
                return ".".join(parts[:end]), path
    raise ValueError(f"there is no module smidgen.{name}")
