"""How likely a language model finds an answer after a prompt: for choosing among options, and for tuning.

Dims: B rows, T tokens, D hidden, V vocabulary, N tokens of answers in all.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.nets.decoder import IGNORED, Decoder

Pair = tuple[Sequence[int], Sequence[int]]  # ids of a prompt with its start, and of an answer


def padded(rows: Sequence[Pair], longest: int, fill: int) -> tuple[Tensor, Tensor]:
    """Ids and targets `[B, T]` of prompts with their answers: only answers are targets, all else is -100.

    Rows are filled up behind their end, where no token of theirs sees it.

    Args:
        longest: of the model (`max_len`). fill: any id.
    Raises:
        BadInput: no rows, an empty prompt or answer, or both together longer than the model's context: nothing is cut.
    """
    if not rows:
        raise BadInput("There are no prompts with answers.")
    for prompt, answer in rows:
        if not len(prompt) or not len(answer):
            raise bad("prompt and answer", "at least 1 token each", f"{len(prompt)} and {len(answer)}")
        if len(prompt) + len(answer) - 1 > longest:
            raise bad("prompt and answer", f"at most {longest + 1:,} tokens", f"{len(prompt) + len(answer):,}")
    T = max(len(p) + len(a) for p, a in rows) - 1
    ids_BT, targets_BT = torch.full((len(rows), T), fill), torch.full((len(rows), T), IGNORED)
    for row, (prompt, answer) in enumerate(rows):
        whole = torch.tensor([*prompt, *answer])
        ids_BT[row, : len(whole) - 1] = whole[:-1]
        targets_BT[row, len(prompt) - 1 : len(whole) - 1] = whole[len(prompt) :]
    return ids_BT, targets_BT


def log_likelihoods(model: Decoder, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
    """Log of the probability of each row's targets together, nats, float32 `[B]`; logits are made for targets alone."""
    counted_BT = targets_BT != IGNORED
    x_ND = model.hidden(ids_BT)[counted_BT]
    nats_N = F.cross_entropy(F.linear(x_ND, model.output_weight_VD).float(), targets_BT[counted_BT], reduction="none")
    return torch.zeros(len(ids_BT)).index_add(0, counted_BT.nonzero()[:, 0], -nats_N)
