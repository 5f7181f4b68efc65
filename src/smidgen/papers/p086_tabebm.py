"""Claim 086: rows sampled from an energy of each class help classifiers of small tables (Margeloiu et al., 2024).

Where this differs from the plan of the re-test, and why; all was fixed before seeds below 1000 ran.

- Pixels and measurements that are constant in the training rows are dropped and standardised values kept within 5, in
  all arms: a value that training rows barely show would else be hundreds of deviations off in the test rows.
- Nearest neighbours choose their number by leave-one-out, as here they always do. With a fixed 5 of them and 2 rows a
  class any copies help, which says nothing of the method.
- "No cell loses more than two points", of cells of (data set, rows, classifier), cannot be judged on the least of 36
  noisy means, which is below -2 by chance alone. Each seed has two draws: the worst cell of the one is read in the
  other, and the other way round. That is an unbiased measurement of a cell that looks bad, though not always of the
  truly worst one; all 36 gains are kept beside it.
- Intervals are Student's over seeds, as of all claims here, not a bootstrap.
"""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

SETS = ("iris", "wine", "breast_cancer", "digits")
ROWS = (20, 50, 100)  # training rows
HEADS = ("neighbours", "logistic", "forest")
ARMS = ("none", "copies", "jitter", "smote", "tabebm", "shared")
MADE, DRAWS, TREES = 100, 2, 100  # made rows a class; draws a seed
JITTER = 0.142  # standard deviation that 200 steps of noise 0.01 add up to
CLIP = 5.0  # standard deviations

