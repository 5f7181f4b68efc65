"""`smidgen lm ...`: the language model verbs, thin over `smidgen.lm`."""

import sys
import time as clock
from pathlib import Path
from typing import Any

from smidgen.cli import lm_training as training
from smidgen.cli.output import say, say_json, tell
from smidgen.kit.extras import need
from smidgen.train import journal
from smidgen.web import words


def train(
    sources: list[str],
    *,
    out: str | None,
    resume: bool,
    dry_run: bool,
    as_json: bool,
    logs: list[str],
    skip_corrupt: bool,
    **asked: Any,
) -> int:
    """`asked`: size, time, precision, mix, context, seed; None (or an empty list) where nothing was said."""
    begun = clock.monotonic()
    need("torch", extra="text", why="Training a language model")
    journal.check(logs)
    from smidgen.lm.prepare import survey

    asked, folder = training.said_by_person(asked), training.folder_of(sources, out)
    corpora = training.corpora_of(sources)
    if not resume and not dry_run:
        training.fresh(folder)
    surveys = {name: survey(corpus) for name, corpus in corpora.items()}
    setup = training.begun_with(folder, surveys, asked, resume)
    for line in training.plan_lines(setup):
        tell(line)
    if dry_run:
        training.say_plan(setup) if as_json else None
        return 0
    setup, prepared = training.tokens_of(setup, corpora, surveys, folder, resume, skip_corrupt)
    result = training.trained(setup, prepared, folder, begun, logs)
    training.say_result(result, setup, folder, as_json, f"with: smidgen lm train {' '.join(sources)}")
    return 0 if result["finished"] else 130


def evaluate(model: str, file: str, as_json: bool) -> None:
    need("torch", extra="text", why="A language model")
    from smidgen.lm.corpus import open_corpus
    from smidgen.lm.evaluate import evaluate as measure
    from smidgen.lm.model import load

    found = measure(load(model), [d.text for d in open_corpus([file])])
    if as_json:
        say_json(found)
        return
    say(f"bits a byte       {found['bits_per_byte']:.4f}")
    say(f"perplexity        {found['perplexity']:.2f} (a token; {found['tokens']:,} tokens, {found['bytes']:,} bytes)")
    say(f"tokens a second   {words.whole(found['tokens_per_second'])}")
    say(f"memory            {words.size(found['memory_bytes'])}")


def generate(model: str, prompt: str, **asked: Any) -> None:
    """`asked`: settings of `lm.generate.Sampling`."""
    need("torch", extra="text", why="A language model")
    from smidgen.lm.generate import Sampling, stream
    from smidgen.lm.model import load

    pieces = stream(load(model), prompt, Sampling(**asked))
    sys.stdout.write(prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    say()


def export(model: str, file: str, precision: str) -> None:
    need("torch", extra="text", why="A language model")
    from smidgen.lm import gguf
    from smidgen.lm.model import load

    gguf.export(load(model), file, precision)
    say(f"{file}   {words.size(Path(file).stat().st_size)}")
