"""`smidgen explain`: a section of docs/trouble.md, which the installed package carries; errors name theirs."""

import difflib
import re
from pathlib import Path

from smidgen.cli.output import say
from smidgen.kit.errors import BadInput

PAGE = "docs/trouble.md"
_HERE = Path(__file__).with_name("trouble.md")  # in an installed package
_TREE = Path(__file__).resolve().parents[3] / PAGE  # in a source tree


def explain(topic: str | None) -> None:
    """Prints the section, or which there are.

    Raises:
        BadInput: there is no such section.
    """
    found = sections()
    if topic is None:
        say(
            "\n".join(
                ["smidgen explain TOPIC, of:", *(f"  {name:<10} {_first(text)}" for name, (_, text) in found.items())]
            )
        )
        return
    if topic not in found:
        near = difflib.get_close_matches(topic, found, n=1)
        raise BadInput(
            f"There is no topic '{topic}'.{f' Did you mean {near[0]}?' if near else ''} See 'smidgen explain'."
        )
    title, body = found[topic]
    say(f"{title}\n\n{body}\n\n({PAGE}#{topic})")


def _first(text: str) -> str:
    """The first sentence."""
    return " ".join(text.split()).split(". ")[0].rstrip(".:") + "."


def sections() -> dict[str, tuple[str, str]]:
    """Title and text of each section by its topic (the title in small letters), in the page's order."""
    text = (_HERE if _HERE.is_file() else _TREE).read_text(encoding="utf-8")
    parts = re.split(r"^## +([\w-]+)\n", text, flags=re.MULTILINE)[1:]
    return {title.lower(): (title, body.strip()) for title, body in zip(parts[::2], parts[1::2], strict=True)}


def pointer(error: Exception) -> str:
    """The line below an error that has a section; empty otherwise."""
    topic = getattr(error, "see", "")
    return f"See {PAGE}#{topic}, or run: smidgen explain {topic}" if topic else ""
