"""The command line. Each verb is a thin layer over the Python API, which is imported only when the verb runs.

Exit status: 0 done; 1 it failed (a full disk, say); 2 the input, a place or a flag is wrong; 3 the budget ended before
any model was fitted; 130 stopped by Ctrl-C (the best so far is kept). Errors are one sentence on standard error.
"""

import errno
import gc
import sys
from typing import Annotated

import typer

from smidgen.cli import completing
from smidgen.cli.laws_app import laws
from smidgen.cli.lm_app import lm
from smidgen.cli.methods_app import methods
from smidgen.cli.options import (
    OPTIONS,
    Executor,
    Json,
    Memory,
    Out,
    OwnWorkers,
    Size,
    Store,
    Time,
    Trials,
    Workers,
    help_alone,
)
from smidgen.cli.papers_app import papers
from smidgen.cli.studies_app import studies
from smidgen.kit.errors import SmidgenError

# Errors of the system that say that a path which was given is wrong; others (disk full, not readable) are not.
_WRONG_PLACE = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP}
_WRONG_PLACE |= {errno.ENAMETOOLONG, errno.EINVAL}

app = typer.Typer(
    help="Get the most from little: a model from few labels, and how good it really is.",
    **{**OPTIONS, "add_completion": True},
)
app.add_typer(studies, name="studies")
app.add_typer(methods, name="methods")
app.add_typer(papers, name="papers")
app.add_typer(lm, name="lm")
app.add_typer(laws, name="laws")


@app.command()
def fit(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE_OR_FOLDER", help="CSV, TSV, Parquet, JSON lines (.gz too), or a folder of images by class."
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column to predict. Rows where it is blank count as unlabelled."),
    ] = None,
    out: Out = None,
    time: Time = None,
    trials: Trials = None,
    memory: Memory = None,
    size: Size = None,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="What is reported: log_loss, accuracy, auc, rmse, r2, ...")
    ] = None,
    unlabelled: Annotated[str | None, typer.Option(metavar="FILE", help="More rows, without labels.")] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Rows with equal values here never straddle a split.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(metavar="A,B", autocompletion=completing.method_list, help="Try only these (smidgen methods ls)."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting, METHOD.NAME=VALUE; may be repeated."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="KIND", help="classification or regression, where the guess is wrong.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal results.")] = 0,
    store: Store = None,
    workers: OwnWorkers = None,
    executor: Executor = None,
    replay: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY", autocompletion=completing.studies, help="Use the trials of this study, in their order."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be tried and what it would need.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit the best model that few labels allow, and say how good it is."""
    from smidgen.cli import fitting
    from smidgen.kit.errors import bad

    if task not in (None, "classification", "regression"):
        raise bad("--task", "classification or regression", task)
    raise typer.Exit(
        fitting.fit(
            source,
            target=target,
            out=out,
            time=time,
            trials=trials,
            memory=memory,
            size=size,
            metric=metric,
            unlabelled=unlabelled,
            group=group,
            methods=methods,
            settings=set_ or None,
            kind=task,
            seed=seed,
            store=store,
            workers=workers,
            executor=executor,
            replay=replay,
            dry_run=dry_run,
            as_json=as_json,
        )
    )


@app.command()
def predict(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL_DIR", autocompletion=completing.models, help="A folder that smidgen fit made."),
    ],
    file: Annotated[str, typer.Argument(metavar="FILE", help="The rows to predict.")],
    out: Annotated[
        str | None,
        typer.Option(metavar="preds.csv", help="Where to write (.parquet for Parquet). Default: standard output."),
    ] = None,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Write labels as they are, also those that a spreadsheet would run.")
    ] = False,
) -> None:
    """Predict new rows: CSV in their order, with probabilities.

    A text label that a spreadsheet would run as a formula (=1+1) is written with a ' before it (--as-is: without).
    """
    from smidgen.cli import predicting

    predicting.predict(model, file, out, as_is)


@app.command()
def plan(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            autocompletion=completing.models_and_studies,
            help="A study (smidgen studies ls), or its model's folder.",
        ),
    ],
    price: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=PRICE",
            help="label=0.40, label@0.2=0.05 (a fifth of them wrong), unlabelled, query, hour, mb, mb@8 (at 8 bits a "
            "weight); may be repeated.",
        ),
    ],
    spend: Annotated[float, typer.Option(metavar="100", help="Money in all, in the unit of the prices.")],
    target: Annotated[float | None, typer.Option(metavar="0.92", help="A score that is wanted.")] = None,
    time: Annotated[str | None, typer.Option(metavar="60s", help="Wall time for measuring. Default: 60s.")] = None,
    store: Store = None,
    data: Annotated[
        str | None, typer.Option(metavar="FILE", help="Texts that a language model's fewer bits are judged on.")
    ] = None,
    workers: Workers = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be measured.")] = False,
    as_json: Json = False,
) -> None:
    """What to buy next: forecast what more labels or other rows bring, and split the money."""
    from smidgen.cli import planning

    options = {"target": target, "time": time, "store": store, "workers": workers, "dry_run": dry_run}
    options |= {"data": data} if data else {}
    raise typer.Exit(planning.plan(study, prices=price, spend=spend, as_json=as_json, **options))


