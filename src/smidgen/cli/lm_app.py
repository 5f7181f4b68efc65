"""The verbs of `smidgen lm`; what they do lies in `cli/lm.py`, imported only when one runs."""

from typing import Annotated

import typer

from smidgen.cli.options import OPTIONS, Json, help_alone

lm = typer.Typer(help="A small language model of your own text.", **OPTIONS)
lm.callback()(help_alone)


@lm.command("train")
def lm_train(
    corpus: Annotated[
        list[str], typer.Argument(metavar="CORPUS...", help="Text files, JSON lines, tables, or folders of these.")
    ],
    size: Annotated[str | None, typer.Option(metavar="10M", help="Parameters. Default: what the time allows.")] = None,
    time: Annotated[str | None, typer.Option(metavar="30m", help="Wall time of all of it.")] = None,
    out: Annotated[str | None, typer.Option(metavar="DIR", help="Folder of the model. Default: <corpus>-lm.")] = None,
    precision: Annotated[str | None, typer.Option(metavar="auto", help="auto, fp32, bf16 or mixed.")] = None,
    mix: Annotated[
        list[str] | None, typer.Option("--mix", metavar="NAME=WEIGHT", help="Share of a corpus, by its file's name.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(min=8, metavar="256", help="Tokens that the model sees at once.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="With --size, equal seeds give equal models. Default: 0.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in --out, as it was begun.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Train a language model: from a size or a time alone, the rest is chosen and said."""
    from smidgen.cli import lm as verbs

    raise typer.Exit(
        verbs.train(
            corpus,
            size=size,
            time=time,
            out=out,
            precision=precision,
            mix=mix or [],
            context=context,
            seed=seed,
            resume=resume,
            dry_run=dry_run,
            as_json=as_json,
        )
    )


@lm.command("eval")
def lm_eval(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder that lm train made.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="The text to be predicted.")],
    as_json: Json = False,
) -> None:
    """How well a model predicts a text: bits a byte, perplexity, speed, memory."""
    from smidgen.cli import lm as verbs

    verbs.evaluate(model, file, as_json)


@lm.command("generate")
def lm_generate(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT")] = "",
    temperature: Annotated[float, typer.Option(min=0.0, help="0 always takes the likeliest token.")] = 0.8,
    max_tokens: Annotated[int, typer.Option(min=1)] = 200,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0)] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Equal seeds give equal text.")] = None,
) -> None:
    """Go on with a prompt."""
    from smidgen.cli import lm as verbs

    verbs.generate(model, prompt, temperature=temperature, max_tokens=max_tokens, top_p=top_p, seed=seed)
