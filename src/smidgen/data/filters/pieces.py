"""Paragraphs, sentences and words, by marks alone: no model, no language. "Mr. Smith" is cut in two."""

import re

TERMINAL = ".!?…。！？"
_CLOSING = "\"'”’»)\\]」』"
_BETWEEN = re.compile(rf"(?<=[.!?…])([{_CLOSING}]*)\s+|(?<=[。！？])([{_CLOSING}]*)\s*")
_WORD = re.compile(r"\w+(?:['-]\w+)*")
_WHOLE = re.compile(rf"[{TERMINAL}][{_CLOSING}]*$")


def paragraphs(text: str) -> list[str]:
    """Lines with something in them, without space around."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def sentences(paragraph: str) -> list[str]:
    """Parts that end in a terminal mark (and closing quotes); the last one may lack it."""
    out, start = [], 0
    for between in _BETWEEN.finditer(paragraph):
        end = max(between.end(1), between.end(2))
        out.append(paragraph[start:end].strip())
        start = between.end()
    return [s for s in [*out, paragraph[start:].strip()] if s]


def is_whole(sentence: str) -> bool:
    """Whether it ends as sentences do."""
    return bool(_WHOLE.search(sentence))


def words(text: str) -> list[str]:
    """Runs of letters and digits, with apostrophes and hyphens inside, lower case."""
    return _WORD.findall(text.lower().replace("’", "'"))
