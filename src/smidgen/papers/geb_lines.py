"""Lines of text for claim 066, junk of four kinds among them, and what its two filters keep."""

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LINES, JUNK, REFERENCE = 6000, 0.2, 2000  # clean lines, share of junk among all, lines for each fit
LOSS = 0.015  # share of good lines that each filter may lose
ADS = ("Home", "About us", "Contact", "Log in", "Sign up", "My account", "Cart (0)", "Checkout", "Share", "Tweet",
    "Read more", "Next page", "Subscribe now", "Click here", "Free shipping", "Best price", "50% off", "Terms of use",
    "Cookie policy", "All rights reserved")  # fmt: skip


@dataclass(frozen=True)
class Texts:
    """Lines of a seed; no line is in two parts, but junk is made of clean lines by shuffling."""

    clean: list[str]
    junk: list[str]
    reference: list[str]
    held: list[str]


def drawn(seed: int) -> Texts:
    """A seed's lines: questions and answers of GSM8K and sentences of SST-2, as many of each."""
    from smidgen.kit.seeds import derive_seed
    from smidgen.tasks import known

    own = random.Random(derive_seed(seed, "geb", "lines"))
    train, test = [lines_of(part) for part in ("train", "test")]
    per = (LINES + 2 * REFERENCE) // 3
    piles = [own.sample(train[kind], per) for kind in train]
    mixed = [line for pile in piles for line in pile]
    own.shuffle(mixed)
    clean, reference = mixed[:LINES], mixed[LINES:]
    held = [line for kind in test for line in random.Random(66).sample(test[kind], 250)]  # the same for all seeds
    random.Random(66).shuffle(held)
    foreign = [t for t, label in zip(*known.texts("langid_udhr"), strict=True) if label != "eng"]
    return Texts(clean, junk_of(clean, foreign, round(LINES * JUNK / (1 - JUNK)), own), reference, held)


@functools.cache
def lines_of(part: str) -> dict[str, list[str]]:
    from smidgen.tasks import known

    problems = known.lines("gsm8k", part)
    return {
        "questions": [" ".join(r["question"].split()) for r in problems],
        "answers": [" ".join(r["answer"].split()) for r in problems],
        "sentences": known.texts("sst2", part)[0],
    }


def made(seed: int) -> Texts:
    """A few lines, to show that it runs."""
    own = random.Random(seed)
    whom, what = ("The boy", "A dog", "Her aunt", "My friend"), ("red", "small", "old", "good")
    lines = [f"{own.choice(whom)} has {own.randrange(9)} {own.choice(what)} apples and a cake." for _ in range(160)]
    clean, reference, held = lines[:80], lines[80:140], lines[140:]
    return Texts(clean, junk_of(clean, ["Все люди рождаются свободными."], 20, own), reference, held)


def junk_of(clean: Sequence[str], foreign: Sequence[str], count: int, own: random.Random) -> list[str]:
    """As many of each: a line with its characters shuffled, markup, a text in another language, a menu with offers."""
    makers: list[Callable[[], str]] = [
        lambda: shuffled(own.choice(clean), own),
        lambda: markup(own),
        lambda: own.choice(foreign),
        lambda: own.choice((" | ", " » ", " - ", " ")).join(own.sample(ADS, own.randint(5, 12))),
    ]
    return [makers[i % len(makers)]() for i in range(count)]


def shuffled(text: str, own: random.Random) -> str:
    return "".join(own.sample(text, len(text)))


def markup(own: random.Random) -> str:
    """A few elements with attributes, or rules of a style sheet."""
    name = lambda: "".join(own.choices("abcdefghijklmnopqrstuvwxyz", k=own.randint(3, 9)))  # noqa: E731
    if own.random() < 0.5:
        return " ".join(f".{name()} {{ {name()}: {own.randrange(99)}px; }}" for _ in range(own.randint(2, 5)))
    tags = own.choices(("div", "span", "a", "li", "td"), k=own.randint(2, 5))
    return "".join(f'<{t} class="{name()}-{name()}" id="{name()}{own.randrange(99)}"></{t}>' for t in tags)


def filtered(mixed: list[tuple[str, bool]], reference: Sequence[str]) -> tuple[list[str], dict[str, float]]:
    """What a perplexity and a density filter keep, both fitted on clean lines of their own, and how well they tell."""
    import numpy as np

    from smidgen.data.filters.keywords import KeywordDensityFilter
    from smidgen.data.filters.ngrams import ByteModel
    from smidgen.data.filters.perplexity import PerplexityFilter

    half = len(reference) // 2
    model = ByteModel.fit(reference[:half])
    perplexity = PerplexityFilter.fit(model, reference[half:], LOSS)
    terms = KeywordDensityFilter.fit(reference[:half]).terms
    density = KeywordDensityFilter.fit(reference[half:], terms, LOSS)
    lines, good = [t for t, _ in mixed], np.array([g for _, g in mixed])
    by_perplexity, by_density = perplexity.keep(lines), density.keep(lines)
    keep = by_perplexity & by_density
    numbers = {
        "junk found": float((~keep[~good]).mean()),
        "clean lost": float((~keep[good]).mean()),
        "junk found by perplexity": float((~by_perplexity[~good]).mean()),
        "junk found by density": float((~by_density[~good]).mean()),
    }
    return [t for t, stays in zip(lines, keep, strict=True) if stays], numbers
