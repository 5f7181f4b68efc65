"""Small parts of a picture: text that is safe in XML, elements, axes with sensible ticks. Pure functions.

Colours and fonts come from classes that the page's style sheet knows, so that one picture serves light, dark and print.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from smidgen.web.words import clean, number


def tag(name: str, *children: str, **attributes: Any) -> str:
    """An element. Children are XML already (text goes through `label` or `escape`); `class_` is the class."""
    text = "".join(
        f" {k.rstrip('_').replace('_', '-')}={quoteattr(_value(v))}" for k, v in attributes.items() if v is not None
    )
    return f"<{name}{text}>{''.join(children)}</{name}>" if children else f"<{name}{text}/>"


def label(text: Any, x: float | str, y: float | str, class_: str = "", anchor: str | None = None, **more: Any) -> str:
    return tag("text", escape(clean(text, 80)), x=x, y=y, class_=class_ or None, text_anchor=anchor, **more)


def line(x1: Any, y1: Any, x2: Any, y2: Any, class_: str) -> str:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def mark(tip: Any, *parts: str, name: str = "g", **attributes: Any) -> str:
    """A part of a picture that says what it is under the pointer; with the page's script also under the keyboard."""
    return tag(name, tag("title", escape(clean(tip, 160))), *parts, **attributes)


def picture(width: float, height: float, title: str, parts: Iterable[str], shown: float = 0.0) -> str:
    """A whole `svg` element; `title` says what it shows to who cannot see it.

    It fills its place, or is `shown` pixels wide where there is room for them.
    """
    return tag(
        "svg",
        tag("title", escape(clean(title, 300))),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_value(float(width))} {_value(float(height))}",
        width=round(shown) if shown else None,
        role="img",
        class_="picture fixed" if shown else "picture",
    )


def strip(title: Any, *parts: str) -> str:
    """A picture one table row high, as wide as its cell: places across are in percent."""
    tip = clean(title, 160)
    return tag(
        "svg",
        tag("title", escape(tip)),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        class_="row",
        data_tip=tip,
    )


def y_axis(
    y: "Axis", name: str, right: float, at: Sequence[float] | None = None, texts: Sequence[str] | None = None
) -> tuple[list[str], float]:
    """Grid lines up to `right`, their numbers and the axis' name, and the place where the plot begins: as far right as
    the longest number needs.
    """
    at = ticks(y.low, y.high, 5) if at is None else at
    texts = tick_labels(at) if texts is None else texts
    left = 12.0 + 6.5 * max(len(text) for text in texts)
    parts = [line(left, y(v), right, y(v), "grid") for v in at]
    parts += [label(text, left - 6, y(v) + 4, "tick", "end") for v, text in zip(at, texts, strict=True)]
    return [*parts, label(name, 0, 9, "name")], left


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most `most` round numbers (1, 2 or 5 times a power of ten apart) within the range, at least two."""
    if not high > low:
        high = low + (abs(low) or 1.0)
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20, 50):
        found = _multiples(low, high, step * factor)
        if len(found) <= most:
            break
    return found if len(found) >= 2 else _multiples(low, high, step * factor / 2) or [low, high]


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, slack = math.ceil(low / step - 1e-9), 1e-9
    return [k * step for k in range(first, math.floor(high / step + slack) + 1)]


def tick_labels(values: Sequence[float]) -> list[str]:
    """The numbers with the decimals that tell them apart, the same for all."""
    if not values:
        return []
    largest = max(abs(v) for v in values)
    step = min((b - a for a, b in zip(values, values[1:], strict=False)), default=largest or 1.0)
    for unit, suffix in ((1e12, " T"), (1e9, " G"), (1e6, " M")):
        if unit <= largest < 1e15:
            return [text + suffix if text.strip("0.,") else "0" for text in tick_labels([v / unit for v in values])]
    if largest >= 1e15 or 0 < largest < 1e-3:
        digits = 2 + math.floor(math.log10(largest) + 1e-9) - math.floor(math.log10(step) + 1e-9)
        return [number(float(v), digits) if abs(v) > step / 2 else "0" for v in values]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(round(step, decimals) - step) > 1e-6 * step:
        decimals += 1
    return [f"{v + 0.0:,.{decimals}f}".replace("-", "−") for v in values]


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` onto places from `start` to `stop`; logarithmic if asked."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        a, b, v = (math.log(max(t, 1e-300)) if self.log else t for t in (self.low, self.high, value))
        share = 0.5 if b == a else (v - a) / (b - a)
        return self.start + min(max(share, 0.0), 1.0) * (self.stop - self.start)


def padded(values: Iterable[float], share: float = 0.06) -> tuple[float, float]:
    """The range of the values with some air, never empty."""
    values = list(values)
    low, high = min(values), max(values)
    air = (high - low) * share or abs(high) * 0.1 or 0.1
    return low - air, high + air


def _value(value: Any) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
