"""Which format to deploy, for a pattern of use on a device: a table with costs and reasons, and the choice.

"sync": one request at a time, judged by its latency and cost. "async": requests come at random, judged by how many a
second a device answers within a time limit, and what a thousand cost.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from smidgen.budget.serving import FORMATS, Deployed, Hardware, Roofline, ServingModel
from smidgen.budget.serving_queue import UseCase, arrivals, max_qps, simulate
from smidgen.kit.errors import BadInput, bad

Pattern = Literal["sync", "async"]

# the seven kinds of use of the study; token counts are typical ones, chosen here
USE_CASES = {
    u.name: u
    for u in (
        UseCase("code completion", 256, 1024),
        UseCase("docstring generation", 768, 128),
        UseCase("code fixing", 1024, 1024),
        UseCase("retrieval-augmented answers", 1024, 128),
        UseCase("instruction following", 256, 128),
        UseCase("multi-turn chat", 512, 256),
        UseCase("summarization", 4096, 512),
    )
}


@dataclass(frozen=True)
class Row:
    """A format in the decision table.

    Attributes:
        latency: seconds of a request alone. qps: requests a second (one after the other, or within the limit).
        cost: of 1,000 requests; infinite where none is answered in time. recovery: percent of the score kept, or None.
        bound: "memory" or "arithmetic", what a step waits for. fits: whether it may be chosen. reason: a sentence.
    """

    format: str
    latency: float
    qps: float
    cost: float
    recovery: float | None
    bound: str
    fits: bool
    reason: str


def choose_format(
    pattern: Pattern,
    hardware: Hardware,
    use: UseCase | str,
    parameters: float,
    *,
    cache_bytes: float = 0.0,
    slo: float | None = None,
    overhead: float = 0.0,
    formats: Sequence[Deployed | str] = tuple(FORMATS),
    recovery: Mapping[str, float] | None = None,
    least_recovery: float = 0.0,
    measured: Mapping[str, Roofline] | None = None,
    requests: int = 400,
    seed: int = 0,
) -> tuple[str, list[Row]]:
    """The cheapest format that fits (where nothing has a price: the fastest), and the table, cheapest first.

    Args:
        use: a name of `USE_CASES`, or tokens of your own. parameters, cache_bytes, overhead: see `ServingModel.of`.
        slo: seconds in which 95 of 100 requests must have their last token ("async"); default: three times what the
            fastest format takes for a request alone.
        recovery: percent of the score that each format keeps, as measured. least_recovery: what is asked of it;
            formats whose recovery is not known are not refused.
        measured: rooflines of formats as `calibrate` found them, in place of those from the device's rates.
    Raises:
        BadInput: another pattern, an unknown use, or no format fits.
    """
    if pattern not in ("sync", "async"):
        raise bad("pattern", "sync or async", pattern)
    if isinstance(use, str):
        if use not in USE_CASES:
            raise bad("use", ", ".join(USE_CASES), use)
        use = USE_CASES[use]
    known = [FORMATS[f] if isinstance(f, str) else f for f in formats]
    models = [ServingModel.of(hardware, f, parameters, cache_bytes, overhead) for f in known]
    models = [replace(m, roofline=(measured or {}).get(m.format.name, m.roofline)) for m in models]
    alone = {m.format.name: m.latency(1, use.prompt, use.gen) for m in models if m.capacity(use.prompt, use.gen)}
    if not alone:
        raise BadInput(f"No format of {parameters:,.0f} parameters fits the memory of {hardware.name}.")
    slo = 3 * min(alone.values()) if slo is None else slo
    rows = []
    for model in models:
        kept = (recovery or {}).get(model.format.name)
        rows.append(_row(model, use, pattern, alone.get(model.format.name), slo, kept, least_recovery, requests, seed))
    rows.sort(key=lambda r: (not r.fits, r.cost if hardware.price else -r.qps, -r.qps))
    if not rows[0].fits:
        raise BadInput(f"No format fits: {'; '.join(f'{r.format}: {r.reason}' for r in rows)}")
    return rows[0].format, rows


def cost_per_1000(price: float, qps: float) -> float:
    """Of 1,000 requests, where an hour costs so much; infinite where none is answered."""
    return price / 3600 * 1000 / qps if qps > 0 else math.inf


def _row(
    model: ServingModel, use: UseCase, pattern: Pattern, alone: float | None, slo: float, kept: float | None,
    least: float, requests: int, seed: int,
) -> Row:  # fmt: skip
    name, roof = model.format.name, model.roofline
    if alone is None:
        room = model.hardware.memory / 1e9
        why = f"{model.weight_bytes / 1e9:.1f} GB of weights and one request do not fit {room:.0f} GB"
        return Row(name, math.inf, 0.0, math.inf, kept, "memory", False, why)
    qps = 1 / alone if pattern == "sync" else max_qps(model, use, slo, requests=requests, seed=seed)
    batch = 1.0 if pattern == "sync" or not qps else simulate(model, use, arrivals(qps, requests, seed)).batch
    bound = "memory" if batch < roof.corner else "arithmetic"
    says = [
        f"a step of {batch:.0f} request{'s' if round(batch) != 1 else ''} waits for {bound}: "
        f"{1e3 * roof.weights:.3g} ms to read weights of {model.format.bits:.3g} bits, "
        f"{1e3 * roof.row * batch:.3g} ms to compute ({model.format.arithmetic})",
        *model.notes,
    ]
    fits = True
    if pattern == "async" and qps == 0:
        fits, says = False, [f"one request alone takes {alone:.3g} s, more than the {slo:.3g} s asked"]
    if kept is not None and kept < least:
        fits = False
        says.append(f"keeps {kept:.1f} % of the score, less than the {least:.1f} % asked")
    return Row(name, alone, qps, cost_per_1000(model.hardware.price, qps), kept, bound, fits, "; ".join(says))
