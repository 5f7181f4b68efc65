"""Tables of the training results: optimizers, trainers, language models, forecasts."""

from layout import BAR_HEAD, WAITING, Row, bar, markdown

NAMES = {"smidgen": "smidgen", "plain": "plain torch loop", "trainer": "transformers Trainer"}
WAYS = {
    "smidgen": "smidgen lm train",
    "cosine": "AdamW, cosine, tuned rate",
    "searched": "AdamW, our schedule, best of 12 rates",
    "trainer": "transformers Trainer, defaults",
}


def trainers_table(found: Row) -> str:
    if not found:
        return WAITING
    lines, bars = [], []
    for size, row in found["found"].items():
        speed = row["tokens_per_second"]
        lines.append((size, "{} x {}".format(*row["batch"]), *(f"{speed[w]:,}" for w in NAMES), row["matrix_gflops"]))
        bars.append(bar(f"tokens a second over the better of the two, {size}", row["over_best_peer"], 1, least=True))
    bars.append(bar("share of matrix speed, 50M", found["found"]["50M"]["share_of_matrix_speed"], 0.6, least=True))
    table = markdown(("parameters", "batch", *NAMES.values(), "matrix products, GFLOP/s"), lines)
    return table + "\n\n" + markdown(BAR_HEAD, bars)


def language_table(found: Row) -> str:
    if not found:
        return WAITING
    parts = []
    for minutes, one in found.items():
        if not minutes.endswith("minutes"):
            continue
        corpora = one["found"]
        lines = [(name, *(f"{corpora[c]['bits_per_byte'][way]:.3f}" for c in corpora)) for way, name in WAYS.items()]
        bars = [
            bar(f"bits a byte over the best other, {name}, {minutes}", c["over_best_other"], 1)
            for name, c in corpora.items()
        ]
        sizes = ", ".join(f"{c['parameters'] / 1e6:.2f} M on {name}" for name, c in corpora.items())
        parts.append(markdown((f"{minutes}, one core each", *corpora), lines) + f"\n\nParameters: {sizes}.\n\n")
        parts.append(markdown(BAR_HEAD, bars) + "\n\n")
    return "".join(parts).strip()


def galore_table(found: Row) -> str:
    if not found:
        return WAITING
    trained, held = found["training"], found["memory"]
    lines = [
        (
            name,
            f"{row['rate']:g}",
            f"{row['loss_over_adam']:.3f}",
            f"{row['bytes_over_adam']:.1%}",
            f"{held[name]['bytes_over_adam']:.1%}" if name in held else "",
            f"{held[name]['resident_over_counted']:.3f}" if name in held else "",
        )
        for name, row in trained.items()
    ]
    head = ("optimizer", "rate", "loss / Adam's", "state / Adam's", "the same at width 512", "resident / counted")
    bars = [
        bar(
            "state over Adam's, %",
            100 * max(trained["galore"]["bytes_over_adam"], held["galore"]["bytes_over_adam"]),
            35,
        ),
        bar(
            "state over Adam's in 8 bits, %",
            100 * max(trained["galore 8-bit"]["bytes_over_adam"], held["galore 8-bit"]["bytes_over_adam"]),
            17.5,
        ),
        bar("loss over Adam's", trained["galore"]["loss_over_adam"], 1.01),
        bar("resident off the count, %", 100 * max(abs(h["resident_over_counted"] - 1) for h in held.values()), 10),
    ]
    return markdown(head, lines) + "\n\n" + markdown(BAR_HEAD, bars)


def forecast_table(found: Row) -> str:
    if "judged" not in found:
        return WAITING
    lines = [
        (
            r["corpus"],
            f"{r['parameters'] / 1e3:,.0f} k",
            f"{r['forecast']['seconds']:.0f} / {r['seconds']:.0f}",
            f"{r['forecast']['memory_bytes'] / 1e6:.0f} / {r['memory_bytes'] / 1e6:.0f}",
            "{:.2f} to {:.2f} / ".format(r["forecast"]["bits_per_byte"][0], r["forecast"]["bits_per_byte"][2])
            + f"{r['bits_per_byte']:.2f}",
        )
        for r in [*found["judged"], *found.get("files", [])]
    ]
    head = ("corpus", "parameters", "seconds, forecast / measured", "memory, MB", "bits a byte on text held out")
    every = [*found["judged"], *found.get("files", [])]
    off = max(abs(r["memory_bytes"] / r["forecast"]["memory_bytes"] - 1) for r in every)
    inside = sum(
        r["forecast"]["bits_per_byte"][0] <= r["bits_per_byte"] <= r["forecast"]["bits_per_byte"][2]
        for r in found["judged"]
    )
    bars = [
        bar("memory off the forecast, %", 100 * off, 10),
        bar("bits a byte within the band, share", inside / len(found["judged"]), 0.9, least=True),
    ]
    return markdown(head, lines) + "\n\n" + markdown(BAR_HEAD, bars)


def start_table(found: Row) -> str:
    """Of `language_start.py`: the first token, and what torch.compile brings."""
    if not found:
        return WAITING
    lines = []
    for key, row in found.items():
        if not key.startswith("compile "):
            continue
        if "error" in row:
            lines.append((key.removeprefix("compile "), "", "", "", row["error"]))
            continue
        pays = row["pays_after_updates"]
        lines.append(
            (
                key.removeprefix("compile "),
                f"{row['eager_seconds']:.3f}",
                f"{row['compiled_seconds']:.3f}",
                f"{row['compiling_seconds']:.0f}",
                "never" if pays is None else f"after {pays:,} updates",
            )
        )
    head = ("parameters", "an update, s", "compiled, s", "compiling, s", "it pays")
    bars = [bar("first token of `lm generate`, 10M", found["first_token_seconds"], 3, " s")]
    return markdown(BAR_HEAD, bars) + "\n\n" + markdown(head, lines)
