"""The tables of a sentence encoder made small, and of layers with packed weights."""

from statistics import fmean

from layout import BAR_HEAD, WAITING, Row, bar, markdown

NAMES = {
    "float32": "float32, as it is", "smidgen": "smidgen", "nf4": "bitsandbytes nf4",
    "nf4_double": "bitsandbytes nf4, double", "fp4": "bitsandbytes fp4", "int8": "bitsandbytes int8", "hqq": "HQQ",
    "quanto": "quanto", "quanto_hqq": "quanto, HQQ's search", "torchao": "torchao",
    "torchao_hqq": "torchao, HQQ's search", "rounding": "plain rounding",
    "rounding_offset": "plain rounding, offsets",
}  # fmt: skip
ASKED = {8: 0.0, 4: 0.985, 3: 0.95, 2: 0.80}  # of the cosine; 0: only beside the others
POINTS = {2: 0.03, "12 MB": 0.01}  # of accuracy, to be lost at most


def compress_table(rows: list[Row]) -> str:
    """Fidelity and accuracy by width and tool, and the bars."""
    if not rows:
        return WAITING
    whole = next((fmean(r["accuracy"].values()) for r in rows if r["tool"] == "float32"), None)
    lines, bars = [], []
    for row in sorted(rows, key=lambda r: (-_width(r), r["tool"] != "smidgen", -r.get("cosine", 0))):
        name = NAMES[row["tool"]]
        if "failed" in row:
            lines.append((row["width"], name, "", "", "does not run here", ""))
            continue
        size = f"{row['bytes'] / 1e6:.2f} MB" if "bytes" in row else ""
        accuracy = fmean(row["accuracy"].values())
        seconds = f"{row['seconds']:.0f}" if "seconds" in row else ""
        lines.append((row["width"], name, size, f"{row['cosine']:.4f}", f"{accuracy:.3f}", seconds))
    for width, asked in ASKED.items():
        found = [r for r in rows if r["width"] == width and "cosine" in r]
        mine = next((r for r in found if r["tool"] == "smidgen"), None)
        if mine is None:
            continue
        best = max((r["cosine"] for r in found if r is not mine), default=0.0)
        if asked:
            bars.append(bar(f"{width} bits: mean cosine", mine["cosine"], asked, least=True))
        bars.append(bar(f"{width} bits: mean cosine less the best other's", mine["cosine"] - best, 0.0, least=True))
        peers = max((fmean(r["accuracy"].values()) for r in found if r is not mine), default=0.0)
        gain = fmean(mine["accuracy"].values()) - peers
        bars.append(bar(f"{width} bits: mean accuracy less the best other's", gain, 0.0, least=True))
    for width, asked in POINTS.items():
        mine = next((r for r in rows if r["width"] == width and r["tool"] == "smidgen"), None)
        if mine is not None and whole is not None:
            lost = whole - fmean(mine["accuracy"].values())
            bars.append(bar(f"{width if isinstance(width, str) else f'{width} bits'}: accuracy lost", lost, asked))
            if isinstance(width, str):
                share = mine["bytes"] / (12e6)
                bars.append(bar("bytes, as a share of 12 MB", share, 1.0))
                bars.append(bar("bytes, as a share of 12 MB", share, 0.99, least=True))
    head = ("bits", "tool", "weights", "mean cosine", "mean accuracy", "seconds")
    parts = [markdown(head, lines)]
    return "\n\n".join([*parts, markdown(BAR_HEAD, bars)] if bars else parts)


def _width(row: Row) -> float:
    return 4.03 if row["width"] == "12 MB" else float(row["width"])
