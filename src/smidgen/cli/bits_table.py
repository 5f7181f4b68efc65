"""`smidgen laws bits`: what fewer or more bits a weight would cost, or buy."""

from dataclasses import asdict

from smidgen.cli.output import say, say_json, table, tell
from smidgen.laws import qat
from smidgen.laws.bits import best_for_memory, what_bits_buy
from smidgen.laws.run_table import FAR


def bits(params: float, tokens: float, memory: float | None, as_json: bool) -> int:
    """Prints a row for each width and way."""
    rows = what_bits_buy(params, tokens)
    fitting = best_for_memory(memory, tokens) if memory else []
    if as_json:
        chosen = [{"params": n, **asdict(row)} for n, row in fitting]
        say_json({"params": params, "tokens": tokens, "rows": [asdict(row) for row in rows], "memory": chosen})
        return 0
    shown = [
        [f"{r.bits:g}", r.way, f"+{r.lost:.3f}", f"{r.loss:.3f}", f"{r.bytes / 1e6:,.1f}", _mark(r.outside)]
        for r in rows
    ]
    say("\n".join(table(shown, ["bits", "", "lost", "loss", "MB", ""], right=(0, 2, 3, 4))))
    say()
    say("Nats a token, by published laws (arXiv 2411.17691 for rounding, 2501.02423 for training), which have no "
        "interval. Losses of the two ways are of different texts: compare what is lost.")  # fmt: skip
    try:
        share = qat.optimal_qat_fraction(tokens, params, 4)
        say(f"At 4 bits, {100 * share:.0f} % of the tokens are best trained with rounded weights (arXiv 2509.22935).")
    except ValueError:
        say("So few tokens a byte are outside of the rule for quantization-aware training.")
    if memory and fitting:
        n, best = fitting[0]
        say(f"In {memory / 1e6:,.1f} MB: {n:,.0f} parameters at {best.bits:g} bits, a loss of {best.loss:.3f} after "
            f"rounding{', extrapolated' if best.extrapolated else ''}.")  # fmt: skip
    worst = max(row.outside for row in rows)
    if worst > 1:
        warn = "is an extrapolation" if worst <= FAR else "should not be relied on"
        tell(f"Warning: this is up to {worst:.3g} times outside the runs that the laws were fitted on, and {warn}.")
    return 0


def _mark(outside: float) -> str:
    return "" if outside <= 1 else f"extrapolated {outside:.3g}x"
