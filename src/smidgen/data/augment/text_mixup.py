"""Mixup of sentences: the network sees a mixture of two, and is asked for the mixture of their labels.

Zhang et al. (2018), arXiv 1710.09412, eq. 1; on texts: Guo et al. (2019), arXiv 1905.08941. Three places: vectors of
tokens before the first layer ("embedding"), states that enter the tuned layers ("hidden"), sentence vectors ("cls").
Two texts of a batch are mixed token by token, see `train.mixup.Mix`; where one has ended its states count as 0, so that
how a batch is padded has no part in it, and the mixture is as long as the longer of the two.

Dims: B texts of a batch.
"""

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from smidgen.kit.errors import bad
from smidgen.train.mixup import Mix

Place = Literal["embedding", "hidden", "cls"]
PLACES: tuple[Place, ...] = ("embedding", "hidden", "cls")


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
