"""Texts as rows of word-piece ids: what comes to a method that tunes the encoder itself.

Dims: n texts, L ids a row (0 behind the end), T tokens of all texts of a batch together.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from smidgen.kit.errors import BadInput
from smidgen.nets.minilm import POSITIONS
from smidgen.nets.minilm_torch import Encoder, Layer, Packing, run_layer

TOKENS_AT_ONCE = 1536  # of a batch that nothing is learned from
TOKENS_TO_TUNE = 1024  # about, of a batch of tuning: long texts would make it endless


def token_rows(X: np.ndarray, words: int) -> list[Tensor]:
    """The ids of each text, int64, without what is behind its end; a row of zeros is one id, the 0.

    Raises:
        BadInput: X `[n, L]` is not such ids, of a vocabulary of `words`, or longer than the encoder can number.
    """
    if X.shape[1] > POSITIONS:
        raise BadInput(f"Rows of {X.shape[1]} word-piece ids: the encoder reads at most {POSITIONS}.")
    wrong = (np.floor(X) != X) | (X < 0) | (words <= X)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise BadInput(
            f"Row {row}, column {column} is {X[row, column]:g}: expected ids of word pieces, whole numbers from 0 to "
            f"{words - 1}. The view 'tokens' makes them of texts."
        )
    ids = torch.from_numpy(X.astype(np.int64))
    lengths = np.where(X.any(1), X.shape[1] - (X[:, ::-1] != 0).argmax(1), 1)
    return [row[:n] for row, n in zip(ids, lengths, strict=True)]


def batches(lengths: Sequence[int], tokens: int = TOKENS_AT_ONCE) -> Iterator[list[int]]:
    """Places of texts of like length, so many that padded they have at most `tokens`, or one text."""
    batch: list[int] = []
    for i in np.argsort(lengths, kind="stable").tolist():
        if batch and lengths[i] * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def texts_to_tune(lengths: Sequence[int], most: int) -> int:
    """Texts of a batch of tuning: `most`, or as many of the usual length as have `TOKENS_TO_TUNE`; at least 8."""
    return min(most, max(8, round(TOKENS_TO_TUNE * len(lengths) / sum(lengths))))


@torch.no_grad()
def read_lower(encoder: Encoder, texts: list[Tensor], layers: Sequence[Layer]) -> list[Tensor]:
    """What these first layers make of each text, `[tokens, D]` each."""
    out: list[Tensor] = [torch.empty(0)] * len(texts)
    for batch in batches([len(t) for t in texts]):
        packing = Packing.of([len(texts[i]) for i in batch])
        x_TD = encoder.first(torch.cat([texts[i] for i in batch]), packing)
        for layer in layers:
            x_TD = run_layer(layer, x_TD, packing)
        for i, one in zip(batch, x_TD.split(packing.lengths), strict=True):
            out[i] = one.clone()  # a view would keep the whole batch
    return out
