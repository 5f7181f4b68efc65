"""Claim 060: a constant rate with short falls branched off it, and a best rate that does not depend on the width
(MiniCPM, 2024)."""

import functools
import math
from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

HORIZONS = (1, 2, 4)  # in S updates
RATE, RATE_COSINE = 1e-2, 2e-2  # each the best of a grid at 4 S, on seed 1000

CLAIM = Claim(
    title="MiniCPM: warmup-stable-decay training (WSD)",
    year=2024,
    gives="Keep a constant learning rate with no fixed end, and let a short decay on a side branch give a usable model "
    "at any point. For budgets that may grow or stop early; settings tuned on tiny models carry over.",
    room="train",
    implements=(
        "train.branching",
        "train.schedules.WSD",
        "train.width",
        "train.audit",
        "lm.wind_tunnel",
        "laws.nd_law",
        "laws.batch_law",
    ),
    keywords="learning rate schedule, WSD, cosine alternative, unknown training budget, continue training later, "
    "branching checkpoints, hyperparameters tuned on small models, muP, width transfer, small language model, scaling "
    "law from one run, data mixture in the decay, continual pre-training",
    says="A stable rate with a decay over a tenth of all steps ends where a cosine of that length does, and one stable "
    "run serves all lengths; in a width-transferable parametrisation the best rate is the same at every width; "
    "high-quality data do more in the decay than before it.",
    experiment="""
        A byte-level model (width 96, 2 layers, 3 heads; 246,240 parameters) in the width-transferable parametrisation
        on one of five 2.2 MB parts of books; batches of 16 x 64 bytes; S = 250 updates; AdamW. WSD: a stable run of
        3.6 S with falls over 10 % (1-sqrt, to a tenth of the rate) from 0.9, 1.8 and 3.6 S, each time resumed from its
        folder; cosine: a run to each of S, 2 S, 4 S, to a tenth. Each at its best peak rate at 4 S on the text of seed
        1000, which is not judged: 0.01 for WSD (of 0.005, 0.01, 0.02, 0.04), 0.02 for the cosine (of 0.01, 0.02, 0.04).
        Losses are those of 32,768 bytes of other books, in nats a byte. For the drop only, the stable run goes on over
        the steps of each fall; the drops of the three horizons are averaged, and the plain one counts three times.
        Bits: all weights and moments after S updates, against a run that never branched.

        Width: 32, 64 and 128 (heads of 16), seven rates a factor of 2 apart around 0.02, each for 150 updates of 8 rows
        with a fall over 20 %. Base width 32, scale_emb 12, scale_depth 1.4 and init_std 0.28: the published 0.1 at
        width 256, carried to 32 by its own rule, which a random search of 40 settings at width 32 also preferred.
        Without scaling, rates, first weights and logits are those of width 32 at every width. Spread: largest less
        smallest index of the best rate. Data: 80 windows of Shakespeare's plays take the place of a tenth of the rows
        in the fall from 1.8 S, or of as many rows evenly spread before it; target: 32,768 bytes of other plays.

        Five seeds, not three, each on a text of its own.
        """,
    published=(
        Published(
            value="10 % of the steps suffice, 2.5 % do not",
            metric="length of the decay to match a cosine of that length",
            data="models of 36 M parameters, C4",
            where="arXiv 2404.06395, section 4",
        ),
        Published(
            value=0.01,
            metric="best rate at every width, with scaling",
            data="models of 0.04 to 2.1 B parameters",
            where="arXiv 2404.06395, section 3",
        ),
    ),
    parts=(
        *(
            Part(
                name=f"as good as a cosine at {k} S",
                says=f"At {k} S the loss of WSD is at most 1 % above the cosine's; surely less than 2 %.",
                gain=(0.0, f"percent above cosine at {k}"),
                margin=-1.0,
                null=-2.0,
                unit="% of the loss",
            )
            for k in HORIZONS
        ),
        Part(
            name="cost of three lengths",
            says="All three take at most 65 % of the updates of three cosine runs.",
            gain=(65.0, "percent of cosine's updates"),
            unit="% of the updates",
        ),
        Part(
            name="the fall drops",
            says="In the fall the loss drops by more than three times what it does on the stable run meanwhile.",
            gain=("drop in the fall", "three times the stable drop"),
            unit="nats a byte",
        ),
        Part(
            name="branching leaves no trace",
            says="The stable run resumed after a branch is the one that never branched, to the bit.",
            gain=(0.0, "numbers that differ"),
            null=-1.0,
            unit="numbers",
        ),
        Part(
            name="one best rate",
            says="With scaling the index of the best rate varies by at most 1 over the widths; surely by less than 3.",
            gain=(1.0, "spread with scaling"),
            null=-2.0,
            unit="places in the grid",
        ),
        Part(
            name="not without scaling",
            says="Without scaling it varies by at least 1 more.",
            gain=("spread without scaling", "spread with scaling"),
            margin=1.0,
            unit="places in the grid",
        ),
        Part(
            name="good data last",
            says="The target's loss is lower when its windows come in the fall than when they come before it.",
            gain=("target loss, data before", "target loss, data in the fall"),
            unit="nats a byte",
        ),
    ),
    seeds=5,
    minutes=8,
    data=("books_lm", "tiny_shakespeare"),
    added="2026-11-24",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """One seed: all arms on the same batches from the same first weights, two at a time."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    from smidgen.nets.products import full_speed
    from smidgen.papers.minicpm_setup import Setup, differing

    setup = Setup(seed, scale != Scale.FULL)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(2) as pool, full_speed():  # around both threads: else one switches for the other
            transfer, stable = pool.submit(best_places, setup), pool.submit(branches, setup)
            others = {k: pool.submit(cosine, setup, k) for k in reversed(HORIZONS)}
            before, never = pool.submit(data_before, setup), pool.submit(unbranched, setup)
            values, resumed = stable.result()
            for k, other in others.items():
                values[f"loss cosine at {k}"] = loss = other.result()
                values[f"percent above cosine at {k}"] = 100 * (values[f"loss WSD at {k}"] / loss - 1)
            values |= transfer.result()
            values["target loss, data before"] = before.result()
            values["numbers that differ"] = differing(resumed, never.result())
    finally:
        torch.set_num_threads(threads)
    return values


def branches(setup: Any) -> tuple[dict[str, float], Any]:
    """The stable run with a fall for each horizon: losses, updates, drops; and its state after S updates."""
    import copy
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from smidgen.papers.minicpm_setup import LENGTH, ROWS, audit_of, held_loss, loss_of
    from smidgen.train.branching import BranchingRun
    from smidgen.train.loop import LoopConfig
    from smidgen.train.schedules import WSD

    values: dict[str, float] = {}
    every, updates, falls, stable, state = 9 * setup.S // 10, 0, [], [], None
    loss = functools.partial(held_loss, rows_RT=setup.held_RT)
    watched = functools.partial(audit_of, setup)

    with TemporaryDirectory() as folder:

        def opened() -> BranchingRun:
            new, schedule = functools.partial(setup.new, RATE), WSD(warmup=setup.warm_up, decay=0, least=0.1)
            return BranchingRun(
                Path(folder), new, setup.batch, loss_of, schedule, LoopConfig(), checkpoint_every=every, evaluate=loss
            )

        for k in HORIZONS:
            tokens = k * setup.S // 10 * ROWS * LENGTH
            opened().train_to(k * every)
            fall = opened().decay_from(k * every, tokens, audit=watched)
            again = opened()  # from the folder, as after a stop
            audit = watched(again.run.model)
            again.train_to(k * setup.S, audit=audit)
            assert fall.before is not None and fall.after is not None
            values[f"loss WSD at {k}"], updates = fall.after, updates + fall.steps
            falls.append(fall.before - fall.after)
            stable.append(fall.before - loss(again.run.model))
            values |= {f"drop in the fall at {k}": falls[-1], f"stable drop at {k}": stable[-1]}
            if k == max(HORIZONS):
                values |= _means("stable", audit.looks) | _means("fall", fall.looks)
            state = state or copy.deepcopy(again.run.state_dict())
            if k == 2:
                fall = opened().decay_from(k * every, tokens, lambda _, first: setup.with_plays(first, setup.fall))
                values["target loss, data in the fall"] = held_loss(fall.run.model, setup.held_plays_RT)
    values["percent of cosine's updates"] = 100 * (max(HORIZONS) * every + updates) / (sum(HORIZONS) * setup.S)
    values["drop in the fall"] = math.fsum(falls) / len(falls)
    values["three times the stable drop"] = 3 * math.fsum(stable) / len(stable)
    return values, state


def cosine(setup: Any, k: int) -> float:
    """Held-out loss of a cosine run of k S updates."""
    from smidgen.papers.minicpm_setup import held_loss, trained
    from smidgen.train.schedules import Cosine

    steps = k * setup.S
    model = trained(setup.new(RATE_COSINE), setup.batch, Cosine(steps=steps, warmup=setup.warm_up, least=0.1), steps)
    return held_loss(model, setup.held_RT)


def unbranched(setup: Any) -> Any:
    """The state of a stable run after S updates that nothing branched from."""
    from smidgen.papers.minicpm_setup import trained
    from smidgen.train.schedules import WSD

    run = setup.new(RATE)
    trained(run, setup.batch, WSD(warmup=setup.warm_up, decay=0), setup.S)
    return run.state_dict()


def data_before(setup: Any) -> float:
    """Loss on plays when their windows come in the stable phase, and the fall has none."""
    from smidgen.papers.minicpm_setup import held_loss, trained
    from smidgen.train.schedules import WSD

    steps = 2 * setup.S
    schedule = WSD(warmup=setup.warm_up, decay=setup.fall, stable_until=steps - setup.fall, least=0.1)
    model = trained(setup.new(RATE), setup.with_plays(0, steps - setup.fall), schedule, steps)
    return held_loss(model, setup.held_plays_RT)


def best_places(setup: Any) -> dict[str, float]:
    """Places of the best rates in the grid by width, with scaling and without, and how far they lie apart."""
    from dataclasses import replace

    from smidgen.papers.minicpm_setup import TRIAL_ROWS, held_loss, trained
    from smidgen.train.schedules import WSD
    from smidgen.train.width import at_width

    values: dict[str, float] = {}
    steps = setup.trial
    schedule = WSD(warmup=max(1, steps // 10), decay=steps // 5, stable_until=steps - steps // 5)
    batches = functools.cache(functools.partial(setup.batch, rows=TRIAL_ROWS))

    def best(width: int, scaled: bool) -> int:
        config = at_width(setup.config(setup.wide), width)
        config = config if scaled else replace(config, width_base=None)
        losses = [
            held_loss(trained(setup.new(rate, config), batches, schedule, steps), setup.held_RT) for rate in setup.grid
        ]
        name = f"width {width} {'with' if scaled else 'without'} scaling"
        values[f"best loss, {name}"] = min(losses)
        values[f"best place, {name}"] = place = losses.index(min(losses))
        return place

    scaled = [best(width, True) for width in setup.widths]
    plain = [scaled[0], *(best(width, False) for width in setup.widths[1:])]  # at the base width they are the same
    values["spread with scaling"] = max(scaled) - min(scaled)
    values["spread without scaling"] = max(plain) - min(plain)
    return values


def _means(name: str, looks: Any) -> dict[str, float]:
    """What is not judged: what the audit saw, on average."""
    return {
        f"{name}: {what}": math.fsum(getattr(look, field) for look in looks) / len(looks)
        for what, field in (("step", "step_norm"), ("gradient cosine", "gradient_cosine"), ("curvature", "curvature"))
    }
