"""Claim 068: how much of a training should be with rounded weights (compute-optimal QAT, 2025)."""

import math
from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

WIDTH, LAYERS, RATE, WARMUP = 48, 1, 0.01, 5
BUDGETS = (100, 300, 900)  # updates
FRACTIONS = (0.05, 0.15, 0.3, 0.5, 0.8, 1.0)
CLASSIC = (0.15, 0.5)  # fractions that are also trained with a fall in each phase, at the two larger budgets
BITS, EVERY = (2, 4), 10  # updates between searches of scales
FLAT = 0.3  # of log f: a factor of 1.35 in the best share is no fall

CLAIM = Claim(
    title="Compute-optimal quantization-aware training",
    year=2025,
    gives="Divide a token budget between full-precision training and training with simulated rounding, and forecast "
    "the loss for each bit width. Plan with it when you know from the start that the model must ship in few bits.",
    room="laws",
    implements=("laws.qat", "laws.many_terms", "compress.qat", "compress.qat_sweep", "train.two_phases"),
    keywords="quantization-aware training, QAT, training budget, scaling law, token budget split, when to start "
    "quantizing, bit width choice, memory limit, low-bit LLM, learning rate cooldown, planning training, forecast of "
    "loss, 1-bit, 2-bit, 4-bit",
    says="The best share of quantization-aware training grows with the tokens for each byte of the parameters: longer "
    "trainings and fewer bits want more of it, exp(-6.7297 / log S). One fall of the rate, within it, is as good as a "
    "fall in each phase.",
    experiment="""
        Byte-level decoders of one layer of width 48 on books (28,000 parameters without the embedding, which alone are
        rounded and counted in S), trained on 100, 300 and 900 batches of 512 bytes with AdamW at 0.01; shares of QAT of
        5, 15, 30, 50, 80 and 100 % at 2 and 4 bits a weight, one scale a channel, searched anew every tenth update.
        The curves over shares have one fall of the rate, over the last fifth of all updates or over QAT where that is
        shorter, so that trainings differ in when rounding begins and, below a fifth, in how short the fall is. In
        development, on seed 1000, they had the classic rates, a fall over the last fifth of each phase and a warm-up
        between: the best share was all at each budget and width, since the one training without a second phase was the
        only one that fell once. At 15 and 50 % of the two larger budgets the classic rates are trained too, for the
        last part. All share the run in full precision up to where they part. The best share is the top of a parabola in
        log f, cut to the shares that were tried. Seeds draw first weights and windows.

        Where the losses of a curve differ by less than three times the noise (here: the residual of the parabola) its
        optimum means nothing: shown for each curve. Planned were two layers of width 96 and 3,000 updates, an hour a
        seed here. Also shown: the mean distance to the published rule, and the updates that sharing saved.
        """,
    published=(
        Published(
            value=0.091,
            metric="mean absolute error of the rule's best share",
            data="757 runs, 86M to 2.2B parameters, 1 to 6 bits, 2.3B to 1.4T tokens",
            where="arXiv 2509.22935",
        ),
        Published(
            value="10 to 15 %, to 55 % and more",
            metric="best share, from small scale to large",
            data="the same",
            where="arXiv 2509.22935; the first author's post",
        ),
    ),
    parts=(
        Part(
            name="never falls",
            says="From budget to budget the best share does not fall, at neither width, but for a factor of 1.35.",
            gain=("least step of log f", 0.0),
            margin=-FLAT,
            null=-FLAT,
            unit="log of the share",
            group="budget",
        ),
        Part(
            name="grows",
            says="At one width at least it is larger for the largest budget than for the smallest.",
            gain=("largest rise of log f", 0.0),
            unit="log of the share",
            group="budget",
        ),
        Part(
            name="more at 2 bits",
            says="On average over budgets the best share at 2 bits is not below that at 4.",
            gain=("log f at 2 bits", "log f at 4 bits"),
            unit="log of the share",
            group="bits",
        ),
        Part(
            name="one fall is enough",
            says="With one fall the loss is at most 0.01 nats above that of two.",
            gain=("loss classic", "loss fused"),
            margin=-0.01,
            null=-0.01,
            unit="nats a byte",
            group="schedule",
        ),
    ),
    seeds=3,
    minutes=10,
    data=("books_lm",),
    added="2026-11-30",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """All splits of one seed. At smoke scale a made text and few updates."""
    full = scale == Scale.FULL
    budgets = BUDGETS if full else (4, 6)
    rows, n, saved = splits(seed, full, budgets)
    return judged(rows, n, budgets) | saved


def splits(seed: int, full: bool, budgets: tuple[int, ...]) -> tuple[Any, float, dict[str, float]]:
    """A row for each training; how many parameters are rounded; updates with and without sharing."""
    import pandas as pd

    from smidgen.compress.qat_sweep import Split, Sweep
    from smidgen.formats.format import Format
    from smidgen.nets.products import full_speed
    from smidgen.papers.byte_bits import Bytes, loss_of, shape
    from smidgen.papers.byte_models import sizes

    text, of = Bytes(seed, small=not full), shape(WIDTH if full else 16, LAYERS)
    sweep = Sweep(lambda: text.run(of, RATE), text.batch, loss_of, text.loss, WARMUP if full else 1)
    wanted = [Split(steps, f, "fused") for steps in budgets for f in (FRACTIONS if full else FRACTIONS[3:])]
    wanted += [Split(steps, f, "classic") for steps in budgets[1:] for f in (CLASSIC if full else CLASSIC[1:])]
    with full_speed():
        rows = sweep.run(wanted, {str(b): Format(f"int{b}", "channel") for b in BITS}, every=EVERY,
                         search="mse" if full else "absmax")  # fmt: skip
    table = pd.DataFrame(rows)
    done = {"updates done": sweep.updates_fp + sweep.updates_qat, "updates without sharing": sweep.updates_alone}
    return table.assign(bits=table.format.astype(int)), sizes(of)[1], {k: float(v) for k, v in done.items()}


def judged(rows: Any, n: float, budgets: tuple[int, ...]) -> dict[str, float]:
    import numpy as np

    from smidgen.laws.qat import optimal_qat_fraction

    values: dict[str, float] = {}
    curves = rows[rows.kind == "fused"]
    best: dict[tuple[int, int], float] = {}
    off = []
    for bits in BITS:
        for steps in budgets:
            own = curves[(curves.bits == bits) & (curves.steps == steps)].sort_values("fraction")
            f, loss = own.fraction.to_numpy(), own.loss.to_numpy()
            best[bits, steps], noise = top(f, loss)
            name = f"{bits} bits, {steps} updates"
            values[f"best share, {name}"] = math.exp(best[bits, steps])
            values[f"range over noise, {name}"] = float((loss.max() - loss.min()) / max(noise, 1e-9))
            values |= {f"loss, {name}, share {a:g}": float(b) for a, b in zip(f, loss, strict=True)}
            try:
                told = optimal_qat_fraction(float((own.targets_fp + own.targets_qat).iloc[0]), n, bits)
            except ValueError:
                continue
            values[f"published share, {name}"] = told
            off.append(abs(told - math.exp(best[bits, steps])))
    values["distance to the published share"] = float(np.mean(off)) if off else math.nan
    steps = [best[b, y] - best[b, x] for b in BITS for x, y in zip(budgets, budgets[1:], strict=False)]
    values["least step of log f"] = min(steps)
    values["largest rise of log f"] = max(best[b, budgets[-1]] - best[b, budgets[0]] for b in BITS)
    for bits in BITS:
        values[f"log f at {bits} bits"] = float(np.mean([best[bits, s] for s in budgets]))
    both = rows.pivot_table(index=["steps", "fraction", "bits"], columns="kind", values="loss").dropna()
    for kind in ("classic", "fused"):
        values[f"loss {kind}"] = float(both[kind].mean()) if len(both) else math.nan
    for (s, f, b), row in both.iterrows():
        values[f"fused less classic, {b} bits, {s} updates, share {f:g}"] = float(row.fused - row.classic)
    return values


def top(fractions: Any, loss: Any) -> tuple[float, float]:
    """Logarithm of the share at the least of a parabola in log f, cut to those tried (the better end where it opens
    downward), and the parabola's residual standard deviation."""
    import numpy as np

    x = np.log(fractions)
    a, b, c = np.polyfit(x, loss, 2)
    residual = loss - (a * x**2 + b * x + c)
    noise = math.sqrt(float(residual @ residual) / max(len(x) - 3, 1))
    at = -b / (2 * a) if a > 0 else x[int(np.argmin(a * x**2 + b * x))]
    return float(np.clip(at, x.min(), x.max())), noise
