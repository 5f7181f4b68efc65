"""Tables of the in-context learner beside every other single method."""

import pandas as pd

from layout import BAR_HEAD, WAITING, Row, bar, markdown

OWN = "learn/incontext"
LEAST_COVERED, MOST_COVERED = 0.85, 0.95
SECONDS, BYTES = 1.5, 1e9


def incontext_table(found: Row) -> str:
    parts = [made(found) for key, made in PARTS.items() if key in found]
    return "\n\n".join(parts) if parts else WAITING


def _classes(found: Row) -> str:
    losses = pd.DataFrame([row["loss"] for row in found["classes"]]).drop(columns=f"{OWN} table")
    losses = losses.dropna(axis=1)
    n = pd.Series([row["n"] for row in found["classes"]])
    rank = losses.rank(axis=1)
    sizes = sorted(n.unique())
    order = losses.mean().sort_values().index
    lines = [
        (name, *(f"{losses[name][n == size].mean():.3f}" for size in sizes), f"{rank[name].mean():.2f}")
        for name in order
    ]
    heads = (f"{len(n)} draws of {len({row['name'] for row in found['classes']})} tables",
             *(f"log loss, {size} labels" for size in sizes), "mean rank")  # fmt: skip
    mine = next(name for name in losses if name.startswith(OWN))
    others = losses.drop(columns=mine)
    bars = [
        bar(f"log loss over the best other method's, {size} labels",
            losses[mine][n == size].mean() / others[n == size].mean().min(), 1.0)
        for size in sizes
    ]  # fmt: skip
    bars.append(bar("place by mean rank", float(rank.mean().rank()[mine]), 1.0))
    return markdown(heads, lines) + "\n\n" + markdown(BAR_HEAD, bars)


def _numbers(found: Row) -> str:
    rows = pd.DataFrame(found["numbers"]).drop(columns="draw")
    mean = rows.groupby(["name", "n"]).mean(numeric_only=True)
    lines = [
        (name, size, *(f"{row[k]:.3f}" for k in ("crps", "crps_gp", "rmse", "rmse_gp")),
         *(f"{row[k]:.0%}" for k in ("within_90", "within_90_gp")))
        for (name, size), row in mean.iterrows()
    ]  # fmt: skip
    heads = ("numbers, standard deviations", "labels", "CRPS", "Gaussian process", "RMSE", "Gaussian process",
             "in 90 % intervals", "Gaussian process")  # fmt: skip
    held = rows.within_90.mean()
    bars = [
        bar("CRPS over the Gaussian process'", rows.crps.mean() / rows.crps_gp.mean(), 1.0),
        bar("90 % intervals that hold: at least", held, LEAST_COVERED, least=True),
        bar("90 % intervals that hold: at most", held, MOST_COVERED),
    ]
    return markdown(heads, lines) + "\n\n" + markdown(BAR_HEAD, bars)


def _speed(found: Row) -> str:
    speed = found["speed"]
    lines = [(f"{r['queries']:,}", f"{r['seconds']:.2f}", f"{r['peak_bytes'] / 1e6:,.0f}") for r in speed["rows"]]
    first = speed["rows"][0]
    heads = (f"new rows, {speed['context']} labelled rows of {speed['columns']} columns", "seconds", "peak memory, MB")
    bars = [
        bar(f"seconds, {first['queries']:,} new rows", first["seconds"], SECONDS),
        bar("peak memory, GB", first["peak_bytes"] / 1e9, BYTES / 1e9),
    ]
    return markdown(heads, lines) + "\n\n" + markdown(BAR_HEAD, bars)


PARTS = {"classes": _classes, "numbers": _numbers, "speed": _speed}
