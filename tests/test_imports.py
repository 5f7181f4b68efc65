"""A light start: nothing heavy is imported before it is needed. Fresh processes; CPU time, so load does not count."""

import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "sklearn", "pandas", "scipy", "sqlalchemy", "skimage", "lightgbm", "transformers", "pyarrow")
SAY_HEAVY = f"import sys; print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
CALL = (
    "import sys; sys.argv = ['smidgen', *{args}]\nfrom smidgen.cli.main import main\ntry:\n    main()\nfinally:\n    "
)


def cpu_seconds(code: str, times: int = 3) -> float:
    """The least CPU time of several runs of `python -c code`."""
    spent = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


def test_import_is_fast():
    assert cpu_seconds("import smidgen") - cpu_seconds("pass") < 0.3


def test_help_is_fast():
    assert cpu_seconds(CALL.format(args=["--help"]) + "pass") < 0.5


@pytest.mark.parametrize(
    "code",
    [
        "import smidgen; " + SAY_HEAVY,
        CALL.format(args=["--help"]) + SAY_HEAVY,
        CALL.format(args=["methods", "ls"]) + SAY_HEAVY,
    ],
    ids=["import", "help", "methods ls"],
)
def test_nothing_heavy_is_imported(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1] == "[]", done.stderr


def test_the_list_of_studies_needs_little(tmp_path):
    """It waits for nothing but the file."""
    heavy = (*HEAVY, "numpy", "alembic", "sqlalchemy", "smidgen.kit.methods", "smidgen.cli.results")
    say = f"import sys; print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    place = str(tmp_path / "runs.db")
    make = f"from smidgen.studies.store import RunStore; RunStore({place!r}).open_study('t', 'f', {{}})"
    subprocess.run([sys.executable, "-c", make], check=True)
    code = CALL.format(args=["studies", "ls", "--store", place]) + say
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() and done.stderr.strip().splitlines()[-1] == "[]", done.stderr
