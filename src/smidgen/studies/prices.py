"""What can be bought, as a person writes it: `label=0.40`, `label@0.2=0.05`, `query@5/50=0.002`, `hour=1.20`,
`mb@8=2`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smidgen.kit.config import nearest
from smidgen.kit.errors import BadInput, bad
from smidgen.learn.rounded_state import OPTIONS

KINDS = {
    "label": "a labelled row; label@0.2: one of which a fifth are wrong",
    "query": "a teacher's answer; query@0.2: one of which a fifth are wrong; query@5/50: 5 of 50 were",
    "unlabelled": "a row without a label",
    "hour": "an hour of this machine",
    "mb": "a megabyte more for the model; mb@8: for one whose weights take 8 bits",
}


@dataclass(frozen=True)
class Offer:
    """One thing with a price. `name`: as written; `error`: share of wrong labels, None where that has no meaning;
    `counted`: wrong ones, and rows they were counted on, where the share is no more than that; `bits`: that a weight of
    the model takes, None: as it is saved."""

    name: str
    kind: str
    price: float
    error: float | None = None
    counted: tuple[int, int] | None = None
    bits: int | None = None

    @property
    def is_mixed(self) -> bool:
        """Whether its worth in labels is measured, on mixtures with right ones."""
        return self.kind == "unlabelled" or bool(self.error)


def offers_of(prices: Mapping[str, float] | Sequence[str]) -> list[Offer]:
    """In the order given.

    Raises:
        BadInput: none, an unknown purchase, one twice, or a price or an error rate that cannot be.
    """
    pairs = prices.items() if isinstance(prices, Mapping) else [_pair(text) for text in prices]
    found: dict[str, Offer] = {}
    for name, value in pairs:
        offer = _offer(str(name).strip().lower(), value)
        if offer.name in found:
            raise BadInput(f"--price {offer.name} is given twice: one purchase has one price.")
        found[offer.name] = offer
    if not found:
        raise bad("prices", "at least one, such as label=0.40", "none")
    return list(found.values())


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise bad("--price", "NAME=PRICE, such as label=0.40", text)
    return name, value


def _offer(name: str, value: float | str) -> Offer:
    kind, at, rate = name.partition("@")
    kind = {"labels": "label", "queries": "query", "hours": "hour", "rows": "unlabelled"}.get(kind, kind)
    if kind not in KINDS:
        raise BadInput(f"There is nothing '{kind}' to buy: {', '.join(KINDS)}. {nearest(kind, list(KINDS))}".strip())
    price = _number(f"price of {name}", value)
    if not price > 0:
        raise bad(f"price of {name}", "above 0", value, "What is free needs no plan: take all of it.")
    error, counted = None, None
    if at and kind == "mb":
        bits = _number(f"bits of {name}", rate)
        if bits not in OPTIONS:
            raise bad(f"bits of {name}", f"one of {', '.join(map(str, OPTIONS))}", rate)
        return Offer(f"mb@{bits:g}", kind, price, bits=int(bits))
    if at:
        if kind not in ("label", "query"):
            raise bad(f"--price {name}", "an error rate only for label or query, bits only for mb", name)
        counted = _counted(name, rate) if "/" in rate else None
        if counted:
            error, shown = (counted[0] + 0.5) / (counted[1] + 1), f"{counted[0]}/{counted[1]}"
        else:
            error = _number(f"error rate of {name}", rate.rstrip("%"))
            error = error / 100 if rate.endswith("%") else error
            shown = f"{error:g}"
        if not 0 <= error < 1:
            raise bad(f"error rate of {name}", "0 or more and below 1", rate)
        return Offer(f"{kind}@{shown}", kind, price, error, counted)
    return Offer(kind, kind, price)


def _counted(name: str, rate: str) -> tuple[int, int]:
    wrong, _, rows = (part.strip() for part in rate.partition("/"))
    if not (wrong.isdecimal() and rows.isdecimal() and int(rows) > 0 and int(wrong) <= int(rows)):
        raise bad(f"error rate of {name}", "WRONG/ROWS such as 5/50, wrong answers among rows that were counted", rate)
    return int(wrong), int(rows)


def _number(what: str, value: float | str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise bad(what, "a number", str(value)) from None
    if not math.isfinite(number):
        raise bad(what, "a finite number", str(value))
    return number
