"""Over-fitting a causal language model on prefixed texts until it nearly knows them by heart, and sampling from it.

The model and its tokenizer are passed in: any of transformers' causal language models. Dims: B rows, T tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import digest
from smidgen.kit.seeds import derive_seed
from smidgen.train.checkpoint import load_file, save_file
from smidgen.train.loop import LoopConfig, Run, Update, train

IGNORED = -100  # a target that is not counted
LmFactory = Callable[[], tuple[Any, Any]]  # a fresh model, and its tokenizer


@dataclass(frozen=True, kw_only=True)
class OverfitConfig:
    """
    Attributes:
        target_loss: nats a token, mean of a pass over all texts, at which training ends. max_steps: or after so many.
        batch: texts an update. learning_rate: of AdamW, constant; the published GPT-2 took 1e-4 with a batch of 1.
        keep_every: updates between checkpoints, where there is a file for them. seed: of the order and of dropout.
    """

    target_loss: float = 0.2
    max_steps: int = 2000
    batch: int = 8
    learning_rate: float = 1e-4
    keep_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch", "keep_every"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        for name in ("target_loss", "learning_rate"):
            if not getattr(self, name) > 0:
                raise bad(name, "above 0", getattr(self, name))


class Prefixed(NamedTuple):
    """Ids of a text with its prefix; the first `prefix` of them are given, the rest is to be learned."""

    ids: list[int]
    prefix: int


@dataclass(frozen=True)
class Overfitted:
    """`loss`: mean of the last whole pass, nats a token (infinite where none was); `seconds` of training in all."""

    steps: int
    loss: float
    seconds: float


def limit_of(model: Any) -> int:
    """Tokens that a model can read."""
    config = model.config
    found = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    return int(found) if found else 1 << 20


def end_of(tokenizer: Any) -> int:
    """The id that ends a text. Raises BadInput: the tokenizer has none."""
    if tokenizer.eos_token_id is None:
        raise BadInput("This tokenizer has no end of text (eos_token): generated texts would never end.")
    return int(tokenizer.eos_token_id)


def overfit(model: Any, sequences: Sequence[Prefixed], config: OverfitConfig, kept: Path | None = None) -> Overfitted:
    """Trains in place until the target or the last step; the loss is of what follows the prefixes.

    Args:
        kept: a file for checkpoints. What lies in it is gone on with, to the same bits; when it is done, it is loaded.

    Raises:
        BadInput: no text, or the file is of other texts, settings or another model. NonFinite: the loss is NaN.
    """
    if not sequences:
        raise bad("texts", "at least one", "none")
    run = Run(model, torch.optim.AdamW(model.parameters(), config.learning_rate))
    run.extra = {"sum": 0.0, "count": 0, "loss": float("inf")}
    whose = _identity(model, sequences, config)
    if kept is not None and kept.is_file():
        state: Any = load_file(kept)
        if not isinstance(state, dict) or state.get("texts") != whose:
            raise BadInput(f"{kept} is of other texts, settings or another model: take another folder.")
        run.load_state_dict(state["run"])
    per_pass = -(-len(sequences) // config.batch)

    def batches(number: int) -> tuple[Tensor, ...]:
        order = np.random.default_rng(derive_seed(config.seed, "order", number // per_pass))
        rows = order.permutation(len(sequences))[number % per_pass * config.batch :][: config.batch]
        return _batch([sequences[i] for i in rows])

    def loss_of(module: Any, ids_BT: Tensor, mask_BT: Tensor, targets_BT: Tensor) -> tuple[Tensor, int]:
        device = next(module.parameters()).device
        logits_BTV = module(input_ids=ids_BT.to(device), attention_mask=mask_BT.to(device)).logits[:, :-1]
        wanted_BT = targets_BT[:, 1:].to(device)
        total = F.cross_entropy(logits_BTV.flatten(0, 1).float(), wanted_BT.flatten(), ignore_index=IGNORED,
                                reduction="sum")  # fmt: skip
        return total, int((wanted_BT != IGNORED).sum())

    def keep() -> None:
        if kept is not None:
            save_file({"texts": whose, "run": run.state_dict()}, kept, run.step)

    def after(update: Update) -> None:
        extra = run.extra
        extra["sum"], extra["count"] = extra["sum"] + update.loss * update.targets, extra["count"] + update.targets
        if update.step % per_pass == 0:
            extra.update(loss=extra["sum"] / extra["count"], sum=0.0, count=0)
        if update.step % config.keep_every == 0:
            keep()

    before = run.step
    with torch.random.fork_rng():
        if not before:
            torch.manual_seed(derive_seed(config.seed, "dropout"))
        train(
            run, batches, loss_of, lambda _: 1.0, LoopConfig(), steps=config.max_steps, on_update=after,
            go_on=lambda: run.extra["loss"] > config.target_loss,
        )  # fmt: skip
        if run.step > before:
            keep()
    model.eval()
    return Overfitted(run.step, run.extra["loss"], run.seconds)


class Sampled(NamedTuple):
    """Ids without prefix and end; `ended`: the model ended the text itself, it was not cut off."""

    ids: list[int]
    ended: bool


@torch.no_grad()
def sample(
    model: Any,
    tokenizer: Any,
    prefixes: Sequence[list[int]],
    *,
    times: int,
    max_tokens: int,
    temperature: float,
    top_p: float | None,
    seed: int,
) -> list[list[Sampled]]:
    """`times` continuations of each prefix, in one batch. The same arguments give the same texts on one machine."""
    end, length = end_of(tokenizer), max(map(len, prefixes))
    device = next(model.parameters()).device
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    ids_BT = torch.tensor([[pad] * (length - len(p)) + p for p in prefixes], device=device)
    mask_BT = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prefixes], device=device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        out_BT = model.generate(
            input_ids=ids_BT, attention_mask=mask_BT, do_sample=True, temperature=temperature, top_k=0,
            top_p=1.0 if top_p is None else top_p, num_return_sequences=times, max_new_tokens=max_tokens,
            pad_token_id=pad, eos_token_id=end,
        )  # fmt: skip
    made = []
    for row in out_BT[:, length:].tolist():
        ended = end in row
        made.append(Sampled(row[: row.index(end)] if ended else row, ended))
    return [made[i * times : (i + 1) * times] for i in range(len(prefixes))]


def _batch(sequences: Sequence[Prefixed]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and targets `[B, T]`, padded at the right."""
    T = max(len(s.ids) for s in sequences)
    ids = torch.tensor([s.ids + [0] * (T - len(s.ids)) for s in sequences])
    mask = torch.tensor([[1] * len(s.ids) + [0] * (T - len(s.ids)) for s in sequences])
    targets = torch.tensor([[IGNORED] * s.prefix + s.ids[s.prefix :] + [IGNORED] * (T - len(s.ids)) for s in sequences])
    return ids, mask, targets


def _identity(model: Any, sequences: Sequence[Prefixed], config: OverfitConfig) -> str:
    """Of texts, settings and where the model begins. More steps and another target go on with the same training."""
    same = replace(config, max_steps=1, target_loss=1.0, keep_every=1)
    weights = [f"{n} {tuple(p.shape)} {float(p.detach().double().sum())!r}" for n, p in model.named_parameters()]
    return digest(repr([tuple(s) for s in sequences]), repr(same), *weights)
