"""Tries mutants: which tests reach a line, and whether one of them fails when the line is changed.

Tests run in a copy of the tree, each trial in a fork of a process that has imported the packages of others and none of
ours. Only tests of the mutant's own room count, and of these the fast ones; where many reach a line, as many of the
fastest as the time allows, those in the file named like the module first. A module of which only the import runs any
line (tables, constants) is tried with the tests of the files that import it.
"""

import contextlib
import gc
import importlib
import json
import math
import os
import py_compile
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
# Seconds are of the processor, so that a busy machine makes no test slow; the limits by the clock are far beyond them.
SLOW = 10.0  # of a test, set-up included, that is not used
MOST_TESTS, MOST_SECONDS, FIRST = 200, 20.0, 5  # tests of one mutant; so many are tried alone first
CLOCK, CLOCK_FILE = 10.0, 4.0  # times as long by the clock
MEMORY = 8 * 1024**3  # bytes of data that a trial may hold
PRELOAD = (
    "alembic.command",
    "hypothesis",
    "jinja2",
    "narwhals",
    "pandas",
    "psycopg",
    "rich.progress",
    "safetensors.numpy",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sqlalchemy.dialects.sqlite",
    "torch",
    "typer",
)
ALWAYS = ["-q", "--tb=short", "-p", "no:cacheprovider", "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin"]
ALWAYS += ["--hypothesis-seed=0", "-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]


def copy_tree(to: Path) -> Path:
    """The files that git knows, compiled once: a trial writes no bytecode."""
    for name in subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0"):
        if name and not name.startswith("benchmarks/") and (ROOT / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)
    for path in to.glob("src/**/*.py"):  # pytest rewrites and compiles tests itself
        _compile(path)
    return to


def _compile(path: Path) -> None:
    """Never looked at again by the import, and warnings of a mutant's syntax are not errors of its test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        py_compile.compile(str(path), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


@contextlib.contextmanager
def changed(tree: Path, module: str, text: str):
    """The module holds this text for the block."""
    path = tree / "src" / "smidgen" / Path(*module.split(".")).with_suffix(".py")
    kept = path.read_text(encoding="utf-8")
    try:
        path.write_text(text, encoding="utf-8")
        _compile(path)
        yield
    finally:
        path.write_text(kept, encoding="utf-8")
        _compile(path)


def preload() -> None:
    for name in PRELOAD:
        with contextlib.suppress(ImportError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else each collection in a fork copies all of this: most of the time of a trial


def forked(tree: Path, work: Callable[[], int], wall: float, cpu: float) -> int | None:
    """What `work` returned in a process of its own, in the tree; None where it ran out of time. All it started ends."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.setsid()
            out = os.open(tree / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for fd in (1, 2):
                os.dup2(out, fd)
            os.chdir(tree)
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(cpu), math.ceil(cpu) + 2))
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            ours = (str(ROOT / "src"), str(ROOT / "benchmarks"))  # where a module `coverage` lies
            sys.path[:] = [str(tree / "src"), *(p for p in sys.path if p not in ours)]
            os.environ.update(
                PYTHONPATH=str(tree / "src"),
                PYTHONDONTWRITEBYTECODE="1",
                PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",  # half of the time of a short trial
                HYPOTHESIS_STORAGE_DIRECTORY=str(tree / "hypothesis"),
                SMIDGEN_DATA=os.environ.get("SMIDGEN_DATA", str(ROOT.parent / "shared" / "data")),
            )
            sys.dont_write_bytecode = True
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    end = time.monotonic() + wall
    status = None
    while status is None and time.monotonic() < end:
        done, found = os.waitpid(pid, os.WNOHANG)
        if done:
            status = found
        else:
            time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if status is None:
        os.waitpid(pid, 0)
        return None
    shutil.rmtree(tree / "hypothesis", ignore_errors=True)  # no trial learns from another
    if os.WIFSIGNALED(status):
        return None if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else -os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


