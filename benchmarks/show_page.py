"""Tables of what was measured of the page, the report, the search and the suspected labels."""

from layout import BAR_HEAD, WAITING, Row, bar, markdown

LISTS = {
    "smidgen": "smidgen",
    "confident_learning": "confident learning as published",
    "cleanlab": "cleanlab",
    "model_disagrees": "every row that the model would label otherwise",
}


def doubts_tables(rows: list[Row]) -> str:
    """How long each list of suspected labels is, how much of it is wrong, how much of what is wrong it holds."""
    if not rows:
        return WAITING
    lines = []
    cells = sorted({(r["kind"] == "numbers", r["n"], r["share"]) for r in rows})
    for numbers, n, share in cells:
        own = [r for r in rows if (r["kind"] == "numbers", r["n"], r["share"]) == (numbers, n, share)]
        wrong = sum(r["wrong"] for r in own)
        for name, title in LISTS.items():
            pairs = [r["lists"][name] for r in own if name in r["lists"]]
            if not pairs:
                continue
            length, hits = (sum(p[i] for p in pairs) for i in (0, 1))
            scores = (f"{hits / max(length, 1):.0%}", f"{hits / wrong:.0%}") if wrong else ("–", "–")
            what = f"{share:.0%} {'of values swapped' if numbers else 'of labels flipped'}"
            lines.append((n, what, len(pairs), title, f"{length / len(pairs):.1f}", *scores))
    head = ("rows", "draws with", "draws", "list", "rows listed", "of these wrong", "of the wrong listed")
    return markdown(head, lines)


def find_table(found: Row) -> str:
    """Judged questions, by words, by meaning, by both."""
    if not found:
        return WAITING
    lines = [
        (name, *(f"{found[way][k]:.{0 if k != 'rank' else 2}{'%' if k != 'rank' else 'f'}}" for k in LABELS))
        for way, name in (("words", "words alone"), ("meaning", "meaning alone"), ("both", "both, as it is used"))
    ]
    table = markdown((f"{found['questions']} questions", *LABELS.values()), lines)
    bars = [bar("`smidgen papers find`, cold, encoder included", found["cold_seconds"], 1.5, " s")]
    return table + "\n\n" + markdown(BAR_HEAD, bars)


LABELS = {"first": "an answer comes first", "top 5": "an answer among 5", "rank": "mean of 1 / rank"}


def page_table(report: Row, pages: list[Row]) -> str:
    if not report or not pages:
        return WAITING
    page = pages[-1]
    lists = {path: p["ms"] / 1000 for path, p in page["pages"].items() if "/trials" in path}
    bars = [
        bar(f"the page lists {page['trials']:,} trials, slowest of {len(lists)} views", max(lists.values()), 0.3, " s"),
        bar(f"report of a study of {report['trials']:,} trials", report["report_bytes"] / 1e6, 1, " MB"),
        bar("it opens, to the load event", report["open_seconds"], 1, " s"),
    ]
    return markdown(BAR_HEAD, bars)


def checkpoint_table(found: Row) -> str:
    if not found:
        return WAITING
    still = {name: way["still_seconds"] for name, way in found["ways"].items()}
    table = markdown(("saved by", "stands still, s"), [(name, f"{seconds:.4f}") for name, seconds in still.items()])
    bars = [
        bar("share of torch.save's time", still["smidgen"] / still["torch.save"], 0.1),
        bar("share of dcp.async_save's time", still["smidgen"] / still["dcp.async_save"], 0.5),
        bar("kills survived", found["kills"]["survived"], 20, least=True),
    ]
    return table + "\n\n" + markdown(BAR_HEAD, bars)


def products_table(found: Row) -> str:
    if not found:
        return WAITING
    rows = [(name, *(f"{v:,.0f}" for v in pair.values())) for name, pair in found["found"].items()]
    return markdown((f"{found['cores']} cores", *next(iter(found["found"].values()))), rows)


def cpu_table(found: Row) -> str:
    """Decoders writing on a processor: a line for each model, format, number of cores and prompt."""
    if not found:
        return WAITING
    lines = []
    for r in found["rows"]:
        share = r["weight_bytes_per_second"] / found["reading"][str(r["threads"])]
        lines.append(
            (
                f"{r['model']}, {r['parameters'] / 1e6:,.0f} M",
                r["dtype"],
                r["threads"],
                r["prompt"],
                f"{r['first_token_seconds']:.3f}",
                f"{r['tokens_per_second']:,.1f}",
                f"{r['resident_bytes'] / 1e9:.2f}",
                f"{r['weight_bytes_per_second'] / 1e9:.1f}",
                f"{share:.0%}",
            )
        )
    head = ("model", "format", "cores", "prompt", "first token, s", "tokens/s", "memory, GB", "weights read, GB/s")
    speeds = (f"{rate / 1e9:.1f} GB/s on {threads}" for threads, rate in found["reading"].items())
    note = f"Memory alone is read at {', '.join(speeds)} (cores)."
    if found["left_out"]:
        note += f" Left out for want of memory: {'; '.join(found['left_out'])}."
    return markdown((*head, "of memory's speed"), lines) + "\n\n" + note
