"""Is upsampling or upweighting noisier here? The gradients' variance under both, measured (arXiv 2410.04579).

Over mini-batches of the same size at the same weights: the trace of the covariance of the gradient when domains are
drawn at a temperature, and when draws are proportional and losses weighted.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from smidgen.data.mix import Item, TemperatureSampler, batch_weights, scalarization_weights, variance_factor
from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed

Loss = Callable[[Any, Sequence[Item], np.ndarray], Any]


class GradientVarianceProbe:
    """Compares upsampling and upweighting on a model and its data.

    Args:
        model: a torch module; its parameters and gradients are left as they were.
        loss_fn: (model, batch, weights) -> scalar tensor: the mean over the batch of weight times loss. Without
            dropout or other randomness, which would be measured as well.
        batch_size: of the mini-batches compared. seed: of the draws.
    """

    def __init__(self, model: Any, loss_fn: Loss, batch_size: int = 64, seed: int = 0) -> None:
        self.model, self.loss_fn, self.batch_size, self.seed = model, loss_fn, batch_size, seed

    def compare(self, sizes: Mapping[str, int], tau: float, n_batches: int = 100, n_single: int = 50) -> dict[str, Any]:
        """Measures both.

        Args:
            n_single: examples of each domain whose own gradient is measured.
        Returns:
            `sampling`, `weighting`: variance of a mini-batch's gradient. `per_domain_sq_norm`: mean squared norm of
            one example's gradient. `mean_sq_norm`: of the mean gradient, free of the bias of few batches.
            `ratio`: weighting / sampling. `predicted`: the same from theorem 1 with the measured norms, and
            `equal_norms`: with equal ones (F of the paper).
        """
        if n_batches < 2 or n_single < 1:
            raise bad("n_batches", "at least 2 (and n_single at least 1)", (n_batches, n_single))
        weights = scalarization_weights(sizes, tau)
        even = dict.fromkeys(sizes, 1.0)
        sampling, mean_square = self._variance(sizes, tau, even, n_batches)
        weighting, _ = self._variance(sizes, 1.0, weights, n_batches)
        squares = {name: self._square(name, size, n_single) for name, size in sizes.items()}
        return {
            "sampling": sampling,
            "weighting": weighting,
            "per_domain_sq_norm": squares,
            "mean_sq_norm": mean_square,
            "ratio": weighting / sampling if sampling else float("nan"),
            "predicted": variance_factor(sizes, tau, squares, mean_square),
            "equal_norms": variance_factor(sizes, tau),
        }

    def _variance(
        self, sizes: Mapping[str, int], tau: float, weights: Mapping[str, float], count: int
    ) -> tuple[float, float]:
        """Trace of the covariance, and squared norm of the mean, both unbiased."""
        seed = derive_seed(self.seed, "variance", tau, *weights.values())
        sampler = TemperatureSampler(sizes, tau, self.batch_size, seed)
        total: Any = 0.0
        squares = 0.0
        for _ in range(count):
            grad = self._gradient(sampler.take(), weights)
            total = total + grad
            squares += float(grad.square().sum())
        mean_square = float((total / count).square().sum())
        variance = (squares / count - mean_square) * count / (count - 1)
        return variance, max(0.0, mean_square - variance / count)

    def _square(self, name: str, size: int, count: int) -> float:
        rng = np.random.default_rng(derive_seed(self.seed, "single", name))
        rows = rng.choice(size, min(size, count), replace=False)
        return float(np.mean([float(self._gradient([(name, int(i))], {name: 1.0}).square().sum()) for i in rows]))

    def _gradient(self, batch: Sequence[Item], weights: Mapping[str, float]) -> Any:
        """All gradients of a batch's loss, as one vector in float64."""
        import torch

        parameters = [p for p in self.model.parameters() if p.requires_grad]
        loss = self.loss_fn(self.model, batch, batch_weights(batch, weights))
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        return torch.cat([g.double().flatten() for g in grads if g is not None])
