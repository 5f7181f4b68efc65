"""Claim 097: the best learning rate and batch size are power laws of size and tokens (Step Law, 2025)."""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

WIDTHS = (16, 32, 48)  # of the live sweep, one layer
TOKENS = (65_536, 131_072, 262_144)
CELLS = ((0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2))  # (width, tokens); the last, largest and longest, is predicted
RATES, BATCHES = tuple(0.0025 * 2.0**k for k in range(5)), (64, 128, 256)  # batches in bytes; 64 is one window
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

        Live: byte-level decoders of one layer on books, widths 16, 32 and 48 (3,000 to 28,000 parameters without the
        embedding), for 66 to 262 thousand bytes, six of the nine cells; five rates a factor of 2 apart from 0.0025,
        batches of 64 (one window), 128 and 256 bytes; AdamW, cosine to a tenth; first weights of standard deviation
        width^-0.5, because with 0.02 a cell's best rate is the one at which a model first learns more than how frequent
        each byte is. Fitted to five cells (runs within 1 %: seeds differ by more than 0.25 % here), the sixth (largest,
        longest) is predicted. The live part is void where more than 2 cells have their best rate at an edge of the
        grid: then its numbers are not a number; batches at an edge are counted and do not void it. Planned were all
        nine cells of up to a million bytes, which takes an hour a seed here; a seed took four and a half minutes of a
        shared core in development. The mixture-of-experts runs of the paper are not at hand.
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
    """A fifth of the released cells, and one live sweep. At smoke scale a made table, and a sweep of a few updates."""
    full = scale == Scale.FULL
    return {**released(seed, None if full else _made_runs()), **live(seed, small=not full)}


def released(seed: int, runs: Any = None) -> dict[str, float]:
    """Mean excess over this seed's cells, in percent."""
    return {f"excess of {name}": sum(values) / len(values) for name, values in excesses(seed, runs).items()}


def excesses(seed: int, runs: Any = None) -> dict[str, list[float]]:
    """Excess of each way over the best of each of this seed's cells of the released runs (or of those given), left out
    in turn, in percent."""
    import numpy as np

    from smidgen.laws.optimal_step import cells_of, fit_optimal_step, sweep
    from smidgen.tasks.scaling_testbed import steps

    runs = runs or steps()
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


def _made_runs() -> dict[str, Any]:
    """Nine cells whose losses are bowls around a law."""
    import numpy as np

    axes = (1e7, 1e8, 1e9), (1e9, 1e10, 1e11), 2e-4 * 2.0 ** np.arange(6), 2e4 * 4.0 ** np.arange(4)
    n, d, lr, batch = (a.ravel() for a in np.meshgrid(*axes, indexing="ij"))
    off = np.log(lr / (1.8 * n**-0.713 * d**0.307)) ** 2 + np.log(batch / (0.58 * d**0.571)) ** 2
    loss = 2 + n**-0.1 + d**-0.1 + 0.01 * off
    return {"n": n, "d": d, "lr": lr, "batch_tokens": batch, "loss": loss}


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
    from dataclasses import replace

    import numpy as np

    from smidgen.laws.optimal_step import bowl, fit_optimal_step, sweep
    from smidgen.nets.products import full_speed
    from smidgen.papers.byte_models import config, sizes

    widths, tokens, rates, batches = (
        ((8, 16, 24), (256, 512, 1024), (0.01, 0.02), (64, 128)) if small else (WIDTHS, TOKENS, RATES, BATCHES)
    )
    runs: dict[str, list[float]] = {name: [] for name in ("n", "d", "lr", "batch_tokens", "loss")}
    edges, batch_edges = 0, 0
    with full_speed():
        for at, width in enumerate(widths):
            shape, ds = replace(config(width, 1), init_std=width**-0.5), [tokens[t] for w, t in CELLS if w == at]
            found = {b: _losses(shape, ds, rates, b, seed, small) for b in batches}
            for d in ds:
                grid = [(lr, b, found[b][d, lr]) for lr in rates for b in batches]
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


def _losses(
    of: Any, tokens: list[int], rates: tuple[float, ...], batch_tokens: int, seed: int, small: bool
) -> dict[tuple[int, float], float]:
    """What `byte_models.loss_after` gives for each length and rate, all K models trained side by side on the same
    windows, in common products: at this size a step of many takes little longer than a step of one."""
    from dataclasses import replace

    import torch
    from torch.func import functional_call, vmap
    from torch.nn.utils import parameters_to_vector

    from smidgen.nets.decoder import Decoder
    from smidgen.papers import byte_models as bytes_
    from smidgen.train.schedules import Cosine

    torch.set_num_threads(1)
    rows = max(1, batch_tokens // bytes_.LENGTH)
    ends = {d: max(2, round(d / (rows * bytes_.LENGTH))) for d in tokens}
    falls = {d: Cosine(steps=n, warmup=max(1, round(bytes_.WARMUP * n)), least=bytes_.FLOOR) for d, n in ends.items()}
    text_N, held_RT = bytes_._texts(small)
    model = Decoder(replace(of, kernels="plain"), seed)
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def loss_of(flat_P: Any, ids_BT: Any, targets_BT: Any) -> Any:
        parts = flat_P.split([shape.numel() for shape in shapes.values()])
        weights = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return functional_call(model, weights, (ids_BT,), {"targets_BT": targets_BT})

    losses_of = vmap(loss_of, in_dims=(0, None, None))
    training, out = [(d, lr) for d in tokens for lr in rates], {}
    flat_KP = parameters_to_vector(model.parameters()).detach().repeat(len(training), 1)
    mean_KP, square_KP, (first, second, decay) = torch.zeros_like(flat_KP), torch.zeros_like(flat_KP), (0.9, 0.95, 0.1)
    for step in range(max(ends.values())):
        ids_BT, targets_BT = bytes_._batch(text_N, rows, seed, step)
        flat_KP.requires_grad_()
        (grad_KP,) = torch.autograd.grad(losses_of(flat_KP, ids_BT, targets_BT).sum() / targets_BT.numel(), flat_KP)
        with torch.no_grad():  # AdamW, gradients clipped at 1
            grad_KP *= (1 / (grad_KP.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1)
            mean_KP.lerp_(grad_KP, 1 - first)
            square_KP.mul_(second).addcmul_(grad_KP, grad_KP, value=1 - second)
            rate_K1 = torch.tensor([[lr * falls[d](step)] for d, lr in training])
            root_KP = (square_KP / (1 - second ** (step + 1))).sqrt_().add_(1e-8)
            flat_KP.mul_(1 - decay * rate_K1).sub_(rate_K1 / (1 - first ** (step + 1)) * mean_KP / root_KP)
            done_K = torch.tensor([ends[d] == step + 1 for d, _ in training])
            if done_K.any():
                sums = [losses_of(flat_KP[done_K], *bytes_._split(part_RT)) for part_RT in held_RT.split(128)]
                held_K = torch.stack(sums).sum(0) / (len(held_RT) * bytes_.LENGTH)
                ready = [run for run, done in zip(training, done_K.tolist(), strict=True) if done]
                out |= dict(zip(ready, held_K.nan_to_num(nan=float("inf")).tolist(), strict=True))
                training = [run for run in training if run not in out]
                flat_KP, mean_KP, square_KP = (x.detach()[~done_K] for x in (flat_KP, mean_KP, square_KP))
    return out
