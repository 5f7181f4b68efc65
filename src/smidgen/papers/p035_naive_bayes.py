"""Claim 035: naive Bayes needs few labels, logistic regression wins with many (Zheng et al., 2023)."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

SETS = ("trec", "sst2", "snips_intents")
SHOTS = (1, 2, 5, 10, 20, 50, 200)  # labels a class
FEATURES = (25, 50, 100, 200, 400)
STRENGTHS = (10.0, 1.0, 0.1)  # 1 / C
POOL, TEST = 5000, 1000  # rows of a set; those that a seed tests on

CLAIM = Claim(
    title="Naive Bayes or logistic regression on frozen features",
    year=2023,
    gives="On embeddings from a frozen encoder with only a few labels per class, naive Bayes fits in one pass and gets "
    "near its own best very quickly. It also shows from how many labels on logistic regression wins.",
    room="learn",
    implements=("learn.naive_bayes", "learn.probes", "learn.logistic", "studies.two_regimes"),
    keywords="few labels, small labelled reviews set, sentiment, linear probe, naive Bayes, logistic regression, "
    "frozen encoder, embeddings, few-shot, text classification, image features, learning curve, generative versus "
    "discriminative, no GPU, CPU only, streaming fit, fast baseline",
    says="With n features, naive Bayes comes near its own best error with about log n labels, logistic regression with "
    "about n. On frozen features of pre-trained networks, naive Bayes is at least as good with few labels; with many, "
    "logistic regression overtakes it (two regimes, clearest for supervised encoders).",
    experiment="""
        Simulation: the paper's mixture of two Gaussians in 25 to 400 independent features, raw units. m* is the first
        number of labels whose error on 10,000 new rows is within 0.01 of the Bayes error, one chain of draws a seed; a
        seed's slope is that of log m* on log n over five n. Slopes are thresholds, not differences: naive Bayes must
        have at most 0.3 on average and surely less than 0.6, logistic regression at least 0.6 and surely more than
        0.3, so that each interval keeps out of the other's half. The ratio is judged on its logarithm, as m* of naive
        Bayes is a small whole number. The mixture helps naive Bayes: its features are independent, and classes move
        apart as n grows, so that its m* may even fall.

        Embeddings: the paper shows images; here all-MiniLM-L6-v2 (384 features, trained by contrast) reads questions
        (TREC, 6 classes), film reviews (SST-2, 2) and commands (Snips, 7), 5000 rows of each. A seed tests on 1000 of
        them and learns from draws of the others, balanced (a class with too few rows gives all), features scaled to
        [0, 1] over the draw; at 1 and 2 labels a class 20 draws are averaged, at 200 there is one. Both probes see the
        same rows; logistic regression has C = 1. Naive Bayes must be better, not merely equal: equal probes are no
        regime. With one label of each of two classes both are the same rule, so that on SST-2 only the draws of two
        labels count. The last two groups ask for 2 of 3 sets each. Also reported, not judged: all
        errors by labels a class, so that `crossings` can say where they cross for good, and logistic regression with
        the best of C = 0.1, 1, 10 by test error.

        Draws of one set overlap: intervals are widened by 1000 / 4000, for the simulation without need.
        """,
    published=(
        Published(
            value="O(log n) labels for naive Bayes, O(n) for logistic regression",
            metric="labels to come near the own asymptotic error, n features",
            data="theory, and a mixture of Gaussians",
            where="arXiv 2302.02334, abstract",
        ),
        Published(
            value="two regimes in supervised pre-trained models; naive Bayes shows promise in few-shot cases",
            metric="test error against number of labels",
            data="CIFAR-10 and CIFAR-100, seven frozen vision encoders",
            where="arXiv 2302.02334, abstract",
        ),
    ),
    parts=(
        Part(
            name="naive Bayes: slope",
            says="Labels that naive Bayes needs grow with features to a power of at most 0.3 (shown: minus the power).",
            gain=(0.0, "nb slope"),
            margin=-0.3,
            null=-0.6,
            group="simulation",
        ),
        Part(
            name="logistic regression: slope",
            says="Labels that logistic regression needs grow with features to a power of at least 0.6.",
            gain=("lr slope", 0.0),
            margin=0.6,
            null=0.3,
            group="simulation",
        ),
        Part(
            name="ratio at 400",
            says="With 400 features logistic regression needs ten times the labels of naive Bayes.",
            gain=("lr log10 m*", "nb log10 m*"),
            margin=1.0,
            unit="powers of ten",
            group="simulation",
        ),
        *(
            Part(
                name=f"{name}: 1-2 labels",
                says=f"{name}, 1 and 2 labels a class: naive Bayes has the lower error.",
                gain=(f"{name} lr few", f"{name} nb few"),
                unit="error",
                group="few labels",
            )
            for name in SETS
        ),
        *(
            Part(
                name=f"{name}: 200 labels",
                says=f"{name}, 200 labels a class: logistic regression has the lower error.",
                gain=(f"{name} nb 200", f"{name} lr 200"),
                unit="error",
                group="many labels",
            )
            for name in SETS
        ),
    ),
    needs={"few labels": 2, "many labels": 2},
    seeds=10,
    minutes=5,
    resampled=TEST / (POOL - TEST),
    data=SETS,
    added="2026-11-24",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """One seed: a simulation over all n, and draws from each set. At smoke scale small n, and tables for the texts."""
    from threadpoolctl import threadpool_limits

    import smidgen.studies.two_regimes  # noqa: F401  before the limit, which holds only for libraries that are loaded

    with threadpool_limits(1, user_api="blas"):  # small matrices: more threads only wait for each other
        full = scale == Scale.FULL
        values = simulated(FEATURES if full else (6, 12), seed)
        for name in SETS:
            X, y = _embedded(name) if full else _stand_in(name)
            values |= _curves(name, X, y, *((SHOTS, 20, TEST) if full else ((1, 2, 5), 2, 60)), seed)
    return values


def simulated(features: Sequence[int], seed: int) -> dict[str, float]:
    """m* of both probes by n, the slopes of their logarithms, and log10 of the last; NaN where it was not reached."""
    import numpy as np

    from smidgen.learn.logistic import LogisticClassifier
    from smidgen.learn.naive_bayes import SharedVarianceGaussianNB
    from smidgen.studies.two_regimes import samples_to_reach

    probes = {"nb": SharedVarianceGaussianNB(scale="none", var_floor=0.0), "lr": LogisticClassifier(strength=1.0)}
    values: dict[str, float] = {}
    for name, probe in probes.items():
        needed = [samples_to_reach(probe, 2, n, seed=seed) or math.nan for n in features]
        values |= {f"{name} m* {n}": float(m) for n, m in zip(features, needed, strict=True)}
        values[f"{name} slope"] = float(np.polyfit(np.log(features), np.log(needed), 1)[0])
        values[f"{name} log10 m*"] = math.log10(needed[-1])
    return values


def _curves(name: str, X: Any, y: Any, shots: Sequence[int], repeats: int, test: int, seed: int) -> dict[str, float]:
    """Mean errors by labels a class; `few` is the mean of 1 and 2 labels, `best lr` has the C of least test error."""
    import numpy as np

    from smidgen.kit.seeds import derive_seed
    from smidgen.learn.logistic import LogisticClassifier
    from smidgen.learn.naive_bayes import SharedVarianceGaussianNB
    from smidgen.studies.two_regimes import learning_curve_pair

    order = np.random.default_rng(derive_seed(seed, name)).permutation(len(y))
    new, rest = order[:test], order[test:]
    values: dict[str, float] = {}
    for s in shots:
        by_strength = {}
        sizes, draws = [s * len(np.unique(y))], max(1, min(repeats, 2 * repeats // s))
        for strength in STRENGTHS:
            probes = (SharedVarianceGaussianNB(), LogisticClassifier(strength=strength))
            by_strength[strength] = learning_curve_pair(
                X[rest], y[rest], X[new], y[new], sizes, draws, probes=probes, seed=seed
            )
        values[f"{name} nb {s}"] = float(by_strength[1.0]["err_nb"].mean())
        values[f"{name} lr {s}"] = float(by_strength[1.0]["err_lr"].mean())
        values[f"{name} best lr {s}"] = min(float(table["err_lr"].mean()) for table in by_strength.values())
    for probe in ("nb", "lr", "best lr"):
        values[f"{name} {probe} few"] = (values[f"{name} {probe} 1"] + values[f"{name} {probe} 2"]) / 2
        values[f"{name} {probe} 200"] = values[f"{name} {probe} {shots[-1]}"]
    return values


def crossings(runs: Sequence[Mapping[str, float]]) -> dict[str, tuple[int, tuple[float, float]] | None]:
    """By set: labels a class at which logistic regression (C = 1) overtakes, with interval; a seed is a repeat."""
    import pandas as pd

    from smidgen.studies.two_regimes import crossing_point

    found = {}
    for name in SETS:
        rows = [(s, i, r[f"{name} nb {s}"], r[f"{name} lr {s}"]) for i, r in enumerate(runs) for s in SHOTS]
        found[name] = crossing_point(pd.DataFrame(rows, columns=pd.Index(["m", "repeat", "err_nb", "err_lr"])))
    return found


@functools.cache
def _embedded(name: str) -> tuple[Any, Any]:
    import numpy as np

    from smidgen.kit.seeds import derive_seed
    from smidgen.nets import minilm
    from smidgen.tasks import known

    texts, labels = known.texts(name)
    rows = np.random.default_rng(derive_seed(0, "pool", name)).permutation(len(texts))[:POOL]
    return minilm.load().encode([texts[i] for i in rows]).astype(np.float64), labels[rows]


def _stand_in(name: str) -> tuple[Any, Any]:
    """A small table that scikit-learn carries: enough to see that it runs, without the data sets or the encoder."""
    from sklearn import datasets

    loaders = {"trec": datasets.load_iris, "sst2": datasets.load_breast_cancer, "snips_intents": datasets.load_wine}
    X, y = loaders[name](return_X_y=True)
    return X, y
