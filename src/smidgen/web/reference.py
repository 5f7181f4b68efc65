"""The reference, made from signatures and docstrings: `python -m smidgen.web.reference docs/reference`.

One page a room and one of what `import smidgen` gives. Sources are read with `ast`; nothing is imported. Whatever has a
leading underscore, or no docstring, is no part of it; nor are the claims, which have pages of their own.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from smidgen.kit.files import write_bytes

SOURCE = Path(__file__).resolve().parents[1]
# where the names of `smidgen.__all__` are described, in the order in which they are met
FACADE = {
    "fit": "studies.fit",
    "Fitted": "studies.fitted",
    "load": "learn.model",
    "Model": "learn.model",
    "resume": "studies.fit",
    "plan": "studies.buying",
    "compress": "studies.compressing",
    "train_lm": "lm.job:train",
    "from_pretrained": "nets.packed_pretrained",
    "load_packed": "studies.compress_module",
}
_SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields")
_ITEM = re.compile(r"^([*\w][\w*., ]*|`[^`]+`): (.*)$")


def write(folder: Path) -> list[Path]:
    """Writes all pages into a folder, made when absent; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"index": front(), **{room: page(room) for room in rooms()}}
    for name, text in pages.items():
        write_bytes(folder / f"{name}.md", text.encode())
    return [folder / f"{name}.md" for name in pages]


def rooms() -> list[str]:
    return sorted(p.parent.name for p in SOURCE.glob("*/__init__.py") if p.parent.name not in ("cli", "web"))


def front() -> str:
    """What `import smidgen` gives."""
    parts = ["# Reference", "What `import smidgen` gives; below, the rooms. Made from the docstrings."]
    parts.append(" · ".join(f"[{room}]({room}.md)" for room in rooms()))
    for name, place in FACADE.items():
        module, _, other = place.partition(":")
        tree, lines = _parsed(SOURCE.joinpath(*module.split(".")).with_suffix(".py"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == (other or name):
                parts += _described(node, lines, 2, f"smidgen.{name}")
    return "\n\n".join(parts) + "\n"


def page(room: str) -> str:
    """One room: its modules in the order of their names."""
    parts = [f"# smidgen.{room}", _prose(ast.get_docstring(_parsed(SOURCE / room / "__init__.py")[0]) or "")]
    for path in _modules(SOURCE / room):
        tree, lines = _parsed(path)
        about = ast.get_docstring(tree)
        name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        if about:
            parts += [f"## {name}", _prose(about)]
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                parts += _described(node, lines, 3, node.name)
    return "\n\n".join(p for p in parts if p) + "\n"


def _modules(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder).parts
        if not any(part.startswith("_") for part in inside) and not re.match(r"p\d{3}_", path.name):
            yield path


def _parsed(path: Path) -> tuple[ast.Module, list[str]]:
    text = path.read_text(encoding="utf-8")
    return ast.parse(text), text.splitlines()


def _described(node: ast.FunctionDef | ast.ClassDef, lines: list[str], level: int, name: str) -> list[str]:
    """Heading, signature and docstring; of a class also those of its methods. Nothing without a docstring."""
    about = ast.get_docstring(node)
    if node.name.startswith("_") or not about:
        return []
    head = f"{'#' * level} {name}"
    if isinstance(node, ast.FunctionDef):
        read = any(ast.unparse(d).endswith("property") for d in node.decorator_list)  # an attribute to its users
        return [head, _code(f"{node.name}{'' if read else f'({_arguments(node)})'}{_result(node)}"), _prose(about)]
    fields = [_line(n, lines) for n in node.body if isinstance(n, ast.AnnAssign)]
    bases = ", ".join(ast.unparse(b) for b in node.bases)
    code = "\n".join([f"class {node.name}{f'({bases})' if bases else ''}:", *(f"    {f}" for f in fields)])
    parts = [head, _code(code if fields else code.rstrip(":")), _prose(about)]
    for method in node.body:
        if isinstance(method, ast.FunctionDef):
            parts += _described(method, lines, min(level + 1, 6), f"{name}.{method.name}")
    return parts


def _arguments(node: ast.FunctionDef) -> str:
    text = ast.unparse(node.args)
    text = re.sub(r"^(self|cls)(, )?", "", text)
    return text if len(text) < 90 else "\n    " + ",\n    ".join(_split(text)) + ",\n"


def _split(text: str) -> list[str]:
    """At the commas that stand in no bracket and in no text."""
    out, depth, quote = [""], 0, ""
    for sign in text:
        if sign in "'\"":
            quote = "" if sign == quote else quote or sign
        depth += ((sign in "([{") - (sign in ")]}")) * (not quote)
        if sign == "," and not depth and not quote:
            out.append("")
        else:
            out[-1] += sign
    return [part.strip() for part in out]


def _result(node: ast.FunctionDef) -> str:
    return f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""


def _line(node: ast.AnnAssign, lines: list[str]) -> str:
    """A field as its source has it, with the comment behind it."""
    return " ".join(part.strip() for part in lines[node.lineno - 1 : node.end_lineno])


def _code(text: str) -> str:
    return f"```py\n{text}\n```"


def _prose(text: str) -> str:
    """A docstring as Markdown: sections as lists, indented examples as code, signs of Markdown as they are."""
    out: list[str] = []
    section = False
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if all(line.startswith("    ") for line in block.splitlines()):
            out.append(f"```text\n{inspect.cleandoc(block)}\n```")
            continue
        for line in block.splitlines():
            if (name := line.rstrip(":")) in _SECTIONS and line.endswith(":"):
                section = True
                out.append(f"**{name}**")
                out.append("")
            elif section and line.startswith("    ") and (item := _ITEM.match(line.strip())) and line[4] != " ":
                out[-1] += f"\n- `{item[1].strip('`')}`: {_escaped(item[2])}"
            elif section and line.startswith("    "):
                out[-1] += f"{' ' if out[-1] else ''}{_escaped(line.strip())}"
            else:
                section, start = False, not out or out[-1].endswith("\n") or line is block.splitlines()[0]
                out = [*out, _escaped(line)] if start else [*out[:-1], f"{out[-1]}\n{_escaped(line)}"]
    return "\n\n".join(part.strip("\n") for part in out if part.strip())


def _escaped(text: str) -> str:
    """Outside of code, signs that Markdown or HTML would take for its own."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([\\*_\[\]<>|#$])", r"\\\1", p) for p in parts)


if __name__ == "__main__":
    print(f"{len(write(Path(sys.argv[1])))} pages in {sys.argv[1]}")
