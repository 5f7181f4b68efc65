"""Claim 044: five small runs forecast the loss of larger and over-trained models (Gadre et al., 2024)."""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

WIDTHS = (16, 24, 32, 48)  # one layer; the first is trained longest, the last two are forecast
SHORT, LONG = 20.0, 160.0  # tokens a parameter
FAR = ((2, 160.0), (3, 80.0))  # (width, tokens a parameter) that are forecast
TEXTS = ("rpj", "c4_original", "rw_original")
RATES, BATCH = {16: 0.04, 24: 0.02, 32: 0.01, 48: 0.01}, 512  # the best of 0.005, 0.01, 0.02, 0.04, 0.08 on seed 1000

CLAIM = Claim(
    title="Over-training law: forecasting big runs from small ones",
    year=2024,
    gives="Predict the loss and average task error of a much larger or longer language-model training from a handful "
    "of cheap runs, before committing the money. Covers small models trained far beyond the usual number of tokens.",
    room="laws",
    implements=("laws.overtraining", "laws.form", "laws.law", "laws.solver", "tasks.scaling_testbed"),
    keywords="scaling law, training cost, compute budget, extrapolate loss, downstream accuracy, small language "
    "models, tokens per parameter, Chinchilla, over-training, planning, forecast with interval, pilot runs, "
    "pretraining",
    says="L = E + (a M^eta + b M^-eta) C^-eta, fitted to four small models at 20 tokens a parameter and the smallest "
    "one at many more, forecasts the loss of models that took 300 times the compute; with an exponential law of error "
    "by loss, also their average error over 17 tasks.",
    experiment="""
        Released table of 104 models on three texts. For each text, the law is fitted as published to 11M, 79M, 154M and
        411M parameters at 20 tokens a parameter and 11M at 320; the law of error to these and 1.4B at 20. The RedPajama
        models of 1.4B (900B tokens) and 6.9B (138B) are forecast, and the loss of all other models of each text. These
        numbers are the same in every seed: their intervals are points.

        Live: byte-level decoders of one layer on books, widths 16, 24, 32 and 48 (7,000 to 40,000 parameters with the
        embedding), AdamW with a cosine to a tenth, batches of 512 bytes; first weights of standard deviation
        width^-0.5, because with 0.02 the shortest runs learn nothing but how frequent each byte is; rates the best on
        seed 1000, which is not judged. Fitted to all four at 20 tokens a parameter and the smallest at 160; forecast
        are the third at 160 and the fourth at 80. A seed is another draw of first weights and windows. Also measured on
        the same five runs: a power law of compute alone with a constant, the loss of the nearest run (in the logarithms
        of N and D), and the law with N counted without the embedding, which is most of so small a model. Planned were
        10,000 to 250,000 parameters in two to four layers, which takes hours here.
        """,
    published=(
        Published(
            value="0.7 %",
            metric="relative error of the forecast loss on C4, 1.4B parameters on 900B tokens of RedPajama",
            data="104 models, recomputed from the released table",
            where="github.com/mlfoundations/scaling, exp_data; arXiv 2403.08540, abstract: 300 times less compute",
        ),
        Published(
            value="3.6 % and 0.05 %",
            metric="relative error of the forecast 17-task error, 1.4B and 6.9B",
            data="104 models, recomputed from the released table",
            where="github.com/mlfoundations/scaling, exp_data; arXiv 2403.08540, abstract: 20 times less compute",
        ),
    ),
    parts=(
        Part(
            name="RedPajama: loss",
            says="Both large RedPajama models' losses are forecast within 1.5 %.",
            gain=(1.5, "rpj loss error"),
            unit="% of the loss",
        ),
        Part(
            name="RedPajama: tasks",
            says="Their 17-task errors are forecast within 5 %.",
            gain=(5.0, "rpj task error"),
            unit="% of the error",
        ),
        *(
            Part(
                name=f"{name}: all others",
                says=f"The mean error over all other models on {name} is below 3 %.",
                gain=(3.0, f"{text} loss error of others"),
                unit="% of the loss",
            )
            for text, name in (("rpj", "RedPajama"), ("c4_original", "C4"), ("rw_original", "RefinedWeb"))
        ),
        Part(
            name="live: within 3 %",
            says="Here, larger and longer runs are forecast within 3 % on average.",
            gain=(3.0, "live error"),
            unit="% of the loss",
        ),
        Part(
            name="live: beats compute alone",
            says="With a smaller error than a power law of compute that ignores tokens a parameter.",
            gain=("live error of compute alone", "live error"),
            unit="% of the loss",
        ),
        Part(
            name="live: beats the nearest run",
            says="And than the loss of the nearest run that was made.",
            gain=("live error of the nearest run", "live error"),
            unit="% of the loss",
        ),
    ),
    seeds=3,
    minutes=9,
    data=("scaling_overtrain104", "books_lm"),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """The released table, and seven live runs. At smoke scale a made table, a few updates of the smallest models."""
    full = scale == Scale.FULL
    return {**released(None if full else _made_models()), **live(seed, small=not full)}


def released(models: Any = None) -> dict[str, float]:
    """Errors on the 104 models, or on others given as such a table, in percent."""
    import numpy as np

    from smidgen.laws.overtraining import SIZES, fit_downstream, fit_overtraining, forecast_downstream
    from smidgen.tasks.scaling_testbed import overtraining

    models, values = models or overtraining(), {}
    for text in TEXTS:
        own = models.take(models.text == text)
        small = np.any([own.at(n, 1.0) for n in SIZES] + [own.at(SIZES[0], 16.0)], 0)
        law = fit_overtraining(own.n[small], own.d[small], own.loss[small])
        off = 100 * np.abs(law.predict(own.n, own.d) / own.loss - 1)
        values[f"{text} loss error of others"] = float(off[~small].mean())
        if text == "rpj":
            six, large = small | own.at(1.44e9, 1.0), own.at(1.44e9, 32.0) | own.at(6.89e9, 1.0)
            errors = fit_downstream(own.loss[six], own.error[six])
            told = forecast_downstream(law, errors, own.n[large], own.d[large])[1]
            values["rpj loss error"] = float(off[large].max())
            values["rpj task error"] = float(100 * np.abs(told / own.error[large] - 1).max())
    return values


def live(seed: int, small: bool) -> dict[str, float]:
    """Errors on runs made here, in percent."""
    from dataclasses import replace

    import numpy as np

    from smidgen.laws.form import Parameter, PowerSum, Term
    from smidgen.laws.law import fit
    from smidgen.laws.overtraining import fit_overtraining
    from smidgen.laws.points import Points
    from smidgen.nets.products import full_speed
    from smidgen.papers.byte_models import config, loss_after, sizes

    widths = (8, 16, 24, 32) if small else WIDTHS
    shapes = [replace(config(width, 1), init_std=width**-0.5) for width in widths]
    counts, inner = ([float(sizes(shape)[k]) for shape in shapes] for k in (0, 1))
    wanted = [(i, SHORT) for i in range(4)] + [(0, LONG), *FAR]
    with full_speed():
        losses = [
            loss_after(
                shapes[i],
                (m / 20 + 4) * 128 if small else m * counts[i],
                0.01 if small else RATES[widths[i]],
                128 if small else BATCH,
                seed,
                small,
            )
            for i, m in wanted
        ]
    n, m, loss = np.array([counts[i] for i, _ in wanted]), np.array([m for _, m in wanted]), np.array(losses)
    d, fitted = n * m, np.arange(len(n)) < 5
    law = fit_overtraining(n[fitted], d[fitted], loss[fitted])
    compute = PowerSum(
        "compute", ("c",), (Parameter(name="e", log=True), Parameter(name="a", log=True), Parameter(name="b", low=0.0)),
        (Term("e"), Term("a", {"c": ("b", 1.0)})), {"c": float(np.exp(np.log(n * d).mean()))},
    )  # fmt: skip
    alone = fit(compute, Points.of({"c": (n * d)[fitted]}, loss[fitted]), huber=np.inf)
    told = {
        "live error": law.predict(n, d)[~fitted],
        "live error of compute alone": alone.predict({"c": (n * d)[~fitted]}, anyway=True),
        "live error of the nearest run": _nearest(n, d, loss, fitted),
    }
    bare = np.array([inner[i] for i, _ in wanted])
    told["live error without the embedding"] = fit_overtraining(bare[fitted], d[fitted], loss[fitted]).predict(
        bare[~fitted], d[~fitted]
    )
    values: dict[str, Any] = {k: float(100 * np.abs(v / loss[~fitted] - 1).mean()) for k, v in told.items()}
    for i in range(4):
        values |= {f"parameters {i}": counts[i], f"parameters {i} without the embedding": inner[i]}
    return values | {f"loss {i} at {m:g}": value for (i, m), value in zip(wanted, losses, strict=True)}


def _made_models() -> Any:
    """Models of each text that obey both laws but for a thousandth."""
    import numpy as np

    from smidgen.laws.overtraining import SIZES
    from smidgen.tasks.scaling_testbed import Models

    wanted = [
        *((n, t) for n in SIZES for t in (1.0, 2.0)),
        (SIZES[0], 16.0),
        (1.44e9, 1.0),
        (1.44e9, 32.0),
        (6.89e9, 1.0),
    ]
    n, times = (np.tile(column, len(TEXTS)) for column in np.array(wanted).T)
    d = 20 * times * n
    loss = (1.84 + 166 * n**-0.27 + 250 * d**-0.27) * (1 + 1e-3 * np.sin(np.arange(len(n))))
    return Models(np.repeat(TEXTS, len(wanted)), n, d, times, loss, 0.86 - 2.2 * np.exp(-0.715 * loss))


def _nearest(n: Any, d: Any, loss: Any, fitted: Any) -> Any:
    import numpy as np

    places = np.log(np.stack([n, d], 1))
    apart = ((places[~fitted][:, None] - places[fitted][None]) ** 2).sum(-1)
    return loss[fitted][apart.argmin(1)]
