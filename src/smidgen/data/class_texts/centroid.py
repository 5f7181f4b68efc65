"""Keeping made texts that lie near the centre of their class, and letting a person set how near (Bayer et al., 2021,
arXiv 2103.14453, section 3.3).

A class of several clusters has its centre where no text is: then the filter keeps what lies between. Dims: N texts, D
width of a vector.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import write_bytes

Encode = Callable[[list[str]], np.ndarray]
SHOWN = 10
START = 0.3  # cosine distance, where a person begins (published)
_COLUMNS = ("text", "distance", "off class")


class Filtered(NamedTuple):
    """Numbers of the texts that are kept and dropped, and the distance of each, `[N]`."""

    kept: list[int]
    dropped: list[int]
    distances: np.ndarray


@dataclass(frozen=True, kw_only=True)
class CentroidFilter:
    """A text is kept when its distance to the centre of the reference texts is at most delta.

    Attributes:
        embed: vectors `[n, D]` of texts. metric: "cosine" (1 - cosine) or "euclidean".
        threshold: delta; or "quantile": so far that of the reference texts a share of `quantile` would be dropped, each
            measured to the centre of the others; or "interactive": delta begins at 0.3 and a person moves it (`shown`,
            `export`, `reviewed`). A delta set by hand uses what that person knows of labels: `charged` counts it.
    """

    embed: Encode
    threshold: float | Literal["quantile", "interactive"] = "quantile"
    quantile: float = 0.05
    metric: Literal["cosine", "euclidean"] = "cosine"

    def __post_init__(self) -> None:
        if self.metric not in ("cosine", "euclidean"):
            raise bad("metric", "cosine or euclidean", self.metric)
        if not 0 <= self.quantile < 1:
            raise bad("quantile", "0 or more, below 1", self.quantile)
        if isinstance(self.threshold, str) and self.threshold not in ("quantile", "interactive"):
            raise bad("threshold", "a distance, quantile or interactive", self.threshold)
        if not isinstance(self.threshold, str) and not self.threshold > 0:
            raise bad("threshold", "a distance above 0", self.threshold)

    def fit(self, reference: Sequence[str]) -> "FittedCentroid":
        """The centre of these texts. Raises BadInput: fewer than 2, or vectors that are not finite."""
        if len(reference) < 2:
            raise bad("reference", "at least 2 texts", len(reference))
        x_ND = self.vectors(reference)
        N, total_D = len(x_ND), x_ND.sum(0)
        # To the centre of the others: to one that it is part of, each text of a few would be near.
        own_N = np.array([float(self.distance(x_D[None], (total_D - x_D) / (N - 1))[0]) for x_D in x_ND])
        delta = {"quantile": float(np.quantile(own_N, 1 - self.quantile)), "interactive": START}
        threshold = delta[self.threshold] if isinstance(self.threshold, str) else float(self.threshold)
        return FittedCentroid(self, total_D / N, threshold, own_N)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """float64 `[N, D]`; of unit length for cosines."""
        x_ND = np.asarray(self.embed(list(texts)), np.float64)
        if x_ND.ndim != 2 or len(x_ND) != len(texts) or not np.isfinite(x_ND).all():
            raise bad("embed", f"{len(texts)} finite vectors", f"an array of shape {x_ND.shape}")
        return (
            x_ND / np.maximum(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-12) if self.metric == "cosine" else x_ND
        )

    def distance(self, x_ND: np.ndarray, centre_D: np.ndarray) -> np.ndarray:
        if self.metric == "cosine":
            return 1 - x_ND @ centre_D / max(float(np.linalg.norm(centre_D)), 1e-12)
        return np.linalg.norm(x_ND - centre_D, axis=1)


@dataclass(frozen=True)
class FittedCentroid:
    """A filter with the centre of a class.

    Attributes:
        delta: distances up to it are kept. reference: distances of the reference texts.
        charged: texts that a person has judged to set delta: they are labels, and paid as such.
    """

    settings: CentroidFilter
    centre_D: np.ndarray
    delta: float
    reference: np.ndarray
    charged: int = 0

    def filter(self, generated: Sequence[str]) -> Filtered:
        if not generated:
            return Filtered([], [], np.zeros(0))
        far_N = self.settings.distance(self.settings.vectors(generated), self.centre_D)
        inside_N = far_N <= self.delta
        return Filtered(np.flatnonzero(inside_N).tolist(), np.flatnonzero(~inside_N).tolist(), far_N)

    def shown(self, generated: Sequence[str], count: int = SHOWN) -> list[tuple[str, float]]:
        """(text, distance) of the farthest that are kept, for a person to look at, the farthest first."""
        kept, _, far_N = self.filter(generated)
        return [(generated[i], float(far_N[i])) for i in sorted(kept, key=lambda i: -far_N[i])[:count]]

    def export(self, generated: Sequence[str], path: Path | str, count: int = SHOWN) -> None:
        """Writes what `shown` gives as CSV, with an empty column: anything in it says that a text is off its class."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows((text, f"{far:.6f}", "") for text, far in self.shown(generated, count))
        write_bytes(Path(path), out.getvalue().encode())

    def reviewed(self, path: Path | str, loosen: float = 1.1) -> "FittedCentroid":
        """With the person's marks in the exported file: where a text is off its class, delta lies just below the
        nearest such; where all are right it is `loosen` times as large. Repeat until the marks begin among the ten.

        Raises:
            BadInput: the file is not one that `export` wrote, or holds no text.
        """
        rows = _marks(Path(path))
        off = [far for far, is_off in rows if is_off]
        if loosen <= 1:
            raise bad("loosen", "above 1", loosen)
        # Exported distances are rounded: below the nearest by more than that.
        delta = min(off) - 1e-6 if off else self.delta * loosen
        return FittedCentroid(self.settings, self.centre_D, delta, self.reference, self.charged + len(rows))


def _marks(path: Path) -> list[tuple[float, bool]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
        marks = [(float(row[_COLUMNS[1]]), bool(row[_COLUMNS[2]].strip())) for row in rows]
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{path} is not a list of texts to look at ({str(error)[:60]}): export it again.") from None
    if not marks:
        raise BadInput(f"{path} holds no text: nothing was kept, loosen the filter first.")
    return marks
