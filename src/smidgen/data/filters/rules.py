"""Text of web pages by rules: markup, addresses, garbled and unfinished sentences go (GEB-1.3B, data cleaning)."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from html.parser import HTMLParser
from typing import Any

from smidgen.data.filters.pieces import is_whole, paragraphs, sentences
from smidgen.kit.errors import bad

ADVERTISING = ("click here", "buy now", "order now", "sign up now", "subscribe now", "add to cart", "free shipping")
_URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"']*[^\s<>\"'.,;:!?)]", re.IGNORECASE)
_PERSONAL = (
    re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),  # e-mail
    re.compile(
        r"(?<![\w.])\+(?=(?:[ .()-]*\d){7})\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}(?!\w)"
    ),  # telephone: +49 30 1234567
    re.compile(r"(?<![\w.])(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[.-]\d{4}(?!\w)"),  # (030) 123-4567, 030-123-4567
    re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)"),  # network address
    re.compile(r"(?<!\d)\d{15,19}[Xx]?(?!\d)"),  # numbers of cards and persons
)
_HIDDEN = ("script", "style", "noscript", "template")
_LINES = (
    "address", "article", "blockquote", "br", "dd", "div", "dl", "dt", "footer", "h1", "h2", "h3", "h4", "h5", "h6",
    "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "td", "th", "title", "tr", "ul",
)  # fmt: skip


@dataclass(frozen=True)
class RuleCleaner:
    """Each text without markup, addresses and personal numbers, and of what is left only whole, readable sentences.

    Style sheets and programs between tags go with their tags; loose ones do not end as sentences do.

    Attributes:
        shortest: characters of a sentence, at least.
        least_letters: share of a sentence's characters, without spaces, that are letters or digits, at least; below
            it, or with a broken character in it, it is garbled.
        blocked: sentences with one of these in them go (any case): advertising; add what is profane to your readers.
    """

    shortest: int = 10
    least_letters: float = 0.5
    blocked: tuple[str, ...] = ADVERTISING

    def __post_init__(self) -> None:
        if self.shortest < 1:
            raise bad("shortest", "at least 1 character", self.shortest)
        if not 0 <= self.least_letters <= 1:
            raise bad("least_letters", "a share from 0 to 1", self.least_letters)
        if any(not word.strip() for word in self.blocked):
            raise bad("blocked", "no empty words", self.blocked)

    def clean(self, text: str) -> str:
        """A line for each paragraph of which something stays; "" where nothing does."""
        lines = (" ".join(filter(self._good, sentences(_private(p)))) for p in paragraphs(without_markup(text)))
        return "\n".join(line for line in lines if line)

    def apply(self, texts: Iterable[str]) -> list[str]:
        """The cleaned texts, without those of which nothing is left."""
        return [cleaned for t in texts if (cleaned := self.clean(t))]

    def _good(self, sentence: str) -> bool:
        low = sentence.lower()
        return (
            len(sentence) >= self.shortest
            and is_whole(sentence)
            and not is_garbled(sentence, self.least_letters)
            and not any(word.lower() in low for word in self.blocked)
        )

    def state(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def load(cls, state: dict[str, Any]) -> "RuleCleaner":
        return cls(**{**state, "blocked": tuple(state["blocked"])})


def without_markup(text: str) -> str:
    """What a browser would show of HTML, each block on a line of its own; plain text as it is."""
    if "<" not in text and "&" not in text:
        return text
    reader = _Shown()
    reader.feed(text)
    reader.close()
    return "".join(reader.shown)


class _Shown(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.shown: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in _HIDDEN
        self.shown.append("\n" if tag in _LINES else "")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in _HIDDEN))
        self.shown.append("\n" if tag in _LINES else "")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.shown.append(data)


def is_garbled(text: str, least_letters: float = 0.5) -> bool:
    """Broken characters, UTF-8 read as another code ("Ã©"), or more signs than letters."""
    solid = [c for c in text if not c.isspace()]
    if any(c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cn", "Co", "Cs") for c in solid):
        return True
    if sum(unicodedata.category(c)[0] in "LMN" for c in solid) < least_letters * len(solid):
        return True
    try:
        return not text.isascii() and text.encode("cp1252").decode("utf-8") != text
    except UnicodeError:
        return False


def _private(paragraph: str) -> str:
    for pattern in (_URL, *_PERSONAL):
        paragraph = pattern.sub("", paragraph)
    return re.sub(r"\s+(?=[.,;:!?])", "", re.sub(r"\s+", " ", paragraph)).strip()
