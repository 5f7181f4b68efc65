"""A short search for the peak rate: each of a few is trained anew for equally many updates, with a fall of its own."""

import math
from collections.abc import Callable
from pathlib import Path

import torch

from smidgen.kit.files import read_json, write_json
from smidgen.lm.held import Held, loss_of
from smidgen.lm.plan import RATES, USUAL, Plan
from smidgen.nets.decoder import Decoder
from smidgen.train.loop import LoopConfig, NonFinite, Run, train
from smidgen.train.muon import Muon
from smidgen.train.order import Batch
from smidgen.train.precision import Precision, cast
from smidgen.train.schedules import WSD
from smidgen.train.width import width_groups

KEPT = "rate.json"


def optimizer_of(model: Decoder, lr: float, kind: str = "muon", decay: float = 0.1) -> torch.optim.Optimizer:
    """Muon or "adamw". Matrices inside layers decay; embedding, output, norms and biases do not, and AdamW moves them
    in both. With the width-transferable parametrisation AdamW moves those matrices by `width_base / hidden` of the rate
    (`train.width`); Muon's steps follow the width by themselves.
    """
    scale = model.config.logits_scale if kind == "adamw" else 1.0
    groups = width_groups(model.named_parameters(), lr, scale=scale, weight_decay=decay)
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=1e-8, fused=True)
    return Muon([{**groups[0], "orthogonal": True}, groups[1]], lr)


def find_rate(
    plan: Plan,
    batches: Callable[[int], tuple[Batch]],
    held: Held | None,
    precision: Precision,
    seed: int,
    work: Path,
    say: Callable[[str], None],
    go_on: Callable[[], bool],
) -> float | None:
    """The rate with the least held-out loss; the usual one where a search would say nothing. What was found is kept
    in `work`, and a search that was stopped goes on. None: stopped.

    Raises:
        NonFinite: training breaks down at every rate.
    """
    steps = plan.search_steps
    if not steps or held is None:
        usual = USUAL[plan.optimizer]
        say(f"rate {usual:g}: too little {'text' if held is None else 'training'} to search for one")
        return usual
    kept = read_json(work / KEPT) if (work / KEPT).is_file() else {}
    found = {float(k): math.inf if v is None else v for k, v in kept.items()}
    rates = RATES[plan.optimizer]
    for lr in rates:
        if lr not in found:
            try:
                loss = short_run(plan, batches, held, precision, seed, lr, steps, go_on)
            except NonFinite:
                loss = math.inf
            if loss is None:
                return None
            found[lr] = loss
            write_json(work / KEPT, {k: v if math.isfinite(v) else None for k, v in found.items()})
            told = f"{loss:.3f} nats a token after {steps} updates" if math.isfinite(loss) else "training breaks down"
            say(f"rate {lr:g}: {told}")
        place = rates.index(lr)
        if place >= 2 and min(found, key=lambda k: found[k]) <= rates[place - 2]:
            break  # worse twice
    best = min(found, key=lambda k: found[k])
    if not math.isfinite(found[best]):
        raise NonFinite("Training breaks down at every rate that was tried: is the text what it should be?")
    return best


def short_run(
    plan: Plan,
    batches: Callable[[int], tuple[Batch]],
    held: Held,
    precision: Precision,
    seed: int,
    lr: float,
    steps: int,
    go_on: Callable[[], bool],
) -> float | None:
    """Loss on held-out text after `steps` updates at a peak rate, with a fall of its own. None: stopped.

    Raises:
        NonFinite: the loss is not a number.
    """
    model = cast(Decoder(plan.config, seed), precision)
    stable = round(0.7 * steps)
    schedule = WSD(warmup=max(1, steps // 10), stable_until=stable, decay=steps - stable)
    config = LoopConfig(precision=precision, accumulate=plan.accumulate)
    run = Run(model, optimizer_of(model, lr, plan.optimizer))
    train(run, batches, loss_of, schedule, config, steps=steps, go_on=go_on)
    return held.loss(model, plan.context) if run.step == steps else None
