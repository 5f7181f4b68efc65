"""What the shell completes beside verbs and flags: studies, methods, model folders. Quick, and silent when in doubt."""

import contextlib
from pathlib import Path


def studies(incomplete: str) -> list[str]:
    """Ids of the studies in the run store here."""
    from smidgen.studies import DEFAULT_STORE

    if not Path(DEFAULT_STORE).is_file():  # looking must not make one
        return []
    from smidgen.studies.store import RunStore

    with contextlib.suppress(Exception), contextlib.closing(RunStore(DEFAULT_STORE)) as store:
        return [s.id for s in store.studies() if s.id.startswith(incomplete)]
    return []


def method(incomplete: str) -> list[str]:
    """Names of methods, with or without their room."""
    from smidgen.kit import methods

    names = methods.names()
    return [n for n in names if n.startswith(incomplete)] or [
        short for n in names if (short := n.rpartition("/")[2]).startswith(incomplete)
    ]


def method_list(incomplete: str) -> list[str]:
    """The last of names with commas between them; a method that is in the list already is not offered again."""
    before, comma, last = incomplete.rpartition(",")
    had = set(before.split(","))
    return [f"{before}{comma}{name}" for name in method(last) if name not in had]


def models(incomplete: str) -> list[str]:
    """Folders that hold a model, and folders on the way to one."""
    head, slash, last = incomplete.rpartition("/")
    found = []
    with contextlib.suppress(OSError):
        for path in sorted(Path((head or slash) or ".").iterdir()):
            if path.is_dir() and path.name.startswith(last) and (last or not path.name.startswith(".")):
                whole = f"{head}{slash}{path.name}"
                found.append(whole if (path / "model.json").is_file() else whole + "/")
    return found


def models_and_studies(incomplete: str) -> list[str]:
    return [*studies(incomplete), *models(incomplete)]


def topics(incomplete: str) -> list[str]:
    """Of `smidgen explain`."""
    from smidgen.cli.explain import sections

    with contextlib.suppress(OSError):
        return [t for t in sections() if t.startswith(incomplete)]
    return []
