"""Claim 042: what rounding loses grows with the tokens that a model was trained on (QiD law, 2024)."""

import math
import warnings
from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

WIDTHS, LAYERS, RATE, WARMUP = (16, 32, 64), 2, 0.01, 50
STEPS, EARLY = [75, 150, 300, 600, 1200, 2400], 150
GROUP = 16
Settings = dict[str, tuple[int, str, Any]]  # by name: bits, format, search of scales
ROUNDED: Settings = {f"nearest {b} bits": (b, f"int{b}+offset/{GROUP}", "absmax") for b in (2, 3, 4)}
SEARCHED: Settings = {"searched 3 bits": (3, f"int3+offset/{GROUP}", "mse")}
TABLE_D = 15e12  # tokens that both models of the released table saw

CLAIM = Claim(
    title="QiD law: what quantization will cost a language model",
    year=2024,
    gives="Forecast how much worse a language model becomes at two, three or four bits from its size and the tokens it "
    "was trained on. Thoroughly trained models lose more, so check before choosing a bit-width.",
    room="laws",
    implements=("laws.qid", "laws.least_values", "laws.run_table", "laws.bits", "compress.ptq_sweep"),
    keywords="quantization, low-bit, LLM compression, GPTQ, 4-bit, 2-bit, scaling law, training tokens, undertrained, "
    "loss degradation, bit-width choice, checkpoints, forecast, running models locally",
    says="QiD(N, D, P) = k D^beta / (N^alpha P^gamma): the loss that rounding after training adds grows with training "
    "tokens, and falls with size and with bits. Undertrained models bear few bits.",
    experiment="""
        Byte-level decoders of two layers on books, widths 16, 32 and 64 (6,000 to 98,000 parameters without the
        embedding), AdamW at a constant 0.01 after 50 updates of warm-up, 2,400 batches of 512 bytes, each place of the
        text at random (a ninth of one pass); checkpoints after 75, 150, 300, 600, 1200 and 2400. All matrices inside
        layers are rounded to nearest at 2, 3 and 4 bits with scale and offset for groups of 16, and once at 3 bits with
        searched scales: that is the second quantizer, in place of GPTQ. QiD is measured on held-out text of the same
        books. The law is fitted to the logarithms of all rows rounded to nearest, with a bootstrap; rows that lose
        nothing are left out and counted, as are those at chance (log 256). Planned were three layers, widths to 256 and
        groups of 64, an hour a seed here.

        Also shown, and no part of the verdict: the same fit for the searched scales; how far weights move between
        checkpoints; and the released table of LLaMA3-8B and 70B at 2 to 4 bits (perplexity on C4), gamma for each
        method, and QiD of 70B over that of 8B, which by the law is 0.61. These are the same in every seed.
        """,
    published=(
        Published(
            value="k 0.017, alpha 0.2261, beta 0.5251, gamma 5.4967",
            metric="joint law",
            data="Pythia 160M to 12B, checkpoints of 1e9 to 2.06e11 tokens, GPTQ, over 1,500 quantized checkpoints",
            where="arXiv 2411.17691",
        ),
        Published(
            value="0.30 T at 3 bits, 4.51 T at 4 bits",
            metric="training tokens at which a 7B model loses 0.2 nats",
            data="forecast",
            where="arXiv 2411.17691, table 1",
        ),
    ),
    parts=(
        Part(
            name="grows with tokens",
            says="The lower end of beta's bootstrap interval (90 %) is above 0.",
            gain=("beta low", 0.0),
            unit="exponent",
        ),
        Part(name="falls with bits", says="gamma is above 2.", gain=("gamma", 2.0), unit="exponent"),
        Part(
            name="last above early",
            says="QiD of the last checkpoint is above that of the one after 150 updates in at least 80 % of cells.",
            gain=("share of cells", 0.8),
            unit="share of cells",
        ),
    ),
    seeds=3,
    minutes=9,
    data=("books_lm", "llama3_quant_table"),
    added="2026-11-30",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """Three runs, their checkpoints rounded, the law of them. At smoke scale a made text and few updates."""
    full = scale == Scale.FULL
    rows, drift = checkpoints(seed, full)
    values = judged(rows, EARLY if full else 4, STEPS[-1] if full else 6) | drift
    return values | (released() if full else {})


def checkpoints(seed: int, full: bool) -> tuple[Any, dict[str, float]]:
    """The table of all checkpoints and quantizers, and how far weights moved between neighbours at the last width."""
    import copy

    import pandas as pd

    from smidgen.compress.ptq_sweep import Checkpoint, Rounding, sweep_checkpoints, weight_drift
    from smidgen.formats.format import Format
    from smidgen.nets.products import full_speed
    from smidgen.papers.byte_bits import BATCH, Bytes, at_steps, shape
    from smidgen.papers.byte_models import sizes

    text = Bytes(seed, small=not full)
    quantizers = {
        name: (bits, Rounding(Format.parse(format), search if full else "absmax"))
        for name, (bits, format, search) in (ROUNDED | SEARCHED).items()
    }
    tables, drift = [], {}
    with full_speed():
        for width in WIDTHS if full else (8, 16, 24):
            of, before = shape(width, LAYERS if full else 1), None
            new = text.run(of, RATE)
            for step, now in at_steps(new, text, STEPS if full else [2, 4, 6], WARMUP if full else 2):
                point = Checkpoint(f"{width} after {step}", sizes(of)[1], step * BATCH, lambda now=now: now.model)
                tables.append(sweep_checkpoints([point], quantizers, text.loss).assign(width=width, step=step))
                if before is not None:
                    for level, moved in weight_drift(before, now.model, (0.5, 0.99)).items():
                        drift[f"drift {level:g} until {step}, width {width}"] = moved
                before = copy.deepcopy(now.model)
    return pd.concat(tables), drift


def judged(rows: Any, early: int, last: int) -> dict[str, float]:
    """The law's exponents, and in how many cells the last checkpoint loses more than an early one."""
    from smidgen.laws.qid import fit_qid

    rows = rows.assign(qid=rows.loss_q - rows.loss_fp)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # that rows lose nothing: they are counted
        nearest = rows[rows.quantizer.isin(list(ROUNDED))]
        law = fit_qid(nearest, chance=math.log(256), distinct=3)
        searched = fit_qid(rows[rows.quantizer.isin(list(SEARCHED))], ("n", "d"), distinct=3, draws=0)
    cells = rows.pivot_table(index=["width", "quantizer"], columns="step", values="qid")
    values = {
        "alpha": law.alpha, "beta": law.beta, "gamma": law.gamma, "log k": math.log(law.k),
        "beta low": law.exponent("beta")[0], "beta high": law.exponent("beta")[1],
        "alpha low": law.exponent("alpha")[0], "share of cells": float((cells[last] > cells[early]).mean()),
        "rows left out": float(sum(law.left_out.values())), "beta of searched scales": searched.beta,
        "alpha of searched scales": searched.alpha,
    }  # fmt: skip
    for row in rows.itertuples():
        values[f"QiD {row.quantizer}, {row.checkpoint}"] = float(row.qid)
    for row in nearest.drop_duplicates("checkpoint").itertuples():
        values[f"loss {row.checkpoint}"] = float(row.loss_fp)
    return values


def released() -> dict[str, float]:
    """The released table of quantized LLaMA3, by method."""
    import numpy as np
    import pandas as pd

    from smidgen.laws.qid import fit_qid
    from smidgen.tasks import known

    table = pd.read_csv(known.place("llama3_quant_table") / "llama3_quant.csv.gz")
    whole = table[table.w_bits == 16].set_index("model_b").ppl_c4
    own = table[table.method.isin(["RTN", "GPTQ", "AWQ"]) & (table.group == 128) & (table.w_bits < 5)]
    runs = pd.DataFrame({
        "quantizer": own.method, "n": own.model_b * 1e9, "d": TABLE_D, "bits": own.w_bits,
        "loss_fp": np.log(own.model_b.map(whole)), "loss_q": np.log(own.ppl_c4),
    })  # fmt: skip
    values, ratios = {}, []
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        for method, part in runs.groupby("quantizer"):
            values[f"LLaMA3 gamma, {method}"] = fit_qid(part, ("bits",), draws=0).gamma
    lost = runs.assign(qid=runs.loss_q - runs.loss_fp).pivot_table(
        index=["quantizer", "bits"], columns="n", values="qid"
    )
    ratios = [big / small for small, big in lost.to_numpy() if small > 0]
    return values | {"LLaMA3 QiD of 70B over 8B, median": float(np.median(ratios))}
