"""`smidgen methods`: what a study tries."""

from typing import Annotated

import typer

from smidgen.cli import completing
from smidgen.cli.options import OPTIONS, help_alone

methods = typer.Typer(help="The methods that a study tries.", **OPTIONS)


@methods.command("ls")
def methods_ls() -> None:
    """List the methods."""
    from smidgen.cli import listing

    listing.list_methods()


@methods.command("show")
def methods_show(name: Annotated[str, typer.Argument(autocompletion=completing.method)]) -> None:
    """Show one method: what it is, needs and can be set to."""
    from smidgen.cli import listing

    listing.show_method(name)


methods.callback()(help_alone)
