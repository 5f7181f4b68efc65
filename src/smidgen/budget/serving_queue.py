"""Requests that come at random and are answered in batches that change as they come and go (continuous batching).

Arrivals are Poisson. Between steps, waiting requests join while caches fit; their prompts are read first, then all make
one token at a time. Simulated from event to event (a request comes, one is done): work grows with requests, not tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.budget.serving import ServingModel
from smidgen.kit.errors import BadInput, bad


@dataclass(frozen=True)
class UseCase:
    """Tokens of a prompt and of its answer."""

    name: str
    prompt: int
    gen: int


@dataclass(frozen=True)
class Served:
    """Of a simulation: seconds of each request from arrival to its last token `latency`, and to its first `first`;
    `batch`: requests in work, the mean over decode steps; `busy`: share of the time in work."""

    latency: np.ndarray
    first: np.ndarray
    batch: float
    busy: float


def arrivals(rate: float, requests: int, seed: int = 0) -> np.ndarray:
    """Times of a Poisson process with so many a second; those of another rate are the same, stretched."""
    if not rate > 0:
        raise bad("rate", "above 0 requests a second", rate)
    return np.random.default_rng(seed).exponential(1.0, requests).cumsum() / rate


def simulate(
    model: ServingModel, use: UseCase, times: Sequence[float] | np.ndarray, max_batch: int | None = None
) -> Served:
    """Serves requests that come at these times, ascending.

    Raises:
        BadInput: not even one request fits the device.
    """
    most = min(model.capacity(use.prompt, use.gen), max_batch or 1 << 20)
    if most < 1:
        raise BadInput(f"{model.format.name} on {model.hardware.name}: weights and one request do not fit its memory.")
    n, come = len(times), np.asarray(times, float)
    done, first = np.empty(n), np.empty(n)
    made: dict[int, int] = {}  # tokens made of each request in work
    now, nxt, busy, steps, rows = 0.0, 0, 0.0, 0, 0
    while nxt < n or made:
        if not made and come[nxt] > now:
            now = come[nxt]
        joined = []
        while nxt < n and come[nxt] <= now and len(made) + len(joined) < most:
            joined.append(nxt)
            nxt += 1
        if joined:
            spent = model.prefill(use.prompt * len(joined))
            now, busy = now + spent, busy + spent
            for request in joined:
                first[request], made[request] = now, 1
        for request in [r for r, k in made.items() if k >= use.gen]:
            done[request] = now
            del made[request]
        if not made:
            continue
        batch, k = len(made), use.gen - max(made.values())
        context = use.prompt + sum(made.values()) / batch
        one = model.step(batch, context)
        if nxt < n and len(made) < most:  # the next one joins after the step in which it comes
            k = min(k, max(1, math.ceil((come[nxt] - now) / one)))
        spent = k * model.step(batch, context + (k - 1) / 2)
        now, busy, steps, rows = now + spent, busy + spent, steps + k, rows + k * batch
        made = {r: v + k for r, v in made.items()}
        for request in [r for r, v in made.items() if v >= use.gen]:
            done[request] = now
            del made[request]
    return Served(done - come, first - come, rows / max(steps, 1), busy / max(now - come[0], 1e-12) if n else 0.0)


def max_qps(
    model: ServingModel,
    use: UseCase,
    slo: float,
    *,
    percentile: float = 95.0,
    requests: int = 400,
    max_batch: int | None = None,
    seed: int = 0,
) -> float:
    """Most requests a second of which so many percent have their last token within `slo` seconds; 0: not even one that
    comes alone.

    Raises:
        BadInput: weights and one request do not fit the device.
    """
    most = min(model.capacity(use.prompt, use.gen), max_batch or 1 << 20)
    if most < 1:
        raise BadInput(f"{model.format.name} on {model.hardware.name}: weights and one request do not fit its memory.")
    if model.latency(1, use.prompt, use.gen) > slo:
        return 0.0

    def fits(rate: float) -> bool:
        late = simulate(model, use, arrivals(rate, requests, seed), max_batch).latency
        # a queue that only grows would pass while it is short: the last half must not be slower than the limit either
        return max(np.percentile(late, percentile), np.percentile(late[len(late) // 2 :], percentile)) <= slo

    low, high = 0.0, throughput(model, use, most)
    if fits(high):
        return high
    for _ in range(18):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def throughput(model: ServingModel, use: UseCase, max_batch: int) -> float:
    """Requests a second when there are always enough waiting, at the best batch size."""
    sizes = {min(max_batch, 2**k) for k in range(max(1, math.ceil(math.log2(max_batch))) + 1)}
    return max(b / model.latency(b, use.prompt, use.gen) for b in sizes)
