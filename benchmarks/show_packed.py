"""The table of what layers with packed weights cost."""

from layout import BAR_HEAD, WAITING, Row, bar, markdown


def packed_table(found: Row) -> str:
    """Time of a product with one input, and memory, beside float32 and other kernels."""
    if not found:
        return WAITING
    results, asked = found["found"], found["asked"]
    sizes, peers = list(results["ms"]), results.get("peers", {})
    plain = {size: results["ms"][size]["float32"]["median"] for size in sizes}

    def cells(times: Row, name: str, base: Row) -> list[str]:
        out = []
        for size in sizes:
            ms = times[size][name]["median"]
            out += [f"{ms:.2f} ms", f"{base[size] / ms:.1f}"]
        return out

    lines = [(name, *cells(results["ms"], name, plain)) for name in results["ms"][sizes[0]]]
    if peers:
        theirs = {size: peers[size]["ms"] for size in sizes}
        base = {size: theirs[size]["fp32"]["median"] for size in sizes}
        names = [name for name in theirs[sizes[0]] if all(name in theirs[size] for size in sizes)]
        lines += [(f"{name} (its own environment)", *cells(theirs, name, base)) for name in names]
    head = ["one input, one core", *[part for s in sizes for part in (f"{s} x {s}", "times as fast as float32")]]
    bars = []
    for size in sizes:
        ours, other = results["ms"][size]["int4"]["median"], results["ms"][size][asked["torch"]]["median"]
        bars.append(bar(f"{size}: int4, times as fast as float32", plain[size] / ours, asked["faster"], least=True))
        bars.append(bar(f"{size}: int4, time over that of torchao's kernel", ours / other, 1.0))
    for name, row in results["memory"].items():
        bars.append(bar(f"{name}: memory in use over packed bytes", row["resident"] / row["packed"], asked["memory"]))
    return f"{markdown(head, lines)}\n\n{markdown(BAR_HEAD, bars)}"
