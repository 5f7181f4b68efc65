"""Claim 037: how strictly to filter depends on the compute (Goyal et al., 2024)."""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

POOL, NOISES = 600, (0.0, 0.3, 0.6, 0.9, 1.3)  # rows of a pool; noise on its pixels, best first
PASSES = (1, 2, 4, 8, 16, 32)  # checkpoints of trainings on a single pool
BUDGETS = (2, 8, 30, 120, 600)  # in passes over one pool
FLOOR = 0.02  # error that no pool removes: taken, not fitted
WRONG = (0.0, 0.15, 0.3, 0.45, 0.6)  # shares of wrong labels, in the control

CLAIM = Claim(
    title="Filtering laws: how picky to be for your compute",
    year=2024,
    gives="Short training deserves only your cleanest data; long training wears it out, so rougher data pays. Fitted "
    "on one run for each quality tier, these curves tell how much to keep, without training the combinations.",
    room="laws",
    implements=("laws.filtering",),
    keywords="data curation, data filtering, quality versus quantity, repeated data, epochs, image-text pairs, web "
    "data, CLIP, scaling law, compute budget, data selection, learning curve, half-life of data, mixture",
    says="The best share of the data to keep grows with compute, and laws that are fitted to trainings on single pools "
    "choose it, better than any fixed share.",
    experiment="""
        MNIST digits of 14 x 14 pixels (Fashion-MNIST is not at hand), five disjoint pools of 600 with normal noise of
        0, 0.3, 0.6, 0.9 and 1.3 on their pixels; a network of 128 hidden units, SGD with a constant step of 0.1 in
        batches of 32; error on 2,000 clean images. Laws are fitted to trainings on each pool alone at 1 to 32 passes,
        with a floor of 2 %, which is taken and not fitted. Then the best 1 to 5 pools together are trained for as many
        samples as 2, 8, 30, 120 and 600 passes over one pool, and the law's choice at each budget is looked up in that
        table. Regret: its error less the best of the same seed's table, which chance makes a little too good.

        Control, reported and not judged: the same with 0 to 60 % wrong labels instead of noise. There the best pool
        alone should win in long trainings, which the law, always falling, cannot say.
        """,
    published=(
        Published(
            value="changes with compute",
            metric="best share of filtered web data to keep",
            data="DataComp medium, 32M to 640M samples",
            where="arXiv 2404.07177, abstract",
        ),
    ),
    parts=(
        Part(
            name="short: filter",
            says="In the shortest training the best pool alone is better than all.",
            gain=("error of 5 at 2", "error of 1 at 2"),
            unit="error",
        ),
        Part(
            name="long: keep",
            says="In the longest the law's choice is better than the best pool alone.",
            gain=("error of 1 at 600", "error of the law at 600"),
            unit="error",
        ),
        Part(
            name="regret",
            says="The law's choice costs at most 1 point on average over the budgets.",
            gain=(0.01, "regret"),
            unit="error",
        ),
        *(
            Part(
                name=f"beats {q}",
                says=f"Its error over all budgets is lower than that of always keeping {q}.",
                gain=(f"error of always {q}", "error of the law"),
                unit="error",
            )
            for q in range(1, 6)
        ),
    ),
    seeds=5,
    minutes=6,
    data=("mnist10k",),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """One seed of pools. At smoke scale small pools of made images."""
    import numpy as np

    from smidgen.papers.pools import mislabelled_pools, noisy_pools

    full = scale == Scale.FULL
    images, test = _images(full)
    size = POOL if full else 40
    values = table(noisy_pools(images, size, NOISES, seed), test, size, seed, BUDGETS)
    wrong = table(mislabelled_pools(images, size, WRONG, seed), test, size, seed, BUDGETS[-1:])
    control = {f"control: {k}": v for k, v in wrong.items() if k.startswith(("error of 1", "error of 5"))}
    return {k: float(v) for k, v in (values | control).items() if np.isfinite(v)}


def table(pools: list[Any], test: Any, size: int, seed: int, budgets: tuple[int, ...]) -> dict[str, float]:
    """Errors of every prefix at every budget, and of the law's choice."""
    import numpy as np

    from smidgen.laws.filtering import best_prefix, fit_pools
    from smidgen.papers.pools import errors_after, together

    seen = [size * p for p in PASSES]
    floor = FLOOR
    curves = [(size, seen, np.clip(errors_after(pool, test, seen, seed), floor + 1e-3, 1.0)) for pool in pools]
    laws = fit_pools(curves, floor, seed=seed)
    order = sorted(range(len(pools)), key=lambda i: laws[i].b)
    samples = [size * b for b in budgets]
    errors_QG = np.array(
        [errors_after(together([pools[i] for i in order[: q + 1]]), test, samples, seed) for q in range(len(pools))]
    )
    chosen = [c.pools - 1 for c in best_prefix(laws, samples)]
    own_G = errors_QG[chosen, np.arange(len(samples))]
    values = {f"error of {q + 1} at {b}": errors_QG[q, g] for q in range(len(pools)) for g, b in enumerate(budgets)}
    values |= {f"error of the law at {b}": own_G[g] for g, b in enumerate(budgets)}
    values |= {f"pools at {b}": chosen[g] + 1.0 for g, b in enumerate(budgets)}
    values |= {f"error of always {q + 1}": errors_QG[q].mean() for q in range(len(pools))}
    return values | {"error of the law": own_G.mean(), "regret": (own_G - errors_QG.min(0)).mean()}


def _images(full: bool) -> tuple[Any, Any]:
    import numpy as np

    from smidgen.papers.pools import Images
    from smidgen.tasks.known import place

    if not full:
        rng = np.random.default_rng(0)
        y = rng.integers(0, 10, 400)
        x = np.eye(10)[y] @ rng.random((10, 20)) + 0.1 * rng.normal(size=(400, 20))
        return Images(x[:300], y[:300]), Images(x[300:], y[300:])
    parts = []
    for part in ("train", "test"):
        with np.load(place("mnist10k") / f"{part}.npz") as file:
            pooled = file["images"].reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196) / 255.0
            parts.append(Images(pooled, file["labels"].astype(int)))
    return parts[0], parts[1]
