"""A plan's findings as sentences that a person can act on."""

from typing import Any

_NAMES = {
    "auc": "AUC", "macro_f1": "macro F1", "log_loss": "log loss", "rmse": "RMSE", "mae": "MAE", "mse": "MSE",
    "r2": "R²",
}  # fmt: skip


def sentences(found: dict[str, Any]) -> list[str]:
    """From a plan's result, most useful first."""
    return [
        s for s in (_target(found), _split(found), _doubt(found), *_worths(found), *_others(found), *cannot(found)) if s
    ]


def _target(found: dict[str, Any]) -> str:
    wanted, reach = found["asked"].get("target"), found["target"]
    if wanted is None:
        return ""
    name, level = metric_name(found["metric"]), f"{100 * found['level']:g} %"
    if found["reached"]:
        now = number(found["now"]["estimate"])
        return f"The target is reached already: {name} {now} with the {found['n']:,} labels there are."
    if reach is None:
        best = max if found["greater_is_better"] else min
        more = [f for f in found["forecasts"] if f["amount"] >= 0]
        top = best(more, key=lambda f: f["estimate"], default=found["now"])
        if best(top["estimate"], found["now"]["estimate"]) == found["now"]["estimate"]:
            return f"No purchase here reaches {name} {number(wanted)}: none is expected to improve it at all."
        return (
            f"No purchase here reaches {name} {number(wanted)}: the best of those looked at, {amount(top)}, is "
            f"expected to come to {number(top['estimate'])} ({level} interval {between(top['interval'])})."
        )
    low, high = (None if end is None else _end(reach["purchase"], end) for end in reach["interval"])
    ends = f"{low} to {high}" if high is not None else f"{low} or more, if it is to be had at all"
    what = things(reach["purchase"], reach["amount"], "more ")
    said = f"About {what} reach {name} {number(wanted)} ({level} sure it takes {ends}), for {money(reach['cost'])}"
    if reach["cost"] > found["asked"]["spend"]:
        said += ", which is more than the money there is"
    if found.get("failing"):
        said += f"; {' or '.join(things(f) for f in found['failing'])} alone would not"
    return said + "."


def _split(found: dict[str, Any]) -> str:
    after, now = found["after"], found["now"]
    name = metric_name(found["metric"])
    parts = [
        f"{money(spent)} on {things(what, found['split_amounts'][what])}"
        for what, spent in found["split"].items()
        if spent > 0
    ]
    parts += [f"nothing on {things(what)}, in the megabytes that there are" for what in found.get("free") or []]
    if not parts:
        dear = [things(what) for what in found["split"] if _cheapest(found, what) > found["asked"]["spend"]]
        which = "none of these purchases is"
        if dear:
            which = f"{' and '.join(dear)} cost more than {money(found['asked']['spend'])}, and nothing else is"
        return f"Keep the money: {which} expected to improve the {name} of {number(now['estimate'])}."
    said = (
        f"Spend {' and '.join(parts)}: {name} goes from {number(now['estimate'])} to about {number(after['estimate'])}"
    )
    said += f" ({100 * found['level']:g} % interval {between(after['interval'])})."
    if found["gain_is_small"]:
        said += " That is no more than the luck of one training: it is hardly worth the money."
    return said


def _cheapest(found: dict[str, Any], what: str) -> float:
    """The least that one can spend on a purchase: the price of a row; the smallest step of what is had in steps."""
    if what in (found.get("how") or {}):
        return min(f["cost"] for f in found["forecasts"] if f["purchase"] == what)
    return found["asked"]["prices"][what]


def _end(purchase: str, value: float) -> str:
    """One end of an interval of amounts; rows need no unit, hours are told in three."""
    return things(purchase, value) if purchase.partition("@")[0] in ("hour", "mb") else f"{value:,}"


def _doubt(found: dict[str, Any]) -> str:
    doubts = {k: v for k, v in found["best"].items() if v >= 0.2}
    if len(doubts) < 2:
        return ""
    told = ", ".join(f"{things(k)} in {round(100 * v)} of 100" for k, v in sorted(doubts.items(), key=lambda d: -d[1]))
    return f"It is a close call: of all that fits the measurements, the best single buy is {told}."


def _worths(found: dict[str, Any]) -> list[str]:
    out = []
    for name, known in found["worth"].items():
        if name == "label":
            continue
        (low, high), many = known["interval"], things(name)
        out.append(
            f"{many[0].upper()}{many[1:]} are each worth about {number(known['estimate'])} of a clean label "
            f"({number(low)} to {number(high)}{'' if known.get('measured', 1) else '; assumed, not measured'})."
        )
    return out


def _others(found: dict[str, Any]) -> list[str]:
    """Of hours and megabytes, the best step: what it would bring alone, and how it is had."""
    out = []
    for name, best in (found.get("how") or {}).items():
        own = next(f for f in found["forecasts"] if f["purchase"] == name and f["amount"] == best["amount"])
        what = f"{amount(own)} ({money(own['cost'])}) alone"
        if own["amount"] <= 0:
            same = "The same megabytes" if not own["amount"] else f"{things('mb', -own['amount'])} less"
            what = f"{same}, at {name.partition('@')[2]} bits a weight,"
        out.append(
            f"{what} would bring {metric_name(found['metric'])} to about {number(own['estimate'])} "
            f"({between(own['interval'])}): {best['how']}."
        )
    return out


def cannot(found: dict[str, Any]) -> list[str]:
    """Of each purchase that the study cannot tell about, why, and what to do."""
    return [
        f"More {things(u['purchase'])} would bring nothing: {u['why']}."
        if u.get("nothing")
        else f"What {things(u['purchase'])} would bring cannot be told: {u['why']}."
        for u in found["unknown"]
    ]


def things(purchase: str, count: float | None = None, more: str = "") -> str:
    """ "240 labels", "120 more labels of which 20 % are wrong"."""
    kind, _, rate = purchase.partition("@")
    one, many = {
        "label": ("label", "labels"),
        "query": ("teacher's answer", "teacher's answers"),
        "unlabelled": ("row without a label", "rows without a label"),
        "hour": ("hour of computing", "hours of computing"),
        "mb": ("megabyte", "megabytes"),
    }[kind]
    if count is None:
        text = many
    elif kind == "hour" and count < 1:
        short = 3600 * count < 100
        return f"{3600 * count if short else 60 * count:.2g} {more}{'seconds' if short else 'minutes'} of computing"
    else:
        text = f"{count:,.0f}" if count >= 100 or count == round(count) else f"{count:.3g}"
        text = f"{text} {more}{one if count == 1 else many}"
    if kind == "mb" and rate:
        return f"{text} at {rate} bits a weight"
    if "/" in rate:
        return f"{text} of which {rate.replace('/', ' of ')} counted were wrong"
    return f"{text} of which {100 * float(rate):g} % are wrong" if rate else text


def amount(forecast: dict[str, Any]) -> str:
    return things(forecast["purchase"], forecast["amount"], "more ")


def metric_name(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " "))


def number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def between(interval: list[float]) -> str:
    return f"{number(interval[0])} to {number(interval[1])}"


def money(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".") if value >= 0.1 or value == 0 else f"{value:.2g}"
