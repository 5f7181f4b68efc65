"""Learning curves of real tasks, and how well smidgen forecasts them: fitted on up to n labels, asked about 4n.

    python benchmarks/curves.py measure development   # -> results/curves-development.jsonl, of which priors are made
    python benchmarks/curves.py measure judged        # -> results/curves-judged.jsonl, which are forecast
    python benchmarks/curves.py prior                 # -> src/smidgen/laws/curve_prior.json, development curves only
    python benchmarks/curves.py run                   # -> results/curves.json: forecasts beside the last value and a
                                                      #    least-squares power law

Two questions. "Shown": the curve up to n is measured on rows that are held out, as learning curves are usually drawn,
four draws a size: what is asked is how it goes on. "Own": only the n labels are there, as for `smidgen plan`, which
cross-validates with parts of each training part; chance in so few rows is then most of every way's error. All three
ways are told the same points; for "own" these say nothing of the held-out rows, and smidgen's law, which needs the loss
of a constant besides, takes it from the n labels too. The truth at 2n, 4n and 10n is one training on so many labels,
the n among them, scored on up to 2,000 rows that no training saw. For "shown" the points at the small sizes and at n
are scored on these same rows: what chance in them does to the points it does to the truth, so that this question is
easier than a curve whose truth is scored on rows of its own. Tables are split as everywhere (`draws.py`); regression
tables by turns, and those cut into classes are for development, as in `priors.py`. Development draws after the first
are of the quick methods alone: what they are for, chance in few rows, differs little between methods.
"""

import argparse
import json
import os
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from draws import DATA, classification_tables, development_tables, draw_rows, read_table  # noqa: E402

RESULTS = HERE / "results"
NUMBERS = ("tab_abalone", "tab_bike_hourly", "tab_concrete", "tab_energy", "tab_wine_quality")
TEXTS = {
    "development": ("sms_spam", "pros_cons", "clinc150", "germediq"),
    "judged": ("trec", "sst2", "snips_intents", "banking77"),
}
METHODS = {
    "classification": ("learn/logistic", "learn/extra_trees"),
    "regression": ("learn/ridge", "learn/extra_trees"),
}
QUICK = ("learn/logistic", "learn/ridge")
SIZES, MAX_TEST, MIN_TEST, MOST_CLASSES = (25, 50, 100), 2000, 50, 10
TIMES = {"development": (1, 2, 4, 10), "later development": (1, 2, 4), "judged": (1, 4)}
# Orders of the rows. The judged ones 0 and 1 were judged once, with a fault (see docs/benchmarks.md), and are spent.
SEEDS = {"development": (0, 1, 2, 3, 4, 5), "judged": (2, 3)}
START = ((0.6, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 0.5))  # covariance from which the prior is found
REPEATS, FOLDS, SHOWN_REPEATS = 2, 5, 4
FEW_TASKS = 8


def names(part: str) -> list[tuple[str, str]]:
    """(kind, name) of the tasks of a part."""
    cut = [("table", f"{name}/{c}") for name in NUMBERS for c in (2, 3)] if part == "development" else []
    development = set(development_tables())
    tables = [t for t in classification_tables() if (t in development) == (part == "development")]
    numbers = NUMBERS[0::2] if part == "development" else NUMBERS[1::2]
    return [("table", t) for t in tables] + cut + [("number", t) for t in numbers] + [("text", t) for t in TEXTS[part]]


def frame_of(kind: str, name: str) -> pd.DataFrame:
    if "/" in name:  # a number cut into classes of one size, as `priors.py` does
        name, classes = name.split("/")
        frame = frame_of("number", name)
        rank = frame.target.rank(method="first") / (len(frame) + 1)
        return frame.assign(target=[f"c{int(r * int(classes))}" for r in rank])
    if kind == "table":
        return read_table(name)
    if kind == "number":
        frame = pd.read_csv(DATA / name / "data.csv.gz").drop(columns="fold")
        return frame.rename(columns={frame.columns[-1]: "target"})
    parts = []
    for part in ("train", "test"):
        frame = pd.read_json(DATA / name / f"{part}.jsonl.gz", lines=True)
        label = "label" if "label" in frame else next(c for c in frame.columns if c != "text")
        parts.append(pd.DataFrame({"text": frame.text, "target": frame[label].map(lambda v: f"c{v}")}))
    both = pd.concat(parts, ignore_index=True).drop_duplicates("text")
    common = both.target.value_counts().index[:MOST_CLASSES]
    return both[both.target.isin(common)].reset_index(drop=True)


