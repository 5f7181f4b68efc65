"""Diffusion models that learn from clean and noisy data together (Daras et al., 2024, "How much is a noisy image
worth? Data scaling laws for ambient diffusion", arXiv 2411.02780).

A row y = x0 + s z of known noise level s cannot say what x0 is, and still teaches every level sigma above s: of x_t =
y + sqrt(sigma^2 - s^2) z' it is known that

    E[y | x_t] = (s / sigma)^2 x_t + (1 - (s / sigma)^2) E[x0 | x_t]        (Tweedie's formula, twice),

so a network that guesses x0 is trained by its guess of y. Levels up to s are learnt from cleaner rows alone. With
s = 0 this is ordinary training after Karras et al. (2022, arXiv 2206.00364, table 1), "EDM".

The noise of a row must be drawn once (`data.mixed_noise`): its average over fresh draws is the clean row. Before it
meets the loss a noisy row may be flipped or turned by right angles; what interpolates changes its noise.

Dims: B rows, K samples a row; `...` is any shape of a row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.train.ema import EMA
from smidgen.train.loop import LoopConfig, Run, Update, train
from smidgen.train.order import permuted

LEAST = 2e-3  # the lowest level that is sampled down to, as published
EDGE = 1e-9  # uniform numbers are kept so far from 0 and 1: levels stay finite

Net = Callable[..., Tensor]  # of (x [B, ...], sigma [B], labels [B] or None): a guess of x0 [B, ...]


class EDMPrecond(nn.Module):
    """A guess of the clean row from a noisy one: c_skip x + c_out net(c_in x, c_noise, labels), such that the network
    reads and has to say numbers of variance 1 at every level (EDM, table 1).

    Args:
        net: of (x `[B, ...]`, noise `[B]`, labels `[B]` or None), for instance `nets.denoiser.Denoiser`.
        sigma_data: standard deviation of the data; 0.5 fits images in [-1, 1].
    """

    def __init__(self, net: nn.Module, sigma_data: float = 0.5) -> None:
        super().__init__()
        if not sigma_data > 0:
            raise bad("sigma_data", "above 0", sigma_data)
        self.net, self.sigma_data = net, sigma_data

    def forward(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """The mean of x0 given x = x0 + sigma z; sigma `[B]`, or one for all.

        Raises:
            BadInput: a level of 0 or less.
        """
        sigma_B = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        if not bool((sigma_B > 0).all()):
            raise bad("sigma", "above 0", float(sigma_B.min()))
        s, sd = _along(sigma_B, x), self.sigma_data
        total = s**2 + sd**2
        out = self.net(x / total.sqrt(), sigma_B.log() / 4, labels)
        return sd**2 / total * x + s * sd / total.sqrt() * out


@dataclass(frozen=True, kw_only=True)
class AmbientEDMLoss:
    """The loss of rows that each have their own known noise level.

    Attributes:
        P_mean, P_std: of the normal logarithm of the levels trained on. sigma_data: as in `EDMPrecond`. sigma_max: of
            the sampler; a row as noisy as that teaches nothing.
        draws: of levels for a noisy row. "clamp", as published: a level below s becomes s, where the loss is 0 and the
            row is wasted (of the draws for s = 0.4, 59 %). "truncate": levels are drawn above s only and the loss is
            multiplied by their probability: the same mean gradient, with less noise.
        consistency_coeff: weight of the consistency term, for data with next to no clean row: train without it first,
            then some more with it. 0: off. consistency_rows: of a batch, the first ones, that it is computed of.
        num_primes, num_steps: samples of each of these rows, and steps of the sampler that makes them.
    """

    P_mean: float = -1.2
    P_std: float = 1.2
    sigma_data: float = 0.5
    sigma_max: float = 80.0
    draws: Literal["clamp", "truncate"] = "clamp"
    consistency_coeff: float = 0.0
    consistency_rows: int = 32
    num_primes: int = 6
    num_steps: int = 6

    def __post_init__(self) -> None:
        for name in ("P_std", "sigma_data", "sigma_max"):
            if not getattr(self, name) > 0:
                raise bad(name, "above 0", getattr(self, name))
        for name in ("consistency_rows", "num_primes", "num_steps"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        if self.draws not in ("clamp", "truncate"):
            raise bad("draws", "clamp or truncate", self.draws)
        if not self.consistency_coeff >= 0:
            raise bad("consistency_coeff", "0 or more", self.consistency_coeff)

    def __call__(
        self,
        net: Net,
        y: Tensor,
        sample_sigma: Tensor | None,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            net: guesses x0, see `EDMPrecond`. y: rows as they are, `[B, ...]`. sample_sigma: how noisy they are `[B]`,
                0 for clean ones. labels: classes `[B]`, handed to the net.
        Returns:
            (loss `[B, ...]`, the guess of x0 `[B, ...]`).
        Raises:
            BadInput: levels that are not known, of another shape, below 0, or at or above sigma_max.
        """
        s_B = self.checked(y, sample_sigma).double()
        sigma_B, weight_B = self.levels(s_B, generator)
        sigma, s, weight = (_along(v, y) for v in (sigma_B, s_B, weight_B))
        added = (sigma**2 - s**2).clamp(min=0).sqrt()
        x_t = y + added.to(y) * _normal(y, generator)
        x0 = net(x_t, sigma_B.to(y), labels)
        share = ((s / sigma) ** 2).to(y)
        weight = weight * self._weight(sigma)
        loss = weight.to(y) * (share * x_t + (1 - share) * x0 - y) ** 2
        if self.consistency_coeff:
            rows = min(self.consistency_rows, len(y))
            term = self._inconsistency(net, x_t[:rows], sigma_B[:rows], x0[:rows], labels, generator)
            factor = self.consistency_coeff * len(y) / rows  # the mean over the batch is coeff x that over these rows
            loss = torch.cat([loss[:rows] + factor * self._weight(sigma[:rows]).to(y) * term, loss[rows:]])
        return loss, x0

    def levels(self, s_B: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Drawn levels `[B]`, none below the row's own `s_B`, and what each row's loss is multiplied by `[B]`."""
        like = {"generator": generator, "dtype": s_B.dtype, "device": s_B.device}
        if self.draws == "clamp":
            sigma_B = (self.P_mean + self.P_std * torch.randn(len(s_B), **like)).exp()
            return torch.maximum(sigma_B, s_B), torch.ones_like(s_B)
        above_B = torch.special.ndtr((self.P_mean - s_B.log()) / self.P_std)  # 1 for clean rows
        z_B = -torch.special.ndtri(above_B * torch.rand(len(s_B), **like).clamp(EDGE, 1 - EDGE))
        return torch.maximum((self.P_mean + self.P_std * z_B).exp(), s_B), above_B

    def checked(self, y: Tensor, sample_sigma: Tensor | None) -> Tensor:
        """The rows' levels, if they can be trained on. Raises BadInput, as a call does."""
        if sample_sigma is None:
            raise bad(
                "sample_sigma", "the noise level of each row, 0 for clean ones", None,
                "A level that is not known must be estimated first: a wrong one biases the model.",
            )  # fmt: skip
        if not isinstance(sample_sigma, Tensor) or sample_sigma.shape != y.shape[:1]:
            shape = tuple(sample_sigma.shape) if isinstance(sample_sigma, Tensor) else type(sample_sigma).__name__
            raise bad("shape of sample_sigma", f"({len(y)},), a level for each row", str(shape))
        wrong = sample_sigma[~((sample_sigma >= 0) & (sample_sigma < self.sigma_max))]
        if len(wrong):
            raise bad("sample_sigma", f"from 0 to below sigma_max = {self.sigma_max:g}", float(wrong[0]))
        return sample_sigma

    def _weight(self, sigma: Tensor) -> Tensor:
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2

    def _inconsistency(
        self, net: Net, x_t: Tensor, sigma_B: Tensor, x0: Tensor, labels: Tensor | None, generator: Any
    ) -> Tensor:
        """Squares `[B, ...]` of how far the guess is from the mean of guesses at lower levels, which it should equal:
        from x_t the reverse diffusion is run, a few times a row, to a level drawn evenly below sigma. (The variance of
        that mean, of `num_primes` samples, is in it.)"""
        B, K = len(sigma_B), self.num_primes
        share_B = torch.rand(B, generator=generator, dtype=sigma_B.dtype, device=sigma_B.device)
        low_B = torch.minimum((share_B * sigma_B).clamp(min=LEAST), sigma_B)
        start, low, x = (v.repeat_interleave(K, 0) for v in (sigma_B, low_B, x_t.detach()))
        many = None if labels is None else labels[:B].repeat_interleave(K, 0)
        with torch.no_grad():
            for i in range(self.num_steps):
                now, then = (start * (low / start) ** (j / self.num_steps) for j in (i, i + 1))
                pull, spread = 2 * (then - now) / now, (2 * (now - then) * now).clamp(min=0).sqrt()
                guess = net(x, now.to(x), many)
                x = x + _along(pull, x).to(x) * (x - guess) + _along(spread, x).to(x) * _normal(x, generator)
        mean = net(x, low.to(x), many).unflatten(0, (B, K)).mean(1)
        return (mean - x0) ** 2


@dataclass(frozen=True, kw_only=True)
class DiffusionTraining:
    """
    Attributes:
        steps: updates in all. batch: rows of one. rate: of Adam, reached linearly in `warmup` updates, then constant.
        half_life: of the averaged weights, in rows; published for 200 million of them in all.
    """

    steps: int
    batch: int = 512
    rate: float = 1e-3
    warmup: int = 100
    half_life: float = 5e5

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("warmup", 0)):
            if getattr(self, name) < least:
                raise bad(name, f"at least {least}", getattr(self, name))
        for name in ("rate", "half_life"):
            if not getattr(self, name) > 0:
                raise bad(name, "above 0", getattr(self, name))

    def schedule(self, step: int) -> float:
        """The factor of the rate."""
        return min(1.0, (step + 1) / max(1, self.warmup))

    def new_run(self, model: nn.Module) -> Run:
        """A run that is yet to begin; the averaged weights go with it, in `extra`."""
        run = Run(model, torch.optim.Adam(model.parameters(), lr=self.rate, fused=True))
        run.extra["ema"] = EMA(model, self.half_life).state_dict()
        return run


