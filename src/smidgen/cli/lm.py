"""`smidgen lm ...`: the language model verbs, thin over `smidgen.lm`."""

import shlex
import sys
import time as clock
from pathlib import Path
from typing import Any

from smidgen.cli import lm_training as training
from smidgen.cli.output import say, say_json, tell
from smidgen.kit.errors import bad
from smidgen.kit.extras import need
from smidgen.train import journal
from smidgen.web import words


def train(
    sources: list[str],
    *,
    out: str | None,
    resume: bool,
    more: str | None,
    keep_stable: bool,
    dry_run: bool,
    as_json: bool,
    logs: list[str],
    skip_corrupt: bool,
    **asked: Any,
) -> int:
    """`asked`: as `Wish.of` takes it; None (or an empty list) where nothing was said."""
    begun = clock.monotonic()
    need("torch", extra="text", why="Training a language model")
    journal.check(logs)
    from smidgen.lm import job
    from smidgen.lm.wish import Wish
    from smidgen.lm.work import SETUP, WORK, working

    wish, folder, corpora = Wish.of(**asked), job.folder_of(sources, out), job.corpora_of(sources)
    if dry_run:
        if resume:
            raise bad("--dry-run", "a training that is not begun", "--resume")
        setup, _ = job.begin(corpora, wish, None)
        for line in training.plan_lines(setup):
            tell(line)
        training.say_plan(setup) if as_json else None
        return 0
    go_on = f"with: smidgen lm train {shlex.join(sources)}"
    try:
        with working(folder, resume, begun) as work:
            setup, surveys = job.begin(corpora, wish, work, resume, more, keep_stable)
            for line in training.plan_lines(setup):
                tell(line)
            corrupt = "skip" if skip_corrupt else "refuse"
            setup, prepared = job.tokens_of(setup, corpora, surveys, work, corrupt, tell)
            result = training.trained(setup, prepared, folder, begun, logs)
    except KeyboardInterrupt:
        if not (folder / WORK / SETUP).is_file():
            raise
        training.say_stopped(folder, as_json, go_on)
        return 130
    training.say_result(result, setup, folder, as_json, go_on)
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