CLAIM = Claim(
    title="TabEBM: synthetic rows for small tables",
    year=2024,
    gives="Enlarge a table of some dozens or hundreds of labelled rows with made-up rows for each class, without "
    "training a generator. Worth a try for small or uneven classes; always compare it with plain oversampling and "
    "jitter.",
    room="data",
    implements=(
        "data.tabebm.model",
        "data.tabebm.energy",
        "data.tabebm.backbones",
        "data.tabebm.surrogate",
        "data.tabebm.sampler",
        "data.tabebm.table",
        "data.synthetic_quality",
    ),
    keywords="small table, tabular data, few rows, CSV, synthetic data, data augmentation, class imbalance, "
    "oversampling, SMOTE alternative, energy-based model, Langevin sampling, TabPFN, patients table, numeric and "
    "categorical columns, outlier detection, privacy of rows",
    says="Rows sampled from class-specific energies, added to a small training table, improve classifiers.",
    experiment=f"""
        Iris, wine, breast cancer and digits as scikit-learn carries them; 20, 50 and 100 training rows, stratified, all
        others for testing; {MADE} made rows a class. Balanced accuracy of nearest neighbours (their number chosen),
        logistic regression (C = 1) and a forest of {TREES} trees; two draws a seed. Rows are standardised on training
        rows, constant columns dropped. The paper's energy is that of a pretrained TabPFN, which cannot be had here
        without a download: kernel ridge regression on the same surrogate task stands in for it, fixed beforehand
        (bandwidth: median distance in the class, ridge 0.1). Steps, noise and negatives are as published, with the
        whole gradient for each chain; the published code divides it by the number of chains.

        Arms: no more rows; copies; copies with noise of {JITTER}, as the chain alone adds; SMOTE of 5 neighbours;
        TabEBM; and TabEBM whose classes are told from each other, not from far corners ("shared"). The cell that looks
        worst (data, rows, classifier) in one draw is measured in the other. Beside it, not judged: density and
        coverage (5 neighbours) against test rows, and how often a made row is nearer to a training row than to a test
        row (one half where nothing is remembered).

        Two draws of training rows share a fifth of them on average: intervals are widened by 0.2 / 0.8.
        """,
    published=(
        Published(
            value=75.99,
            metric="balanced accuracy with made rows, kNN; 71.33 without",
            data="Adult, 160 training rows, 50 made a class",
            where="andreimargeloiu/TabEBM, tutorial 2",
        ),
        Published(
            value="consistent improvement, most on small data sets",
            metric="accuracy of classifiers trained on real and made rows",
            data="tables of varied sizes",
            where="arXiv 2409.16118, abstract",
        ),
    ),
    parts=(
        Part(
            name="few rows",
            says="With at most 10 training rows a class, made rows help: mean over data, sizes and classifiers.",
            gain=("few: tabebm", "few: none"),
            unit="points",
        ),
        Part(
            name="own energies",
            says="An energy for each class, against corners, is at least as good as one that tells classes apart.",
            gain=("all: tabebm", "all: shared"),
            unit="points",
        ),
        Part(
            name="no great loss",
            says="The cell that looks worst in one draw loses at most 2 points in the other.",
            gain=("worst cell", 0.0),
            margin=-2.0,
            null=-2.0,
            unit="points",
        ),
        *(
            Part(
                name=f"{head}: 10 to 50 rows",
                says=f"With 10 to 50 rows a class, made rows help {head}.",
                gain=(f"10 to 50, {head}: tabebm", f"10 to 50, {head}: none"),
                unit="points",
                group="classifiers",
            )
            for head in HEADS
        ),
    ),
    needs={"classifiers": 2},
    seeds=8,
    minutes=8,
    resampled=0.25,
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """Balanced accuracies in points of all arms, by groups of cells. At smoke scale one small cell."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    from smidgen.kit.seeds import derive_seed

    full = scale == Scale.FULL
    cells = [(name, n) for name in SETS for n in ROWS] if full else [("iris", 30)]  # 10 a class: in both groups
    with threadpool_limits(1, user_api="blas"):
        tables = {name: _table(name) for name, _ in cells}
        measured = [
            [_cell(*tables[name], n, derive_seed(seed, name, n, k), full) for name, n in cells] for k in range(DRAWS)
        ]
    score = 100 * np.array([[scores for scores, _ in draw] for draw in measured])  # draws, cells, arms, heads
    each = np.array([n / len(np.unique(tables[name][1])) for name, n in cells])  # rows a class
    mean = score.mean(0)
    values = {f"all: {arm}": mean[:, a].mean() for a, arm in enumerate(ARMS)}
    values |= {f"few: {arm}": mean[each <= 10, a].mean() for a, arm in enumerate(ARMS)}
    for h, head in enumerate(HEADS):
        values |= {f"all, {head}: {arm}": mean[:, a, h].mean() for a, arm in enumerate(ARMS)}
        values |= {f"10 to 50, {head}: {arm}": mean[each >= 10, a, h].mean() for a, arm in enumerate(ARMS)}
    gain = score[:, :, ARMS.index("tabebm")] - score[:, :, ARMS.index("none")]
    first, second = gain.reshape(DRAWS, -1)
    values["worst cell"] = (second[first.argmin()] + first[second.argmin()]) / 2
    for (name, n), own in zip(cells, gain.mean(0), strict=True):
        values |= {f"gain: {name} {n}, {head}": g for head, g in zip(HEADS, own, strict=True)}
    for name in measured[0][0][1]:
        values[name] = np.mean([quality[name] for draw in measured for _, quality in draw])
    return {k: float(v) for k, v in values.items()}


def _cell(X: Any, y: Any, n: int, seed: int, full: bool) -> tuple[Any, dict[str, float]]:
    """Balanced accuracy `[arms, heads]` on one draw, and the quality of the rows of each arm that makes some."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    from smidgen.data.synthetic_quality import density_coverage, privacy_distance
    from smidgen.kit.seeds import derive_seed
    from smidgen.learn.forest import ForestClassifier
    from smidgen.learn.knn import KNNClassifier
    from smidgen.learn.logistic import LogisticClassifier
    from smidgen.tasks.metrics import METRICS

    rows, new = train_test_split(np.arange(len(y)), train_size=n, stratify=y, random_state=derive_seed(seed, "draw"))
    varied = X[rows].std(0) > 0
    mean, std = X[rows][:, varied].mean(0), X[rows][:, varied].std(0)
    train, test = (np.clip((X[part][:, varied] - mean) / std, -CLIP, CLIP) for part in (rows, new))
    made = made_rows(train, y[rows], MADE if full else 5, 200 if full else 3, derive_seed(seed, "made"))
    scores, quality = [], {}
    for arm in ARMS:
        more, labels = made.get(arm, (train[:0], y[:0]))
        heads = (
            KNNClassifier(random_state=seed),
            LogisticClassifier(strength=1.0),
            ForestClassifier(trees=TREES if full else 5, random_state=seed),
        )
        fitted = [h.fit(np.concatenate([train, more]), np.concatenate([y[rows], labels])) for h in heads]
        scores.append([METRICS["balanced_accuracy"].score(y[new], h.predict_proba(test)) for h in fitted])
        if len(more):
            density, coverage = density_coverage(test, more)
            privacy = privacy_distance(more, train, test, seed)
            quality |= {f"density: {arm}": density, f"coverage: {arm}": coverage}
            quality |= {f"nearer to training: {arm}": privacy.nearer_training, f"distance: {arm}": privacy.to_training}
    return np.array(scores), quality


def made_rows(X: Any, y: Any, count: int, steps: int, seed: int) -> dict[str, tuple[Any, Any]]:
    """Rows and labels of each arm that makes some; copies, jitter and SMOTE begin at the same real rows."""
    from dataclasses import replace

    import numpy as np
    from scipy.spatial.distance import cdist

    from smidgen.data.tabebm import TabEBM

    rng = np.random.default_rng(seed)
    classes = np.unique(y)
    labels = np.repeat(classes, count)
    start, smote = [], []
    for c in classes:
        own = X[y == c]
        at = rng.integers(len(own), size=count)
        k = min(5, len(own) - 1)
        near = np.argsort(cdist(own, own), axis=1, kind="stable")[:, 1 : k + 1]  # itself, or its copy, is the first
        other = near[at, rng.integers(k, size=count)]
        start.append(own[at])
        smote.append(own[at] + rng.random((count, 1)) * (own[other] - own[at]))
    start = np.concatenate(start)
    made = {
        "copies": (start, labels),
        "jitter": (start + JITTER * rng.standard_normal(start.shape), labels),
        "smote": (np.concatenate(smote), labels),
    }
    settings = TabEBM(n_steps=steps, random_state=seed)
    for arm, own in (("tabebm", settings), ("shared", replace(settings, contrast="others"))):
        made[arm] = own.fit(X, y).sample(count)
    return made


def _table(name: str) -> tuple[Any, Any]:
    from sklearn import datasets

    return getattr(datasets, f"load_{name}")(return_X_y=True)
