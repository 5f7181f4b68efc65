"""A study's summary in words: numbers as people write them, and three sentences. Pure functions of the summary."""

import math
import re
from typing import Any, TypeGuard

HIGHER_IS_BETTER = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "r2")
_METRICS = {
    "log_loss": "log loss",
    "accuracy": "accuracy",
    "error": "error rate",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auc": "AUC",
    "brier": "Brier score",
    "rmse": "RMSE",
    "mse": "squared error",
    "mae": "absolute error",
    "r2": "R²",
}
_SPACES = re.compile(r"[\n\t]")
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_STEEP = 0.05  # the share of its value that the estimate must gain for a doubling of rows to be called falling
_WIDE = 0.5  # interval width, as a share of the estimate, that is called wide


def clean(text: Any, limit: int = 200) -> str:
    """Foreign text, fit to be shown: no control characters, no marks that turn the reading direction, not too long."""
    out = _HIDDEN.sub("\ufffd", _SPACES.sub(" ", str(text)[: limit + 1]))
    return out if len(out) <= limit else out[: limit - 1] + "…"


def finite(value: Any) -> TypeGuard[float]:
    """A number that can be shown or drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def pair(value: Any) -> tuple[float, float] | None:
    """The two ends of an interval, or None where there is none."""
    if isinstance(value, list | tuple) and len(value) == 2 and all(map(finite, value)):
        return float(value[0]), float(value[1])
    return None


def number(value: Any, digits: int = 3) -> str:
    """Three significant digits, thousands grouped, a real minus sign; "–" for none."""
    if not finite(value):
        return "–"
    if isinstance(value, int):
        text = f"{value:,}"
    elif value == 0:
        text = "0"
    elif 1e-4 <= abs(value) < 1e7:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{decimals}f}"
    else:
        text = f"{value:.{digits - 1}e}"
    return text.replace("-", "−")


def alike(*values: float) -> list[str]:
    """A number and the ends of its interval, with the same decimals: as many as three digits of their spread need."""
    spread, largest = max(values) - min(values), max(map(abs, values))
    if spread < 1e-4 or largest >= 1e7:
        return [number(float(v)) for v in values]
    decimals = max(0, 2 - math.floor(math.log10(spread)))
    return [f"{v + 0.0:,.{decimals}f}".replace("-", "−") for v in values]


def percent(value: Any) -> str:
    return number(round(100 * value)) + "\u00a0%" if finite(value) else "–"


def chance(probability: Any) -> str:
    """A probability as percent, never rounded to the certainty that it is not."""
    if finite(probability) and 0 < probability < 1 and not 0.005 <= probability < 0.995:
        return "< 1\u00a0%" if probability < 0.005 else "> 99\u00a0%"
    return percent(probability)


def duration(seconds: Any) -> str:
    if not finite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: Any) -> str:
    """Bytes, decimal: 1 MB is a million."""
    if not finite(count):
        return "–"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= scale:
            return f"{number(count / scale)} {unit}"
    return f"{count:.0f} bytes"


def metric_name(metric: Any) -> str:
    return _METRICS.get(str(metric), str(metric or "score").replace("_", " "))


def short(method: Any) -> str:
    """`learn/logistic` as `logistic`."""
    return str(method).rpartition("/")[2]


def whole(count: Any) -> str:
    """A count, thousands grouped."""
    return f"{round(count):,}" if finite(count) else "–"


def count(amount: Any) -> str:
    """Of things, a whole number; of hours and megabytes, three digits."""
    return whole(amount) if not finite(amount) or amount == round(amount) or amount >= 1000 else number(float(amount))


def plural(count: Any, one: str, many: str = "") -> str:
    return f"{whole(count)} {one if count == 1 else many or one + 's'}"


def settings(params: Any) -> list[str]:
    """A method's parameters, each as `depth=3`."""
    pairs = params.items() if isinstance(params, dict) else ()
    return [f"{k}={number(v) if isinstance(v, float) and math.isfinite(v) else v}" for k, v in pairs]


