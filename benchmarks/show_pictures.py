"""The tables of few labelled pictures and many without a label."""

from collections import defaultdict
from statistics import fmean

from layout import BAR_HEAD, WAITING, Row, bar, markdown

NAMES = {
    "smidgen": "smidgen, 10 minutes",
    "svm_pixels": "radial SVM on pixels",
    "spreading_pixels": "label spreading on pixels",
    "logistic_hog": "logistic regression on HOG",
    "compact_transformer": "compact transformer, labels alone",
    "consistency": "its part: consistency training",
    "consistency_alone": "its part: the same network, labels alone",
    "spreading_hog": "its part: label spreading on HOG",
}
PEERS = ("svm_pixels", "spreading_pixels", "logistic_hog", "compact_transformer")
AHEAD = 0.05


def pictures_table(rows: list[Row]) -> str:
    """Accuracy by set, seconds, and the bar; cells that were not measured stay empty."""
    if not rows:
        return WAITING
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["tool"], row["set"]].append(row)
    sets = sorted({row["set"] for row in rows})
    lines = []
    for tool, name in NAMES.items():
        cells = [found.get((tool, s)) for s in sets]
        shown = [f"{fmean(r['accuracy'] for r in c):.3f}" if c else "" for c in cells]
        whole = all(cells)
        mean = f"{fmean(fmean(r['accuracy'] for r in c) for c in cells if c):.3f}" if whole else ""
        seconds = f"{fmean(r['seconds'] for c in cells if c for r in c):.0f}" if any(cells) else ""
        lines.append((name, *shown, mean, seconds))
    parts = [markdown((*("accuracy", *sets), "mean", "seconds"), lines)]
    mine = [found.get(("smidgen", s)) for s in sets]
    if all(mine):
        chosen = defaultdict(list)
        for row in (r for c in mine if c for r in c):
            told = sorted(row["members"].items(), key=lambda m: -m[1])[:4]
            chosen[row["set"]].append(", ".join(f"{m.removeprefix('learn/')} {100 * w:.0f} %" for m, w in told))
        parts.append("\n".join(f"- {name}: {'; '.join(texts)}" for name, texts in sorted(chosen.items())))
    peers = [[found[p, s] for p in PEERS if (p, s) in found] for s in sets]
    if all(mine) and all(len(of) == len(PEERS) for of in peers):
        own = fmean(fmean(r["accuracy"] for r in c) for c in mine if c)
        best = fmean(max(fmean(r["accuracy"] for r in c) for c in of) for of in peers)
        text = "mean accuracy less that of the best other of each set"
        parts.append(markdown(BAR_HEAD, [bar(text, own - best, AHEAD, least=True)]))
    return "\n\n".join(parts)
