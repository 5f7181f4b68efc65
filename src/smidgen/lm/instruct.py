"""Instruction tuning on few demonstrations, as a stage that a stop does not lose: loss on the answers alone.

The length is told in epochs, the model is any decoder with anything that turns text into ids, and a checkpoint lets a
stage go on to the same bits (`stage`).

Dims: B rows, T tokens, V vocabulary.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from smidgen.kit.errors import bad
from smidgen.kit.files import digest
from smidgen.lm.generate import Said
from smidgen.lm.likelihood import padded
from smidgen.lm.stage import Example, TuneConfig, Words, places, rows_of, supervised_loss, train_stage
from smidgen.nets.decoder import Decoder
from smidgen.nets.products import full_speed
from smidgen.train.loop import Run, Update

TOGETHER = 256  # prompts that are answered at once


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """
    Attributes:
        epochs: passes over the rows; 2.5 are allowed. batch: rows, or pairs, of an update.
        lr, warmup, decay, seed: as of `stage.TuneConfig`.
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
        return padded([rows[i] for i in places(number, tune, len(rows))], model.config.max_len, words.end)

    identity = digest("instruct", json.dumps(rows))
    return train_stage(
        model, batches, supervised_loss, tune, identity, kept=kept, save_every=config.save_every,
        on_update=on_update, go_on=go_on,
    )  # fmt: skip


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
