"""The verbs of `smidgen papers`; what they do lies in `cli/papers.py`, imported only when one runs."""

from typing import Annotated

import typer

from smidgen.cli.options import OPTIONS, Json, help_alone

papers = typer.Typer(help="The published systems: what each claims, and what was measured here.", **OPTIONS)
papers.callback()(help_alone)


@papers.command("ls")
def papers_ls(
    room: Annotated[str | None, typer.Option(metavar="ROOM", help="Only of this room: learn, compress, ...")] = None,
    state: Annotated[str | None, typer.Option(metavar="STATE", help="works or planned.")] = None,
    as_json: Json = False,
) -> None:
    """List all systems, and which work here."""
    from smidgen.cli import papers as verbs

    verbs.list_papers(room, state, as_json)


@papers.command("show")
def papers_show(number: str, as_json: Json = False) -> None:
    """Show one: its card, its claim, published and measured numbers."""
    from smidgen.cli import papers as verbs

    verbs.show_paper(number, as_json)


@papers.command("find")
def papers_find(
    query: Annotated[str, typer.Argument(metavar="'few labelled scans'", help="What you have, lack, or want.")],
    count: Annotated[int, typer.Option(min=1, help="How many to show.")] = 5,
    as_json: Json = False,
) -> None:
    """Find systems by meaning; by words where smidgen[text] is not installed."""
    from smidgen.cli import papers as verbs

    verbs.find_papers(query, count, as_json)


@papers.command("run")
def papers_run(
    numbers: Annotated[list[str] | None, typer.Argument(metavar="NUMBER...")] = None,
    scale: Annotated[str, typer.Option(metavar="SCALE", help="smoke shows that it runs; full is judged.")] = "full",
    seeds: Annotated[int | None, typer.Option(min=1, help="Default: as many as the claim is judged over.")] = None,
    time: Annotated[str | None, typer.Option(metavar="10m", help="Wall time a claim; finished seeds are kept.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is not measured yet, or out of date.")] = False,
) -> None:
    """Run claims; goes on where an earlier run stopped. From a clean source tree a full run becomes evidence."""
    from smidgen.cli import papers as verbs

    raise typer.Exit(verbs.run_papers(numbers or [], scale, seeds, time, everything))


@papers.command("check")
def papers_check() -> None:
    """Say what evidence is missing, damaged, or older than its claim; exit status 1 if there is any."""
    from smidgen.cli import papers as verbs

    raise typer.Exit(verbs.check_papers())


@papers.command("digest")
def papers_digest(
    since: Annotated[str | None, typer.Option(metavar="DATE", help="From this day on: 2026-11-24.")] = None,
    atom: Annotated[str | None, typer.Option(metavar="FILE", help="Write an Atom feed there instead.")] = None,
) -> None:
    """Say what was added or measured again."""
    from smidgen.cli import papers as verbs

    verbs.digest_papers(since, atom)
