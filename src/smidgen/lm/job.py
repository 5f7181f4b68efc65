"""A training as a whole, from a person's texts to the model: what `smidgen lm train` and `smidgen.train_lm` do.

The steps stand apart (`begin`, `tokens_of`, `train.train_model`), since many processes share them (`train.launch`).
"""

import time as clock
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from smidgen.budget.budget import parse_duration
from smidgen.kit.errors import BadInput, bad
from smidgen.lm.corpus import Corpus, open_corpus
from smidgen.lm.plan import MOST_PASSES
from smidgen.lm.prepare import Prepared, Survey, prepare, survey
from smidgen.lm.setup import Setup, fitting, forecast_of, read_setup, set_up, write_setup
from smidgen.lm.stopping import stopping
from smidgen.lm.train import train_model
from smidgen.lm.wish import Wish, parse_count, same
from smidgen.lm.work import FINISHED, SETUP, seconds_before, working
from smidgen.train import journal
from smidgen.train.loop import Update


def name_of(source: str | Path) -> str:
    return Path(source).name.split(".")[0] or "corpus"


def corpora_of(sources: Sequence[str | Path]) -> dict[str, Corpus]:
    """Corpora by name. Raises BadInput: unreadable, or two of one name."""
    corpora = {name_of(s): open_corpus([s]) for s in sources}
    if len(corpora) < len(sources):
        raise BadInput("Two corpora have the same name: rename one, --mix and the folder of tokens need to tell them.")
    return corpora


def folder_of(sources: Sequence[str | Path], out: str | Path | None) -> Path:
    """Where the model goes."""
    return Path(out or f"{name_of(sources[0])}-lm").resolve()


def begin(
    corpora: dict[str, Corpus],
    wish: Wish,
    work: Path | None,
    resume: bool = False,
    more: str | None = None,
    keep_stable: bool = False,
    processes: int = 1,
) -> tuple[Setup, dict[str, Survey]]:
    """The set-up: a new one, or that of the training to go on with, which must be of the same texts and wishes.

    Args:
        work: held (`working`); None: nothing is written. more: a time, or tokens where the training has no time, by
            which a finished one is made longer. processes: that train it together.
    Raises:
        BadInput: see `set_up`, `Wish.check`; what is asked on resuming does not belong to what was begun.
    """
    if not resume:
        if more is not None:
            raise bad("--more", "--resume beside it", str(more))
        wish.check(list(corpora))
    then = read_setup(work) if resume and work else None
    if then:
        same(wish, then.asked)
        if keep_stable and not then.keep_stable:
            raise bad("--keep-stable", "what was said when this training began", "it on resuming")
    surveys = {name: survey(corpus) for name, corpus in corpora.items()}
    if then is None:
        setup = set_up(surveys, wish, keep_stable, processes)
        if work:
            write_setup(setup, work)
        return setup, surveys
    if {name: s.digest for name, s in surveys.items()} != then.texts or list(surveys) != list(then.texts):
        raise BadInput("The corpora are not those that this training began with: start anew in another folder.")
    assert work is not None
    return _further(then, surveys, work, more), surveys


def _further(setup: Setup, surveys: dict[str, Survey], work: Path, more: str | None) -> Setup:
    """A finished training made longer (kept by `train_model` once it is under way); one under way as it is."""
    finished = (work / FINISHED).is_file()
    if more is None:
        if finished:
            raise BadInput(f"{work.parent} is a finished model: say how much --more it shall be trained.")
        return setup
    if not finished:
        raise bad("--more", "a finished training", "one that is under way", "Go on with --resume alone first.")
    plan = setup.plan
    if plan.seconds is None:
        if more[-1:] in "smh":
            raise bad("--more", "tokens such as 20M, as this training has a size and no time", more)
        seconds, tokens = None, plan.tokens + parse_count(more, "--more")
    else:
        if more[-1:] in "kKMGBgb":
            raise bad("--more", "a time such as 30m, as this training has one", more)
        added = parse_duration(more, "--more")
        seconds, tokens = seconds_before(work) + added, round(plan.tokens * (1 + added / plan.seconds))
    passes = plan.passes * tokens / plan.tokens
    plan = replace(plan, tokens=tokens, seconds=seconds, passes=passes, first_steps=plan.first)
    return replace(setup, plan=plan, forecast=forecast_of(plan, surveys, setup.precision))


