"""Tables of what plans rest on: forecasts of learning curves, and what a plan's split buys."""

from layout import BAR_HEAD, WAITING, Row, bar, markdown

FAMILIES = {"error": "error (1 - accuracy)", "log_loss": "log loss, nats", "rmse": "RMSE, of the baseline's"}
WAYS = {"plan": "the plan's split", "all on labels": "all on labels", "even": "an even split"}


ASKED = {"shown": "the curve up to n is known from held-out rows", "own": "only the n labels are there"}


def curves_table(found: Row) -> str:
    if not found:
        return WAITING
    return "\n\n".join(f"**{told[:1].upper()}{told[1:]}.**\n\n{_asked(found[name])}" for name, told in ASKED.items())


def _asked(found: Row) -> str:
    lines = []
    for name, row in found.items():
        if row.get("forecasts"):
            family, _, n = name.partition(", ")
            lines.append((
                FAMILIES.get(family, "all"), n.removeprefix("n = ") or "all", row["forecasts"],
                *(f"{row[k]:.4f}" if row[k] < 10 else f"{row[k]:.0e}" for k in ("smidgen", "last", "power")),
                f"{row['ratio']:.2f}", f"{row['inside']:.0%}",
            ))  # fmt: skip
    heads = ("loss", "n", "forecasts", "smidgen", "last value", "power law", "over the better", "inside 90 %")
    bars = [
        bar(f"mean absolute error over the better of the two, {name}", found[name]["ratio"], 0.6)
        for name in ("all", "error", "log_loss", "rmse")
        if found.get(name, {}).get("forecasts")
    ]
    for name in ("all", "error", "log_loss", "rmse"):
        if found.get(name, {}).get("forecasts"):
            bars.append(bar(f"intervals that hold: at least, {name}", found[name]["inside"], 0.85, least=True))
            bars.append(bar(f"intervals that hold: at most, {name}", found[name]["inside"], 0.95))
    return markdown(heads, lines) + "\n\n" + markdown(BAR_HEAD, bars)


PARTS = {"known": "tasks of the first run, other draws", "new tasks": "new tasks", "summary": "all"}


def planning_table(found: Row) -> str:
    if not found:
        return WAITING
    own = found["summary"]
    lines = [(name, f"{own[way]['log_loss']:.4f}", f"{own[way]['accuracy']:.4f}") for way, name in WAYS.items()]
    table = markdown((f"{own['tasks']} tasks, {own['cells']} purchases", "log loss after", "accuracy after"), lines)
    gaps = []
    for part, told in PARTS.items():
        for way in ("all on labels", "even"):
            mean, low, high = found[part][f"less log loss than {way}"]
            gaps.append((told, f"than {WAYS[way]}", found[part]["tasks"], f"{mean:.4f}", f"{low:.4f} to {high:.4f}"))
    bars = [
        bar(f"less log loss than {WAYS[way]}", own[f"less log loss than {way}"][0], 0.0, least=True)
        for way in ("all on labels", "even")
    ]
    other = own["not all on labels"]
    held = (
        f"\n\nIn {other['cells']} of {own['cells']} the plan did not spend all on labels; it had "
        f"{abs(other['mean gain']):.4f} {'less' if other['mean gain'] >= 0 else 'more'} log loss there. "
        f"The forecast's interval held the log loss after the purchase in {own['forecast held']:.0%} of all."
    )
    gap_table = markdown(("the plan's split has less log loss", "", "tasks", "mean over tasks", "90 % interval"), gaps)
    return table + "\n\n" + gap_table + held + "\n\n" + markdown(BAR_HEAD, bars)


TESTS = ("inside", "outside", "larger")
SHARES = ("shares, linear", "shares and squares", "shares, quadratic", "ratio")


def mixtures_table(found: Row) -> str:
    if not found:
        return WAITING
    markets = list(found["markets"].values())

    def mean(key: str) -> float:
        return sum(m[key] for m in markets) / len(markets)

    names = {"smidgen": "smidgen, by distance", "ratio": "shares, a ratio"}
    lines = [(names.get(n, n), *(f"{mean(f'{t}, {n}'):.2f}" for t in TESTS)) for n in ("smidgen", *SHARES)]
    bars = []
    for test, where in zip(TESTS, ("inside the pilots' range", "outside of it", "at five times the rows"), strict=True):
        least = min(mean(f"{test}, {name}") for name in SHARES)
        bars.append(bar(f"error over the best form of the shares, {where}", mean(f"{test}, smidgen") / least, 1))
    bars.append(bar("a forecast of one mixture, pilots there", mean("seconds") / found["timed"], 5, " s"))
    head = (f"{len(markets)} markets, points of accuracy off", "inside", "outside", "five times the rows")
    return markdown(head, lines) + "\n\n" + markdown(BAR_HEAD, bars)


def laws_table(found: Row) -> str:
    if not found:
        return WAITING
    speed = found["bootstrap"]
    bars = [
        bar("1,000 bootstrap fits of 5 parameters to 100 points", speed["seconds"], 2, " s"),
        bar("over scipy's, one after another", speed["seconds"] / speed["scipy_seconds"], 1),
    ]
    apart = max(abs(speed["sd"][k] / speed["scipy_sd"][k] - 1) for k in ("alpha", "beta"))
    bars.append(bar("spread of the exponents, off scipy's, %", 100 * apart, 15))
    if own := found.get("released"):
        bars += [
            bar("044, loss of 1.4B on 900B tokens and of 6.9B, % off (published 0.7)", own["rpj loss error"], 1.5),
            bar("044, 17-task error of the same, % off (published 3.6)", own["rpj task error"], 5),
            bar("097, excess over the best of a left-out cell, %", own["excess of the law"], 0.25),
        ]
    head = ("097, on a left-out cell", "excess over its best, %")
    ways = [(k.removeprefix("excess of "), f"{v:.3f}") for k, v in (own or {}).items() if k.startswith("excess of ")]
    return markdown(BAR_HEAD, bars) + ("\n\n" + markdown(head, ways) if ways else "")
