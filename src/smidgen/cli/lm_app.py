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
    mix_temperature: Annotated[
        str | None,
        typer.Option(
            metavar="HIGH,LOW,SHARE",
            help="Shares by size, evened out by a temperature; LOW after that share of the updates. 1: by size.",
        ),
    ] = None,
    context: Annotated[
        int | None, typer.Option(min=8, metavar="256", help="Tokens that the model sees at once.")
    ] = None,
    rate: Annotated[float | None, typer.Option(metavar="0.01", help="Peak rate. Default: searched for.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, metavar="32", help="Windows of an update.")] = None,
    seed: Annotated[int | None, typer.Option(help="With --size, equal seeds give equal models. Default: 0.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in --out, as it was begun.")
    ] = False,
    keep_stable: Annotated[
        bool, typer.Option("--keep-stable", help="Keep what is needed to train the model further one day.")
    ] = False,
    more: Annotated[
        str | None, typer.Option(metavar="30m", help="With --resume: train what was kept for so much longer.")
    ] = None,
    log: Annotated[
        list[str] | None, typer.Option("--log", metavar="NAME", help="Log to tensorboard or mlflow as well.")
    ] = None,
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Leave out damaged shards of tokens instead of refusing them.")
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
            mix=mix,
            mix_temperature=mix_temperature,
            context=context,
            rate=rate,
            batch=batch,
            seed=seed,
            resume=resume,
            more=more,
            keep_stable=keep_stable,
            logs=log or [],
            skip_corrupt=skip_corrupt,
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
    top_k: Annotated[int, typer.Option(min=0, help="Only so many of the likeliest tokens; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0)] = 1.0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1: tokens that occurred are less likely.")] = 1.0,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="End before it; may be given again.")] = None,
    seed: Annotated[int | None, typer.Option(help="Equal seeds give equal text.")] = None,
) -> None:
    """Go on with a prompt."""
    from smidgen.cli import lm as verbs

    verbs.generate(
        model,
        prompt,
        temperature=temperature,
        max_tokens=max_tokens,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        stop=tuple(stop or ()),
        seed=seed,
    )


@lm.command("export")
def lm_export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder that lm train made.")],
    gguf: Annotated[str, typer.Option(metavar="FILE", help="The GGUF file to write, for llama.cpp.")],
    precision: Annotated[str, typer.Option(metavar="fp32", help="Of the matrices: fp32 or fp16.")] = "fp32",
) -> None:
    """Write a model as one GGUF file, which llama.cpp reads."""
    from smidgen.cli import lm as verbs

    verbs.export(model, gguf, precision)
