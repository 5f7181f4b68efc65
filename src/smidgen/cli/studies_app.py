"""`smidgen studies`: what a run store holds."""

from typing import Annotated

import typer

from smidgen.cli import completing
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
    help_alone,
)

studies = typer.Typer(help="Studies in the run store: what was tried, and going on with it.", **OPTIONS)

Study = Annotated[str, typer.Argument(autocompletion=completing.studies)]


@studies.command("ls")
def studies_ls(store: Store = None) -> None:
    """List the studies."""
    from smidgen.cli import listing

    listing.list_studies(store)


@studies.command("show")
def studies_show(id: Study, store: Store = None) -> None:
    """Show one study: its options, trials and result."""
    from smidgen.cli import listing

    listing.show_study(id, store)


@studies.command("resume")
def studies_resume(
    id: Study,
    out: Out = None,
    time: Time = None,
    trials: Trials = None,
    memory: Memory = None,
    size: Size = None,
    workers: OwnWorkers = None,
    executor: Executor = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Go on with a study: only what is missing is done."""
    from smidgen.cli import fitting

    raise typer.Exit(
        fitting.resume(
            id,
            out=out,
            time=time,
            trials=trials,
            memory=memory,
            size=size,
            workers=workers,
            executor=executor,
            store=store,
            as_json=as_json,
        )
    )


@studies.command("rm")
def studies_rm(id: Study, store: Store = None) -> None:
    """Remove a study and those of its trials that no other study uses."""
    from smidgen.cli import listing

    listing.remove_study(id, store)


studies.callback()(help_alone)
