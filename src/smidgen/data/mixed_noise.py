"""Clean rows and noisy ones, the noise of each drawn once and for ever.

For trying out what noisy data is worth: with fresh noise at each visit a model would in time see the clean row, as the
mean of its noisy forms. Here the noise of a row follows from its index and the seed, in any order, process or epoch.

Dims: N rows; `...` is any shape of a row.
"""

from typing import Any

import numpy as np

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed


class MixedNoiseDataset:
    """Rows of which a share has normal noise, as a data set in torch's sense (`len`, one row by index).

    Which rows stay clean follows from the seed alone, and those of a smaller clean share are among those of a larger
    one: mixtures differ in nothing else.

    Args:
        x: clean rows `[N, ...]`, floating-point, scaled as the model wants them (images: -1 to 1).
        noisy_fraction: share of noisy rows, 0 to 1; their number is rounded.
        sigma: standard deviation of their noise; or `[N]`, each row's own if it is noisy.
        labels: classes `[N]`, or None.

    Attributes:
        sigma_N: level of each row, 0 for clean ones.

    Raises:
        BadInput: whole numbers as pixels, a share outside 0 to 1, levels that are unknown (None), below 0 or not one
            a row, labels for another number of rows.
    """

    def __init__(
        self, x: np.ndarray, noisy_fraction: float, sigma: float | np.ndarray, seed: int, labels: Any = None
    ) -> None:
        if x.ndim < 2 or not np.issubdtype(x.dtype, np.floating):
            raise bad(
                "x", "rows of floating-point numbers, [N, ...]", f"{x.dtype} {list(x.shape)}",
                "Scale bytes to -1 to 1: x / 127.5 - 1.",
            )  # fmt: skip
        if not 0 <= noisy_fraction <= 1:
            raise bad("noisy_fraction", "from 0 to 1", noisy_fraction)
        if sigma is None:
            raise bad("sigma", "the noise level", None, "An unknown level cannot be trained with.")
        own_N = np.broadcast_to(np.asarray(sigma, np.float32), len(x)) if np.ndim(sigma) == 0 else np.asarray(sigma)
        if own_N.shape != (len(x),):
            raise bad("shape of sigma", f"one number, or ({len(x)},)", str(own_N.shape))
        wrong = own_N[~(np.isfinite(own_N) & (own_N >= 0))]
        if len(wrong):
            raise bad("sigma", "0 or more", float(wrong[0]))
        if labels is not None and len(labels) != len(x):
            raise bad("labels", f"{len(x)}, as there are rows", len(labels))
        order = np.random.default_rng(derive_seed(seed, "noisy rows")).permutation(len(x))
        noisy = order[len(x) - round(noisy_fraction * len(x)) :]
        self.sigma_N = np.zeros(len(x), np.float32)
        self.sigma_N[noisy] = own_N[noisy]
        self.labels = None if labels is None else np.asarray(labels)
        self._x, self._key = x, derive_seed(seed, "noise")

    def __len__(self) -> int:
        return len(self.sigma_N)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`{"x": float32 [...], "sigma": float32}`, and "label" where there are labels."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index = int(index) % len(self)
        x, sigma = np.asarray(self._x[index], np.float32), self.sigma_N[index]
        if sigma > 0:
            x = x + sigma * np.random.default_rng([self._key, index]).standard_normal(x.shape, np.float32)
        row: dict[str, Any] = {"x": x, "sigma": sigma}
        return row if self.labels is None else row | {"label": self.labels[index]}

    def arrays(self, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Some rows by number, or all, as columns: what `learn.diffusion.train_denoiser` takes."""
        rows = np.arange(len(self)) if rows is None else np.asarray(rows)
        each = [self[int(i)] for i in rows]
        if not each:
            raise bad("rows", "at least one", 0)
        return {name: np.stack([row[name] for row in each]) for name in each[0]}
