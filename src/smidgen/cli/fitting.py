"""`smidgen fit`, `smidgen studies resume` and `smidgen demo`: call the library, show what came out."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from smidgen.cli import results
from smidgen.cli.output import say, say_json, stdout_kept, tell
from smidgen.cli.progress import progress
from smidgen.kit.errors import BadInput, BudgetSpent

BEGUN = time.monotonic()  # a person counts from the moment they press return
DEMO_ROWS = 60
DEMO_TIME = "30s"


def run(work: Callable[..., Any], as_json: bool) -> tuple[int, Any]:
    """Calls `work(progress=...)`, prints its result, gives exit status and result (None: stopped before any)."""
    with _interrupts() as stopped:
        try:
            with stdout_kept(), progress() as told:
                fitted = work(progress=told)
        except (KeyboardInterrupt, BudgetSpent):
            if not stopped:
                raise
            tell("Stopped before any model was fitted; what was measured is kept, the same command goes on from it.")
            return 130, None
    if "plan" in fitted.summary:
        if as_json:
            say_json(results.for_json(fitted.summary, None))
        else:
            say("\n".join(results.plan(fitted.summary)))
        return 0, fitted
    if as_json:
        say_json(results.for_json(fitted.summary, results.report_of(fitted.path)))
    else:
        results.show(fitted.summary, fitted.path)
    if fitted.interrupted:
        tell(f"Stopped before its budget: this is the best so far. Go on with: smidgen studies resume {fitted.study}")
        return 130, fitted
    return 0, fitted


def fit(source: str, *, as_json: bool, **options: Any) -> int:
    """See `smidgen.fit`."""
    _may_replace(options.get("out") or (None if options.get("dry_run") else _default_out(source)))
    import smidgen

    return run(lambda progress: smidgen.fit(source, progress=progress, begun=BEGUN, **options), as_json)[0]


def resume(study: str, *, as_json: bool, **options: Any) -> int:
    """See `smidgen.resume`. Options that are None are left as the study has them."""
    _may_replace(options.get("out"))
    import smidgen

    given = {k: v for k, v in options.items() if v is not None}
    return run(lambda progress: smidgen.resume(study, progress=progress, begun=BEGUN, **given), as_json)[0]


def demo(out: str) -> int:
    """The main job on real data that scikit-learn carries: 60 labelled rows; the others show the truth."""
    folder = Path(out)
    _may_replace(folder / "model")
    import numpy as np
    from sklearn.datasets import load_breast_cancer

    import smidgen
    from smidgen.tasks.metrics import resolve

    data: Any = load_breast_cancer(as_frame=True)
    frame = data.frame.drop(columns="target").assign(diagnosis=np.array(data.target_names)[data.target])
    order = np.random.default_rng(0).permutation(len(frame))
    few, rest = frame.iloc[order[:DEMO_ROWS]], frame.iloc[order[DEMO_ROWS:]].reset_index(drop=True)
    folder.mkdir(parents=True, exist_ok=True)
    few.to_csv(folder / "few.csv", index=False)
    rest.to_csv(folder / "rest.csv", index=False)
    tell(f"Breast tumours under a microscope: {len(few)} of {len(frame)} rows are learnt from ({folder / 'few.csv'}).")
    code, fitted = run(
        lambda progress: smidgen.fit(
            str(folder / "few.csv"), "diagnosis", out=folder / "model", time=DEMO_TIME, seed=0, progress=progress
        ),
        False,
    )
    if fitted is None:
        return code
    summary = fitted.summary
    model = smidgen.load(folder / "model")  # from disk, as another program would
    codes = np.array([list(model.classes).index(v) for v in rest["diagnosis"]])
    proba = model.predict_proba(rest)
    say()
    say(f"The truth, on the {len(rest)} rows that nothing above has seen:")
    for name, estimate, ends in (
        (summary["metric"], summary["estimate"], summary["interval"]),
        ("accuracy", summary.get("accuracy"), summary.get("accuracy_interval")),
    ):
        truth = resolve(name, "classification").score(codes, proba)
        say("  " + _beside(name, truth, estimate, ends))
    say()
    say(f"Next: smidgen predict {folder / 'model'} {folder / 'rest.csv'} --out {folder / 'predictions.csv'}")
    return code


def _beside(name: str, truth: float, estimate: Any, ends: Any) -> str:
    from smidgen.web import words

    show, pair = words.percent if name == "accuracy" else words.number, words.pair(ends)
    text = f"{words.metric_name(name)} {show(truth)}; expected {show(estimate)}"
    if pair:
        text += f" ({show(pair[0])} to {show(pair[1])}: {'inside' if pair[0] <= truth <= pair[1] else 'outside'})"
    return text


def _default_out(source: str) -> str:
    return f"{Path(source).name.split('.')[0] or 'study'}-model"


def _may_replace(out: Any) -> None:
    """A model folder is replaced as a whole: never one that holds anything else."""
    if out is None:
        return
    path = Path(out)
    if path.is_dir() and any(path.iterdir()) and not (path / "model.json").is_file():
        raise BadInput(
            f"--out {path}: this folder holds other files and no model, and it would be replaced: name a new folder."
        )
    if path.exists() and not path.is_dir():
        raise BadInput(f"--out {path}: this is a file; name a folder for the model.")


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Notes a Ctrl-C: a run that then finds nothing to choose from was stopped, its budget did not end."""
    seen: list[int] = []

    def note(number: int, frame: Any) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread
        yield seen
        return
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)