class Recorder:
    """A plugin of pytest: how long each test took, whether it passed, and with `coverage` which lines it ran."""

    def __init__(self, coverage: Any = None) -> None:
        self.coverage, self.seconds, self.failed = coverage, {}, set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: Any):
        if self.coverage:
            self.coverage.switch_context(item.nodeid)
        start = sum(os.times()[:4])
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = sum(os.times()[:4]) - start

    def pytest_runtest_logreport(self, report: Any) -> None:
        if not report.passed:
            self.failed.add(report.nodeid)

    def passed(self) -> dict[str, float]:
        return {name: round(s, 3) for name, s in self.seconds.items() if name not in self.failed and s < SLOW}


def reach(tree: Path, room: str, file: str, most: float) -> dict[str, Any]:
    """What the tests of a file reach in the room; nothing where the file takes more than `most` seconds.

    "tests": the seconds of each fast test that passes. "lines": for each module and line the tests that run it; a line
    that only the import runs has none, and one that only another process runs neither.
    """
    stored = tree / "reach.json"

    def with_coverage() -> int:
        import coverage

        seen = coverage.Coverage(source=[str(tree / "src" / "smidgen" / room)], data_file=None)
        seen.start()
        recorder = Recorder(seen)
        pytest.main([*ALWAYS, f"--timeout={CLOCK * SLOW:g}", file], plugins=[recorder])
        seen.stop()
        data = seen.get_data()
        found = {
            f"{room}.{Path(name).stem}": {str(n): tests for n, tests in data.contexts_by_lineno(name).items()}
            for name in data.measured_files()
        }
        stored.write_text(json.dumps({"tests": recorder.passed(), "lines": found}))
        return 0

    if forked(tree, with_coverage, CLOCK_FILE * most, most) != 0:
        print(f"{file}: not used, it takes more than {most:g} s")
        return {"tests": {}, "lines": {}}
    return json.loads(stored.read_text())


def chosen(found: dict[str, Any], module: str, line: int, inside: bool) -> tuple[list[str], int]:
    """The tests to try, in their order, and how many more reach the line.

    Args:
        inside: the line is in the body of a function; what only an import runs is tried with all tests of the module.
    """
    lines = found["lines"].get(module, {})
    names = lines.get(str(line), []) if inside else [name for tests in lines.values() for name in tests]
    tests = found["tests"]
    names = [name for name in names if name in tests]  # what only an import runs has a context without a name
    names = names if inside or names else importing(tests, module)
    stem = module.rpartition(".")[2]
    order = sorted(dict.fromkeys(names), key=lambda n: tests[n])
    out, spent = [], 0.0
    for name in order[:MOST_TESTS]:
        spent += tests[name]
        if out and spent > MOST_SECONDS:
            break
        out.append(name)
    return sorted(out, key=lambda n: f"test_{stem}." not in n), len(order) - len(out)


def importing(tests: dict[str, float], module: str) -> list[str]:
    """The tests of files that name the module in an import."""
    room, _, stem = module.rpartition(".")
    named = re.compile(rf"\b{re.escape(room)}(\.| import .*\b){stem}\b")
    files = {name.partition("::")[0] for name in tests}
    those = {file for file in files if named.search((ROOT / file).read_text(encoding="utf-8"))}
    return [name for name in tests if name.partition("::")[0] in those]


def attempt(tree: Path, found: dict[str, Any], names: list[str]) -> str:
    """ "killed", "timeout" (which also counts as noticed), "survived", or "undone": the tests could not be found."""
    for part in (names[:FIRST], names[FIRST:]):
        if not part:
            continue
        cpu = 5 + 4 * sum(found["tests"][n] for n in part)
        args = [*ALWAYS, "-x", f"--timeout={math.ceil(CLOCK * cpu)}", *part]
        code = forked(tree, lambda args=args: int(pytest.main(args)), CLOCK * cpu, cpu)
        if code is None:
            return "timeout"
        if code not in (0, 1):
            return "undone"
        if code == 1:
            return "killed"
    return "survived"
