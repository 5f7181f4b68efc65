"""Settings for a large model from short runs of a narrow one (the "wind tunnel" of MiniCPM, Hu et al., 2024, arXiv
2404.06395, section 3 and appendix A).

In the width-transferable parametrisation the best rate does not depend on the width, so it is looked for where runs are
cheap: a few settings, each trained anew at the base width. `wind_tunnel` searches with any measure of a run;
`short_runs` makes that measure from a plan and its text.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.lm.held import Held
from smidgen.lm.plan import Plan
from smidgen.lm.search import short_run
from smidgen.nets.decoder import DecoderConfig
from smidgen.train.loop import NonFinite
from smidgen.train.order import Batch
from smidgen.train.precision import Precision
from smidgen.train.width import INIT_STD, RATE, SCALE_DEPTH, SCALE_EMB, at_width, transferable

GRID = tuple(RATE * 2.0**k for k in range(-3, 4))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What carries over; by default as published. `lr` is the peak rate of the embedding and of all that is no matrix
    inside a layer."""

    lr: float = RATE
    scale_emb: float = SCALE_EMB
    scale_depth: float = SCALE_DEPTH
    init_std: float = INIT_STD

    def config(self, shape: DecoderConfig, width_base: int) -> DecoderConfig:
        """A decoder of that shape with these settings."""
        return transferable(
            shape,
            width_base=width_base,
            scale_emb=self.scale_emb,
            scale_depth=self.scale_depth,
            init_std=self.init_std,
        )


@dataclass(frozen=True)
class Found:
    """Of a wind tunnel.

    Attributes:
        best: the setting with the least loss at the base width. losses: of all that were tried, in their order.
        target: the large model's configuration with it.
        rate, inner_rate: the target's, and that of its matrices inside layers.
        at_edge: no lower, or no higher, rate was tried: the best one may lie beyond.
    """

    best: Setting
    losses: tuple[tuple[Setting, float], ...]
    target: DecoderConfig

    @property
    def rate(self) -> float:
        return self.best.lr

    @property
    def inner_rate(self) -> float:
        return self.best.lr * self.target.logits_scale

    @property
    def at_edge(self) -> bool:
        rates = [setting.lr for setting, _ in self.losses]
        return self.best.lr in (min(rates), max(rates))


def rates(grid: Sequence[float] = GRID) -> list[Setting]:
    """One setting a rate, all else as published."""
    return [Setting(lr=lr) for lr in grid]


def random_settings(count: int, seed: int = 0, factor: float = 8.0) -> list[Setting]:
    """Settings drawn evenly on a logarithmic scale, up to a `factor` below and above the published ones."""
    if count < 1 or not factor > 1:
        raise bad("settings", "at least 1, within a factor above 1", (count, factor))
    draws = factor ** np.random.default_rng(seed).uniform(-1, 1, (count, 4))
    usual = Setting()
    values = draws * [usual.lr, usual.scale_emb, usual.scale_depth, usual.init_std]
    return [Setting(lr=a, scale_emb=b, scale_depth=c, init_std=d) for a, b, c, d in values.tolist()]


def wind_tunnel(
    target: DecoderConfig,
    width_base: int,
    settings: Sequence[Setting],
    measure: Callable[[DecoderConfig, float], float],
) -> Found:
    """Tries each setting on `target` narrowed to `width_base`, and gives what the best means for `target`.

    Args:
        measure: loss after a short run of a configuration at a peak rate; infinite or NaN where it failed.
    Raises:
        BadInput: no settings, no run gave a finite loss, or a base width that the heads do not fit.
    """
    if not settings:
        raise bad("settings", "at least one to try", 0)
    narrow = at_width(target, width_base)
    losses = [(s, measure(s.config(narrow, width_base), s.lr)) for s in settings]
    finite = [(loss, i) for i, (_, loss) in enumerate(losses) if np.isfinite(loss)]
    if not finite:
        raise BadInput("Every run in the wind tunnel failed: try lower rates.")
    best = losses[min(finite)[1]][0]
    return Found(best, tuple(losses), best.config(target, width_base))


def short_runs(
    plan: Plan,
    batches: Callable[[int], tuple[Batch]],
    held: Held,
    *,
    steps: int,
    precision: Precision = "fp32",
    seed: int = 0,
) -> Callable[[DecoderConfig, float], float]:
    """Measures a configuration on the text of a plan: its loss on what is held out after `steps` updates, with a fall
    of the rate at their end; infinite where the run broke down."""

    def measure(config: DecoderConfig, lr: float) -> float:
        tried = replace(plan, config=config, optimizer="adamw")  # Muon's steps have a rule of their own for widths
        try:
            loss = short_run(tried, batches, held, precision, seed, lr, steps, lambda: True)
        except NonFinite:
            loss = None
        return math.inf if loss is None else loss

    return measure
