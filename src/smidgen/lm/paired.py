"""Many texts at once, drawn from given uniform numbers: models, temperatures and cut-offs that share them differ by
what they are, not by luck (common random numbers).

Token = the first id at which the cumulative probability exceeds the uniform number. Two models that agree about a
token's probability and about those of the ids before it choose the same.
Dims: B rows, T tokens of the prompts, N new tokens, V vocabulary.
"""

import contextlib

import torch
from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.nets.decoder import Decoder
from smidgen.nets.products import full_speed


def chances_of_rows(logits_BV: Tensor, temperature_B: Tensor, top_k_B: Tensor) -> Tensor:
    """Probabilities `[B, V]`, each row with its own temperature (0: the likeliest) and top-k (0: all), as
    `generate.chances` gives them one by one."""
    V = logits_BV.shape[1]
    greedy_B = temperature_B == 0
    x_BV = logits_BV.float()
    x_BV = (x_BV - x_BV.amax(1, keepdim=True)) / temperature_B.masked_fill(greedy_B, 1.0)[:, None]
    cut_B = (top_k_B > 0) & (top_k_B < V)
    if bool(cut_B.any()):
        most = x_BV.topk(int(top_k_B[cut_B].max()), 1).values
        lowest_B = most.gather(1, (top_k_B.clamp(1, most.shape[1]) - 1)[:, None])[:, 0].masked_fill(~cut_B, -torch.inf)
        x_BV = x_BV.masked_fill(x_BV < lowest_B[:, None], -torch.inf)
    p_BV = x_BV.softmax(1)
    if bool(greedy_B.any()):
        best = torch.zeros_like(p_BV).scatter_(1, logits_BV.argmax(1, keepdim=True), 1.0)
        p_BV = torch.where(greedy_B[:, None], best, p_BV)
    return p_BV


def pick(p_BV: Tensor, u_B: Tensor) -> Tensor:
    """Ids `[B]` of uniform numbers in [0, 1); never one of probability 0."""
    sums_BV = p_BV.double().cumsum(1)
    at = (sums_BV <= (u_B.double() * sums_BV[:, -1])[:, None]).sum(1)
    return at.clamp(max=p_BV.shape[1] - 1)


@torch.inference_mode()
def sample_rows(
    model: Decoder, prompts_BT: Tensor, uniforms_BN: Tensor, temperature_B: Tensor, top_k_B: Tensor,
    words: int | None = None,
) -> Tensor:  # fmt: skip
    """New ids `[B, N]`, one for each uniform number.

    Args:
        prompts_BT: of one length. words: ids from here on are never drawn.
    Raises:
        BadInput: prompts with their answers are longer than the model's context, or the model gives NaN.
    """
    B, T = prompts_BT.shape
    N = uniforms_BN.shape[1]
    if T < 1 or model.config.max_len < T + N:
        raise bad("prompt and answer", f"1 to {model.config.max_len:,} tokens", f"{T + N:,}")
    cache, new_BT = model.new_cache(B, T + N), prompts_BT
    out_BN = torch.empty((B, N), dtype=torch.long)
    for n in range(N):
        with full_speed() if B > 1 or n == 0 else contextlib.nullcontext():
            logits_BV = (model.hidden(new_BT, cache=cache)[:, -1] @ model.output_weight_VD.T)[:, :words]
        if not bool(torch.isfinite(logits_BV).all()):
            raise BadInput("The model gives no numbers for a prompt (NaN or infinity): its training went wrong.")
        out_BN[:, n] = pick(chances_of_rows(logits_BV, temperature_B, top_k_B), uniforms_BN[:, n])
        new_BT = out_BN[:, n : n + 1]
    return out_BN
