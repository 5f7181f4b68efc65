"""Instruction tuning on few demonstrations, as a stage that a stop does not lose: loss on the answers alone.

The loss, the order of examples and the schedule are those of `tuning`; here the length is told in epochs, the model is
any decoder with anything that turns text into ids, and a checkpoint lets a stage go on to the same bits. Preference
stages (`preference_train`) are trained by the same `train_stage`.

Dims: B rows, T tokens, V vocabulary.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import digest
from smidgen.lm.generate import Said
from smidgen.lm.likelihood import Pair, padded
from smidgen.lm.search import optimizer_of
from smidgen.lm.tuning import Example, TuneConfig, _places, supervised_loss
from smidgen.nets.decoder import Decoder
from smidgen.nets.products import full_speed
from smidgen.train.checkpoint import load_file, save_file
from smidgen.train.loop import Batches, LoopConfig, Loss, Run, Update, train
from smidgen.train.schedules import Cosine

TOGETHER = 256  # prompts that are answered at once


class Words(Protocol):
    """What turns text into ids and back: `tokenizer.Tokenizer`, or anything that has these.

    `words`: how many ids there are; `end`: the one that starts a document and ends it."""

    @property
    def words(self) -> int: ...

    @property
    def end(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Iterable[int]) -> str: ...


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """
    Attributes:
        epochs: passes over the rows; 2.5 are allowed. batch: rows, or pairs, of an update.
        lr, warmup, decay, seed: as of `tuning.TuneConfig`.
        save_every: updates between checkpoints, where a file for them is given.
    """

    epochs: float = 2.0
    batch: int = 16
    lr: float = 1e-4
    warmup: float = 0.1
    decay: float = 0.0
    seed: int = 0
    save_every: int = 200

    def __post_init__(self) -> None:
        if not 0 < self.epochs < math.inf:
            raise bad("epochs", "above 0", self.epochs)
        if self.save_every < 1:
            raise bad("save_every", "at least 1 update", self.save_every)
        self._tune(1)

    def tune(self, rows: int) -> TuneConfig:
        """The same by updates: as many as the epochs over so many rows take, and at least one."""
        return self._tune(max(1, math.ceil(self.epochs * rows / self.batch - 1e-9)))

    def _tune(self, steps: int) -> TuneConfig:
        return TuneConfig(
            steps=steps, batch=self.batch, lr=self.lr, warmup=self.warmup, decay=self.decay, seed=self.seed
        )


def instruct(
    model: Decoder,
    words: Words,
    examples: Sequence[Example],
    config: StageConfig,
    *,
    kept: Path | None = None,
    on_update: Callable[[Run, Update], None] | None = None,
    go_on: Callable[[Run], bool] | None = None,
) -> Run:
    """Trains the model, in place, on the answers of demonstrations: -sum of log p(token | prompt, tokens before it).

    Args:
        kept, on_update, go_on: as of `train_stage`.
    Returns:
        The run; it is finished where its `step` is `config.tune(len(examples)).steps`.
    Raises:
        BadInput: no examples, one longer than the context, or a checkpoint of another stage.
    """
    rows = rows_of(model, words, [(e.prompt, e.answer) for e in examples])
    tune = config.tune(len(rows))

    def batches(number: int) -> tuple[Tensor, Tensor]:
        return padded([rows[i] for i in _places(number, tune, len(rows))], model.config.max_len, words.end)

    identity = digest("instruct", json.dumps(rows))
    return train_stage(
        model, batches, supervised_loss, tune, identity, kept=kept, save_every=config.save_every,
        on_update=on_update, go_on=go_on,
    )  # fmt: skip


def train_stage(
    model: Decoder,
    batches: Batches,
    loss_of: Loss,
    config: TuneConfig,
    identity: str,
    *,
    kept: Path | None = None,
    save_every: int = 200,
    on_update: Callable[[Run, Update], None] | None = None,
    go_on: Callable[[Run], bool] | None = None,
) -> Run:
    """Trains the model in place for `config.steps` updates of AdamW, or until `go_on(run)` says no.

    Args:
        identity: of data and loss; together with the settings and the first weights it says which stage this is.
        kept: file of the checkpoint: written now and then and at the end of this call, read where it is there. A
            stage that was stopped anywhere ends with the bits of one that was not.
        on_update: after each update and before its checkpoint; what it notes in `run.extra` is kept.
    Raises:
        BadInput: the file holds another stage. NonFinite: the loss is not a number.
    """
    run = Run(model, optimizer_of(model, config.lr, "adamw", config.decay))
    whose, saved = "", -1
    if kept is not None:
        whose = digest(identity, repr(config), weights_digest(model))
        if kept.exists():
            state = load_file(kept)
            if not isinstance(state, dict) or state.get("stage") != whose:
                raise BadInput(
                    f"{kept} is the checkpoint of another stage (other rows, settings or first weights): "
                    "remove it, or give another folder."
                )
            run.load_state_dict(state["run"])
            saved = run.step

    def keep() -> None:
        nonlocal saved
        if kept is not None and run.step != saved:
            kept.parent.mkdir(parents=True, exist_ok=True)
            save_file({"stage": whose, "run": run.state_dict()}, kept, run.step)
            saved = run.step

    def after(update: Update) -> None:
        if on_update:
            on_update(run, update)
        if update.step % save_every == 0:
            keep()

    schedule = Cosine(steps=config.steps, warmup=round(config.warmup * config.steps))
    train(
        run, batches, loss_of, schedule, LoopConfig(), steps=config.steps, on_update=after,
        go_on=(lambda: go_on(run)) if go_on else None,
    )  # fmt: skip
    keep()
    model.eval()
    return run


def rows_of(model: Decoder, words: Words, texts: Sequence[tuple[str, str]]) -> list[Pair]:
    """Ids of prompts with their start and of answers with their end, as generation reads and gives them.

    Raises:
        BadInput: no texts, or one that is longer than the context: before anything is trained.
    """
    if not texts:
        raise BadInput("There is nothing to learn from: no examples were given.")
    rows: list[Pair] = [([words.end, *words.encode(p)], [*words.encode(a), words.end]) for p, a in texts]
    for row in rows:
        padded([row], model.config.max_len, words.end)
    return rows


def weights_digest(model: torch.nn.Module) -> str:
    """A hash of all weights and their names: whether a model is the one that it is taken for."""
    parts: list[bytes | str] = []
    for name, tensor in sorted(model.state_dict().items()):
        parts += [name, tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()]
    return digest(*parts)


def greedy_answers(model: Decoder, words: Words, prompts: Sequence[str], max_tokens: int) -> list[Said]:
    """Answers of `greedy_ids` as texts, in the order of the prompts; `reason` as of `generate`."""
    ids = greedy_ids(model, words, prompts, max_tokens)
    return [said_of(row, words, len(row) == max_tokens) for row in ids]


@torch.no_grad()
def greedy_ids(model: Decoder, words: Words, prompts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """The likeliest next token, again and again, for many prompts at once; those of one length are answered together.

    Returns:
        The new ids of each prompt, in their order; the last one is `words.end` where the model ended its answer.
    Raises:
        BadInput: a prompt that leaves no room for an answer, or max_tokens below 1.
    """
    if max_tokens < 1:
        raise bad("max_tokens", "at least 1", max_tokens)
    asked = [[words.end, *words.encode(p)] for p in prompts]
    longest = max(map(len, asked), default=0)
    if longest >= model.config.max_len:
        raise bad("prompt", f"at most {model.config.max_len - 1:,} tokens", f"{longest:,}")
    out: list[list[int]] = [[] for _ in asked]
    order, at, training = sorted(range(len(asked)), key=lambda i: len(asked[i])), 0, model.training
    model.eval()
    with full_speed():
        while at < len(order):
            group = [i for i in order[at : at + TOGETHER] if len(asked[i]) == len(asked[order[at]])]
            for i, row in zip(group, _greedy(model, words, [asked[i] for i in group], max_tokens), strict=True):
                out[i] = row
            at += len(group)
    model.train(training)
    return out


def _greedy(model: Decoder, words: Words, asked: list[list[int]], max_tokens: int) -> list[list[int]]:
    """Of prompts of one length."""
    device = model.output_weight_VD.device
    new_BT = torch.tensor(asked, device=device)
    B, T = new_BT.shape
    room = min(max_tokens, model.config.max_len - T)
    cache, made = model.new_cache(B, T + room), []
    ended_B = torch.zeros(B, dtype=torch.bool, device=device)
    for _ in range(room):
        x_BD = model.hidden(new_BT, cache=cache)[:, -1]
        next_B = (x_BD @ model.output_weight_VD.T)[:, : words.words].argmax(-1)
        made.append(next_B)
        ended_B |= next_B == words.end
        if ended_B.all():
            break
        new_BT = next_B[:, None]
    rows = torch.stack(made, 1).tolist()
    return [row[: row.index(words.end) + 1] if words.end in row else row for row in rows]


def said_of(ids: Sequence[int], words: Words, full: bool) -> Said:
    """An answer as text. `full`: it is as long as was asked for at most."""
    ended = ids[-1] == words.end
    kept = ids[:-1] if ended else ids
    return Said(words.decode(kept), len(kept), "end" if ended else "length" if full else "context")