def train_denoiser(
    run: Run,
    rows: Mapping[str, np.ndarray],
    loss: AmbientEDMLoss,
    training: DiffusionTraining,
    *,
    seed: int = 0,
    on_update: Callable[[Update], None] | None = None,
    go_on: Callable[[], bool] | None = None,
) -> EMA:
    """Trains `run.model` up to `training.steps` updates and gives the average of its weights, to sample with.

    Which rows and what noise an update sees follows from its number, so that a run that is loaded goes on to the same
    bits (dropout aside, whose random numbers are torch's own).

    Args:
        run: of `training.new_run`, at its start or loaded. rows: "x" float `[N, ...]`, "sigma" `[N]`, and "label"
            `[N]` where there are classes: `MixedNoiseDataset.arrays()`.
    Raises:
        BadInput: a column is missing, or as the loss raises. NonFinite: a loss that is not a number.
    """
    missing = {"x", "sigma"} - rows.keys()
    if missing:
        raise bad("rows", "x and sigma", f"no {' and no '.join(sorted(missing))}")
    device = next(run.model.parameters()).device
    x, sigma = (torch.as_tensor(rows[name], dtype=torch.float32, device=device) for name in ("x", "sigma"))
    labels = torch.as_tensor(rows["label"], dtype=torch.int64, device=device) if "label" in rows else None
    loss.checked(x, sigma)
    ema = EMA(run.model, training.half_life)
    ema.load_state_dict(run.extra["ema"])

    def batches(number: int) -> tuple[Any, ...]:
        epochs, places = np.divmod(np.arange(number * training.batch, (number + 1) * training.batch), len(x))
        each = [permuted(places[epochs == e], len(x), derive_seed(seed, "order", e)) for e in np.unique(epochs)]
        take = torch.from_numpy(np.concatenate(each)).to(device)
        return x[take], sigma[take], None if labels is None else labels[take], number

    def loss_of(model: nn.Module, y: Tensor, s: Tensor, classes: Tensor | None, number: int) -> tuple[Tensor, int]:
        own = torch.Generator(device).manual_seed(derive_seed(seed, "noise", number))
        each, _ = loss(model, y, s, classes, generator=own)
        return each.sum(), each.numel()

    def updated(update: Update) -> None:
        ema.update(run.model, training.batch)
        run.extra["ema"] = ema.state_dict()
        if on_update:
            on_update(update)

    train(
        run, batches, loss_of, training.schedule, LoopConfig(clip=None),
        steps=training.steps, on_update=updated, go_on=go_on,
    )  # fmt: skip
    return ema


def _along(value_B: Tensor, like: Tensor) -> Tensor:
    """`[B]` as `[B, 1, ...]`, to be multiplied with rows."""
    return value_B.view(-1, *[1] * (like.ndim - 1))


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
