"""All published systems: a card each; those that work here have a claim file, and their card is made from it.

The file system is the registry: `papers/pNNN_<slug>.py` is system NNN. Cards of what is only planned lie in
`planned.toml`.
"""

import importlib
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from smidgen.kit.config import from_mapping
from smidgen.kit.errors import BadInput, NotFound
from smidgen.papers.claim import Claim, Scale

if TYPE_CHECKING:
    from smidgen.papers.evidence import Evidence

HERE = Path(__file__).parent
COUNT = 107
_FILE = re.compile(r"p(\d{3})_[a-z0-9_]+\.py")


@dataclass(frozen=True, kw_only=True)
class Card:
    """One published system.

    Attributes:
        number: three digits. title, year: of the paper.
        gives: what a person gets from it. room: where it lives or will live here.
        keywords: data, modality and needs, as people would look for them.
        state: "works" (there is a claim) or "planned".
        implements: dotted names here, where it works.
    """

    number: str
    title: str
    year: int
    gives: str
    room: str
    keywords: str
    state: str = "planned"
    implements: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What the search reads."""
        return f"{self.title}. {self.gives} {self.keywords}"


@dataclass(frozen=True)
class Entry:
    """A claim file, loaded; `module` is its dotted name."""

    number: str
    claim: Claim
    run: Callable[[Scale, int], dict[str, float]]
    path: Path
    module: str


@cache
def claim_files() -> dict[str, Path]:
    """Claim files by number."""
    found: dict[str, Path] = {}
    for path in sorted(HERE.glob("p*.py")):
        if match := _FILE.fullmatch(path.name):
            if match[1] in found:
                raise ValueError(f"two claim files have the number {match[1]}: {found[match[1]].name}, {path.name}")
            found[match[1]] = path
    return found


def entry(number: str) -> Entry:
    """The claim of this number. Raises BadInput: unknown, or planned only."""
    card = find_card(number)
    if card.number not in claim_files():
        raise BadInput(f"{card.number} ({card.title}) is planned: it has no claim to run yet.")
    return _load(card.number)


@cache
def _load(number: str) -> Entry:
    path = claim_files()[number]
    name = f"smidgen.papers.{path.stem}"
    module = importlib.import_module(name)
    if not isinstance(getattr(module, "CLAIM", None), Claim) or not callable(getattr(module, "run", None)):
        raise BadInput(f"{path.name} is no claim file: it needs CLAIM and run(scale, seed).")
    return Entry(number, module.CLAIM, module.run, path, name)


@cache
def cards() -> dict[str, Card]:
    """All cards by number, in order."""
    out = dict(planned())
    for number in claim_files():
        c = _load(number).claim
        out[number] = Card(
            number=number,
            title=c.title,
            year=c.year,
            gives=c.gives,
            room=c.room,
            keywords=c.keywords,
            state="works",
            implements=c.implements,
        )
    return dict(sorted(out.items()))


@cache
def planned() -> dict[str, Card]:
    """Cards of systems without a claim yet."""
    try:
        read = tomllib.loads((HERE / "planned.toml").read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"planned.toml is damaged ({error}).") from None
    return {n: from_mapping(Card, {**values, "number": n}, where=f"planned.toml, {n}") for n, values in read.items()}


def find_card(number: str) -> Card:
    """The card of a number written as 015, 15 or p015. Raises NotFound naming the nearest ones."""
    known = cards()
    match = re.fullmatch(r"[pP]?(\d{1,6})", number.strip())
    if match and (key := f"{int(match[1]):03d}") in known:
        return known[key]
    if match:
        near = sorted(sorted(known, key=lambda n: (abs(int(n) - int(match[1])), n))[:3])
        hint = "Nearest: " + "; ".join(f"{n} {known[n].title}" for n in near) + "."
    else:
        hint = "A paper is named by its number (001 to 107); `smidgen papers find` looks for words."
    raise NotFound(f"There is no paper '{number}'. {hint}")


def state(card: Card, found: "Evidence | None") -> str:
    """How far it is, in words: the verdict of its evidence, "not measured yet" or "planned"."""
    if card.state == "planned":
        return "planned"
    return found.verdict if found else "not measured yet"
