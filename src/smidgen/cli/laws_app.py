"""`smidgen laws`: published laws as tools."""

from typing import Annotated

import typer

from smidgen.cli.options import OPTIONS, Json, help_alone

laws = typer.Typer(help="Laws: what is best for a size and a length of training, and how sure that is.", **OPTIONS)


@laws.command("step")
def step(
    params: Annotated[float, typer.Option(metavar="1e9", help="Parameters without embeddings; of experts all.")],
    tokens: Annotated[float, typer.Option(metavar="2e10", help="Tokens to be trained on.")],
    length: Annotated[int, typer.Option(min=1, help="Tokens of a sequence.")] = 2048,
    sweep: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Fit the law to your own runs: CSV with n, d, lr, batch_tokens, loss."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Learning rate and batch size for a language model (the Step Law, 2025)."""
    from smidgen.cli import stepping

    raise typer.Exit(stepping.step(params, tokens, length, sweep, as_json))


@laws.command("bits")
def bits(
    params: Annotated[float, typer.Option(metavar="1e9", help="Parameters without embeddings.")],
    tokens: Annotated[float, typer.Option(metavar="2e10", help="Tokens trained on.")],
    memory: Annotated[
        float | None, typer.Option(metavar="BYTES", min=1, help="Also the best size and width for this memory.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What fewer bits a weight would cost a language model (laws of 2024 and 2025)."""
    from smidgen.cli import bits_table

    raise typer.Exit(bits_table.bits(params, tokens, memory, as_json))


laws.callback()(help_alone)
