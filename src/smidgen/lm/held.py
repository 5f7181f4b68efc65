"""Text that is held out of training: what the rate and the end are chosen on, and what the model is judged on at last.

Of several corpora each counts by its share in training, as the loss of training does.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from smidgen.lm.evaluate import evaluate
from smidgen.lm.model import LanguageModel
from smidgen.lm.shards import TokenShards
from smidgen.nets.decoder import Decoder
from smidgen.train.order import Batch, Order

WINDOWS = 64  # of one look at the loss, at most, in all parts together
ROWS = 16  # windows that are read at once
JUDGED = 16_384  # tokens of the last look, in all parts together


@dataclass(frozen=True)
class Held:
    """Tokens by the name of their corpus; corpora of which nothing is held out are not in it.

    Attributes:
        shares: of each in training, any scale.
    """

    parts: dict[str, TokenShards]
    shares: dict[str, float]

    def __post_init__(self) -> None:
        assert self.parts and self.parts.keys() == self.shares.keys()

    def share(self, name: str) -> float:
        """Of this part, of all that is held out."""
        return self.shares[name] / sum(self.shares.values())

    @torch.no_grad()
    def loss(self, model: Decoder, context: int, most: int = WINDOWS) -> float:
        """Nats a token on at most so many windows, the mean over parts by their shares."""
        training, total = model.training, 0.0
        model.eval()
        for name, tokens in self.parts.items():
            total += self.share(name) * _loss(model, tokens, context, max(1, round(most * self.share(name))))
        model.train(training)
        return total

    def judge(self, model: LanguageModel, most: int = JUDGED) -> dict[str, Any]:
        """Scores as `smidgen lm eval` gives them, on whole documents as far as `most` tokens go.

        Returns:
            loss (nats a token), bits_per_byte: of text mixed by the shares of tokens; parts: bits a byte of each one;
            judged_tokens: that this is of.
        """
        nats = size = 0.0
        count = 0
        bits: dict[str, float] = {}
        for name, tokens in self.parts.items():
            texts = documents(tokens, model, max(model.decoder.config.max_len, round(most * self.share(name))))
            found = evaluate(model, texts)
            bits[name], count = found["bits_per_byte"], count + found["tokens"]
            nats += self.share(name) * found["nats"] / found["tokens"]
            size += self.share(name) * found["bytes"] / found["tokens"]
        return {"loss": nats, "bits_per_byte": nats / math.log(2) / size, "parts": bits, "judged_tokens": count}


def documents(tokens: TokenShards, model: LanguageModel, most: int) -> Iterator[str]:
    """Texts of documents, spread evenly, with about so many tokens together; none with more, so that one may be cut."""
    starts = [*tokens.starts(0, len(tokens)).tolist(), len(tokens)]
    share = min(1.0, most / len(tokens))
    taken = 1 - share  # the first one is read
    for first, after in zip(starts, starts[1:], strict=False):
        taken += share
        if taken < 1 - 1e-9:
            continue
        taken -= 1
        text = model.tokenizer.decode(tokens.read(first, min(after, first + most)).tolist())
        yield text if after <= first + most else text.rstrip("\ufffd")  # a character may be cut as well


def _loss(model: Decoder, tokens: TokenShards, length: int, most: int) -> float:
    length, total, count = min(length, len(tokens) - 1), 0.0, 0
    windows = min(most, Order(tokens, length, 1, seed=0).epoch_windows)
    for first in range(0, windows, ROWS):  # the order is the same in batches of any size
        batch = Order(tokens, length, min(ROWS, windows - first), seed=0).at(first)
        loss, n = loss_of(model, batch)
        total, count = total + float(loss), count + n
    return total / count


def loss_of(model: Any, batch: Batch) -> tuple[torch.Tensor, int]:
    """Sum over the targets of a batch, and how many they are."""
    return model(batch.ids_BT, documents_BT=batch.documents_BT, targets_BT=batch.targets_BT), batch.targets_BT.numel()
