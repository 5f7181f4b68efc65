"""A residual network of group convolutions, a wrapper that says how its samples are drawn, and its plain counterpart.

The lifting layer and all residual blocks see one draw of matrices: a skip adds functions on the same ones. The last
convolution goes to a draw of its own. Source: arXiv 2310.11366. Dims as in `lie_layers`; N classes, F features.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import bad
from smidgen.nets.lie_groups import MatrixGroup, Pair
from smidgen.nets.lie_layers import GlobalGroupPool, GroupConv2d, GroupMaxPool2d, LiftConv2d, SirenConfig


@dataclass(frozen=True, kw_only=True)
class GroupResNetConfig:
    """As published, but for `pool_lift`.

    Attributes:
        width: channels. blocks: residual ones, of two convolutions each; the places are halved after each.
        samples: of the group. kernel_size: of all convolutions. hidden, dropout: of the head.
        pool: over places and matrices at the end, "max" or "mean".
        pool_lift: places are halved after the lifting layer too.
        norm: "layer", over channels, matrices and places; or "batch", which trains in far fewer updates: kernels are
            smooth over places and matrices, so that at first most of a map is the same for all pictures.
    """

    width: int = 40
    blocks: int = 2
    samples: int = 10
    kernel_size: int = 5
    hidden: int = 256
    dropout: float = 0.3
    pool: str = "max"
    pool_lift: bool = False
    norm: Literal["layer", "batch"] = "layer"
    kernel: SirenConfig = field(default_factory=SirenConfig)

    def __post_init__(self) -> None:
        for name in ("width", "blocks", "samples", "hidden"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        if not 0 <= self.dropout < 1:
            raise bad("dropout", "from 0, below 1", self.dropout)
        if self.norm not in ("layer", "batch"):
            raise bad("norm", "'layer' or 'batch'", self.norm)


class Path(NamedTuple):
    """The samples of one pass: of the lifting layer and the blocks, and of the last convolution."""

    body: Pair
    last: Pair


class _GroupBlock(nn.Module):
    def __init__(self, group: MatrixGroup, config: GroupResNetConfig, generator: torch.Generator | None) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            GroupConv2d(
                group, config.width, config.width, config.kernel_size, config.samples, config.kernel,
                generator=generator,
            )
            for _ in range(2)
        )  # fmt: skip
        self.norm1, self.norm2 = _norm(config), _norm(config)

    def forward(self, x_BCGHW: Tensor, body: Pair) -> Tensor:
        inner = F.gelu(self.norm1(self.conv1(x_BCGHW, body)))
        return F.gelu(x_BCGHW + self.norm2(self.conv2(inner, body)))


class GroupResNet(nn.Module):
    """Scores `[B, N]` of pictures `[B, C, H, W]`, about the same for a picture and its transforms by the group.

    Args:
        seed: of the first weights. Samples come from torch's own random numbers unless a `Path` is given.
    Raises:
        BadInput: fewer than 1 sample, a kernel of size 1, pictures too small for the pools.
    """

    def __init__(
        self, group: MatrixGroup, in_ch: int, num_classes: int, config: GroupResNetConfig | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.group, self.config = group, config or GroupResNetConfig()
        config, width, random = self.config, self.config.width, torch.Generator().manual_seed(seed)
        sizes = config.kernel_size, config.samples, config.kernel
        with torch.random.fork_rng(devices=[]):
            self.lift = LiftConv2d(group, in_ch, width, *sizes, generator=random)
            self.norm = _norm(config)
            self.blocks = nn.ModuleList(_GroupBlock(group, config, random) for _ in range(config.blocks))
            self.last = GroupConv2d(group, width, width, *sizes, generator=random)
            self.norm_last = _norm(config)
            self.pool, self.halve = GlobalGroupPool(config.pool), GroupMaxPool2d(2)
            self.head = _head(width, config, num_classes, random)

    def draw(self, generator: torch.Generator | None = None, samples: int | None = None) -> Path:
        """Samples of a pass; another number of them than in training shifts the statistics of the norms a little."""
        count = self.config.samples if samples is None else samples
        return Path(self.group.sample_pair(count, generator), self.group.sample_pair(count, generator))

    def pooled(self, x_BCHW: Tensor, path: Path | None = None) -> Tensor:
        """Features `[B, width]` before the head, which a transform of the picture should not change."""
        _check_size(x_BCHW, self.config)
        body, last = path or self.draw()
        h = F.gelu(self.norm(self.lift(x_BCHW, body)))
        h = self.halve(h) if self.config.pool_lift else h
        for block in self.blocks:
            h = self.halve(block(h, body))
        return self.pool(F.gelu(self.norm_last(self.last(h, body, last))))

    def forward(self, x_BCHW: Tensor, path: Path | None = None) -> Tensor:
        return self.head(self.pooled(x_BCHW, path))


class SampledModel(nn.Module):
    """A `GroupResNet` whose samples are under control: one draw a pass in training, the mean of several at test.

    Outside training it gives logarithms of class probabilities, averaged over `n_samples` draws.

    Args:
        resample_eval: each pass draws anew; False: all passes see the same draws, so that equal pictures have equal
            answers, in any batch.
        samples: of the group, at test; None: as in training.
    """

    def __init__(
        self,
        model: GroupResNet,
        n_samples: int = 1,
        resample_eval: bool = True,
        *,
        samples: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if n_samples < 1:
            raise bad("n_samples", "at least 1", n_samples)
        self.model, self.n_samples, self.resample_eval = model, n_samples, resample_eval
        self.samples, self.seed = samples, seed
        self._generator = torch.Generator().manual_seed(seed)
        self._statistics: list[list[Tensor]] = []  # of norms over the batch, for each fixed draw

    @torch.no_grad()
    def calibrate(self, x_BCHW: Tensor) -> None:
        """Norms over the batch take means and deviations anew from these pictures (of training, some hundreds, in one
        batch), for each of the fixed draws: those kept from training are means over draws, and belong to none.

        Raises:
            BadInput: draws that are not fixed.
        """
        if self.resample_eval:
            raise bad("resample_eval", "False, so that draws are known", True)
        norms, was = [m for m in self.model.modules() if isinstance(m, nn.BatchNorm1d)], self.training
        self.eval()
        before = [(n.momentum, [b.clone() for b in n.buffers()]) for n in norms]
        for n in norms:
            n.train()
            n.momentum = 1.0  # the last batch alone
        self._statistics = []
        for path in self._paths():
            self.model(x_BCHW, path)
            self._statistics.append([b.clone() for n in norms for b in (n.running_mean, n.running_var)])  # pyright: ignore
        for n, (momentum, kept) in zip(norms, before, strict=True):
            n.momentum = momentum
            for b, value in zip(n.buffers(), kept, strict=True):
                b.copy_(value)
        self.train(was)

    def _paths(self) -> list[Path]:
        random = self._generator if self.resample_eval else torch.Generator().manual_seed(self.seed)
        return [self.model.draw(random, self.samples) for _ in range(self.n_samples)]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.training:
            return self.model(x_BCHW)
        each = torch.stack([self._one(x_BCHW, i, path).log_softmax(-1) for i, path in enumerate(self._paths())])
        return each.logsumexp(0) - math.log(self.n_samples)

    def _one(self, x_BCHW: Tensor, draw: int, path: Path) -> Tensor:
        if not self._statistics:
            return self.model(x_BCHW, path)
        names = [name for name, m in self.model.named_modules() if isinstance(m, nn.BatchNorm1d)]
        keys = [f"{name}.{kind}" for name in names for kind in ("running_mean", "running_var")]
        own = dict(zip(keys, self._statistics[draw], strict=True))
        return torch.func.functional_call(self.model, own, (x_BCHW, path))


class PlainResNet(nn.Module):
    """The same layout with ordinary convolutions: what the group must beat."""

    def __init__(self, in_ch: int, num_classes: int, config: GroupResNetConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, width, k = config, config.width, config.kernel_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.lift, self.norm = nn.Conv2d(in_ch, width, k), _norm(config)
            convs = [nn.Conv2d(width, width, k, padding=k // 2) for _ in range(2 * config.blocks + 1)]
            self.convs, self.norms = nn.ModuleList(convs), nn.ModuleList(_norm(config) for _ in convs)
            self.head = _head(width, config, num_classes, None)

    def pooled(self, x_BCHW: Tensor) -> Tensor:
        _check_size(x_BCHW, self.config)
        h = F.gelu(self.norm(self.lift(x_BCHW)))
        h = F.max_pool2d(h, 2) if self.config.pool_lift else h
        for i in range(0, 2 * self.config.blocks, 2):
            inner = F.gelu(self.norms[i](self.convs[i](h)))
            h = F.max_pool2d(F.gelu(h + self.norms[i + 1](self.convs[i + 1](inner))), 2)
        h = F.gelu(self.norms[-1](self.convs[-1](h)))
        return h.amax((2, 3)) if self.config.pool == "max" else h.mean((2, 3))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.pooled(x_BCHW))


def matched_plain(model: GroupResNet, num_classes: int, seed: int = 0) -> PlainResNet:
    """The plain network of the width whose number of parameters is nearest to the group network's."""
    wanted, in_ch = parameters(model), model.lift.channels[0]

    def off(width: int) -> int:
        with torch.device("meta"):
            return parameters(PlainResNet(in_ch, num_classes, replace(model.config, width=width))) - wanted

    width = bisect_left(range(1, wanted), 0, key=off) + 1  # the first that has as many, or more
    width = min((max(width - 1, 1), width), key=lambda w: abs(off(w)))
    return PlainResNet(in_ch, num_classes, replace(model.config, width=width), seed)