def order_of(frame: pd.DataFrame, kind: str, seed: int) -> np.ndarray:
    """Rows in the order in which they are labelled: one of each class first."""
    if kind == "number":
        return np.random.default_rng([5, seed]).permutation(len(frame))
    labels = frame.target.to_numpy()
    first, rest = draw_rows(labels, len(set(labels)), 2000 + seed)
    return np.concatenate([first, rest])


def curve(job: tuple[str, str, str, int]) -> list[dict[str, Any]]:
    """All curves of one task of a part, and seed."""
    from smidgen.data.views.cache import fill
    from smidgen.data.views.rows import Rows
    from smidgen.data.views.view import encoders_of
    from smidgen.learn.member import Member
    from smidgen.studies.candidates import candidates
    from smidgen.studies.trial import Trial, run_trial
    from smidgen.tasks.read import read, read_new
    from smidgen.tasks.splits import sub_draw

    warnings.filterwarnings("ignore")
    part, kind, name, seed = job
    frame = frame_of(kind, name)
    what = "regression" if kind == "number" else "classification"
    order, out = order_of(frame, kind, seed), []
    classes = frame.target.nunique() if what == "classification" else 0
    test = frame.iloc[order[::-1][:MAX_TEST]] if len(order) > 2 * MAX_TEST else None
    later = part == "development" and seed > 0
    methods = [m for m in METHODS[what] if m in QUICK or not later]
    times = TIMES["later development" if later else part]
    for n in SIZES:
        sizes = [n * t for t in times if n * t + MIN_TEST <= len(order)]
        if 4 * n not in sizes or n < 2 * classes:
            continue
        largest = max(sizes)
        held = test if test is not None else frame.iloc[order[largest:][:MAX_TEST]]
        held = held.reset_index(drop=True)
        base = None
        for times_n in sizes:
            task = read(frame.iloc[order[:times_n]].reset_index(drop=True), "target", kind=what)
            if times_n == n:
                base = task
                found, _ = candidates(task, methods)
                views = {}
                for c in sorted(found, key=lambda c: ("minilm" not in c.view, "+" in c.view)):
                    views.setdefault(c.method, c)
                records = {m: start(kind, name, n, seed, m, c, task, held, what) for m, c in views.items()}
            rows, new = Rows(task.frame), Rows(read_new(held, task.columns, "target"))
            encoders = tuple(sorted({e for c in views.values() for e in encoders_of(c.view)}))
            if encoders:
                fill(rows, encoders, HERE / ".cache", columns=task.columns)
                fill(new, encoders, HERE / ".cache", columns=task.columns)
            for method, c in views.items():
                record = records[method]
                member = Member(c.method, c.view, task.kind, len(task.classes), c.params)
                member.fit(rows, task.target, task.columns, seed)
                truth = truths(task, held, what)
                record["truth"][str(times_n)] = losses(what, truth, member.predict(new))
                if times_n == n:
                    for size in shown_sizes(n, classes):
                        for repeat in range(SHOWN_REPEATS):
                            few = sub_draw(task, size, repeat)
                            less = Member(c.method, c.view, task.kind, len(task.classes), c.params)
                            less.fit(rows.take(few), task.target[few], task.columns, seed)
                            entry = {"n": size, **losses(what, truth, less.predict(new))}
                            record["shown"].append(entry)
                    made = {"task": task.fingerprint, "method": c.method, "version": c.version, "view": c.view}
                    for draw, size in draws(n, classes):
                        trial = Trial(**made, params=c.params, draw=draw, seed=seed)
                        p = run_trial(task, rows, trial).predictions
                        if p is None:
                            continue
                        seen = np.isfinite(p.reshape(len(task), -1)).all(1)
                        entry = {"n": size, "rows": int(seen.sum()), **losses(what, task.target[seen], p[seen])}
                        record["points"].append(entry)
        assert base is not None
        out += list(records.values())
    return out


