"""How well a language model predicts a text: bits a byte, which does not depend on the tokenizer."""

import math
import time
from collections.abc import Iterable
from typing import Any

import torch

from smidgen.kit.errors import BadInput
from smidgen.kit.machine import resident_bytes
from smidgen.lm.model import LanguageModel
from smidgen.nets.products import full_speed

LENGTHS = 32  # rows are padded to a multiple of it: products of few shapes are made ready only once


@torch.no_grad()
def evaluate(model: LanguageModel, documents: Iterable[str], batch_tokens: int = 4096) -> dict[str, Any]:
    """Scores of the texts, each token predicted once with at least half a context before it where there is one.

    Returns:
        bits_per_byte; perplexity (of a token of this tokenizer); nats, tokens, bytes: of all; tokens_per_second;
        memory_bytes (peak of the process).
    Raises:
        BadInput: no text.
    """
    context = model.decoder.config.max_len
    rows: list[tuple[list[int], int]] = []  # ids of context + 1 at most, and how many first targets are not counted
    count_bytes = 0
    for text in documents:
        ids = model.tokenizer.encode_document(text).tolist()
        count_bytes += len(text.encode())
        rows += windows(ids, context)
    if not rows:
        raise BadInput("There is nothing to evaluate: the text is empty.")
    start, nats, tokens = time.perf_counter(), 0.0, 0
    rows.sort(key=lambda row: -len(row[0]))
    size = max(1, batch_tokens // context)
    for i in range(0, len(rows), size):
        part = rows[i : i + size]
        T = min(context, -(-(len(part[0][0]) - 1) // LENGTHS) * LENGTHS)
        ids_BT = torch.full((len(part), T), model.tokenizer.end)
        targets_BT = torch.full((len(part), T), -100)
        for r, (ids, skip) in enumerate(part):  # what is padded comes last, where no token sees it
            ids_BT[r, : len(ids) - 1] = torch.tensor(ids[:-1])
            targets_BT[r, skip : len(ids) - 1] = torch.tensor(ids[1 + skip :])
        with full_speed():
            nats += float(model.decoder(ids_BT, targets_BT=targets_BT))
        tokens += int((targets_BT != -100).sum())
    seconds = time.perf_counter() - start
    return {
        "bits_per_byte": nats / math.log(2) / max(1, count_bytes),
        "perplexity": math.exp(min(700.0, nats / max(1, tokens))),
        "nats": nats,
        "tokens": tokens,
        "bytes": count_bytes,
        "tokens_per_second": tokens / seconds,
        "memory_bytes": resident_bytes(peak=True),
    }


def windows(ids: list[int], context: int) -> list[tuple[list[int], int]]:
    """Overlapping windows of a document: ids, and how many of their first targets an earlier window has counted."""
    out, done, half = [], 0, max(1, context // 2)  # `done` targets are counted
    total = len(ids) - 1
    while done < total:
        begin = 0 if done == 0 else max(0, done - (context - half))
        end = min(total, begin + context)
        out.append((ids[begin : end + 1], done - begin))
        done = end
    return out