def parameters(model: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(p.numel() for p in model.parameters())


def transformed(x_BCHW: Tensor, g: Tensor) -> Tensor:
    """Pictures moved by matrices `[2, 2]` or `[B, 2, 2]` about their centre: the new one at x is the old at g^-1 x.

    Places are (x to the right, y down), half a side being 1; between pixels bilinear, outside 0.
    """
    inverse_B22 = torch.linalg.inv(g.float()).expand(len(x_BCHW), 2, 2)
    theta_B23 = F.pad(inverse_B22, (0, 1)).to(x_BCHW)
    return F.grid_sample(x_BCHW, F.affine_grid(theta_B23, list(x_BCHW.shape), False), align_corners=False)


@torch.no_grad()
def affine_equivariance_error(model: Callable[[Tensor], Tensor], images: Tensor, g: Tensor) -> float:
    """How much the output changes where pictures are transformed: the mean over pictures of the norm of the change,
    over the mean norm of how outputs of different pictures part from their mean (1: as much as pictures differ).

    Args:
        model: invariant features `[B, F]` of pictures `[B, C, H, W]`. g: as of `transformed`.
    Raises:
        BadInput: fewer than 2 pictures, or features that do not differ at all.
    """
    if len(images) < 2:
        raise bad("images", "at least 2", len(images))
    before, after = model(images), model(transformed(images, g))
    spread = float((before - before.mean(0)).flatten(1).norm(dim=1).mean())
    if not spread > 0:
        raise bad("features", "some that tell pictures apart", "equal ones for all pictures")
    return float((after - before).flatten(1).norm(dim=1).mean()) / spread


class _BatchNorm(nn.BatchNorm1d):
    """Over pictures, matrices and places."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(2)).view_as(input)


def _norm(config: GroupResNetConfig) -> nn.Module:
    return nn.GroupNorm(1, config.width) if config.norm == "layer" else _BatchNorm(config.width)


def _head(width: int, config: GroupResNetConfig, classes: int, random: torch.Generator | None) -> nn.Sequential:
    H = config.hidden
    head = nn.Sequential(
        nn.Linear(width, H), nn.LayerNorm(H), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(H, classes)
    )
    if random is not None:
        with torch.no_grad():
            for layer in (head[0], head[-1]):
                for p in layer.parameters():
                    p.uniform_(-1, 1, generator=random).mul_(layer.in_features**-0.5)  # pyright: ignore
    return head


def _check_size(x_BCHW: Tensor, config: GroupResNetConfig) -> None:
    halved = config.blocks + config.pool_lift
    least = config.kernel_size - 1 + 2**halved
    if x_BCHW.ndim != 4 or min(x_BCHW.shape[2:]) < least:
        raise bad("pictures", f"[B, C, H, W] of at least {least} x {least} pixels", f"shape {tuple(x_BCHW.shape)}")
