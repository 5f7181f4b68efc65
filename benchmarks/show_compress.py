"""The tables of networks made small: a sentence encoder, a language model, a network of convolutions."""

from collections.abc import Callable
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


def compress_language_table(rows: list[Row]) -> str:
    """Bits a byte by width and tool, and the bars."""
    if not rows:
        return WAITING
    lines = []
    for row in sorted(rows, key=lambda r: (-r["width"], r["tool"] != "smidgen", r.get("bits_per_byte", 0))):
        found = f"{row['bits_per_byte']:.4f}" if "bits_per_byte" in row else "does not run here"
        lines.append((row["width"], NAMES[row["tool"]], *_took(row), found))
    head = ("bits", "tool", "weights", "seconds", "bits a byte")
    bars = _beside(rows, "best other's bits a byte less smidgen's", lambda r: -r["bits_per_byte"])
    return "\n\n".join([markdown(head, lines), *([markdown(BAR_HEAD, bars)] if bars else [])])


def compress_pictures_table(rows: list[Row]) -> str:
    """Accuracy and likeness by width and tool, means over seeds, and the bars."""
    if not rows:
        return WAITING
    means, seeds = [], {w: len({r["seed"] for r in rows if r["width"] == w}) for w in {r["width"] for r in rows}}
    for width, tool in dict.fromkeys((r["width"], r["tool"]) for r in rows):
        found = [r for r in rows if (r["width"], r["tool"]) == (width, tool)]
        whole = [k for k in ("accuracy", "same", "error", "bytes", "seconds", "refused") if all(k in r for r in found)]
        means.append({"width": width, "tool": tool, **{k: fmean(r[k] for r in found) for k in whole}})
    lines = []
    for row in sorted(means, key=lambda r: (-r["width"], r["tool"] != "smidgen", r.get("error", 0))):
        name = NAMES[row["tool"]] + (f" ({row['refused']:.0f} layers in float16)" if "refused" in row else "")
        if "accuracy" not in row:
            lines.append((row["width"], name, "", "", "does not run here", "", ""))
            continue
        found = (f"{row['accuracy']:.4f}", f"{row['same']:.4f}", f"{row['error']:.2g}")
        lines.append((row["width"], name, *_took(row, 1e3, "kB"), *found))
    head = ("bits", "tool", "weights", "seconds", "accuracy", "same answers", "error of logits")
    bars = _beside(means, "mean accuracy less the best other's", lambda r: r["accuracy"])
    bars += _beside(means, "least error of the others over smidgen's, less 1", lambda r: r["error"], ratio=True)
    said = f"Seeds measured at each width: {', '.join(f'{w}: {n}' for w, n in sorted(seeds.items()))}."
    return "\n\n".join([said, markdown(head, lines), *([markdown(BAR_HEAD, bars)] if bars else [])])


def _took(row: Row, unit: float = 1e6, name: str = "MB") -> tuple[str, str]:
    size = f"{row['bytes'] / unit:.2f} {name}" if "bytes" in row else ""
    return size, f"{row['seconds']:.0f}" if "seconds" in row else ""


def _beside(rows: list[Row], what: str, value: Callable[[Row], float], ratio: bool = False) -> list[list[str]]:
    """For each width a bar: smidgen's value less the best (largest) of the others; `ratio`: their least over its."""
    bars = []
    for width in sorted({r["width"] for r in rows if r["width"] < 32}, reverse=True):
        found = [r for r in rows if r["width"] == width and "bytes" in r]
        mine = [value(r) for r in found if r["tool"] == "smidgen"]
        theirs = [value(r) for r in found if r["tool"] != "smidgen"]
        if mine and theirs:
            gain = min(theirs) / max(mine[0], 1e-12) - 1 if ratio else mine[0] - max(theirs)
            bars.append(bar(f"{width} bits: {what}", gain, 0.0, least=True))
    return bars


def _width(row: Row) -> float:
    return 4.03 if row["width"] == "12 MB" else float(row["width"])
