"""Claim 077: distances by optimal transport forecast scores of data mixtures, and choose them (Kang et al., 2023)."""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

SHARES = (  # of the digits 0 to 9 in each source
    (0.2425,) * 4 + (0.005,) * 6,
    (0.04 / 7,) * 4 + (0.32,) * 3 + (0.04 / 7,) * 3,
    (0.01 / 7,) * 7 + (0.33,) * 3,
)
SIZES, TARGET = (150, 300), 1500
FEATURES = 30  # principal components
VALID, SEEN = 500, 250  # validation rows, balanced; those that distances are measured to
CLOUD = 25  # rows of a class that make its cloud
SPLITS, FITTED = 20, 0.4  # of the mixtures, for interpolation
EDGE = 0.4  # share of the second source up to which extrapolation is fitted
FORMS = {"pq-ot": "pq", "quadratic": "shares quadratic", "ot alone": "ot", "linear ot": "linear", "pq": "shares pq"}

CLAIM = Claim(
    title="projektor: mixing data sources before buying",
    year=2023,
    gives="From a small sample of each seller's data, forecast how a model would score on any mixture and at a larger "
    "size, then search for the best proportions. Use it before buying or collecting from several sources.",
    room="data",
    implements=("data.projektor", "data.mixtures", "data.transport", "data.sinkhorn"),
    keywords="buy training data, data market, data sellers, mixture of sources, data selection, optimal transport, "
    "predict accuracy before collecting, how much data from where, small sample of each source, mixture weights, "
    "scaling forecast, pilot runs, mislabelled source, image classification",
    says="A score forecast that is linear in the optimal transport distance of a mixture from the validation set, with "
    "coefficients quadratic in the shares, errs less than forecasts from the shares alone, inside and outside the "
    "range of the pilots and at larger sizes, and its gradient finds better mixtures.",
    experiment="""
        Three sources of MNIST digits (in place of CIFAR-10 and Fashion-MNIST), skewed as published: 97 % of the first
        are 0 to 3, 96 % of the second 4 to 6, 99 % of the third 7 to 9. Each holds 1,500 rows and shows 300. Features:
        30 principal components of what is shown and of 500 balanced validation rows; the learner is logistic
        regression (C = 1), its accuracy on these rows is the score; distances are measured to 250 of them. All 66
        mixtures in tenths are trained at 150 and 300 rows, three draws each; medians count. Every form has a ridge
        penalty, chosen by leaving one mixture out on those that it is fitted to.

        Interpolation: fitted to 40 % of the mixtures, 20 random splits; extrapolation: fitted where the second source
        has at most 40 %; both are the mean over the two sizes. Projection: from both sizes to 1,500 rows, for 20 random
        mixtures that were no pilots, against the medians of three draws. Choice: 100 gradient steps from equal shares,
        for 1,500 rows; the best of the 66 mixtures is found there on three draws and measured again on five others,
        as the chosen and the equal mixture are. Wrong labels: half the labels of source (seed mod 3) are replaced by
        others, and all is done again. Class distances are between clouds of 25 shown rows, the same for all draws, in
        place of those of each draw. Forecasts are kept within 0 and 1. Not judged: the distance alone, also for
        projection and choice; other forms; projection of the logarithm of the error; and what share of the accuracies
        at the target lies in the 90 % band of its forecast.
        """,
    published=(
        Published(
            value="lower error than all baselines",
            metric="absolute error of forecast accuracy: inside and outside the pilots' mixtures, at larger sizes",
            data="CIFAR-10 and others, class-skewed sources",
            where="arXiv 2307.02460",
        ),
    ),
    parts=(
        Part(
            name="interpolation",
            says="Inside the range of the pilots, PQ-OT errs less than the quadratic in the shares.",
            gain=("interpolation quadratic", "interpolation pq-ot"),
            unit="points of accuracy",
        ),
        Part(
            name="extrapolation",
            says="Outside of it, by at least 15 % less.",
            gain=("extrapolation saved", 0.0),
            margin=15.0,
            unit="% of the error",
        ),
        Part(
            name="projection: within 3 points",
            says="The accuracy at five times the rows is forecast within 3 points on average.",
            gain=(3.0, "projection"),
            unit="points of accuracy",
        ),
        Part(
            name="projection: beats the pilots' size",
            says="And better than by the forecast for the larger pilot size.",
            gain=("projection N1", "projection"),
            unit="points of accuracy",
        ),
        Part(
            name="choice: near the best",
            says="The chosen mixture is within 1 point of the best of 66.",
            gain=("chosen", "best"),
            margin=-1.0,
            null=-2.0,
            unit="points of accuracy",
        ),
        Part(
            name="choice: wrong labels",
            says="Where half of one source's labels are wrong, the chosen mixture beats equal shares.",
            gain=("wrong labels: chosen", "wrong labels: equal"),
            unit="points of accuracy",
        ),
    ),
    seeds=5,
    minutes=6,
    resampled=VALID / (3 * TARGET),
    data=("mnist10k",),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """All of it on one draw of the sources. At smoke scale few rows of made-up classes, mixtures in thirds."""
    from threadpoolctl import threadpool_limits

    full = scale == Scale.FULL
    with threadpool_limits(1, user_api="blas"):  # small matrices
        market = Market(seed, full)
        values = market.forms() | market.projected() | market.chosen("")
        return values | Market(seed, full, wrong=seed % 3).chosen("wrong labels: ")


class Market:
    """Three sources, a buyer with validation rows, and the fitted pilots."""

    def __init__(self, seed: int, full: bool, wrong: int | None = None) -> None:
        import numpy as np

        from smidgen.data.mixtures import mixture_grid
        from smidgen.data.projektor import Projektor
        from smidgen.kit.seeds import derive_seed

        self.seed, self.full, self.draws = seed, full, 3 if full else 1
        self.sizes, self.target = (SIZES, TARGET) if full else ((30, 60), 120)
        rng = np.random.default_rng(derive_seed(seed, "sources"))
        X, y, Xv, yv = _digits() if full else _made_up(rng)
        pools = [list(rng.permutation(np.flatnonzero(y == c))) for c in range(10)]
        rows = [_take(pools, share, self.target, rng) for share in SHARES]
        labels = [y[own] for own in rows]
        if wrong is not None:
            half = rng.permutation(self.target)[: self.target // 2]
            labels[wrong][half] = (labels[wrong][half] + rng.integers(1, 10, len(half))) % 10
        count = (VALID if full else 50) // 10
        valid = np.concatenate([rng.permutation(np.flatnonzero(yv == c))[:count] for c in range(10)])
        seen = np.arange(len(valid)) % count < count * SEEN // VALID
        known = np.concatenate([X[own[: self.sizes[1]]] for own in rows] + [Xv[valid]])
        centre = known.mean(0)
        basis = np.linalg.svd(known - centre, full_matrices=False)[2][:FEATURES].T
        unit = ((known - centre) @ basis).std()
        self.sources = [((X[own] - centre) @ basis / unit, labels[i]) for i, own in enumerate(rows)]
        self.valid = (Xv[valid] - centre) @ basis / unit, yv[valid]
        self.pilots = Projektor(terms="pq", repeats=self.draws, most=CLOUD if full else 2, seed=seed)
        shown = [(own[: self.sizes[1]], classes[: self.sizes[1]]) for own, classes in self.sources]
        target = self.valid[0][seen], self.valid[1][seen]
        self.pilots.fit(shown, target, self.sizes, self.train, mixture_grid(3, 10 if full else 3))

    def train(self, X: Any, y: Any, seed: int = 0) -> float:
        """Accuracy on the validation rows."""
        from sklearn.linear_model import LogisticRegression

        learner = LogisticRegression(C=1.0, tol=1e-2, max_iter=200)
        return float(learner.fit(X, y).score(*self.valid))

    def measured(self, p: Any, draws: int, name: str) -> Any:
        """Accuracies `[draws]` of mixtures at the target size, from all rows of the sources."""
        import numpy as np

        from smidgen.kit.seeds import derive_seed

        edges = np.rint(np.cumsum([0.0, *p]) * self.target).astype(int)
        scores = []
        for draw in range(draws):
            rng = np.random.default_rng(derive_seed(self.seed, name, draw, *np.round(p, 6)))
            rows = [rng.choice(self.target, n, replace=False) for n in np.diff(edges)]
            X, y = (np.concatenate([s[k][own] for s, own in zip(self.sources, rows, strict=True)]) for k in (0, 1))
            scores.append(self.train(X, y))
        return np.array(scores)

    def forms(self) -> dict[str, float]:
        """Mean absolute errors of all forms on pilots that they did not see, in points."""
        import numpy as np

        from smidgen.data.mixtures import MixturePerformance
        from smidgen.kit.seeds import derive_seed

        P, values = self.pilots.ratios_, {}
        inner = P[:, 1] <= EDGE + 1e-9
        orders = [
            np.random.default_rng(derive_seed(self.seed, "split", k)).random(len(P))
            for k in range(SPLITS if self.full else 2)
        ]
        tests = {"interpolation": [order < np.quantile(order, FITTED) for order in orders], "extrapolation": [inner]}
        medians = [np.median(self.pilots.ot_, 2), np.median(self.pilots.score_, 2)]
        for test, fitted_parts in tests.items():
            for name, terms in FORMS.items():
                off = []
                for fitted in fitted_parts:
                    for ot, score in zip(*medians, strict=True):
                        model = MixturePerformance(terms).fit(P[fitted], ot[fitted], score[fitted])
                        told = np.clip(model.predict(P[~fitted], ot[~fitted]), 0, 1)
                        off.append(np.abs(told - score[~fitted]).mean())
                values[f"{test} {name}"] = 100 * float(np.mean(off))
        values["extrapolation saved"] = 100 * (1 - values["extrapolation pq-ot"] / values["extrapolation quadratic"])
        values["correlation of distance and accuracy"] = float(np.corrcoef(medians[0][1], medians[1][1])[0, 1])
        return values

    def projected(self) -> dict[str, float]:
        """Errors of forecasts for the target size, in points."""
        import numpy as np

        from smidgen.data.mixtures import project
        from smidgen.kit.seeds import derive_seed

        pilots = self.pilots
        P = np.random.default_rng(derive_seed(self.seed, "new")).dirichlet(np.ones(3), 20 if self.full else 3)
        truth = np.array([np.median(self.measured(p, self.draws, "new")) for p in P])
        ot = np.array([np.median(pilots.distances(p), 1) for p in P]).T
        low, high = (np.clip(model.predict(P, at), 0, 1) for model, at in zip(pilots.models_, ot, strict=True))
        wrong = [np.log(np.clip(1 - score, 0.01, 1)) for score in (low, high)]
        told = {
            "projection": pilots.predict(P, self.target),
            "projection N1": high,
            "projection ot alone": pilots.with_terms("ot").predict(P, self.target),
            "projection of log error": 1 - np.exp(project(wrong[0], wrong[1], self.sizes, self.target)),
        }
        band = pilots.interval(P, self.target, draws=200 if self.full else 10)
        values = {name: 100 * float(np.abs(score - truth).mean()) for name, score in told.items()}
        values["projection minus measured"] = 100 * float((told["projection"] - truth).mean())
        return values | {"projection in band": float(np.mean((band[0] <= truth) & (truth <= band[1])))}

    def chosen(self, name: str) -> dict[str, float]:
        """Accuracy at the target size of the chosen mixture, equal shares, and the best of the grid, in percent."""
        import numpy as np

        draws = 5 if self.full else 1
        steps, alone = 100 if self.full else 2, self.pilots.with_terms("ot")
        mixtures = {"chosen": self.pilots.select(self.target, steps=steps).p, "equal": np.full(3, 1 / 3)}
        mixtures["chosen by distance alone"] = alone.select(self.target, steps=steps).p
        if not name:
            grid = self.pilots.ratios_ if self.full else self.pilots.ratios_[:3]
            scores = [np.median(self.measured(p, self.draws, "grid")) for p in grid]
            mixtures["best"] = grid[int(np.argmax(scores))]
        values = {name + k: 100 * float(self.measured(p, draws, "final").mean()) for k, p in mixtures.items()}
        shares = {f"{name}{k} share {i}": float(p[i]) for k, p in mixtures.items() if k != "equal" for i in range(3)}
        return values | shares | {f"{name}trainings": float(self.pilots.cost.trainings)}


def _take(pools: list[list[int]], share: Any, size: int, rng: Any) -> Any:
    """Rows of a source, taken out of the pools by class, in random order."""
    import numpy as np

    edges = np.rint(np.cumsum([0.0, *share]) * size).astype(int)
    return rng.permutation([pool.pop() for pool, n in zip(pools, np.diff(edges), strict=True) for _ in range(n)])


def _digits() -> tuple[Any, Any, Any, Any]:
    """Pixels in [0, 1] and digits: rows for the sources, rows for validation."""
    import numpy as np

    from smidgen.tasks import known

    found: list[Any] = []
    for part in ("train", "test"):
        with np.load(known.place("mnist10k") / f"{part}.npz") as file:
            found += [file["images"].reshape(len(file["images"]), -1) / 255, file["labels"].astype(int)]
    return tuple(found)  # type: ignore[return-value]


def _made_up(rng: Any) -> tuple[Any, Any, Any, Any]:
    import numpy as np

    centres = rng.normal(size=(10, 8))
    y, yv = np.repeat(np.arange(10), 80), np.repeat(np.arange(10), 10)
    return centres[y] + rng.normal(size=(800, 8)), y, centres[yv] + rng.normal(size=(100, 8)), yv
