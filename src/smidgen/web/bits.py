"""Pictures of the laws of bits: what rounding checkpoints loses along a training, with the level of chance, and what
each input of a layer's products costs in a small format.
"""

import math
import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from smidgen.web import assets, svg
from smidgen.web.svg import Axis, label, line, mark, tag
from smidgen.web.words import finite, number, whole

_W, _H, _ACROSS = 270.0, 190.0, 2
_TOP, _BOTTOM = 30.0, 148.0
_BAR, _ROW = 250.0, 24.0
_QID = re.compile(r"QiD (.+), (\d+) after (\d+)")
_PENALTY = re.compile(r"penalty (E\d+M\d+/\d+), .*")
Row = Mapping[str, Any]


def rounded_losses(rows: Sequence[Row], chance: float | None = None, by: str = "d") -> str | None:
    """Loss of checkpoints after rounding against how long they were trained: a panel a quantizer, a line a size, the
    whole models' losses as thin lines beneath; a band from the level of chance upwards, where nothing is left.

    Args:
        rows: of `compress.ptq_sweep.sweep_checkpoints`: quantizer, n, d, loss_fp, loss_q (nats a token).
        chance: the logarithm of the vocabulary; None: no band. by: what goes across.
    Returns:
        None where no quantizer has two checkpoints of one size.
    """
    known = [r for r in rows if all(finite(r.get(k)) for k in ("n", by, "loss_fp", "loss_q"))]
    panels: dict[str, dict[float, list[Row]]] = {}
    for row in sorted(known, key=lambda r: (r["n"], r[by])):
        panels.setdefault(str(row["quantizer"]), {}).setdefault(float(row["n"]), []).append(row)
    panels = {name: {n: p for n, p in own.items() if len(p) > 1} for name, own in sorted(panels.items())}
    panels = {name: own for name, own in panels.items() if own}
    if not panels:
        return None
    shown = [r for own in panels.values() for part in own.values() for r in part]
    low, high = svg.padded([r[k] for r in shown for k in ("loss_fp", "loss_q")])
    if chance is not None and chance < high + (high - low):  # further away it would squeeze the lines
        high = max(high, chance + 0.1 * (chance - low))
    ends = min(r[by] for r in shown), max(r[by] for r in shown)
    parts = []
    for at, (name, own) in enumerate(panels.items()):
        drawn = _panel(name, own, (low, high), ends, chance, by)
        place = f"translate({_W * (at % _ACROSS):.0f} {_H * (at // _ACROSS):.0f})"
        parts.append(tag("g", *drawn, transform=place))
    across, down = min(len(panels), _ACROSS), -(-len(panels) // _ACROSS)
    worst = max(shown, key=lambda r: r["loss_q"] - r["loss_fp"])
    told = f"most is lost by {worst['quantizer']}, {number(worst['loss_q'] - worst['loss_fp'])} nats"
    return svg.picture(_W * across, _H * down, f"Loss after rounding along a training: {told}", parts)


def loss_bars(gaps: Mapping[str, float | Sequence[float]], unit: str = "nats") -> str | None:
    """What each of several things costs: a bar for its mean, a dot for each measurement; the dearest at the top.

    Args:
        gaps: by name: one number (as `compress.float_training.loss_gaps` gives them) or several, as of several seeds.
    """
    numbers = {
        name: [float(v) for v in (g if isinstance(g, Sequence) else [g]) if finite(v)] for name, g in gaps.items()
    }
    order = sorted((n for n, own in numbers.items() if own), key=lambda n: -fmean(numbers[n]))
    if not order:
        return None
    low, high = svg.padded([0.0, *(v for n in order for v in numbers[n])])
    left = 16 + 6.8 * max(map(len, order))
    x = Axis(low, high, left, left + _BAR)
    bottom = 8 + _ROW * len(order)
    at = svg.ticks(low, high, 5)
    parts = [line(x(v), 4, x(v), bottom, "grid") for v in at]
    parts += [label(t, x(v), bottom + 15, "tick", "middle") for v, t in zip(at, svg.tick_labels(at), strict=True)]
    for row, name in enumerate(order):
        own, y = numbers[name], 8 + _ROW * row
        mean, a, b = fmean(own), x(0.0), x(fmean(own))
        several = f", {number(min(own))} to {number(max(own))} in {len(own)}" if len(own) > 1 else ""
        drawn = [tag("rect", x=min(a, b), y=y, width=max(abs(b - a), 0.5), height=_ROW - 8, class_="bar")]
        drawn += [tag("circle", cx=x(v), cy=y + _ROW / 2 - 4, r=2.5, class_="dot other") for v in own if len(own) > 1]
        parts.append(mark(f"{name}: {number(mean)} {unit}{several}", *drawn))
        parts.append(label(name, left - 8, y + 12, "", "end"))
        parts.append(label(number(mean), left + _BAR + 8, y + 12, "value"))
    parts += [line(x(0.0), 4, x(0.0), bottom, "base"), label(unit, left + _BAR / 2, bottom + 30, "name", "middle")]
    told = f"{order[0]} costs most, {number(fmean(numbers[order[0]]))} {unit}"
    return svg.picture(left + _BAR + 60, bottom + 38, f"What each costs: {told}", parts)


def of_evidence(paper: str, runs: Sequence[Row]) -> list[tuple[str, str]]:
    """Pictures, each with what it shows, of the numbers that a claim about bits measured (042 and 045); of others
    none."""
    values: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run["values"].items():
            if finite(value):
                values.setdefault(name, []).append(float(value))
    if paper == "042":
        made = rounded_losses(_checkpoints(values), math.log(256), "updates")
        says = "Loss after rounding, nats a byte, mean of the seeds; beneath it, thin, that of the whole model."
        return [(says, made)] if made else []
    if paper == "045":
        formats: dict[str, list[float]] = {}
        for name, own in values.items():
            if found := _PENALTY.fullmatch(name):
                formats.setdefault(f"{found[1]} a scale", []).extend(own)
        made = loss_bars(formats)
        return (
            [("What training in each format cost, by cells of size and length; dots are cells.", made)] if made else []
        )
    return []


def alone(picture: str) -> str:
    """A picture as a file of its own, with the page's style in it."""
    head, rest = picture.split(">", 1)
    return f"{head}><style>{svg.escape(assets.text('style.css'))}</style>{rest}\n"


def _checkpoints(values: Mapping[str, Sequence[float]]) -> list[Row]:
    rows = []
    for name, own in values.items():
        if found := _QID.fullmatch(name):
            width, updates = int(found[2]), int(found[3])
            if whole_ := values.get(f"loss {width} after {updates}"):
                loss = fmean(whole_)
                rows.append({"quantizer": found[1], "n": width, "updates": updates, "loss_fp": loss,
                             "loss_q": loss + fmean(own)})  # fmt: skip
    return rows


def _panel(
    name: str, sizes: Mapping[float, Sequence[Row]], values: tuple[float, float], ends: tuple[float, float],
    chance: float | None, by: str,
) -> list[str]:  # fmt: skip
    y = Axis(*values, _BOTTOM, _TOP)
    at = svg.ticks(*values, 4)
    texts = svg.tick_labels(at)
    left, right = 12 + 6.5 * max(map(len, texts)), _W - 16
    x = Axis(*ends, left + 6, right - 30, log=ends[1] > 4 * ends[0])
    parts = [line(left, y(v), right, y(v), "grid") for v in at]
    parts += [label(t, left - 6, y(v) + 4, "tick", "end") for v, t in zip(at, texts, strict=True)]
    parts.append(label(name, left, 14, "strong"))
    if chance is not None and chance < values[1]:
        band = tag("rect", x=left, y=_TOP, width=right - left, height=y(chance) - _TOP, class_="band")
        parts += [mark(f"no better than chance: {number(chance)} nats and more", band)]
        parts.append(label("chance", left + 4, y(chance) - 4, "note"))
    for n, rows in sizes.items():
        for key, kind in (("loss_fp", "axis"), ("loss_q", "curve")):
            corners = " ".join(f"{x(r[by]):.1f},{y(r[key]):.1f}" for r in rows)
            parts.append(tag("polyline", points=corners, class_=kind))
        for r in rows:
            tip = f"{name}, size {whole(n)}, {by} {whole(r[by])}: {number(r['loss_q'])}, whole {number(r['loss_fp'])}"
            parts.append(mark(tip, tag("circle", cx=x(r[by]), cy=y(r["loss_q"]), r=3.0, class_="dot")))
    free = -math.inf  # below it there is room for the next name
    for n, rows in sorted(sizes.items(), key=lambda s: -s[1][-1]["loss_q"]):
        free = max(y(rows[-1]["loss_q"]) + 4, free)
        parts.append(label(_short(n), x(rows[-1][by]) + 6, free, "note"))
        free += 11
    parts += [label(_short(v), x(v), _BOTTOM + 16, "tick", "middle") for v in ends]
    return [*parts, label(by, (x.start + x.stop) / 2, _BOTTOM + 16, "name", "middle")]


def _short(value: float) -> str:
    for unit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{suffix}"
    return f"{value:.3g}"
