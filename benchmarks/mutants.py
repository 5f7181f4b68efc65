"""Do the tests notice? Code is changed in one place at a time (mutants), and the tests of its room must fail.

    python benchmarks/mutants.py run                      # 200 places of each room, those that are not measured yet
    python benchmarks/mutants.py run --rooms kit --count 500 --seed 1 --minutes 20
    python benchmarks/mutants.py run --again              # what survived, with the tests as they are now
    python benchmarks/mutants.py run --only studies.run,studies.slow --count 40 --practice   # while tests are written
    python benchmarks/mutants.py survivors                # a table of them, as benchmarks/results/mutants.md has it

Adds to benchmarks/results/mutants.jsonl: a line that says how and where, then one for each mutant. "killed": a test
failed; "timeout": the tests went on for more than ten times as long, or held too much memory; "survived"; "unreached":
no fast test of the room runs the line, which counts as survived. Mutants are drawn by place (`mutant_places.py`), so
the share is of places in the code, not of the changes that the tool has for one place.
"""

import argparse
import ast
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from datetime import date
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.append(str(Path(__file__).parent / ".mutants"))  # behind the project's own packages
sys.path.insert(0, str(ROOT / "src"))

from layout import markdown  # noqa: E402
from mutant_places import Mutant, draw, mutants, mutated  # noqa: E402
from mutant_trials import attempt, changed, chosen, copy_tree, preload, reach  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "mutants.jsonl"
TABLE = RESULTS.with_suffix(".md")
REACH = ROOT / "build" / "mutants"
NOTICED = ("killed", "timeout")
Row = dict[str, Any]


def measured() -> list[Row]:
    """Every mutant's line, with its run's date and seed."""
    rows, run = [], {}
    for line in RESULTS.read_text().splitlines() if RESULTS.exists() else ():
        row = json.loads(line)
        if "run" in row:
            run = {"seed": row["seed"], "date": row["date"], "again": row["again"]}
        else:
            rows.append({**row, **run})
    return rows


def key(row: Row) -> tuple[str, str, str]:
    """The mutant, also where its line has moved since; lines of a module that read alike are one."""
    return (row["module"], row["operator"], row["change"])


def map_of_tests(tree: Path, room: str, modules: set[str] | None, most: float) -> Row:
    """`reach` of all test files of the room, or of those that import one of the modules; of each file kept until it, or
    what it shares with others, changes."""
    named = re.compile(rf"\b{room}(\.| import .*\b)({'|'.join(m.rpartition('.')[2] for m in modules or ())})\b")
    helpers = [path for path in tree.glob(f"tests/{room}/*.py") if not path.name.startswith("test_")]
    shared = [*tree.glob(f"src/smidgen/{room}/*.py"), *helpers, tree / "tests" / "conftest.py"]
    tests: dict[str, float] = {}
    lines: dict[str, dict[str, list[str]]] = {}
    for path in sorted(tree.glob(f"tests/{room}/test_*.py")):
        if modules is not None and not named.search(path.read_text(encoding="utf-8")):
            continue
        state = hashlib.sha256(b"".join(p.read_bytes() for p in [path, *sorted(shared)])).hexdigest()[:12]
        kept = REACH / room / f"{path.stem}-{state}.json"
        if not kept.exists():
            print(f"which lines {room}/{path.name} reaches", flush=True)
            found = reach(tree, room, str(path.relative_to(tree)), most)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(found))
        found = json.loads(kept.read_text())
        tests |= found["tests"]
        for module, reached in found["lines"].items():
            for line, names in reached.items():
                lines.setdefault(module, {}).setdefault(line, []).extend(names)
    return {"tests": tests, "lines": lines}


def in_function(text: str, line: int) -> bool:
    """Whether the line is run by a call: in a function's body and not in its head."""
    return any(
        node.body[0].lineno <= line <= (node.end_lineno or 0)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def change(before: str, after: str, line: int) -> str:
    """The line as it was and as it is; the first ones that differ, where a change takes more."""
    old, new = before.splitlines(), after.splitlines()
    if len(new) < len(old):
        return f"{old[line - 1].strip()} -> (removed)"
    at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), line - 1)
    return f"{old[at].strip()} -> {new[at].strip()}"


