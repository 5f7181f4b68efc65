"""Claim 045: what a small float format costs in training, by its bits, blocks, tokens and size (FP-Quant law, 2025)."""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

WIDTHS, RATE, WARMUP = (16, 32, 64), 0.01, 10
STEPS = [50, 150, 450]
CELLS = ((3, 2, 16), (2, 2, 16), (2, 1, 16), (1, 2, 16), (1, 1, 16), (2, 1, 4), (1, 1, 4))  # (E, M, block)

CLAIM = Claim(
    title="FP-Quant law: exponent and mantissa bits for training",
    year=2025,
    gives="Know before you start how much a small float format will cost a language model in training loss, choose how "
    "to divide the bits, and learn beyond which amount of data low precision turns harmful.",
    room="laws",
    implements=("laws.float_bits", "laws.many_terms", "laws.bits", "compress.float_training", "formats.float_rounding"),
    keywords="floating-point quantization, FP8, FP4, FP6, exponent bits, mantissa bits, block scaling, low-precision "
    "training, scaling law, critical data size, language model pretraining, number format choice, compute-optimal "
    "precision, Capybara",
    says="The loss of training in a small float format exceeds the usual law of size and data by (D^beta / N^alpha) "
    "log2(B) / (gamma (E + 1/2)^delta (M + 1/2)^nu): exponent and mantissa bits count separately, larger blocks cost "
    "more, and the cost grows with tokens and falls with size.",
    experiment="""
        Byte-level decoders of one layer on books, widths 16, 32 and 64, feed-forward of three times the width (3,000 to
        54,000 parameters without the embedding), trained on 50, 150 and 450 batches of 512 bytes: the lengths share one
        run at a constant rate of 0.01 and fall over their last fifth. Formats E3M2, E2M2, E2M1, E1M2 and E1M1 with a
        scale for 16 numbers, E2M1 and E1M1 also for 4, and float32; weights in the forward product and output gradients
        in both backward products are rounded, blocks along the summed axis. All cells of a seed have the same first
        weights and batches.

        The penalty of a cell is its loss less that of the same size and length in float32. Size and data are fitted to
        the float32 cells first and stand still. Then the law, and one in which E + M alone counts, are fitted with one
        format left out at a time; judged is the mean absolute error of the left-out penalties. Also shown is the error
        of no penalty at all: in development, on seed 1000, it was below both, since E1M1, whose penalty is ten times
        that of the others, is far outside of them when it is left out. E4M3 is
        not tried: its penalty lies below the noise at this size. Planned were two layers, up to 3 million bytes and
        blocks of 32 and 128, which do not fit such widths. The critical amount of tokens is out of reach here.
        """,
    published=(
        Published(
            value="gamma 11334.5, delta 3.1926, nu 2.9543, alpha 0.2368, beta 0.5162",
            metric="constants of the law",
            data="41M to 679M parameters, 10B to 100B tokens, blocks of 32 to 512",
            where="arXiv 2501.02423",
        ),
        Published(
            value="E2M1, E4M3, E8M7",
            metric="best layout of 4, 8 and 16 bits",
            data="by the law",
            where="arXiv 2501.02423",
        ),
    ),
    parts=(
        Part(
            name="layout counts",
            says="The law forecasts the penalty of a left-out format with a smaller error than E + M alone does.",
            gain=("error of E + M alone", "error of the law"),
            unit="nats a byte",
        ),
        Part(
            name="E2M1 before E1M2",
            says="Of the same bits, E2M1 has a lower loss than E1M2 in at least 80 % of cells.",
            gain=("share of E2M1 better", 0.8),
            unit="share of cells",
        ),
        Part(
            name="grows with tokens",
            says="Of pairs that differ in tokens alone, the longer run has the larger penalty in more than half.",
            gain=("share growing with D", 0.5),
            unit="share of pairs",
        ),
        Part(
            name="falls with size",
            says="Of pairs that differ in width alone, the wider model has the smaller penalty in more than half.",
            gain=("share falling with N", 0.5),
            unit="share of pairs",
        ),
    ),
    seeds=3,
    minutes=10,
    data=("books_lm",),
    added="2026-11-30",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """All cells of one seed. At smoke scale a made text and few updates."""
    return judged(cells(seed, scale == Scale.FULL))


def cells(seed: int, full: bool) -> Any:
    """A row for each width, length and format: n, d, e, m, block, loss, and the penalty against float32."""
    import functools

    import pandas as pd

    from smidgen.compress.float_training import float_format, train_in
    from smidgen.nets.products import full_speed
    from smidgen.papers.byte_bits import BATCH, Bytes, fallen, shape
    from smidgen.papers.byte_models import sizes

    text, rows = Bytes(seed, small=not full), []
    steps, warmup = (STEPS, WARMUP) if full else ([2, 3, 4], 1)
    with full_speed():
        for width in WIDTHS if full else (16, 32, 48):
            of = shape(width, 1, 3 * width)
            whole = fallen(lambda of=of: text.run(of, RATE), text, steps, warmup)
            for e, m, block in CELLS if full else CELLS[2:4] + CELLS[6:]:
                change = functools.partial(train_in, format=float_format(e, m, block))
                found = fallen(lambda of=of, c=change: text.run(of, RATE, c), text, steps, warmup)
                rows += [
                    (width, sizes(of)[1], step * BATCH, e, m, block, loss, loss - whole[step], whole[step])
                    for step, loss in found.items()
                ]
    return pd.DataFrame(rows, columns=["width", "n", "d", "e", "m", "block", "loss", "penalty", "whole"])


def judged(rows: Any) -> dict[str, float]:
    import numpy as np

    from smidgen.laws.nd_law import fit_nd_law

    whole = rows.drop_duplicates(["n", "d"])
    base = fit_nd_law(whole.n.to_numpy(), whole.d.to_numpy(), whole.whole.to_numpy())
    values: dict[str, float] = {"alpha": base.alpha, "beta": base.beta}
    names = (rows.e.astype(str) + rows.m.astype(str)).to_numpy()
    off: dict[str, list[float]] = {"the law": [], "E + M alone": [], "no penalty": []}
    for left in np.unique(names):
        fitted, held = rows[names != left], rows[names == left]
        told = {
            "the law": forecast(base, fitted, held),
            "E + M alone": bits_alone(base, fitted, held),
            "no penalty": np.zeros(len(held)),
        }
        for name, penalty in told.items():
            wrong = np.abs(penalty - held.penalty.to_numpy())
            off[name] += wrong.tolist()
            values[f"error of {name}, E{left[0]}M{left[1]}"] = float(wrong.mean())
    values |= {f"error of {name}": float(np.mean(wrong)) for name, wrong in off.items()}
    of = {key: part.set_index(["n", "d"]).loss for key, part in rows.groupby(["e", "m", "block"])}
    values["share of E2M1 better"] = float((of[2, 1, 16] < of[1, 2, 16]).mean())
    values["share growing with D"] = _pairs(rows, ["n", "e", "m", "block"], "d", 1.0)
    values["share falling with N"] = _pairs(rows, ["d", "e", "m", "block"], "n", -1.0)
    values["share growing with B"] = _pairs(rows[rows.m == 1], ["n", "d", "e", "m"], "block", 1.0)
    law = _fitted(base, rows)
    values |= {"delta": law.delta, "nu": law.nu, "log gamma": float(np.log(law.gamma))}
    for row in rows.itertuples():
        values[f"penalty E{row.e}M{row.m}/{row.block}, width {row.width}, {row.d:.0f} bytes"] = float(row.penalty)
    return values


def _fitted(base: Any, rows: Any) -> Any:
    """The law on losses as the base law has them, plus what was measured to be lost: its own error stays out."""
    from smidgen.laws.float_bits import fit_float_bits

    return fit_float_bits(rows.assign(loss=base.loss(rows.n, rows.d) + rows.penalty), base=base)


def forecast(base: Any, fitted: Any, held: Any) -> Any:
    import numpy as np

    law = _fitted(base, fitted)
    return np.array([float(law.penalty(r.n, r.d, r.e, r.m, r.block, anyway=True)) for r in held.itertuples()])


def bits_alone(base: Any, fitted: Any, held: Any) -> Any:
    """The same law with (E + M)^p in the place of both powers."""
    import numpy as np

    from smidgen.laws.form import Parameter, Term
    from smidgen.laws.law import fit
    from smidgen.laws.many_terms import ManyTerms, one
    from smidgen.laws.nd_law import DELTA
    from smidgen.laws.points import Points

    def inputs(rows: Any) -> dict[str, Any]:
        x = {"n": rows.n, "d": rows.d, "p": rows.e + rows.m, "b": np.log2(rows.block)}
        return {name: column.to_numpy(float) for name, column in x.items()}

    known = {name: getattr(base, name) for name in ("cn", "alpha", "cd", "beta", "l0")}
    form = ManyTerms(
        "bits alone", ("n", "d", "p", "b"),
        (Parameter(name="cn", log=True), Parameter(name="alpha"), Parameter(name="cd", log=True),
         Parameter(name="beta"), Parameter(name="l0", log=True), Parameter(name="w", log=True),
         Parameter(name="power", low=0.0, high=20.0), one()),
        (Term("cn", {"n": ("alpha", 1.0)}), Term("cd", {"d": ("beta", 1.0)}), Term("l0"),
         Term("w", {"n": ("alpha", 1.0), "d": ("beta", -1.0), "p": ("power", 1.0), "b": ("one", -1.0)})),
        known=known,
    )  # fmt: skip
    loss = base.loss(fitted.n, fitted.d) + fitted.penalty
    law = fit(form, Points.of(inputs(fitted), loss.to_numpy(), DELTA), huber=1.0)
    return law.predict(inputs(held), anyway=True) - base.loss(held.n, held.d)


def _pairs(rows: Any, same: list[str], by: str, sign: float) -> float:
    """Of pairs of rows that differ in `by` alone, the share whose penalty moves with it."""
    import itertools

    moved = [
        sign * (b.penalty - a.penalty) * (getattr(b, by) - getattr(a, by)) > 0
        for _, part in rows.groupby(same)
        for a, b in itertools.combinations(list(part.itertuples()), 2)
    ]
    return sum(moved) / len(moved) if moved else 0.5
