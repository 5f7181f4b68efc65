"""Rooms import only rooms of lower levels (the stairs of docs/design.md)."""

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "smidgen"
STAIRS = (
    "kit",
    "budget formats index",
    "tasks nets laws",
    "train",
    "data compress",
    "store",
    "learn lm",
    "studies serve",
    "papers",
    "cli web",
)
LEVEL = {room: level for level, rooms in enumerate(STAIRS) for room in rooms.split()}
TOP = len(STAIRS) - 1  # cli, web and the facade (files beside the rooms) may import everything
COMMANDS = {"train/launch.py"}  # and so may these, which are run by their module's name and imported by nobody


def imports(path: Path) -> list[str]:
    """Dotted names that a file imports, wherever in it; `from smidgen import x` is `smidgen.x`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            whole = node.module == "smidgen"
            found += [f"smidgen.{a.name}" for a in node.names] if whole else [node.module or ""]
    return [name for name in found if name.split(".")[0] == "smidgen" and name != "smidgen.__version__"]


def wrong(source: Path) -> list[str]:
    """Imports that go up or sideways."""
    found = []
    for path in sorted(source.rglob("*.py")):
        room = path.relative_to(source).parts[0]
        bound = LEVEL.get(room, TOP) < TOP and path.relative_to(source).as_posix() not in COMMANDS
        for name in imports(path) if bound else ():
            other = (name.split(".") + [""])[1]
            if other != room and LEVEL.get(other, TOP) >= LEVEL[room]:
                found.append(f"{path.relative_to(source)} imports {name}")
    return found


def test_rooms_import_only_lower_levels():
    folders = {p.name for p in SOURCE.iterdir() if p.is_dir() and not p.name.startswith(("_", "."))}
    assert folders <= LEVEL.keys(), "a room without a level"
    assert sum(len(imports(p)) for p in SOURCE.rglob("*.py")) > 50  # the walk sees the house
    assert wrong(SOURCE) == []


def test_nobody_imports_a_command():
    names = {f"smidgen.{c.removesuffix('.py').replace('/', '.')}" for c in COMMANDS}
    assert all((SOURCE / c).is_file() for c in COMMANDS)
    assert not [p for p in SOURCE.rglob("*.py") if names & set(imports(p))]


def test_a_wrong_import_is_found(tmp_path):
    lines = {
        "data": "import smidgen.compress.fit",
        "tasks": "def f():\n    from smidgen import learn",
        "kit": "import smidgen",
        "cli": "from smidgen.web import report",
        "learn": "import smidgen.kit",
    }
    for room, line in lines.items():
        (tmp_path / room).mkdir()
        (tmp_path / room / "a.py").write_text(line)
    assert [w.split("/")[0] for w in wrong(tmp_path)] == ["data", "kit", "tasks"]