@app.command()
def compress(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            autocompletion=completing.models,
            help="A model of smidgen fit, or a model folder of transformers.",
        ),
    ],
    size: Annotated[str | None, typer.Option(metavar="12MB", help="The most that the whole folder may take.")] = None,
    bits: Annotated[
        float | None, typer.Option(metavar="3.2", help="Bits a weight on the mean, scales included.")
    ] = None,
    max_loss: Annotated[
        float | None, typer.Option(metavar="0.01", help="The most that may be lost, in the unit of the loss.")
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Texts (a line each, or a table); of a model of fit: rows."),
    ] = None,
    column: Annotated[str | None, typer.Option(metavar="NAME", help="Where in that file the texts are.")] = None,
    time: Annotated[str, typer.Option(metavar="5m", help="Wall time; what rounding leaves goes into recovery.")] = "5m",
    steps: Annotated[
        int | None, typer.Option(min=0, metavar="200", help="Steps of recovery instead of time: exactly repeatable.")
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="DIR", help="Folder. Default: <name>-small here.")] = None,
    with_encoder: Annotated[
        bool | None,
        typer.Option("--with-encoder/--without-encoder", help="Of a model of fit for texts: the encoder inside."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal results.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what sizes can be reached.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew: do not go on from what a run that was stopped has left.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a model fit: so many megabytes, so many bits, or no more than so much lost."""
    from smidgen.cli import compressing

    options = {"size": size, "bits": bits, "max_loss": max_loss, "calibration": calibration, "column": column}
    options |= {"time": time, "steps": steps, "out": out, "seed": seed, "dry_run": dry_run}
    options |= {"with_encoder": with_encoder, "fresh": fresh}
    raise typer.Exit(compressing.compress(model, as_json=as_json, **options))


@app.command()
def work(
    store: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The run store that studies offer trials in. Default: .smidgen/runs.db here."),
    ] = None,
    workers: Workers = None,
    memory: Memory = None,
    idle: Annotated[
        str | None, typer.Option(metavar="10m", help="End after so long without a trial. Default: stay.")
    ] = None,
    study: Annotated[str | None, typer.Option(metavar="ID", help="Work for this study only.")] = None,
) -> None:
    """Take trials of studies from a run store and measure them here; any number on any machines."""
    from smidgen.cli import working

    raise typer.Exit(working.work(store, workers=workers, memory=memory, idle=idle, study=study))


@app.command()
def demo(
    out: Annotated[str, typer.Option(metavar="DIR", help="Where to put data, model and report.")] = "smidgen-demo",
) -> None:
    """The main job on real data, in under a minute: 60 labelled rows, and the truth beside the estimate."""
    from smidgen.cli import fitting

    raise typer.Exit(fitting.demo(out))


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8765,
    store: Store = None,
    models: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where models lie, as folders. Default: the folder you are in.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """A page on this machine: studies, models, the catalogue of papers. Other machines cannot reach it."""
    from smidgen.cli import ui as page

    raise typer.Exit(page.serve(port, store, models, browser))


@app.command()
def doctor(as_json: Json = False) -> None:
    """What is installed, what an extra would bring, what the machine gives, and what to mend."""
    from smidgen.cli import doctor as looking

    raise typer.Exit(looking.doctor(as_json))


@app.command()
def explain(
    topic: Annotated[
        str | None,
        typer.Argument(metavar="TOPIC", autocompletion=completing.topics, help="Without one: which there are."),
    ] = None,
) -> None:
    """More on a trouble that an error points to."""
    from smidgen.cli import explain as page

    page.explain(topic)


def _version(asked: bool) -> None:
    if asked:
        import smidgen

        typer.echo(f"smidgen {smidgen.__version__}")
        raise typer.Exit


@app.callback()
def _top(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    help_alone(ctx)


def main(args: list[str] | None = None) -> int:
    """Runs a command line and gives its exit status."""
    from smidgen.cli.output import tell

    # What modules make while they are loaded stays: to look for garbage among it takes a tenth of a short command.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    try:
        code = app(args, prog_name="smidgen", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SmidgenError as error:
        from smidgen.cli.explain import pointer

        tell(f"smidgen: {error}")
        if more := pointer(error):
            tell(more)
        return error.exit_code
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        tell(f"smidgen: {where}{error.strerror or error}.")
        return 2 if error.errno in _WRONG_PLACE else 1
    except MemoryError as error:
        detail = f" ({error})" if str(error) else ""
        tell(f"smidgen: There is too little memory{detail}: close what else runs, or give fewer rows or columns.")
        return 1
    except Exception as error:
        told = getattr(
            error, "format_message", None
        )  # an error in the flags; anything else is ours, and shows its trace
        if told is None:
            raise
        command = getattr(getattr(error, "ctx", None), "command_path", "smidgen")
        said = told().strip()
        tell(f"smidgen: {said}{'' if said.endswith(('.', '?', '!')) else '.'} See '{command} --help'.")
        return 2


if __name__ == "__main__":
    sys.exit(main())
