"""`smidgen doctor`: what is installed, what more an extra would bring, what the machine gives, where things are kept.

Nothing heavy is imported: versions are read from the packages' metadata, the rest from the system.
"""

import importlib.metadata
import importlib.util
import platform
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import smidgen
from smidgen.cli.output import say, say_json, table
from smidgen.formats import native
from smidgen.kit.extras import BRINGS, Part, parts
from smidgen.kit.machine import cores, free_bytes, gpus, machine, memory_limit
from smidgen.studies import DEFAULT_STORE
from smidgen.web import words

MOST_WORKERS = 8  # that fit starts unasked
WORKER_BYTES = 500_000_000  # what a worker may hold beside the data, roughly
LITTLE_DISK = 1_000_000_000


@dataclass(frozen=True)
class Problem:
    """Something that is wrong: what, a sentence to act on, whether the core does not work because of it."""

    what: str
    text: str
    core: bool = False


@dataclass(frozen=True)
class Found:
    """All that `doctor` tells, as plain data; `problems` grows as parts are looked at."""

    core: list[Part] = field(default_factory=list)
    extras: dict[str, dict[str, Any]] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    places: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def works(self) -> bool:
        return not any(p.core for p in self.problems)


def doctor(as_json: bool) -> int:
    """Prints what was found; 0 when the core works, 1 when not."""
    found = examine(Path.cwd())
    if as_json:
        told = asdict(found) | {"core": {p.name: p.version for p in found.core}, "works": found.works}
        say_json({"smidgen": smidgen.__version__, "python": platform.python_version(), **told})
    else:
        say("\n".join(shown(found)))
    return 0 if found.works else 1


def examine(place: Path) -> Found:
    """Looks at everything; `place` is the folder that the person works in."""
    found = Found()
    _look_at_packages(found)
    _look_at_machine(found)
    _look_at_places(found, place)
    return found


def _look_at_packages(found: Found) -> None:
    try:
        found.core.extend(parts())
    except importlib.metadata.PackageNotFoundError:
        text = "smidgen runs from its source and is not installed, so nobody knows what it needs: "
        found.problems.append(Problem("smidgen", text + "pip install -e . in the folder of the source."))
        return
    for part in found.core:
        if not part.fits:
            got = f"{part.version} is installed" if part.version else "it is not installed"
            text = f"smidgen needs {part.name}{part.wanted}, but {got}: pip install '{part.name}{part.wanted}'."
            found.problems.append(Problem(part.name, text, core=True))
    told: set[str] = set()  # a package of several extras is complained of once
    for name, brings in BRINGS.items():
        needs = parts(name)
        found.extras[name] = {
            "brings": brings,
            "there": bool(needs) and all(p.fits for p in needs),
            "packages": {p.name: p.version for p in needs},
            "install": f"pip install 'smidgen[{name}]'",
        }
        for part in needs:
            if part.version and not part.fits and part.name not in told:
                told.add(part.name)
                text = f"{part.name} {part.version} is installed, but smidgen[{name}] needs {part.wanted}: "
                found.problems.append(Problem(part.name, f"{text}pip install '{part.name}{part.wanted}'."))


def _look_at_machine(found: Found) -> None:
    cards, cuda, free, workers = gpus(), torch_cuda(), free_bytes(), min(cores(), MOST_WORKERS)
    if cards and not cuda and found.extras.get("text", {}).get("packages", {}).get("torch"):
        text = f"There is a GPU ({cards[0]}), but this torch is a build for the processor alone: install torch for CUDA"
        found.problems.append(Problem("GPU", f"{text} as pytorch.org says, or go on without the GPU."))
    if free is not None and free < workers * WORKER_BYTES:
        text = (
            f"{words.size(free)} of memory are free, little for the {words.plural(workers, 'worker')} that fit starts: "
        )
        fewer = f"close other programs, or give fit --workers {max(1, free // WORKER_BYTES)}."
        found.problems.append(Problem("memory", text + fewer))
    try:
        compiler, why = native.compiler(), "SMIDGEN_KERNELS is off" if native.switched_off() else ""
    except RuntimeError as error:
        compiler, why = None, str(error)
    found.machine.update(machine(), workers=workers, free_bytes=free, limit_bytes=memory_limit(), gpus=cards)
    found.machine.update(torch_cuda=cuda, compiler=compiler, no_kernels=why)


