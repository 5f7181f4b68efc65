"""The training of `consistency`: one loop, a running average of the network as its teacher."""

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.data.augment.pictures import strong, view, weak
from smidgen.kit.seeds import derive_seed
from smidgen.train.ema import EMA
from smidgen.train.loop import LoopConfig, Run, train
from smidgen.train.precision import bf16_units
from smidgen.train.schedules import Cosine

HALF_LIFE = 1500  # examples after which a weight of the average counts half
USUAL = 0.99  # of the running mean of what the teacher says of classes
SMOOTHING = 0.05  # of labels


def train_consistency(
    net: nn.Module, x_NCHW: Tensor, codes_N: np.ndarray, pool_MCHW: Tensor, config: Any, seed: int
) -> tuple[nn.Module, float]:
    """The averaged network, and the share of unlabelled views that it was sure of towards the end.

    Args:
        x_NCHW: labelled pictures, 0 to 1; codes_N: their classes. pool_MCHW: unlabelled ones, may be none.
        config: a `ConsistencyConfig`.
    """
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    device = str(x_NCHW.device)
    precision = "mixed" if bf16_units(device) else "fp32"
    teacher = copy.deepcopy(net).eval().requires_grad_(False)
    average = EMA(net, HALF_LIFE * (1 + config.ratio), ramp=0.2)
    y_N = torch.from_numpy(codes_N).to(x_NCHW.device)
    K = int(codes_N.max()) + 1
    frequent_K = torch.bincount(y_N, minlength=K).float() + 1
    frequent_K, seen_K = frequent_K / frequent_K.sum(), torch.full_like(frequent_K, 1 / K)
    bare = config.batch * config.ratio if len(pool_MCHW) and config.weight else 0
    kept: list[float] = []
    weakly, strongly = weak(float(config.flip) / 2), strong(float(config.flip) / 2)

    def batches(number: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng(derive_seed(seed, "rows", number))
        draw = torch.Generator().manual_seed(derive_seed(seed, "views", number))
        own = _rows(rng, len(x_NCHW), config.batch)
        labelled = torch.cat(
            [view(x_NCHW[own[: len(own) // 2]], weakly, draw), view(x_NCHW[own[len(own) // 2 :]], strongly, draw)]
        )
        others = pool_MCHW[_rows(rng, len(pool_MCHW), bare)] if bare else pool_MCHW[:0]
        if not bare:
            return labelled, y_N[own], others, others
        return labelled, y_N[own], view(others, weakly, draw), view(others, strongly, draw)

    def loss_of(model: nn.Module, x: Tensor, y: Tensor, easy: Tensor, hard: Tensor) -> tuple[Tensor, int]:
        both = model(torch.cat([x, hard]) - 0.5).float()
        loss = F.cross_entropy(both[: len(x)], y, label_smoothing=SMOOTHING)
        if len(hard):
            with torch.no_grad():
                said = teacher(easy - 0.5).float().softmax(1)
                seen_K.mul_(USUAL).add_(said.mean(0), alpha=1 - USUAL)
                said = said * (frequent_K / seen_K)
                best, guess = (said / said.sum(1, keepdim=True)).max(1)
                sure = (best >= config.threshold).float()
            kept.append(float(sure.mean()))
            loss = loss + config.weight * (F.cross_entropy(both[len(x) :], guess, reduction="none") * sure).mean()
        return loss * len(x), len(x)

    def keep(_: Any) -> None:
        average.update(net, config.batch * (1 + config.ratio))
        average.copy_to(teacher)

    matrices = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.decay}, {"params": others, "weight_decay": 0.0}]
    run = Run(net, torch.optim.AdamW(groups, lr=config.rate))
    schedule = Cosine(steps=config.updates, warmup=max(1, config.updates // 20))
    train(run, batches, loss_of, schedule, LoopConfig(precision=precision), steps=config.updates, on_update=keep)
    return teacher, float(np.mean(kept[-max(1, len(kept) // 5) :])) if kept else 0.0


def _rows(rng: np.random.Generator, of: int, count: int) -> Tensor:
    """So many rows, each as often as any other or once more."""
    whole = [rng.permutation(of) for _ in range(-(-count // of))]
    return torch.from_numpy(np.concatenate(whole)[:count])