def sentences(summary: dict[str, Any]) -> list[str]:
    """Three sentences: what was found, how good it is, what to do next. Parts that are unknown are left out."""
    return [_found(summary), _how_good(summary), _next(summary)]


def _found(summary: dict[str, Any]) -> str:
    board = [row for row in summary.get("leaderboard") or [] if isinstance(row, dict)]
    tried = len({(row.get("method"), row.get("view")) for row in board if finite(row.get("estimate"))})
    chosen = [row for row in board if row.get("chosen")]
    if len(chosen) > 1:
        parts = [_named(r) for r in chosen]
        shares = [f" ({percent(r['weight'])})" if finite(r.get("weight")) else "" for r in chosen]
        listed = [a + b for a, b in zip(parts, shares, strict=True)]
        more = f" and {len(listed) - 4} more" if len(listed) > 5 else ""
        listed = listed[:4] if more else listed
        what = f"a mix of {len(chosen)}: " + (
            ", ".join(listed) + more if more else ", ".join(listed[:-1]) + " and " + listed[-1]
        )
    elif chosen:
        what = _named(chosen[0])
    else:
        what = str(summary.get("method") or "a model")
    classes, target = summary.get("classes") or [], summary.get("target")
    of = f" of “{target}”" if target else ""
    goal = f"to tell the {len(classes)} classes{of} apart" if classes else f"to predict the value{of}"
    text = f"{what[:1].upper()}{what[1:]} was chosen {goal}"
    if finite(summary.get("n")):
        text += f", from {plural(summary['n'], 'labelled row')}"
    if tried > 1:
        text += f", among {tried} ways tried"
    return text + "."


def _named(row: dict[str, Any]) -> str:
    """`logistic on minilm`; how plain columns are turned into numbers is no news to a reader."""
    view = "+".join(part for part in str(row.get("view") or "").split("+") if part not in ("linear", "tree", ""))
    return short(row.get("method")) + (f" on {view}" if view else "")


def told_apart(rows: list[dict[str, Any]]) -> list[str]:
    """Names of methods as in the sentences; the whole view, then settings, where two would be called the same."""

    def whole_view(row: dict[str, Any]) -> str:
        return f"{short(row.get('method'))} on {row.get('view')}" if row.get("view") else _named(row)

    def with_settings(row: dict[str, Any]) -> str:
        params = settings(row.get("params"))
        return f"{whole_view(row)} ({', '.join(params[:3])})" if params else whole_view(row)

    names = [clean(_named(row), 60) for row in rows]
    for longer in (whole_view, with_settings):
        names = [
            clean(longer(row), 90) if names.count(name) > 1 else name for row, name in zip(rows, names, strict=True)
        ]
    return [f"{name} no. {k + 1}" if names.count(name) > 1 else name for k, name in enumerate(names)]


def _how_good(summary: dict[str, Any]) -> str:
    metric, estimate = summary.get("metric"), summary.get("estimate")
    if not finite(estimate):
        return "How good it is could not be measured."
    name = metric_name(metric)
    text = f"On new rows, expect {'an' if name[0] in 'aAR' else 'a'} {name} of {number(estimate)}"
    ends, level = pair(summary.get("interval")), summary.get("level") or 0.9
    notes = []
    if ends:
        notes.append(f"{percent(level)} interval {number(ends[0])} to {number(ends[1])}")
    if finite(summary.get("n")):
        notes.append(f"judged on {plural(summary['n'], 'row')}")
    text += f" ({', '.join(notes)})" if notes else ""
    baseline = summary.get("baseline") or {}
    naive = "the class frequencies alone" if summary.get("kind") != "regression" else "always saying the mean"
    if finite(baseline.get("estimate")):
        text += f", against {number(baseline['estimate'])} for {naive}: {_verdict(summary)}"
    if finite(summary.get("accuracy")) and metric != "accuracy":
        text += f"; about {percent(summary['accuracy'])} of new rows come out right"
        text += (
            f" ({percent(baseline['accuracy'])} by always saying the most frequent class)"
            if finite(baseline.get("accuracy"))
            else ""
        )
    if finite(summary.get("r2")) and metric != "r2":
        text += f"; it explains about {percent(summary['r2'])} of the variance"
    return text + "."


