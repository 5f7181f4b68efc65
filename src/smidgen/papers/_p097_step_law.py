"""Claim 097: the best learning rate and batch size are power laws of size and tokens (Step Law, 2025)."""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

SHAPES = ((16, 1), (24, 2), (48, 2))  # width x layers of the live sweep
TOKENS = (65_536, 131_072, 262_144)
CELLS = ((0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2))  # (shape, tokens); the last, largest and longest, is predicted
RATES, BATCHES = tuple(0.005 * 2.0**k for k in range(5)), (512, 2048, 8192)  # batches in bytes
FOLDS = 5  # seed s leaves out cells s, s + 5, ... of the released table, one at a time
LIVE_TOLERANCE = 0.01  # seeds differ by more than the published 0.25 % at this size

CLAIM = Claim(
    title="Step Law: learning rate and batch size",
    year=2025,
    gives="Look up a learning rate and batch size from model size and token budget, with an error band and the range "
    "that is still good enough. Saves the sweep when you can afford a single pre-training run.",
    room="laws",
    implements=("laws.step_law", "laws.optimal_step", "tasks.scaling_testbed"),
    keywords="learning rate, batch size, hyperparameter choice, no sweep, hyperparameter tuning on a budget, LLM "
    "pre-training, scaling law, token budget, model size, bootstrap interval, good enough range, one training run, "
    "power law fit, mixture of experts",
    says="The best rate falls with parameters (N^-0.713) and rises with tokens (D^0.307), the best batch rises with "
    "tokens (D^0.571) and not with parameters; what the law predicts is within about 0.1 % of the loss of an "
    "exhaustive search.",
    experiment="""
        Released table of 1,911 dense runs, 17 cells of size and tokens. Each cell is left out in turn, the law refitted
        to the others (runs within 0.25 % of the best of their cell, 1,000 bootstrap draws), and the run of the left
        cell nearest to its prediction is scored: excess over the best of the cell. Beside it: the one rate and batch
        that is best on average over the other cells, and a law in which the rate depends on N alone. Seed s has the
        cells s, s + 5, s + 10, ..., so that each cell is judged once and intervals are over cells.

        Live: byte-level decoders on books, widths 16, 24 and 48 (3,000 to 55,000 parameters without the embedding),
        for 66 to 262 thousand bytes, six of the nine cells; five rates a factor of 2 apart from 0.005, batches of 512,
        2,048 and 8,192 bytes; AdamW, cosine to a tenth. Fitted to five cells (runs within 1 %: seeds differ by more
        than 0.25 % here), the sixth (largest, longest) is predicted. The live part is void where more than 2 cells
        have their best rate at an edge of the grid: then its numbers are not a number; batches at an edge are counted
        and do not void it. The spec's nine cells of up to 2 million bytes take an hour a seed here. The mixture-of-
        experts runs of the paper are not at hand.
        """,
    published=(
        Published(
            value=0.0009,
            metric="relative gap of the loss to the best of an exhaustive search, test set",
            data="3,700 models, 100T tokens",
            where="arXiv 2503.04715; the repository's README says 0.09 %, the abstract 0.07 %",
        ),
        Published(
            value="-0.713, 0.307, 0.571",
            metric="exponents of N and D in the rate, of D in the batch",
            data="near-best runs of all cells",
            where="arXiv 2503.04715, abstract",
        ),
    ),
    parts=(
        Part(
            name="released: within 0.25 %",
            says="The run nearest to the prediction is within 0.25 % of the best of a left-out cell, on average.",
            gain=(0.25, "excess of the law"),
            unit="% of the loss",
        ),
        Part(
            name="released: beats one setting",
            says="That is less than one rate and batch for all cells costs.",
            gain=("excess of one setting", "excess of the law"),
            unit="% of the loss",
        ),
        Part(
            name="released: beats N alone",
            says="And less than a rate that depends on the size alone.",
            gain=("excess of N alone", "excess of the law"),
            unit="% of the loss",
        ),
        Part(
            name="live: rate falls with N",
            says="Here too the best rate falls with parameters.",
            gain=(0.0, "live exponent of N"),
            unit="exponent",
        ),
        Part(
            name="live: rate rises with D",
            says="And does not fall with tokens.",
            gain=("live exponent of D", 0.0),
            unit="exponent",
        ),
        Part(
            name="live: batch rises with D",
            says="The best batch rises with tokens.",
            gain=("live exponent of the batch", 0.0),
            unit="exponent",
        ),
        Part(
            name="live: within 1 %",
            says="The predicted setting of the largest, longest cell is within 1 % of the best of its grid.",
            gain=(1.0, "live excess"),
            unit="% of the loss",
        ),
    ),
    seeds=5,
    minutes=10,
    data=("steplaw_dense", "books_lm"),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """A fifth of the released cells, and one live sweep. At smoke scale a sweep of a few updates."""
    full = scale == Scale.FULL
    return {**(released(seed) if full else {}), **live(seed, small=not full)}


def released(seed: int) -> dict[str, float]:
    """Mean excess over this seed's cells, in percent."""
    return {f"excess of {name}": sum(values) / len(values) for name, values in excesses(seed).items()}


def excesses(seed: int) -> dict[str, list[float]]:
    """Excess of each way over the best of each of this seed's cells, left out in turn, in percent."""
    import numpy as np

    from smidgen.laws.optimal_step import cells_of, fit_optimal_step, sweep
    from smidgen.tasks.scaling_testbed import steps

    runs = steps()
    points = sweep(runs)
    cells = cells_of(points)
    found: dict[str, list[float]] = {"the law": [], "one setting": [], "N alone": []}
    for number, (cell, rows) in enumerate(cells.items()):
        if number % FOLDS != seed % FOLDS:
            continue
        others = np.setdiff1d(np.arange(len(points)), rows)
        law = fit_optimal_step({k: v[others] for k, v in runs.items()}, seed=seed)
        at = law.predict(*cell)
        near = {"the law": (at.lr, at.batch_tokens)}
        near["one setting"] = _one_setting(points, {c: r for c, r in cells.items() if c != cell})
        near["N alone"] = (_by_size(points, others, cell[0]), at.batch_tokens)
        for name, setting in near.items():
            found[name].append(100 * excess(points, rows, *setting))
    return found


def excess(points: Any, rows: Any, lr: float, batch: float) -> float:
    """Relative excess of the run nearest to a setting over the best of the rows."""
    import numpy as np

    own = points.take(rows)
    apart = np.log(own.column("lr") / lr) ** 2 + np.log(own.column("batch_tokens") / batch) ** 2
    return float(own.y_R[apart.argmin()] / own.y_R.min() - 1)


def _one_setting(points: Any, cells: dict[Any, Any]) -> tuple[float, float]:
    """The rate and batch of any run that are best on average over the cells."""
    import numpy as np

    settings = {
        (round(np.log(lr), 1), round(np.log(batch), 1)): (lr, batch)
        for lr, batch in zip(points.column("lr"), points.column("batch_tokens"), strict=True)
    }
    costs = {s: np.mean([excess(points, rows, *s) for rows in cells.values()]) for s in settings.values()}
    return min(costs, key=lambda s: costs[s])


def _by_size(points: Any, rows: Any, n: float) -> float:
    """The rate at n by a line through the near-best runs' logarithms of rate and size."""
    import numpy as np

    from smidgen.laws.optimal_step import TOLERANCE, near_best

    own = points.take(rows)
    near = near_best(own, TOLERANCE)
    slope, level = np.polyfit(np.log(own.column("n")[near]), np.log(own.column("lr")[near]), 1)
    return float(np.exp(level + slope * np.log(n)))


def live(seed: int, small: bool) -> dict[str, float]:
    """Exponents of the live sweep, and the excess in percent of what it predicts for the cell left out."""
    import math

    import numpy as np

    from smidgen.laws.optimal_step import bowl, fit_optimal_step, sweep
    from smidgen.nets.products import full_speed
    from smidgen.papers.byte_models import config, loss_after, sizes

    shapes, tokens, rates, batches = (
        (((8, 1), (16, 1), (24, 1)), (256, 512, 1024), (0.01, 0.02), (64, 128))
        if small
        else (SHAPES, TOKENS, RATES, BATCHES)
    )
    runs: dict[str, list[float]] = {name: [] for name in ("n", "d", "lr", "batch_tokens", "loss")}
    edges, batch_edges = 0, 0
    with full_speed():
        for at_shape, at_tokens in CELLS:
            shape, d = config(*shapes[at_shape]), tokens[at_tokens]
            grid = [(lr, b, loss_after(shape, d, lr, b, seed, small)) for lr in rates for b in batches]
            best = min(grid, key=lambda g: g[2])
            edges += best[0] in (rates[0], rates[-1])
            batch_edges += best[1] in (batches[0], batches[-1])
            for lr, b, loss in grid:
                if math.isfinite(loss):
                    for name, value in zip(runs, (float(sizes(shape)[1]), d, lr, b, loss), strict=True):
                        runs[name].append(float(value))
    arrays = {k: np.array(v) for k, v in runs.items()}
    points = sweep(arrays)
    left = (points.column("n") == points.column("n").max()) & (points.column("d") == max(tokens))
    law = fit_optimal_step({k: v[~left] for k, v in arrays.items()}, tolerance=LIVE_TOLERANCE, seed=seed)
    at = law.predict(float(points.column("n").max()), max(tokens))
    void = math.nan if edges > 2 and not small else 1.0
    own = points.take(left)
    condition = bowl(own.column("lr"), own.column("batch_tokens"), own.y_R).condition if len(own) >= 8 else math.nan
    return {
        "live exponent of N": void * law.lr_coefficients[1],
        "live exponent of D": void * law.lr_coefficients[2],
        "live exponent of the batch": void * law.batch_coefficients[1],
        "live excess": void * 100 * excess(points, np.flatnonzero(left), at.lr, at.batch_tokens),
        "live cells at an edge": float(edges),
        "live cells at an edge of batches": float(batch_edges),
        "live bowl of the left cell": condition,
    }
