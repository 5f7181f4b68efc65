"""Of several networks the weights that did best on rows that training does not see, each network for itself."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.learn._translation_training import NETWORKS, Networks


class Best:
    """Keeps weights. Best is: most right, and among equals the least cross-entropy.

    Args:
        x, y: the rows held back; where there are none, nothing is kept.
    """

    def __init__(self, networks: Networks, x: Tensor, y: Tensor) -> None:
        self.networks, self.x, self.y = networks, x, y
        self._kept: dict[str, tuple[tuple[float, float], int, dict[str, Any]]] = {}

    def look(self, epoch: int, without: tuple[str, ...] = ()) -> dict[str, float]:
        """Each network's accuracy now; better weights are kept, but of those in `without`."""
        if not len(self.y):
            return {}
        found = {}
        with torch.inference_mode():
            logits = self.networks.eval().logits(self.x)  # the loop sets them to training again
        for name, own_BK in zip(NETWORKS, logits, strict=True):
            right = float((own_BK.argmax(1) == self.y).double().mean())
            score = (right, -float(F.cross_entropy(own_BK, self.y)))
            found[f"held {name}"] = right
            if name not in without and (name not in self._kept or score > self._kept[name][0]):
                weights = {k: v.detach().clone() for k, v in getattr(self.networks, name).state_dict().items()}
                self._kept[name] = (score, epoch, weights)
        return found

    def restore(self, last: int) -> dict[str, int]:
        """Gives the networks their best weights, ready for use; says which epoch these are of."""
        for name, (_, _, weights) in self._kept.items():
            getattr(self.networks, name).load_state_dict(weights)
        self.networks.eval()
        return {name: self._kept[name][1] if name in self._kept else last for name in NETWORKS}