def _verdict(summary: dict[str, Any]) -> str:
    sign = -1 if summary.get("metric") in HIGHER_IS_BETTER else 1
    base, ends = summary["baseline"]["estimate"], pair(summary.get("interval"))
    if sign * (base - summary["estimate"]) <= 0:
        return "no better than that"
    if not ends:
        return "better"
    worst = ends[1] if sign > 0 else ends[0]
    return "clearly better" if sign * (base - worst) > 0 else "better, but chance is not ruled out"


def gain_per_doubling(summary: dict[str, Any]) -> float | None:
    """Relative improvement of the estimate for the last doubling of rows on the learning curve; None if unknown."""
    points = [p for p in summary.get("curve") or [] if finite(p.get("n")) and finite(p.get("estimate")) and p["n"] > 0]
    points.sort(key=lambda p: p["n"])
    if len(points) < 2 or points[-1]["n"] <= points[0]["n"]:
        return None
    last = points[-1]
    # one step of a short curve is mostly noise: look back over at least half of the rows
    before = [p for p in points if p["n"] <= last["n"] / 1.9] or points[:1]
    start = before[-1]
    sign = 1 if summary.get("metric") in HIGHER_IS_BETTER else -1
    change = sign * (last["estimate"] - start["estimate"]) / max(abs(start["estimate"]), 1e-12)
    return change / math.log2(last["n"] / start["n"])


def _next(summary: dict[str, Any]) -> str:
    n, estimate, ends = summary.get("n"), summary.get("estimate"), pair(summary.get("interval"))
    gain = gain_per_doubling(summary)
    baseline = (summary.get("baseline") or {}).get("estimate")
    unsure = finite(baseline) and finite(estimate) and _verdict(summary) != "clearly better"
    scale = max(abs(estimate) if finite(estimate) else 0.0, abs(baseline) / 4 if finite(baseline) else 0.0)
    wide = ends is not None and finite(estimate) and ends[1] - ends[0] > _WIDE * max(scale, 1e-12)
    pool = summary.get("unlabelled") or 0
    where = f" ({plural(pool, 'unlabelled row')} of yours wait for one)" if pool else ""
    if gain is not None and gain > _STEEP:
        much = f" (by about {percent(gain)} for the last doubling of rows)" if gain < 1 else ""
        narrow = ", and would narrow a wide interval" if wide else ""
        return f"The learning curve is still improving{much}: more labels are the best buy{where}{narrow}."
    if unsure and finite(n) and n < 30:
        return f"With {plural(n, 'row')} nothing is certain yet: label more rows before relying on it{where}."
    if unsure:
        tries = "check the target, add columns that could explain it, or label more rows"
        return f"The columns say little about the target so far: {tries}{where}."
    if gain is not None and gain < -_STEEP:
        return f"The learning curve is too rough to say what more labels would bring: label a few more{where}."
    if gain is not None and wide:
        why = "label more rows to know how good it is, rather than to make it better"
        return f"The learning curve is flat but the interval is wide: {why}{where}."
    if gain is not None:
        why = "more rows of this kind would change little; better columns or cleaner labels could"
        return f"The learning curve is flat and the interval is small: {why}."
    if wide or (finite(n) and n < 30):
        why = "Rows or time were too few for a learning curve, and the interval is wide"
        return f"{why}: label more rows first{where}."
    return "Use it on new rows with “smidgen predict”, and measure again when you have more labels."