def torch_cuda() -> str | None:
    """The CUDA version that the installed torch was built for, read from its files; None: none, or no torch."""
    spec = importlib.util.find_spec("torch")
    path = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    if path is None or not path.is_file():
        return None
    found = re.search(r"^cuda\b[^=]*=\s*['\"]([^'\"]+)['\"]", path.read_text(), re.MULTILINE)
    return found[1] if found else None


def _look_at_places(found: Found, place: Path) -> None:
    """Where things are kept, and whether they can be; folders that are not there yet are not made."""
    store, kernels = place / DEFAULT_STORE, native.cache_folder()
    for what, path, folder in (
        ("run store", store, store.parent),
        ("cache of texts and photos", store.with_name("cache"), store.with_name("cache")),
        ("compiled kernels", kernels, kernels),
    ):
        why, core = not_writable(folder), path == store
        kind = None if why or not core else _network(folder)
        free = None if why else shutil.disk_usage(_standing(folder)).free
        if why:
            cure = "set XDG_CACHE_HOME to another one" if path == kernels else "work in another folder"
            text = f"The {what} cannot be kept in {folder} ({why}): mend the folder's permissions, or {cure}."
            found.problems.append(Problem(what, text, core))
        elif kind:
            text = f"{path} lies on a network disk ({kind}), where SQLite's locks do not hold: work on a local disk, "
            found.problems.append(Problem(what, f"{text}or name a store on one with --store.", core))
        if core and free is not None and free < LITTLE_DISK:
            text = f"Only {words.size(free)} are free where {folder} lies: make room, or work elsewhere."
            found.problems.append(Problem("disk", text))
        row = {"what": what, "path": str(path), "there": path.exists(), "writable": not why, "free_bytes": free}
        found.places.append(row)


def _standing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def not_writable(folder: Path) -> str:
    """Why no file can be written there, or in what stands of the path (a nameless one is tried); empty if one can."""
    try:
        with tempfile.TemporaryFile(dir=_standing(folder)) as trial:
            trial.write(bytes(4096))
            trial.flush()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def _network(path: Path) -> str | None:
    try:
        from smidgen.studies.store_place import network_kind

        mounts = Path("/proc/mounts").read_text(errors="replace")
    except (ImportError, OSError):  # a package of the core is missing, which is said; or this is not Linux
        return None
    return network_kind(_standing(path).resolve(), mounts)


def shown(found: Found) -> list[str]:
    """The lines for a terminal."""
    m, free = found.machine, found.machine["free_bytes"]
    state = "the core works" if found.works else "the core does not work"
    lines = [f"smidgen {smidgen.__version__}, Python {platform.python_version()}, {m['system']}: {state}.", ""]
    lines += ["core      " + ", ".join(f"{p.name} {p.version or 'missing'}" for p in found.core), ""]
    rows = [["yes" if e["there"] else "no", name, e["brings"], _with(e)] for name, e in found.extras.items()]
    lines += [*table(rows, ["there", "extra", "brings", "with"]), ""] if rows else []
    least = f", {words.size(free)} free" if free is not None else ""
    limit = f", a limit of {words.size(m['limit_bytes'])} here" if m["limit_bytes"] else ""
    cuda = f"; torch has CUDA {m['torch_cuda']}" if m["torch_cuda"] else ""
    why = f"; kernels are not compiled: {m['no_kernels']}" if m["no_kernels"] else ""
    lines += [
        f"cores     {m['cores']}; fit starts {words.plural(m['workers'], 'worker')} (--workers: another number)",
        f"memory    {m['memory_gb']} GB{least}{limit}; --memory bounds each worker",
        f"GPU       {', '.join(m['gpus']) or 'none'}{cuda}",
        f"compiler  {m['compiler'] or 'none'}{why}",
        "",
    ]
    rows = [
        [p["what"], p["path"], f"yes, {words.size(p['free_bytes'])} free" if p["writable"] else "no"]
        for p in found.places
    ]
    lines += [*table(rows, ["kept", "where", "can be written"]), ""]
    return [*lines, *([f"- {p.text}" for p in found.problems] or ["Nothing is wrong."])]


def _with(extra: dict[str, Any]) -> str:
    there = ", ".join(f"{name} {version}" for name, version in extra["packages"].items() if version)
    return there if extra["there"] else extra["install"]
