"""Claim 091: the spectrum of a kernel tells the errors of random-feature ridge regression (Simon et al., 2023)."""

import functools
from collections.abc import Sequence
from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

SETTINGS = (  # samples, features, ridge, draws
    (128, 64, 0.01, 240), (128, 512, 0.01, 60), (128, 128, 1.0, 60), (256, 1000, 0.1, 30),
)  # fmt: skip
WIDTHS = (16, 32, 64, 128, 256, 512, 1024)  # of features, and of samples
LENGTH, POWER, NOISE = 1500, 1.5, 0.5  # eigenvalues, both exponents, noise variance
GRID = (64, 128, 256, 512)  # samples, and features, on images
GRID_RIDGE = 0.1  # images have length 1, so that the kernel's diagonal is 1

CLAIM = Claim(
    title="More is better: a theory of random features",
    year=2023,
    gives="Predict before training how kernel or random-feature regression will err, whatever the sample size, width "
    "and ridge, and pick the best ridge. It also says whether fitting the training set exactly is wise for your task.",
    room="laws",
    implements=("laws.eigenframework", "laws.random_features", "laws.law", "laws.draws"),
    keywords="learning curve theory, kernel ridge regression, random features, overfitting, interpolation, double "
    "descent, best regularisation, ridge parameter, how many samples, wide networks, spectrum of a kernel, label "
    "noise, power law, forecast of test error",
    says="Train and test error of random-feature ridge regression follow from the eigenvalues of the kernel and the "
    "coefficients of the target, for any samples, features and ridge. With the best ridge, more samples and more "
    "features always help. Image tasks want labels to be met almost exactly; with noise added, they do not.",
    experiment="""
        Gaussian: 1,500 eigenfunctions with independent normal values, eigenvalues and squared coefficients i^-1.5,
        noise of variance 0.5, linear random features. Test errors are exact (no test sample). Four settings of samples,
        features and ridge, 30 to 240 draws each; the deviation of their mean from the prediction, the largest of four.
        Then, with the predicted best ridge, 16 to 1,024 features at 128 samples, and samples at 128 features, 40 draws
        in which the smaller sets are parts of the larger: the smallest fall of the mean error from one to the next;
        and at a ridge of 1e-6 the mean error at 128 features over the larger of those at 64 and 256.

        Images: the paper has CIFAR-10, SVHN and MNIST with convolutional kernels; here 10,000 MNIST digits, scaled to
        length 1, targets of +1 and -1 for each of 10 classes. The spectrum is that of the ReLU kernel on 3,000 images;
        models learn from others and are tested on the 2,000 of the official split. Ridge 0.1, samples and features 64
        to 512, 10 draws each; the largest deviation of the 16. Then the kernel itself on 1,000 images, ridges from 1e-4
        to 1e4 and none, 3 draws: the training error over the test error (noise included) at the ridge with the least
        test error, without added noise and with five times the error without ridge. Also reported, not judged: what
        the spectrum predicts of these ratios, and the exponents of the task with the ratio that they imply.

        Draws of the images overlap: intervals are widened by 2,000 / 8,000, for the Gaussian tasks without need.
        """,
    published=(
        Published(
            value="with the ridge optimised, the test error falls with samples and with features",
            metric="test mean squared error of random-feature regression",
            data="theory, for any spectrum",
            where="arXiv 2311.14646, abstract",
        ),
        Published(
            value="near-optimal performance needs training to much smaller training error than test error",
            metric="fitting ratio of kernel regression on tasks with power-law spectra",
            data="theory; convolutional neural tangent kernels on image sets",
            where="arXiv 2311.14646, abstract",
        ),
    ),
    parts=(
        Part(
            name="Gaussian: test error",
            says="In each of the four settings the mean test error is within 5 % of the prediction.",
            gain=(5.0, "gaussian test off"),
            unit="% of the error",
        ),
        Part(
            name="Gaussian: training error",
            says="And the mean training error within 12 %.",
            gain=(12.0, "gaussian train off"),
            unit="% of the error",
        ),
        Part(
            name="more features",
            says="With the best ridge the error falls at each doubling of features (smallest fall).",
            gain=("smallest fall by features", 0.0),
            unit="% of the error",
        ),
        Part(
            name="more samples",
            says="And at each doubling of samples.",
            gain=("smallest fall by samples", 0.0),
            unit="% of the error",
        ),
        Part(
            name="peak without ridge",
            says="Almost without ridge, as many features as samples are worse by more than five times than half or "
            "twice as many.",
            gain=("log10 peak", 0.699),
            unit="powers of ten",
        ),
        Part(
            name="images: test error",
            says="On digits, each of 16 mean test errors is within 10 % of the prediction.",
            gain=(10.0, "images test off"),
            unit="% of the error",
        ),
        Part(
            name="images: interpolate",
            says="Without added noise the best ridge leaves a training error below 0.05 of the test error.",
            gain=(0.05, "images ratio 0"),
            unit="ratio",
        ),
        Part(
            name="images: do not, with noise",
            says="With noise of five times the error, the best ridge leaves more than 0.15.",
            gain=("images ratio 5", 0.15),
            unit="ratio",
        ),
    ),
    seeds=5,
    minutes=5,
    resampled=0.25,
    data=("mnist10k",),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """One seed: Gaussian tasks, and images. At smoke scale fewer eigenfunctions and draws, and noise for images."""
    from threadpoolctl import threadpool_limits

    full = scale == Scale.FULL
    with threadpool_limits(1, user_api="blas"):  # small matrices: more threads only wait for each other
        values = gaussian(seed, *((LENGTH, SETTINGS) if full else (300, ((32, 16, 0.01, 4), (32, 64, 0.1, 4)))))
        values |= more(seed, *((LENGTH, WIDTHS, 40) if full else (300, (8, 16, 32, 64), 4)))
        values |= images(seed, *((3000, GRID, 10, 1000) if full else (300, (16, 32), 2, 60)), small=not full)
    return values


def gaussian(seed: int, length: int, settings: Sequence[tuple[int, int, float, int]]) -> dict[str, float]:
    """Largest deviations of mean errors from the predictions, in percent, and each of them (signed)."""
    import numpy as np

    from smidgen.kit.seeds import derive_seed
    from smidgen.laws.eigenframework import ridge_risk

    values: dict[str, float] = {}
    spectrum = _spectrum(length)
    for n, k, ridge, draws in settings:
        rng = np.random.default_rng(derive_seed(seed, "gaussian", n, k, ridge))
        found = np.mean([_gaussian_errors(rng, length, [n], [k], [ridge])[0] for _ in range(draws)], 0)
        told = ridge_risk(*spectrum, n, k, ridge, NOISE, whole=True)
        for name, one, other in (("test", found[0], told.test), ("train", found[1], told.train)):
            values[f"gaussian {name} off {n} {k} {ridge:g}"] = 100 * float(one / other - 1)
    for name in ("test", "train"):
        values[f"gaussian {name} off"] = max(abs(v) for key, v in values.items() if key.startswith(f"gaussian {name}"))
    return values


def more(seed: int, length: int, widths: Sequence[int], draws: int) -> dict[str, float]:
    """Mean test errors by features and by samples with the predicted best ridge, their smallest falls (percent), and
    the height of the peak without ridge."""
    import numpy as np

    from smidgen.kit.seeds import derive_seed
    from smidgen.laws.eigenframework import optimal_ridge

    middle = widths[len(widths) // 2]
    same = [middle] * len(widths)
    values: dict[str, float] = {}
    rng = np.random.default_rng(derive_seed(seed, "more"))
    for name, n, k in (("features", same, widths), ("samples", widths, same)):
        ridges = optimal_ridge(*_spectrum(length), n, k, NOISE, whole=True)[0]
        found = np.mean([_gaussian_errors(rng, length, n, k, ridges) for _ in range(draws)], 0)[:, 0]
        values |= {f"error with {w} {name}": float(e) for w, e in zip(widths, found, strict=True)}
        values[f"smallest fall by {name}"] = 100 * float((1 - found[1:] / found[:-1]).min())
    around = [middle // 2, middle, 2 * middle]
    low, top, high = np.mean(
        [_gaussian_errors(rng, length, [middle] * 3, around, [1e-6] * 3) for _ in range(draws)], 0
    )[:, 0]
    return values | {"log10 peak": float(np.log10(top / max(low, high)))}


def _spectrum(length: int) -> tuple[Any, Any]:
    import numpy as np

    power = np.arange(1, length + 1.0) ** -POWER
    return power, power


def _gaussian_errors(rng: Any, length: int, n: Sequence[int], k: Sequence[int], ridges: Any) -> Any:
    """(test, train) errors `[settings, 2]` of one draw; smaller sets of samples or features are parts of larger."""
    import numpy as np

    from smidgen.laws.random_features import FeatureMap, draw_features, fit_feature_ridge

    values, power = _spectrum(length)
    rows, target = rng.standard_normal((max(n), length)), np.sqrt(power)
    y = rows @ target + rng.normal(0.0, NOISE**0.5, max(n))
    whole, x = draw_features("gaussian", length, max(k), rng), rows * np.sqrt(values)
    errors = []
    for samples, features, ridge in zip(n, k, ridges, strict=True):
        part = FeatureMap("gaussian", whole.weights_DK[:, :features], whole.shift_K[:features])
        model = fit_feature_ridge(x[:samples], y[:samples], part, float(ridge))
        learnt = (part.weights_DK @ model.coefficients_KO)[:, 0] * np.sqrt(values / features)
        train = np.mean((y[:samples] - model.predict(x[:samples])) ** 2)
        errors.append((((target - learnt) ** 2).sum() + NOISE, train))
    return np.array(errors)


def images(seed: int, points: int, grid: Sequence[int], draws: int, large: int, small: bool) -> dict[str, float]:
    """Largest deviation of mean test errors from the predictions (percent), best fitting ratios, exponents."""
    import numpy as np

    from smidgen.kit.seeds import derive_seed
    from smidgen.laws.eigenframework import optimal_fitting_ratio, optimal_ridge, ridge_risk
    from smidgen.laws.random_features import (
        draw_features,
        estimate_spectrum,
        expected_kernel,
        fit_feature_ridge,
        kernel_errors,
        powerlaw_exponents,
    )

    x, y, new_x, new_y = _stand_in() if small else _mnist()
    rng = np.random.default_rng(derive_seed(seed, "images"))
    order = rng.permutation(len(x))
    known, rest = order[:points], order[points:]
    kernel = expected_kernel("relu", x[known], x[known])
    spectrum = estimate_spectrum(kernel, y[known])
    values: dict[str, float] = {}
    for n in grid:
        for k in grid:
            found = []
            for _ in range(draws):
                rows = rng.permutation(rest)[:n]
                model = fit_feature_ridge(x[rows], y[rows], draw_features("relu", x.shape[1], k, rng), GRID_RIDGE)
                found.append(((new_y - model.predict(new_x)) ** 2).sum(1).mean())
            told = ridge_risk(*spectrum, n, k, GRID_RIDGE).test
            values[f"images test off {n} {k}"] = 100 * float(np.mean(found) / told - 1)
    values["images test off"] = max(abs(v) for v in values.values())

    ridges = np.array([0.0, *np.geomspace(1e-4, 1e4, 49)])
    curves: dict[float, list[Any]] = {0.0: [], 5.0: []}
    for _ in range(3):
        rows = rng.permutation(rest)[:large]
        own, across = (expected_kernel("relu", some, x[rows]) for some in (x[rows], new_x))
        clean, noise = 0.0, 0.0
        for times, curve in curves.items():
            noise = times * clean
            noisy = y[rows] + rng.normal(0.0, (noise / y.shape[1]) ** 0.5, (large, y.shape[1]))
            test_R, train_R = kernel_errors(own, noisy, across, new_y, ridges)
            clean = clean or float(test_R[0])  # the first curve is without noise
            curve.append((test_R + noise, train_R))
    ridgeless = ridge_risk(*spectrum, large).test
    for times, curve in curves.items():
        test_R, train_R = np.mean(curve, 0)
        best = int(np.argmin(test_R))
        values[f"images ratio {times:g}"] = float(train_R[best] / test_R[best])
        told = optimal_ridge(*spectrum, large, noise=times * ridgeless)[1]
        values[f"images ratio {times:g} predicted"] = float(told.fitting_ratio)
    exponents = powerlaw_exponents(kernel, y[known], repeats=2, seed=seed)
    values |= {"images alpha": exponents.alpha, "images beta": exponents.beta}
    for times in curves if exponents.alpha > 1 and 1 < exponents.beta < 2 * exponents.alpha + 1 else ():
        implied = optimal_fitting_ratio(exponents.alpha, exponents.beta, times)
        values[f"images ratio {times:g} by exponents"] = implied
    return values


@functools.cache
def _mnist() -> tuple[Any, Any, Any, Any]:
    import numpy as np

    from smidgen.tasks import known

    parts = []
    for name in ("train", "test"):
        with np.load(known.place("mnist10k") / f"{name}.npz") as file:
            parts += _scaled(file["images"].reshape(len(file["labels"]), -1), file["labels"])
    x, y, new_x, new_y = parts
    return x, y, new_x, new_y


def _stand_in() -> tuple[Any, Any, Any, Any]:
    """Noise about ten centres: enough to see that it runs, without the data set."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 700)
    x, y = _scaled(rng.normal(size=(10, 30))[labels] + rng.normal(size=(700, 30)), labels)
    return x[:500], y[:500], x[500:], y[500:]


def _scaled(pixels: Any, labels: Any) -> tuple[Any, Any]:
    """Images of length 1, and +1 and -1 for each class."""
    import numpy as np

    x = pixels.astype(float)
    return x / np.linalg.norm(x, axis=1, keepdims=True), np.where(labels[:, None] == np.arange(10), 1.0, -1.0)
