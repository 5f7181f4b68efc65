"""One stage of tuning a language model: rows, their order, and a training that a stop does not lose.

Instruction tuning (`instruct`), preferences (`preference_train`) and the plain calls of `tuning` are all trained here.

Dims: B rows, N rows in all, T tokens.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import digest
from smidgen.kit.seeds import derive_seed
from smidgen.lm.likelihood import Pair, log_likelihoods, padded
from smidgen.lm.search import optimizer_of
from smidgen.nets.decoder import IGNORED, Decoder
from smidgen.nets.products import full_speed
from smidgen.train.checkpoint import load_file, save_file
from smidgen.train.loop import Batches, LoopConfig, Loss, Run, Update, train
from smidgen.train.order import permuted
from smidgen.train.schedules import Cosine

ASKED = 64  # rows that a reference is asked for at once


@dataclass(frozen=True)
class Example:
    """A prompt, and how it is to be answered; the end of the document is learnt as the end of the answer."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Preference:
    """Of two answers to a prompt, the one that people chose."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """
    Attributes:
        steps: updates. batch: examples, or pairs, of each. lr: peak rate, after `warmup` (a share of the steps) and
            then half a cosine down to a tenth. decay: of weights. seed: of the order.
    """

    steps: int
    batch: int = 8
    lr: float = 1e-4
    warmup: float = 0.1
    decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        if not self.lr > 0:
            raise bad("lr", "above 0", self.lr)
        if not 0 <= self.warmup <= 1:
            raise bad("warmup", "a share from 0 to 1", self.warmup)


class Words(Protocol):
    """What turns text into ids and back: `tokenizer.Tokenizer`, or anything that has these.

    `words`: how many ids there are; `end`: the one that starts a document and ends it."""

    @property
    def words(self) -> int: ...

    @property
    def end(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Iterable[int]) -> str: ...


def supervised_loss(model: Any, ids_BT: Tensor, targets_BT: Tensor) -> tuple[Tensor, int]:
    """Sum over the answers' tokens, and how many they are: each token weighs the same in an update."""
    return model(ids_BT, targets_BT=targets_BT), int((targets_BT != IGNORED).sum())


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
    padded([max(rows, key=lambda row: len(row[0]) + len(row[1]))], model.config.max_len, words.end)  # the longest fits
    return rows


def weights_digest(model: torch.nn.Module) -> str:
    """A hash of all weights and their names: whether a model is the one that it is taken for."""
    parts: list[bytes | str] = []
    for name, tensor in sorted(model.state_dict().items()):
        parts += [name, tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()]
    return digest(*parts)


def places(number: int, config: TuneConfig, count: int) -> list[int]:
    """Which examples the n-th batch holds: each once an epoch, in an order of its own."""
    epochs, rows = np.divmod(np.arange(number * config.batch, (number + 1) * config.batch), count)
    keys = {int(e): derive_seed(config.seed, "tune", int(e)) for e in np.unique(epochs)}
    return [int(permuted(np.array([p]), count, keys[int(e)])[0]) for e, p in zip(epochs, rows, strict=True)]


@torch.no_grad()
def reference_log_likelihoods(reference: Decoder, rows: Sequence[Pair], fill: int, kept: Path | None = None) -> Tensor:
    """Of each row's answer `[N]`, nats, asked once.

    Args:
        kept: file that they are read from where it holds those of this very model and these rows; else it is written.
    """
    whose = ""
    if kept is not None:
        whose = digest(weights_digest(reference), json.dumps(rows))
        state = load_file(kept) if kept.exists() else None
        if isinstance(state, dict) and state.get("of") == whose:
            return state["nats"]
    with full_speed():
        parts = [
            log_likelihoods(reference, *padded(rows[i : i + ASKED], reference.config.max_len, fill))
            for i in range(0, len(rows), ASKED)
        ]
    nats_N = torch.cat(parts)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_file({"of": whose, "nats": nats_N}, kept)
    return nats_N