def wanted(room: str, count: int, seed: int, again: bool, modules: int, only: set[str]) -> list[Mutant]:
    """The mutants to try: the first of the draw; with `modules` equally many of each of the first so many modules that
    it meets, which are as likely as they are long; with `only` of these modules."""
    paths = {f"{room}.{path.stem}": path for path in sorted((ROOT / "src/smidgen" / room).glob("*.py"))}
    found = [m for name, path in paths.items() if not only or name in only for m in mutants(path, name)]
    rows = [row for row in measured() if row["module"].startswith(f"{room}.")]
    if again:
        last = {key(row): row["outcome"] for row in rows}
        open_ = {k for k, outcome in last.items() if outcome not in NOTICED}
        sources = {m.module: source(m.module) for m in found}
        return [m for m in found if any(k[:2] == (m.module, m.operator) for k in open_) and told(m, sources) in open_]
    taken = {
        (row["module"], row["operator"].split("_")[0], row["column"], row["change"].split(" -> ")[0]) for row in rows
    }
    met: dict[str, list[Mutant]] = {}
    most = -(-count // modules) if modules else count
    for mutant in draw(found, seed):
        text = source(mutant.module).splitlines()[mutant.line - 1].strip()  # lines may have moved since
        if (mutant.module, mutant.family, mutant.column, text) in taken:
            continue
        group = mutant.module if modules else room
        if group not in met and len(met) == max(modules, 1):
            continue
        chosen_ones = met.setdefault(group, [])
        if len(chosen_ones) < most and mutated(source(mutant.module), mutant) is not None:
            chosen_ones.append(mutant)
    turns = zip_longest(*met.values())  # modules in turn, so that a run which ends early has some of each
    return [mutant for turn in turns for mutant in turn if mutant is not None]


def told(mutant: Mutant, sources: dict[str, str]) -> tuple[str, str, str]:
    text = sources[mutant.module]
    return (mutant.module, mutant.operator, change(text, mutated(text, mutant) or text, mutant.line))


@cache
def source(module: str) -> str:
    return (ROOT / "src/smidgen" / Path(*module.split(".")).with_suffix(".py")).read_text(encoding="utf-8")


def run(args: argparse.Namespace) -> None:
    again, seed, modules, minutes = args.again, args.seed, args.modules, args.minutes
    from smidgen.kit.machine import machine, versions  # before the trials, and forgotten: they import the copy

    about = {**machine(), "versions": versions(("cosmic-ray", "pytest", "hypothesis", "numpy", "SQLAlchemy"))}
    for name in [n for n in sys.modules if n.partition(".")[0] == "smidgen"]:
        del sys.modules[name]
    only = set(filter(None, args.only.split(",")))
    rooms = sorted({name.partition(".")[0] for name in only}) or args.rooms.split(",")
    todo = {room: wanted(room, args.count, seed, again, modules, only) for room in rooms}
    kept = Path(os.devnull) if args.practice else RESULTS
    with tempfile.TemporaryDirectory(prefix="mutants") as name, kept.open("a") as out:
        tree = copy_tree(Path(name))
        preload()
        head = {"run": RESULTS.stem, "date": date.today().isoformat(), "seed": seed, "again": again, "machine": about}
        out.write(json.dumps({**head, "load": round(os.getloadavg()[0], 1)}) + "\n")
        for room, chosen_ones in todo.items():
            names = {mutant.module for mutant in chosen_ones} if modules or again or only else None
            found = map_of_tests(tree, room, names, args.file_seconds)
            end, seen = time.monotonic() + 60 * minutes, Counter()
            for mutant in chosen_ones:
                if time.monotonic() > end:
                    print(f"{room}: {minutes:g} minutes are over, {len(chosen_ones) - seen.total()} were not tried")
                    break
                row = trial(tree, found, mutant)
                seen[row["outcome"]] += 1
                out.write(json.dumps(row) + "\n")
                out.flush()
                print(
                    f"{row['outcome']:9} {row['seconds']:5.1f} s  {mutant.module}, line {mutant.line}: {row['change']}",
                    flush=True,
                )
            print(f"{room}: {dict(seen)}")
    if not args.practice:
        TABLE.write_text(survivors(), encoding="utf-8")


def trial(tree: Path, found: Row, mutant: Mutant) -> Row:
    text = source(mutant.module)
    made = mutated(text, mutant)
    assert made is not None
    names, more = chosen(found, mutant.module, mutant.line, in_function(text, mutant.line))
    start, before = time.perf_counter(), os.times()
    with changed(tree, mutant.module, made):
        outcome = attempt(tree, found, names) if names else "unreached"
    if outcome == "undone":  # the module cannot be imported any more, or its tests never could be run alone
        outcome = "killed" if attempt(tree, found, names) == "survived" else "unreached"
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {
        **asdict(mutant),
        "change": change(text, made, mutant.line),
        "outcome": outcome,
        "tests": len(names),
        "left_off": more,
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(cpu, 2),
    }


def survivors() -> str:
    """Shares for each room and draw, then every mutant that no test has noticed so far."""
    rows = measured()
    last = {key(row): row for row in rows}
    drawn = [row for row in rows if not row["again"]]
    lines = []
    for room, seed in sorted({(row["module"].partition(".")[0], row["seed"]) for row in drawn}):
        mine = [row for row in drawn if row["module"].startswith(f"{room}.") and row["seed"] == seed]
        before = [row["outcome"] in NOTICED for row in mine]
        reached = [row["outcome"] in NOTICED for row in mine if row["outcome"] != "unreached"]
        now = [last[key(row)]["outcome"] in NOTICED for row in mine]
        lines.append((room, seed, len(mine), share(before), share(reached), share(now)))
    head = ("room", "seed", "mutants", "noticed when drawn", "of those that a test reaches", "noticed by now")
    left = [
        (row["module"], row["line"], f"`{row['change'].replace('|', chr(92) + '|')}`", row["outcome"], row["tests"])
        for _, row in sorted(last.items())
        if row["outcome"] not in NOTICED
    ]
    parts = ["# Mutants", "Made by `python benchmarks/mutants.py survivors`.", markdown(head, lines), "## Not noticed"]
    return "\n\n".join([*parts, markdown(("module", "line", "change", "outcome", "tests tried"), left)]) + "\n"


def share(noticed: list[bool]) -> str:
    return f"{sum(noticed)} of {len(noticed)}, {100 * sum(noticed) / max(len(noticed), 1):.0f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "survivors"])
    parser.add_argument("--rooms", default="kit,budget,studies", metavar="A,B")
    parser.add_argument("--count", type=int, default=200, help="mutants of each room")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60, help="for each room, after its tests are mapped")
    parser.add_argument("--again", action="store_true", help="those that survived, instead of new ones")
    parser.add_argument("--modules", type=int, default=0, help="of so many modules only; their tests alone are mapped")
    parser.add_argument("--only", default="", metavar="ROOM.MODULE,..", help="of these modules")
    parser.add_argument("--practice", action="store_true", help="results are shown and not kept")
    parser.add_argument("--file-seconds", type=float, default=60, help="test files that take more are not used")
    args = parser.parse_args()
    if args.verb == "run":
        run(args)
    else:
        TABLE.write_text(survivors(), encoding="utf-8")


if __name__ == "__main__":
    main()
