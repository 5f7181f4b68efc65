"""From a language model to one that answers: supervised on answers, then by preferences, as GEB-1.3B was aligned.

`sft` learns answers and not their prompts. `dpo` (Rafailov et al., 2023, arXiv 2305.18290, eq. 7) makes chosen answers
likelier than rejected ones, against a frozen reference, which is asked once, before, and not kept in memory.

Dims: B pairs or examples of a batch, T tokens.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed
from smidgen.lm.likelihood import log_likelihoods, padded
from smidgen.lm.model import LanguageModel
from smidgen.lm.search import optimizer_of
from smidgen.nets.decoder import IGNORED, Decoder
from smidgen.train.loop import LoopConfig, Run, Update, train
from smidgen.train.order import permuted
from smidgen.train.precision import products
from smidgen.train.schedules import Cosine


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


def supervised_loss(model: Any, ids_BT: Tensor, targets_BT: Tensor) -> tuple[Tensor, int]:
    """Sum over the answers' tokens, and how many they are: each token weighs the same in an update."""
    return model(ids_BT, targets_BT=targets_BT), int((targets_BT != IGNORED).sum())


def dpo_losses(
    chosen_B: Tensor, rejected_B: Tensor, reference_chosen_B: Tensor, reference_rejected_B: Tensor, beta: float = 0.1
) -> Tensor:
    """-log sigmoid(beta (log-likelihood gained by the chosen answer - by the rejected one)) `[B]`; log 2 at first.

    Args:
        chosen_B, rejected_B: log-likelihoods under the model, nats. reference_...: under the reference.
        beta: how much a gain weighs: the larger, the nearer the model stays to the reference.
    """
    gained_B = (chosen_B - reference_chosen_B) - (rejected_B - reference_rejected_B)
    return -F.logsigmoid(beta * gained_B)


def sft(
    model: LanguageModel,
    examples: Sequence[Example],
    config: TuneConfig,
    on_update: Callable[[Update], None] | None = None,
) -> LanguageModel:
    """A copy of the model that has learnt the answers.

    Raises:
        BadInput: no examples, or one longer than the context.
    """
    _check(model, examples, [(e.prompt, e.answer) for e in examples])

    def batches(number: int) -> tuple[Tensor, Tensor]:
        picked = [examples[i] for i in _places(number, config, len(examples))]
        return _rows(model, [(e.prompt, e.answer) for e in picked])

    return _trained(model, batches, supervised_loss, config, on_update)


def dpo(
    model: LanguageModel,
    pairs: Sequence[Preference],
    config: TuneConfig,
    beta: float = 0.1,
    reference: LanguageModel | None = None,
    on_update: Callable[[Update], None] | None = None,
) -> LanguageModel:
    """A copy of the model that prefers the chosen answers.

    Args:
        reference: stays as it is; by default the model as it is given.
    Raises:
        BadInput: no pairs, one longer than the context, or a reference of another tokenizer.
    """
    if not beta > 0:
        raise bad("beta", "above 0", beta)
    asked = reference or model
    if asked.tokenizer.identity != model.tokenizer.identity:
        raise BadInput("The reference has another tokenizer than the model: their likelihoods cannot be compared.")
    _check(model, pairs, [(p.prompt, a) for p in pairs for a in (p.chosen, p.rejected)])
    known_N2 = torch.cat([_likelihoods(asked, pairs[i : i + config.batch]) for i in range(0, len(pairs), config.batch)])

    def batches(number: int) -> tuple[Tensor, Tensor, Tensor]:
        places = _places(number, config, len(pairs))
        return (*_pair_rows(model, [pairs[i] for i in places]), known_N2[places])

    def loss_of(decoder: Decoder, ids_BT: Tensor, targets_BT: Tensor, known_B2: Tensor) -> tuple[Tensor, int]:
        chosen_B, rejected_B = log_likelihoods(decoder, ids_BT, targets_BT).chunk(2)
        return dpo_losses(chosen_B, rejected_B, known_B2[:, 0], known_B2[:, 1], beta).sum(), len(known_B2)

    return _trained(model, batches, loss_of, config, on_update)


def _trained(
    model: LanguageModel, batches: Any, loss_of: Any, config: TuneConfig, on_update: Callable[[Update], None] | None
) -> LanguageModel:
    decoder = copy.deepcopy(model.decoder)
    schedule = Cosine(steps=config.steps, warmup=round(config.warmup * config.steps))
    run = Run(decoder, optimizer_of(decoder, config.lr, "adamw", config.decay))
    train(run, batches, loss_of, schedule, LoopConfig(), steps=config.steps, on_update=on_update)
    return LanguageModel(decoder.eval(), model.tokenizer)


def _check(model: LanguageModel, what: Sequence[Any], texts: list[tuple[str, str]]) -> None:
    """Before anything is trained: there is something, and all of it fits the context."""
    if not what:
        raise BadInput("There is nothing to learn from: no examples were given.")
    for text in texts:
        _rows(model, [text])


def _places(number: int, config: TuneConfig, count: int) -> list[int]:
    """Which examples the n-th batch holds: each once an epoch, in an order of its own."""
    epochs, places = np.divmod(np.arange(number * config.batch, (number + 1) * config.batch), count)
    keys = {int(e): derive_seed(config.seed, "tune", int(e)) for e in np.unique(epochs)}
    return [int(permuted(np.array([p]), count, keys[int(e)])[0]) for e, p in zip(epochs, places, strict=True)]


def _rows(model: LanguageModel, texts: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
    """Prompts as generation reads them; answers with the end."""
    words = model.tokenizer
    rows = [([words.end, *words.encode(p)], [*words.encode(a), words.end]) for p, a in texts]
    return padded(rows, model.decoder.config.max_len, words.end)


def _pair_rows(model: LanguageModel, pairs: Sequence[Preference]) -> tuple[Tensor, Tensor]:
    """All chosen answers, then all rejected ones."""
    return _rows(model, [*((p.prompt, p.chosen) for p in pairs), *((p.prompt, p.rejected) for p in pairs)])


@torch.no_grad()
def _likelihoods(model: LanguageModel, pairs: Sequence[Preference]) -> Tensor:
    """Of chosen and rejected answers `[B, 2]`."""
    with products("fp32"):
        return torch.stack(log_likelihoods(model.decoder, *_pair_rows(model, pairs)).chunk(2), 1)
