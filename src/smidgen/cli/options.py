"""Options that several verbs share, each written once."""

from typing import Annotated, Any

import typer

CONTEXT = {"help_option_names": ["-h", "--help"]}
OPTIONS: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,
    "context_settings": CONTEXT,
    "invoke_without_command": True,
}

Store = Annotated[str | None, typer.Option(metavar="URL", help="The run store. Default: .smidgen/runs.db here.")]
Time = Annotated[str | None, typer.Option(metavar="60s", help="Wall time of the whole run: 60s, 2m, 1h. Default: 60s.")]
Trials = Annotated[
    int | None, typer.Option(min=1, metavar="200", help="A budget by count instead of time: exactly repeatable.")
]
Memory = Annotated[str | None, typer.Option(metavar="4GB", help="Bound of the memory of each worker.")]
Size = Annotated[str | None, typer.Option(metavar="50MB", help="Bound of the saved model.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes. Default: one a core.")]
Executor = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Where trials run: local, or ray, ray:auto, ray:HOST:PORT, ray://HOST:PORT."),
]
OwnWorkers = Annotated[
    int | None, typer.Option("--workers", min=0, help="Processes. Default: one a core. 0: smidgen work measures all.")
]
Out = Annotated[
    str | None, typer.Option(metavar="DIR", help="Folder of the model and its report. Default: <name>-model here.")
]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on standard output.")]


def help_alone(ctx: typer.Context) -> None:
    """Without a verb: the help."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
