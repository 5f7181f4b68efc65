"""Mixup of sentences: the network sees a mixture of two, and is asked for the mixture of their labels.

Zhang et al. (2018), arXiv 1710.09412, eq. 1; on texts: Guo et al. (2019), arXiv 1905.08941. Three places: vectors of
tokens before the first layer ("embedding"), states that enter the tuned layers ("hidden"), sentence vectors ("cls").
Two texts of a batch are mixed token by token; where one has ended its states count as 0, so that how a batch is padded
has no part in it, and the mixture is as long as the longer of the two.

Dims: B texts of a batch, S tokens, D width, C classes.
"""

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.kit.errors import bad

Place = Literal["embedding", "hidden", "cls"]
PLACES: tuple[Place, ...] = ("embedding", "hidden", "cls")


@dataclass(frozen=True)
class Mix:
    """Who is mixed with whom. `share`: `[B, 1]`, of each itself; `partner`: `[B]`, place of the other."""

    share: Tensor
    partner: Tensor

    def vectors(self, z_BD: Tensor) -> Tensor:
        """Mixed vectors `[B, D]`."""
        return self.share * z_BD + (1 - self.share) * z_BD[self.partner]

    def states(self, x_BSD: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed states `[B, S, D]` and where they are: at tokens of either, `[B, S]`."""
        x_BSD = x_BSD * mask_BS[:, :, None].to(x_BSD.dtype)
        share_B11 = self.share[:, :, None]
        mixed_BSD = share_B11 * x_BSD + (1 - share_B11) * x_BSD[self.partner]
        return mixed_BSD, torch.maximum(mask_BS, mask_BS[self.partner])

    def cross_entropy(self, logits_BC: Tensor, y_B: Tensor) -> Tensor:
        """share CE(own label) + (1 - share) CE(the other's), `[B]`."""
        own, other = (F.cross_entropy(logits_BC, y, reduction="none") for y in (y_B, y_B[self.partner]))
        share_B = self.share[:, 0]
        return share_B * own + (1 - share_B) * other


@dataclass(frozen=True, kw_only=True)
class SentenceMixup:
    """
    Attributes:
        alpha: shares are drawn from Beta(alpha, alpha), one for each text. where: see above.
    """

    alpha: float = 0.2
    where: Place = "cls"

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise bad("alpha", "above 0", self.alpha)
        if self.where not in PLACES:
            raise bad("where", " or ".join(PLACES), self.where)

    @property
    def name(self) -> str:
        return f"mixup {self.where} {self.alpha:g}"

    def draw(self, y_B: Tensor, generator: torch.Generator) -> Mix:
        """Partners are a permutation of the batch. Warns where all labels are equal: nothing but texts is mixed."""
        B = len(y_B)
        if B and bool((y_B == y_B[0]).all()):
            warnings.warn("Mixup of a batch with a single class: no labels are mixed.", stacklevel=2)
        rng = np.random.default_rng(int(torch.randint(1 << 62, (1,), generator=generator)))
        share_B1 = torch.from_numpy(rng.beta(self.alpha, self.alpha, (B, 1))).float()
        return Mix(share_B1, torch.randperm(B, generator=generator))
