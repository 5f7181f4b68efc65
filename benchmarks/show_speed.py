"""The tables of what networks of this project cost beside the products that they consist of."""

from layout import BAR_HEAD, WAITING, Row, bar, markdown

BARLOW_MOST = 1.1


def attention_table(found: Row) -> str:
    """Compact transformers beside the same layers written plainly with torch's fused attention."""
    if not found:
        return WAITING
    heads = {"forward_backward_ms": "forward and backward", "forward_ms": "forward"}
    lines, bars = [], []
    for size, row in found["found"].items():
        for key, name in heads.items():
            one = row[key]
            lines.append((size, row["pictures"], name, f"{one['ours']:.0f} ms", f"{one['plain']:.0f} ms"))
        ratio = row["forward_backward_ms"]["ours_over_plain"]
        bars.append(bar(f"{size}: forward and backward, times the plain ones", ratio, found["target"]))
    head = ("size", "pictures", "what", "smidgen", "plain")
    return f"{markdown(head, lines)}\n\n{markdown(BAR_HEAD, bars)}"


def barlow_table(found: Row) -> str:
    """The loss of Barlow Twins beside its three products alone, and beside what autograd makes of the formula."""
    if not found:
        return WAITING
    lines, bars = [], []
    for row in found["found"]:
        size = f"{row['rows']} x {row['width']}"
        times, peak = row["times the products"], row["peak bytes"]
        shown = (f"{peak[k] / 1e6:.0f} MB" if k in peak else "" for k in ("products", "ours", "autograd"))
        lines.append((size, f"{times['ours']:.2f}", f"{times['autograd']:.2f}", *shown))
        bars.append(bar(f"{size}: times the products", times["ours"], BARLOW_MOST))
    head = ("rows x width", "smidgen", "autograd", "memory: products", "smidgen", "autograd")
    return f"{markdown(head, lines)}\n\n{markdown(BAR_HEAD, bars)}"