def start(kind, name, n, seed, method, c, task, held, what) -> dict[str, Any]:  # noqa: ANN001
    """A record without points. `baseline`: loss of a constant on the held rows; `own_baseline`: on the n labels."""
    truth = truths(task, held, what)
    about = {"kind": kind, "name": name, "n": n, "seed": seed, "method": method, "view": c.view}
    about["classes"] = len(task.classes)
    return {
        **about,
        "baseline": losses(what, truth, constant(task, len(truth))),
        "own_baseline": losses(what, task.target, constant(task, n)),
        "points": [],
        "shown": [],
        "truth": {},
        "held": len(truth),
    }


def constant(task: Any, rows: int) -> np.ndarray:
    """So many predictions that know the labels' shares, or mean, alone."""
    if task.classes:
        shares = np.bincount(task.target, minlength=len(task.classes)) / len(task)
        return np.repeat(shares[None], rows, 0)
    return np.full(rows, task.target.mean())


def truths(task: Any, held: pd.DataFrame, what: str) -> np.ndarray:
    if what == "regression":
        return held.target.to_numpy(float)
    return pd.Categorical(held.target, categories=list(task.classes)).codes.astype(int)


def losses(what: str, truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    from smidgen.tasks.metrics import METRICS

    if what == "regression":
        return {"rmse": METRICS["rmse"].score(truth, predicted)}
    return {
        "error": 1 - METRICS["accuracy"].score(truth, predicted),
        "log_loss": METRICS["log_loss"].score(truth, predicted),
    }


def shown_sizes(n: int, classes: int) -> list[int]:
    """Sizes below n at which the curve is shown on held rows."""
    return [round(n * share) for share in (1 / 8, 1 / 4, 1 / 2) if n * share >= max(2 * classes, 4)] or [round(n / 2)]


def draws(n: int, classes: int) -> list[tuple[str, float]]:
    from smidgen.studies.purchases import curve_draws

    return curve_draws(n, classes, FOLDS, REPEATS)


def measure(part: str, processes: int) -> None:
    path = RESULTS / f"curves-{part}.jsonl"
    jobs = [(part, kind, name, seed) for seed in SEEDS[part] for kind, name in names(part)]
    with path.open("w") as file, ProcessPoolExecutor(processes) as pool:
        for job, records in zip(jobs, pool.map(curve, jobs), strict=True):
            file.writelines(json.dumps(r) + "\n" for r in records)
            file.flush()
            print(*job, len(records), flush=True)


FAMILIES = ("error", "log_loss", "rmse")
PRIOR = HERE.parent / "src" / "smidgen" / "laws" / "curve_prior.json"


def make_prior() -> None:
    """The priors of all families, widened until their forecasts of left-out development tasks hold nine in ten."""
    records = load("development")
    out = {}
    for family in FAMILIES:
        prior, found = fit_prior(records, family), left_out(records, family)
        values: dict[str, float] = {}
        for asked, suffix in (("own", ""), ("shown", "_held")):
            values["widen" + suffix] = calibrated(found[asked])
            print(family, asked, {k: round(v, 3) for k, v in table(found[asked]).items()}, values, flush=True)
        out[family] = asdict(replace(prior, **values))
    about = "Learning curves of development tasks: benchmarks/curves.py measure development, then prior."
    tasks = sorted({r["name"] for r in records})
    PRIOR.write_text(json.dumps({"about": about, "tasks": tasks, "priors": out}, indent=1) + "\n")


def left_out(records: list[dict[str, Any]], family: str) -> dict[str, list[dict[str, Any]]]:
    """Forecasts of each quarter of the development tasks under the prior of the others, by question."""
    own = [r for r in records if family in r["baseline"]]
    tasks = sorted({r["name"].split("/")[0] for r in own})
    out: dict[str, list[dict[str, Any]]] = {"own": [], "shown": []}
    for quarter in range(4):
        held = set(tasks[quarter::4])
        rest = [r for r in own if r["name"].split("/")[0] not in held]
        mine = [r for r in own if r["name"].split("/")[0] in held]
        if rest and mine:
            prior = fit_prior(rest, family, 6)
            out["own"] += forecasts(mine, {family: prior}, only=family)
            out["shown"] += forecasts([r for r in mine if r["shown"]], {family: prior}, only=family, asked="shown")
    return out


def calibrated(found: list[dict[str, Any]]) -> float:
    """The factor on the log interval at which nine in ten hold, at least 1: tasks count alike. Few tasks say little of
    others: then times Student's factor for so many."""
    from scipy.stats import norm, t

    names = [f["name"].split("/")[0] for f in found]
    need = []
    for f in found:
        scale = np.sqrt if f["family"] == "error" else np.log  # as `laws.curve.widened`
        middle, low, high, truth = (scale(max(f[k], 1e-9)) for k in ("smidgen", "low", "high", "truth"))
        gap = truth - middle
        need.append(gap / (high - middle) if gap > 0 else gap / (low - middle))
    order = np.argsort(need)
    weights = np.array([1 / names.count(n) for n in names])[order]
    at = np.searchsorted(np.cumsum(weights) / weights.sum(), 0.9)
    tasks = len(set(names))
    few = t.ppf(0.95, tasks - 1) / norm.ppf(0.95) if tasks < FEW_TASKS else 1.0
    return round(few * max(1.0, float(np.array(need)[order][min(at, len(need) - 1)])), 2)


def load(part: str) -> list[dict[str, Any]]:
    """The records of a part."""
    return [json.loads(line) for line in (RESULTS / f"curves-{part}.jsonl").read_text().splitlines()]


def points_of(record: dict[str, Any], family: str, asked: str = "own") -> list[Any]:
    """One point a size: the mean of its trainings, as the question shows them."""
    from smidgen.laws.curve import Point

    told, rows = record["points"], record["n"]
    if asked == "shown":
        told = [*record["shown"], {"n": record["n"], **record["truth"][str(record["n"])]}]
        rows = record["held"]
    by_size: dict[float, list[dict[str, float]]] = {}
    for p in told:
        by_size.setdefault(p["n"], []).append(p)
    out = []
    for n, own in sorted(by_size.items()):
        values = np.array([p[family] for p in own])
        spread = float(np.std(np.log(np.maximum(values, 0.02)), ddof=1)) if len(own) > 1 else 0.1
        out.append(Point(n, float(values.mean()), rows, spread, len(own)))
    return out


def fit_prior(records: list[dict[str, Any]], family: str, rounds: int = 12) -> Any:
    """Empirical Bayes: each curve's true losses fitted under the prior, the prior renewed from all of them."""
    from smidgen.laws.curve import HOME, CurveForm, CurvePrior
    from smidgen.laws.draws import hessian
    from smidgen.laws.law import fit
    from smidgen.laws.points import Points

    curves: dict[tuple[Any, ...], dict[int, float]] = {}
    levels = {}
    for r in records:
        if family in r["baseline"]:
            key = (r["name"], r["seed"], r["method"])
            curves.setdefault(key, {}).update({int(n): v[family] for n, v in r["truth"].items()})
            levels[key] = r["baseline"][family]
    prior = CurvePrior(mean=(-0.7, -1.0, -0.9), covariance=START, rows=1.0, luck=0.1)
    weight = {k: 1 / sum(o[0] == k[0] for o in curves) for k in curves}  # each task counts once
    w = np.array([weight[k] for k in curves])
    w /= w.sum()
    for _ in range(rounds):
        shapes, spreads, residuals = [], [], []
        for key, own in curves.items():
            n = np.array(sorted(own), float)
            y = np.maximum(np.array([own[int(v)] for v in n]), 1e-3) / levels[key]
            form = CurveForm(prior, 1e-3)
            law = fit(form, Points.of({"n": n}, y, prior.luck * np.sqrt(HOME / n)))
            shapes.append(form.shape(law.theta_P[None])[0])
            spreads.append(form.root_33 @ np.linalg.inv(hessian(law))[:3, :3] @ form.root_33.T)
            scaled = (np.log(law.predict({"n": n}, anyway=True)) - np.log(y)) / np.sqrt(HOME / n)
            residuals.append(float(np.mean(scaled**2)) * len(n) / max(len(n) - 1.5, 1))
        mean = np.average(shapes, axis=0, weights=w)
        off = np.array(shapes) - mean
        covariance = np.einsum("k,kp,kq->pq", w, off, off) + np.average(spreads, axis=0, weights=w)
        covariance += 0.02 * np.eye(3)  # few tasks: never too sure
        luck = float(np.sqrt(np.average(np.minimum(residuals, 9 * np.median(residuals)), weights=w)))
        prior = CurvePrior(
            mean=tuple(mean.tolist()), covariance=tuple(map(tuple, covariance.tolist())), rows=1.0, luck=luck
        )
    return replace(prior, rows=row_noise(records, family))


def row_noise(records: list[dict[str, Any]], family: str) -> float:
    """How far the cross-validated loss lies from the true one, in units of one row's: what all points share."""
    found = []
    for r in records:
        if family in r["baseline"]:
            own = points_of(r, family)[-1]
            truth, rows = max(r["truth"][str(r["n"])][family], 5e-3), r["n"]
            if family == "error":  # on the scale on which a share's noise does not depend on it
                told, true = (np.arcsin(np.sqrt(min(v, 1.0))) for v in (own.loss, truth))
                found.append(2 * np.sqrt(rows) * (told - true))
            else:
                found.append((np.log(own.loss) - np.log(truth)) * np.sqrt(rows))
    # by its tail: errors of few rows have long ones
    return float(max(np.quantile(np.abs(found), 0.9) / 1.645, 0.5))


def forecasts(
    records: list[dict[str, Any]],
    priors: dict[str, Any],
    times: int = 4,
    only: str | None = None,
    asked: str = "own",
) -> list[dict[str, Any]]:
    """What each way says of `times` n labels, and the truth, in the unit of the score (a share; nats; the target's)."""
    from smidgen.laws.curve import fit_curve

    out = []
    for r in records:
        for family in r["baseline"]:
            if str(times * r["n"]) not in r["truth"] or family != (only or family):
                continue
            points = points_of(r, family, asked)
            if len(points) < 2:
                continue
            unit = r["baseline"][family] if family == "rmse" else 1.0
            truth = r["truth"][str(times * r["n"])][family] / unit
            baseline = r["own_baseline" if asked == "own" else "baseline"][family]
            curve = fit_curve(family, points, baseline=baseline, labels=r["n"], prior=priors[family])
            likely, low, high = (v / unit for v in curve.forecast(times * r["n"]))
            power = least_squares([p.n for p in points], [p.loss / unit for p in points], times * r["n"])
            about = {k: r[k] for k in ("kind", "name", "n", "seed", "method")}
            told = {"smidgen": likely, "low": low, "high": high, "last": points[-1].loss / unit}
            out.append({**about, "family": family, "truth": truth, **told, "power": power})
    return out


def least_squares(n: list[float], loss: list[float], at: float) -> float:
    """The usual fit of a + b n^-c by scipy's curve_fit, from the usual start; the last value where it fails."""
    from scipy.optimize import curve_fit

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found, _ = curve_fit(
                lambda x, a, b, c: a + b * x**-c, n, loss, (min(loss) / 2, max(loss), 0.5), maxfev=5000
            )
        value = float(found[0] + found[1] * at ** -found[2])
        return value if np.isfinite(value) else loss[-1]
    except (RuntimeError, TypeError):
        return loss[-1]


def table(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean absolute errors, their ratio to the better of the two other ways, and coverage."""
    if not found:
        return {"forecasts": 0}
    error = {k: float(np.mean([abs(f[k] - f["truth"]) for f in found])) for k in ("smidgen", "last", "power")}
    inside = float(np.mean([f["low"] <= f["truth"] <= f["high"] for f in found]))
    return {
        "forecasts": len(found),
        **error,
        "ratio": error["smidgen"] / min(error["last"], error["power"]),
        "inside": inside,
    }


def run() -> None:
    """Forecasts of the judged curves under the shipped priors."""
    from datetime import date

    from smidgen.kit.machine import machine, versions
    from smidgen.laws.curve import known_priors

    out: dict[str, Any] = {"date": str(date.today()), "machine": machine(), "versions": versions(("numpy", "scipy"))}
    for asked in ("shown", "own"):
        found = forecasts(load("judged"), known_priors(), asked=asked)
        out[asked] = {"all": table(found)}
        for family in FAMILIES:
            own = [f for f in found if f["family"] == family]
            out[asked][family] = table(own)
            for n in SIZES:
                out[asked][f"{family}, n = {n}"] = table([f for f in own if f["n"] == n])
        for name, values in out[asked].items():
            print(asked, name, {k: round(v, 4) for k, v in values.items()}, flush=True)
    (RESULTS / "curves.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "prior", "run"))
    parser.add_argument("part", nargs="?", choices=("development", "judged"))
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    if asked.what == "measure":
        measure(asked.part or parser.error("name the part"), asked.processes)
    elif asked.what == "prior":
        make_prior()
    else:
        run()
