"""`smidgen plan`: calls the library, shows what would be bought for what."""

from collections import Counter
from typing import Any

from smidgen.cli.output import say, say_json, stdout_kept, table, tell
from smidgen.cli.progress import progress
from smidgen.web import words

BIG = ("curve", "band", "best", "worth", "asked")  # parts that `--json` leaves to the report


def plan(study: str, *, prices: list[str], spend: float, as_json: bool, **options: Any) -> int:
    """See `smidgen.plan`."""
    import smidgen

    with stdout_kept(), progress() as told:
        found = smidgen.plan(study, prices, spend, progress=told, **options)
    if as_json:
        say_json({k: v for k, v in found.items() if k not in BIG})
    elif found.get("model"):
        say("\n".join(shown_bits(found)))
    elif found.get("dry_run"):
        say("\n".join(planned(found)))
    else:
        say("\n".join(shown(found)))
    return 0


def planned(found: dict[str, Any]) -> list[str]:
    """Lines of a dry run."""
    from smidgen.studies.trial import draw_in_words

    lines = [f"{found['measured_method']}, on parts of the {found['n']:,} labels: {words.plural(found['fits'], 'fit')}"]
    for told, times in Counter(draw_in_words(draw) for draw in found["would_measure"]).items():
        lines.append(f"   {told}" + (f", {times} times" if times > 1 else ""))
    lines.append(
        f"About {words.duration(found['seconds'])} of one core, less what the study has; nothing was measured."
    )
    return lines + [f"   {u['purchase']}: {u['why']}" for u in found["unknown"]]


def shown(found: dict[str, Any]) -> list[str]:
    """Lines: forecasts as a table, the split, the sentences."""
    name = words.metric_name(found["metric"])
    now = found["now"]
    rows = [["now", "", f"{found['n']:,}", "", words.number(now["estimate"]), _ends(now["interval"])]]
    for f in found["forecasts"]:
        sign = "+" if f["amount"] >= 0 else ""
        cells = [f["purchase"], f"{sign}{words.count(f['amount'])}", words.count(f["total"]), f"{f['cost']:,.2f}"]
        rows.append([*cells, words.number(f["estimate"]), _ends(f["interval"])])
    total = "in all" if found.get("how") else "rows"  # hours and megabytes are no rows
    heads = ["purchase", "more", total, "cost", name, f"{words.percent(found['level'])} interval"]
    lines = [*table(rows, heads, right=(1, 2, 3, 4)), ""]
    lines += found["sentences"]
    lines += [f"Warning: {text}" for text in found["warnings"]]
    told = found["measured"]
    what = f" of {found['measured_method']}"
    if told.get("rounded"):
        what = f", {'all' if told['rounded'] == told['trainings'] else told['rounded']} of them rounded"
    lines += ["", f"measured {told['trainings']} trainings{what} in {words.duration(found['seconds'])}"]
    if found.get("report"):
        lines.append(f"report   {words.clean(found['report'], 1000)}")
    if told.get("ended"):
        tell(f"The time ended after {told['trainings']} of {told['of']} trainings; the same command goes on from them.")
    return lines


def shown_bits(found: dict[str, Any]) -> list[str]:
    """Lines of what fewer bits do to a language model."""
    rows = [
        [f["purchase"], words.count(f["amount"]), words.number(f["total"]), f"{f['cost']:,.2f}",
         words.number(f["estimate"]), _ends(f["interval"])]
        for f in found["forecasts"]
    ]  # fmt: skip
    heads = ["purchase", "more MB", "in all", "cost", found["metric"], f"{words.percent(found['level'])} interval"]
    lines = [*table(rows, heads, right=(1, 2, 3, 4)), "", *found["sentences"]]
    lines += [f"   {u['purchase']}: {u['why']}" for u in found["unknown"]]
    return lines + [f"Warning: {text}" for text in found["warnings"]]


def _ends(interval: list[float]) -> str:
    return f"{words.number(interval[0])} to {words.number(interval[1])}"
