"""Claim 056: all weights trained with moments in a low-rank subspace, nearly as well as with Adam's (GaLore, 2024)."""

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

RATES = {"full": 2e-3, "galore": 2e-2, "once": 2e-2, "factored": 2e-3, "lora": 2e-3}
FULL_SIZE = {"vocab": 1024, "hidden": 128, "layers": 4, "heads": 4, "ffn": 352, "rank": 32}
SMALL_SIZE = {"vocab": 40, "hidden": 16, "layers": 1, "heads": 2, "ffn": 32, "rank": 4}
BATCH, LENGTH, STEPS, GAP, SCALE, CLIP, NEVER = 16, 64, 400, 50, 0.25, 1.0, 10**9

CLAIM = Claim(
    title="GaLore: full training with a small optimizer",
    year=2024,
    gives="Update every weight of a network while the optimizer remembers only a thin projection of each gradient. "
    "Worth trying when Adam's memory does not fit on your one GPU and an adapter is not enough.",
    room="train",
    implements=("train.galore", "train.galore_step", "train.subspace", "train.state_bytes"),
    keywords="out of memory, one GPU, consumer graphics card, optimizer memory, Adam state too large, full fine-tuning "
    "without adapters, alternative to LoRA, pre-training from scratch, low-rank gradient projection, 8-bit optimizer, "
    "layer-wise updates, LLM training, memory-efficient training",
    says="Adam in a low-rank subspace of each gradient, found anew now and then, trains nearly as well as Adam with "
    "all moments, and better than low-rank weights (W = B A) or low-rank adapters on random weights; changing the "
    "subspace matters, as a sum over several subspaces has full rank.",
    experiment="""
        A Llama-shaped model (width 128, 4 layers, 4 heads, feed-forward 352; 0.94 M parameters) on the questions and
        answers of GSM8K, with a byte-level BPE of 1024 tokens that its training part taught: 400 steps of 16 x 64
        tokens, fp32, 10 % of warm-up and a cosine to 10 %, no weight decay, gradients clipped at a norm of 1
        (without it the runs of plain Adam differ by 5 %). Rank 32, T = 50, alpha = 0.25.
        Projected, factored or adapted are all linear layers of attention and feed-forward; all else (the embedding,
        which is the output matrix as well, and norms) has plain Adam in every arm. Under GaLore these others get alpha
        times the rate, so that all weights move alike. LoRA trains B A beside frozen first weights; W = B A starts with
        the weights' variance. Each method's rate is the best of three, a factor of 2 apart and never the first or
        the last, by the same 400 steps on seed 1000, which is not judged; "once" (T = infinity) has GaLore's.

        Loss is that of 12,800 tokens of the test part, in nats a token: a tenth in perplexity is log 1.1 = 0.095 nats.
        Bytes are counted from the optimizer's state; the projected group must have (m r + 2 n r) x 4 to the byte.
        """,
    published=(
        Published(
            value="34.88 with GaLore, 34.06 full rank, 34.99 LoRA, 78.18 W = B A",
            metric="validation perplexity",
            data="LLaMA 60M on C4, 1.1 B tokens, rank 128 of 512",
            where="arXiv 2403.03507, table 2",
        ),
        Published(
            value="0.24 against 0.36",
            metric="gigabytes of weights and optimizer states, bf16",
            data="LLaMA 60M, GaLore against full rank",
            where="arXiv 2403.03507, table 2",
        ),
        Published(
            value=0.655,
            metric="share of optimizer memory saved",
            data="LLaMA pre-training on C4",
            where="arXiv 2403.03507, abstract",
        ),
    ),
    parts=(
        Part(
            name="near full rank",
            says="GaLore's perplexity is at most 1.10 times that of Adam with all moments (shown: loss saved).",
            gain=("loss full", "loss galore"),
            margin=-math.log(1.1),
            null=-math.log(1.1),
            unit="nats a token",
        ),
        Part(
            name="better than LoRA",
            says="GaLore's loss is below that of LoRA from a frozen random start.",
            gain=("loss lora", "loss galore"),
            unit="nats a token",
        ),
        Part(
            name="better than W = B A",
            says="GaLore's loss is below that of low-rank weights.",
            gain=("loss factored", "loss galore"),
            unit="nats a token",
        ),
        Part(
            name="several subspaces",
            says="A subspace found anew every 50 steps gives a lower loss than the first one kept for ever.",
            gain=("loss once", "loss galore"),
            unit="nats a token",
        ),
        Part(
            name="bytes: the formula",
            says="The projected group's state is (m r + 2 n r) numbers, to the byte (shown: minus the bytes off).",
            gain=(0.0, "bytes off the formula"),
            null=-1.0,
            unit="bytes",
        ),
        Part(
            name="bytes: in all",
            says="The whole optimizer state is at most 60 % of Adam's.",
            gain=(0.6, "share of Adam's bytes"),
            unit="share",
        ),
    ),
    seeds=4,
    minutes=7,
    data=("gsm8k",),
    added="2026-11-24",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """All methods on the same batches from the same first weights, two at a time. At smoke scale a tiny model."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    from smidgen.papers.gsm8k_tokens import tokens

    full = scale == Scale.FULL
    size, steps = (FULL_SIZE, STEPS) if full else (SMALL_SIZE, 4)
    train_N, test_N = tokens() if full else (torch.arange(600) * 7 % 40, torch.arange(200) * 7 % 40)
    val_N = test_N[: 200 * LENGTH + 1]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(2) as pool:
            arms = {m: pool.submit(trained, size, train_N, val_N, m, RATES[m], seed, steps) for m in RATES}
            got = {m: arm.result() for m, arm in arms.items()}
    finally:
        torch.set_num_threads(threads)
    values = {f"loss {m}": found["loss"] for m, found in got.items()}
    values |= {f"bytes {m}": found["bytes"] for m, found in got.items()}
    values["bytes off the formula"] = abs(got["galore"]["projected bytes"] - got["galore"]["formula bytes"])
    values["share of Adam's bytes"] = got["galore"]["bytes"] / got["full"]["bytes"]
    return values


def trained(
    size: Mapping[str, int],
    train_N: Any,
    val_N: Any,
    method: str,
    lr: float,
    seed: int,
    steps: int = STEPS,
    eight_bit: bool = False,
    **settings: Any,
) -> dict[str, float]:
    """One model trained with one method: its validation loss in nats a token, and what its optimizer keeps.

    Args:
        method: "full", "galore", "once" (GaLore with its first subspace for ever), "factored", "lora".
        eight_bit: moments of GaLore in 8 bits. settings: of `galore_param_groups`.
    """
    import torch
    from torch.optim.lr_scheduler import LambdaLR

    from smidgen.nets.decoder import Decoder, DecoderConfig, mean_loss
    from smidgen.train.galore import GaLoreAdamW, GaLoreAdamW8bit, galore_param_groups
    from smidgen.train.state_bytes import galore_bytes, group_state_bytes

    shape: dict[str, Any] = {k: v for k, v in size.items() if k != "rank"}
    model = Decoder(DecoderConfig(**shape, kv_heads=size["heads"], max_len=LENGTH), seed)
    groups: list[dict[str, Any]] = [{"params": list(model.named_parameters())}]
    formula = 0
    if method in ("galore", "once"):
        gap = GAP if method == "galore" else NEVER
        settings = {"rank": size["rank"], "update_proj_gap": gap, "scale": SCALE, **settings}
        groups = galore_param_groups(model, **settings)
        groups[1]["lr"] = SCALE * lr
        formula = sum(galore_bytes(p.shape, size["rank"], eight_bit=eight_bit) for _, p in groups[0]["params"])
    elif method != "full":
        _replace(model, size["rank"], method, seed)
        groups = [{"params": [(n, p) for n, p in model.named_parameters() if p.requires_grad]}]
    optimizer = (GaLoreAdamW8bit if eight_bit else GaLoreAdamW)(groups, lr=lr)
    schedule = LambdaLR(optimizer, functools.partial(_cosine, steps=steps))
    for ids_BT, targets_BT in _batches(train_N, steps, seed):
        mean_loss(model, ids_BT, targets_BT).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    kept = group_state_bytes(optimizer)
    with torch.no_grad():
        whole = val_N[: (len(val_N) - 1) // LENGTH * LENGTH + 1]
        loss = mean_loss(model, whole[:-1].view(-1, LENGTH), whole[1:].view(-1, LENGTH)).item()
    out = {"loss": loss, "bytes": sum(g["total"] for g in kept), "projected bytes": kept[0]["total"]}
    return {**{k: float(v) for k, v in out.items()}, "formula bytes": float(formula)}


def _cosine(step: int, steps: int) -> float:
    """10 % of warm-up, then half a cosine to 10 %."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _batches(tokens_N: Any, steps: int, seed: int) -> Iterator[tuple[Any, Any]]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    reach = torch.arange(LENGTH + 1)
    for _ in range(steps):
        starts = torch.randint(len(tokens_N) - LENGTH, (BATCH, 1), generator=generator)
        rows = tokens_N[starts + reach]
        yield rows[:, :-1], rows[:, 1:]


def _replace(model: Any, rank: int, method: str, seed: int) -> None:
    """Each linear layer of attention and feed-forward becomes B A ("factored"), or frozen W + B A with B = 0."""
    import torch
    from torch import nn

    class Lora(nn.Module):
        def __init__(self, frozen: Any, pair: Any) -> None:
            super().__init__()
            self.frozen, self.pair = frozen.requires_grad_(False), pair

        def forward(self, x: Any) -> Any:
            return self.frozen(x) + self.pair(x)

    random = torch.Generator().manual_seed(seed)
    for layer in model.model.layers:
        for block in (layer.self_attn, layer.mlp):
            for name, linear in list(block.named_children()):
                sizes = (linear.in_features, rank), (rank, linear.out_features)
                down, up = (nn.Linear(*s, bias=False, device="meta").to_empty(device="cpu") for s in sizes)
                factored = method == "factored"  # then the product's entries have the variance of the weight's
                std = (linear.weight.std().item() / rank**0.5) ** 0.5 if factored else linear.in_features**-0.5
                nn.init.normal_(down.weight, std=std, generator=random)
                nn.init.normal_(up.weight, std=std if factored else 0.0, generator=random)
                pair = nn.Sequential(down, up)
                setattr(block, name, pair if factored else Lora(linear, pair))