def tokens_of(
    setup: Setup,
    corpora: dict[str, Corpus],
    surveys: dict[str, Survey],
    work: Path,
    corrupt: str,
    say: Callable[[str], None],
) -> tuple[Setup, Prepared]:
    """Tokens on the disk, and the set-up that fits them, which is kept from now on.

    Args:
        corrupt: "refuse" a damaged shard, or "skip" it.
    Raises:
        BadInput: as `prepare` and `fitting`; a training that never began is forgotten then.
    """
    try:
        prepared = prepare(corpora, surveys, setup.plan.words, work, corrupt)
        fitted = setup if setup.fitted else fitting(setup, prepared)
    except BadInput:
        if not setup.fitted:
            (work / SETUP).unlink(missing_ok=True)
        raise
    for why in (*prepared.again, *(f"Left out: {why}" for why in prepared.skipped)):
        say(why)
    if not setup.fitted:
        write_setup(fitted, work)
    lengths = {name: len(part) for name, part in prepared.parts.items()}
    say(f"{sum(lengths.values()):,} tokens of {prepared.tokenizer.words:,} words")
    if not prepared.held:
        say("The texts are too short to hold any out: how good the model is nobody will know.")
    for line in parts_lines(fitted, lengths):
        say(line)
    return fitted, prepared


def parts_lines(setup: Setup, lengths: dict[str, int]) -> list[str]:
    """Of several corpora, how much of the training each is."""
    if len(lengths) < 2:
        return []
    lines = []
    for name, share in setup.shares(lengths).items():
        passes = setup.plan.tokens * share / lengths[name]
        much = ": more than help; a smaller share would do" if passes > MOST_PASSES else ""
        lines.append(
            f"{name}  {share:.0%} of the training, {passes:.1f} passes over its {lengths[name]:,} tokens{much}"
        )
    return lines


def train(
    sources: Sequence[str | Path],
    *,
    size: int | str | None = None,
    time: float | str | None = None,
    out: str | Path | None = None,
    precision: str | None = None,
    mix: dict[str, float] | None = None,
    mix_temperature: Sequence[float] | None = None,
    context: int | None = None,
    rate: float | None = None,
    batch: int | None = None,
    seed: int | None = None,
    resume: bool = False,
    more: str | None = None,
    keep_stable: bool = False,
    skip_corrupt: bool = False,
    logs: Sequence[str] = (),
    say: Callable[[str], None] = print,
    on_update: Callable[[Update], None] | None = None,
) -> dict[str, Any]:
    """Trains a language model of a person's own text.

    Args:
        sources: text files, JSON lines, tables, or folders of these; each is a corpus with the name of its file.
        size: parameters ("10M"). time: of all of it ("30m", or seconds). One of both, or both; the rest follows.
        out: folder of the model; default: the first corpus' name with "-lm".
        precision: "auto", "fp32", "bf16" or "mixed". mix: weights of the corpora. mix_temperature: shares by size,
            (tau,), or cooled down from `high` to `low` (high, low, share of the updates): arXiv 2410.04579.
        context: tokens a window. rate: the peak rate. batch: windows of an update. seed: of weights and order.
        resume: go on with the training in `out`, as it was begun. keep_stable: keep what is needed to train further;
            more: with `resume`, do so: a time, or tokens.
        Ctrl-C (in the main thread) stops after the update that runs, without loss; once more: at once.
        skip_corrupt: leave damaged shards of tokens out. logs: "tensorboard", "mlflow". say: told what happens.
    Returns:
        What `train_model` gives, with `model` (its folder), `plan` and `forecast`.
    Raises:
        BadInput: what cannot be, in a sentence.
    """
    begun = clock.monotonic()
    journal.check(logs)
    wish = Wish.of(
        size=size, time=time, precision=precision, mix=mix, mix_temperature=mix_temperature, context=context,
        rate=rate, batch=batch, seed=seed,
    )  # fmt: skip
    folder, corpora = folder_of(sources, out), corpora_of(sources)
    corrupt = "skip" if skip_corrupt else "refuse"
    with working(folder, resume, begun) as work:
        setup, surveys = begin(corpora, wish, work, resume, more, keep_stable)
        setup, prepared = tokens_of(setup, corpora, surveys, work, corrupt, say)
        with stopping(say) as stopped:
            result = train_model(
                setup, prepared, folder, begun=begun, say=say, on_update=on_update, stopped=stopped, logs=logs
            )
    return {**result, "model": str(folder), "plan": setup.plan.to_json(), "forecast": asdict(setup.forecast)}
