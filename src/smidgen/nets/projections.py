"""Fixed random maps P from few numbers to many, x of d to P x of D, made anew from a seed and never stored.

All keep lengths on average: E ||P x||^2 = ||x||^2 over the draw of P (`norm_check` measures it). Everything random is
drawn on the CPU and then moved, so that a seed means the same on any device. Source: Fastfood (Le, Sarlos and Smola,
2013, arXiv 1408.3060) as used by Aghajanyan et al. (2020, arXiv 2012.13255, section 3); count-sketch (Charikar, Chen
and Farach-Colton, 2002).

Dims: d numbers that are learned, D weights, L = D and E = d rounded up to a power of two.
"""

import math
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.nets.hadamard import CHUNK, hadamard, next_power

Kind = Literal["fastfood", "dense", "countsketch"]
MOST_DENSE = 1 << 28  # numbers of a dense matrix, 1 GiB
_PROBED = 16


class Projection:
    """P of a seed. `projection(x_d)` is `[D]`, float32 whatever an autocast around it says, and differentiable.

    Attributes:
        kind, dim, size, seed: which one it is: d, D and the seed are all there is to it.
        parts: what was drawn, by name.
    """

    kind: Kind

    def __init__(self, dim: int, size: int, seed: int = 0) -> None:
        if not 1 <= dim <= size:
            raise bad("dim", f"1 to {size:,}, the number of weights", dim)
        self.dim, self.size, self.seed = dim, size, seed
        self.parts = self._draw(torch.Generator().manual_seed(derive_seed(seed, "projection", self.kind, dim, size)))

    def __call__(self, x_d: Tensor) -> Tensor:
        if x_d.shape != (self.dim,):
            raise bad("x", f"{self.dim} numbers", tuple(x_d.shape))
        with torch.autocast(x_d.device.type, enabled=False):
            return self._project(x_d if x_d.dtype == torch.float64 else x_d.float())

    def to(self, device: torch.device) -> None:
        """Moves what was drawn."""
        self.parts = {name: t.to(device) for name, t in self.parts.items()}

    def probe(self) -> list[float]:
        """A few entries of P x for one fixed x. Where they differ, the seed drew another P, by another torch, say."""
        device = next(iter(self.parts.values())).device
        x_d = torch.cos(torch.arange(self.dim, dtype=torch.float64)).float()
        with torch.no_grad():
            y_D = self(x_d.to(device)).cpu()
        return y_D[torch.linspace(0, self.size - 1, min(_PROBED, self.size)).long()].tolist()

    def _draw(self, random: torch.Generator) -> dict[str, Tensor]:
        raise NotImplementedError

    def _project(self, x_d: Tensor) -> Tensor:
        raise NotImplementedError


class Fastfood(Projection):
    """The first D rows of H G Pi H B, over sqrt(D sum G^2): O(L log L) time, O(L) memory.

    x has at most E numbers that are not 0, so H B x is H_E B x again and again, L / E times: the inner transform is of
    length E, and Pi picks from E numbers.
    """

    kind = "fastfood"

    def _draw(self, random: torch.Generator) -> dict[str, Tensor]:
        L, E = next_power(self.size), next_power(self.dim)
        signs_E = torch.randint(2, (E,), generator=random).float() * 2 - 1
        places_L = torch.randperm(L, generator=random).remainder_(E).int()
        gauss_L = torch.randn(L, generator=random)
        return {"signs": signs_E, "places": places_L, "gauss": gauss_L / float(gauss_L.double().norm())}

    def _project(self, x_d: Tensor) -> Tensor:
        signs_E, places_L, gauss_L = (self.parts[k] for k in ("signs", "places", "gauss"))
        inner_E = hadamard(F.pad(x_d, (0, len(signs_E) - self.dim)) * signs_E.to(x_d.dtype), chunk=CHUNK)
        outer_L = hadamard(inner_E.index_select(0, places_L) * gauss_L.to(x_d.dtype), chunk=CHUNK)
        return outer_L[: self.size] * self.size**-0.5


class Dense(Projection):
    """A matrix of N(0, 1 / D): the reference for small D. Time and memory d D."""

    kind = "dense"

    def _draw(self, random: torch.Generator) -> dict[str, Tensor]:
        if self.dim * self.size > MOST_DENSE:
            raise bad("a dense projection", f"at most {MOST_DENSE:,} numbers", f"{self.dim * self.size:,}",
                      "Take fastfood or countsketch.")  # fmt: skip
        return {"matrix": torch.randn(self.size, self.dim, generator=random) * self.size**-0.5}

    def _project(self, x_d: Tensor) -> Tensor:
        return self.parts["matrix"].to(x_d.dtype) @ x_d


class CountSketch(Projection):
    """Each weight reads one number, with a random sign, times sqrt(d / D): O(D)."""

    kind = "countsketch"

    def _draw(self, random: torch.Generator) -> dict[str, Tensor]:
        places_D = torch.randint(self.dim, (self.size,), generator=random).int()
        signs_D = torch.randint(2, (self.size,), generator=random).float() * 2 - 1
        return {"places": places_D, "signs": signs_D * math.sqrt(self.dim / self.size)}

    def _project(self, x_d: Tensor) -> Tensor:
        return x_d.index_select(0, self.parts["places"]) * self.parts["signs"].to(x_d.dtype)


KINDS: dict[str, type[Projection]] = {cls.kind: cls for cls in (Fastfood, Dense, CountSketch)}


def projection(kind: Kind, dim: int, size: int, seed: int = 0) -> Projection:
    """P by name. Raises BadInput: another name, d not from 1 to D, or a dense one that is too large."""
    if kind not in KINDS:
        raise bad("projection", " or ".join(get_args(Kind)), kind)
    return KINDS[kind](dim, size, seed)


class NormCheck(NamedTuple):
    """Of ||P x||^2 / ||x||^2 over draws: `mean`, its standard `error`, and the `spread` of a single one. `kept`: the
    mean is within four errors of 1."""

    mean: float
    error: float
    spread: float
    kept: bool


def norm_check(kind: Kind, dim: int, size: int, draws: int = 32, seed: int = 0) -> NormCheck:
    """Whether a projection keeps lengths on average, over draws of P and of x (one coordinate alone, all equal, and
    normal, in turn: maps that fail do so for one of these).

    Raises:
        BadInput: fewer than 4 draws; and as `projection`.
    """
    if draws < 4:
        raise bad("draws", "at least 4", draws)
    random = torch.Generator().manual_seed(derive_seed(seed, "norm_check"))
    ratios = []
    for i in range(draws):
        alone = F.one_hot(torch.randint(dim, (), generator=random), dim).float()
        x_d = (alone, torch.ones(dim), torch.randn(dim, generator=random))[i % 3]
        y_D = projection(kind, dim, size, derive_seed(seed, "norm_check", i))(x_d)
        ratios.append(float(y_D.double().square().sum() / x_d.double().square().sum()))
    r = torch.tensor(ratios, dtype=torch.float64)
    mean, spread = float(r.mean()), float(r.std())
    error = spread / math.sqrt(draws)
    return NormCheck(mean, error, spread, abs(mean - 1) <= 4 * error + 1e-5)
