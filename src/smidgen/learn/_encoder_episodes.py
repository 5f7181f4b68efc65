"""Recordings of many units over several subjects, and the numbered episodes that an in-context encoder learns from.

A subject is a matrix of stimulus embeddings and one of responses; both may be memory-mapped, and only the rows and the
column of an episode are read. An episode is one unit of one subject: some stimuli with its responses as context, others
as queries. Responses have mean 0 and standard deviation 1 of their unit.

Dims: N stimuli and V units of a subject, E embedding, B episodes of a batch, S pairs of context, Q queries.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import read_json, write_json
from smidgen.kit.seeds import derive_seed

UNIT_NORM = 1e-3  # lengths within this of 1 are 1
AT_ONCE = 1 << 22  # numbers read at once, where a whole matrix is gone through
SIZES = 16  # of contexts, in training
FLAT = 1e-6  # a standard deviation below this share of the root mean square is none
_FILES = ("features.npy", "responses.npy", "regions.json")


@dataclass(frozen=True, eq=False)
class Subject:
    """What was recorded of one subject.

    Attributes:
        features: `[N, E]`, embeddings of the stimuli. responses: `[N, V]`, NaN where there is none.
        name: for messages. regions: of each unit, or None.
        rows, units: those stimuli and units that may be used, as numbers; None: all.
    """

    features: np.ndarray
    responses: np.ndarray
    name: str = "subject"
    regions: Sequence[str] | None = None
    rows: np.ndarray | None = None
    units: np.ndarray | None = None

    def __post_init__(self) -> None:
        N, V = self.responses.shape if self.responses.ndim == 2 else (-1, -1)
        if self.features.ndim != 2 or len(self.features) != N:
            shapes = f"{self.features.shape} and {self.responses.shape}"
            raise bad(f"{self.name}", "features [stimuli, numbers] and responses [stimuli, units]", shapes)
        if self.regions is not None and len(self.regions) != V:
            raise bad(f"regions of {self.name}", f"one for each of {V} units", len(self.regions))
        for what, of in (("rows", N), ("units", V)):
            chosen = getattr(self, what)
            if chosen is not None and len(chosen) and (np.min(chosen) < 0 or np.max(chosen) >= of):
                found = f"{np.min(chosen)} to {np.max(chosen)}"
                raise bad(f"{what} of {self.name}", f"numbers from 0 to {of - 1}", found)

    @staticmethod
    def open(folder: Path | str) -> "Subject":
        """The subject that `write` left in a folder, memory-mapped: nothing is read yet."""
        folder = Path(folder)
        arrays = []
        for name in _FILES[:2]:
            try:
                arrays.append(np.load(folder / name, mmap_mode="r", allow_pickle=False))
            except (OSError, ValueError) as error:
                raise BadInput(f"{folder / name} cannot be read as an array ({str(error)[:80]}).") from None
        regions = read_json(folder / _FILES[2]) if (folder / _FILES[2]).is_file() else None
        return Subject(*arrays, name=folder.name, regions=regions)

    def write(self, folder: Path | str) -> None:
        """Into a folder for `open`; the responses of a unit lie side by side, as episodes read them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / _FILES[0], np.ascontiguousarray(self.features, np.float32), allow_pickle=False)
        np.save(folder / _FILES[1], np.asfortranarray(self.responses, np.float32), allow_pickle=False)
        if self.regions is not None:
            write_json(folder / _FILES[2], list(self.regions))

    def only(self, *, rows: Any = None, units: Any = None) -> "Subject":
        """The same recordings, of which only these stimuli and units may be used: numbers, or a mask of all; None: as
        before."""
        chosen = {k: np.asarray(v) for k, v in (("rows", rows), ("units", units)) if v is not None}
        return replace(self, **{k: np.flatnonzero(v) if v.dtype == bool else v for k, v in chosen.items()})

    @property
    def usable_rows(self) -> np.ndarray:
        return np.arange(len(self.features)) if self.rows is None else np.asarray(self.rows)

    @property
    def usable_units(self) -> np.ndarray:
        return np.arange(self.responses.shape[1]) if self.units is None else np.asarray(self.units)

    def columns(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Usable units a few at a time: their numbers, and their responses `[usable rows, few]`, float64."""
        rows, units = self.usable_rows, self.usable_units
        few = max(AT_ONCE // max(len(rows), 1), 1)
        for start in range(0, len(units), few):
            part = units[start : start + few]
            yield part, np.asarray(self.responses[np.ix_(rows, part)], np.float64)


def standardized(responses_NV: np.ndarray, sessions_N: Any = None) -> np.ndarray:
    """Responses with mean 0 and standard deviation 1 of each unit, or of each unit in each session, float32; NaN stays
    NaN, and what does not vary becomes 0. To remove drifts between sessions before a `Subject` is made."""
    out = np.array(responses_NV, np.float64)
    sessions = np.zeros(len(out), int) if sessions_N is None else np.asarray(sessions_N)
    for session in np.unique(sessions):
        at = sessions == session
        mean_V, spread_V = unit_scales(out[at])
        out[at] = (out[at] - mean_V) / np.where(spread_V > 0, spread_V, 1.0)
    return out.astype(np.float32)


def unit_scales(responses_NV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation `[V]` of known responses; deviation 0 where none varies, or none is known."""
    known = np.isfinite(responses_NV)
    y = np.where(known, responses_NV, 0.0)
    count = np.maximum(known.sum(0), 1)
    mean = y.sum(0) / count
    spread = np.sqrt((np.where(known, y - mean, 0.0) ** 2).sum(0) / count)
    return mean, np.where(spread > FLAT * np.sqrt((y**2).sum(0) / count), spread, 0.0)


def unit_norm(x_NE: np.ndarray, what: str = "embeddings", warn: bool = True) -> np.ndarray:
    """Embeddings of unit length, float32. Others are warned about, and divided by their length.

    Raises:
        BadInput: one that is not finite, or all zeros: it has no direction.
    """
    x_NE = np.asarray(x_NE, np.float32)
    length_N = np.sqrt(np.einsum("ij,ij->i", x_NE, x_NE, dtype=np.float64))
    wrong = ~np.isfinite(length_N) | (length_N == 0)
    if wrong.any():
        raise BadInput(f"{what}: row {int(wrong.argmax())} is not finite or all zeros: it has no direction. Drop it.")
    off = np.abs(length_N - 1) > UNIT_NORM
    if not off.any():
        return x_NE
    if warn:
        warnings.warn(
            f"{what}: {off.sum()} of {len(off)} rows do not have unit length (one has {length_N[off.argmax()]:.3g}); "
            "they are divided by their length.",
            UserWarning,
            stacklevel=3,
        )
    return (x_NE / length_N[:, None]).astype(np.float32)


@dataclass(frozen=True)
class Episodes:
    """A batch; all on one device.

    Attributes:
        x_BSE, y_BS, mask_BS: context: embeddings, responses, which are known (None: all).
        query_BQE, target_BQ, asked_BQ: queries, the same way; what is not known is 0.
        units_B: numbers of the units, see `EpisodeSampler.owner`.
    """

    x_BSE: Tensor
    y_BS: Tensor
    mask_BS: Tensor | None
    query_BQE: Tensor
    target_BQ: Tensor
    asked_BQ: Tensor
    units_B: Tensor

    def to(self, device: str) -> "Episodes":
        """The same on a device."""
        return replace(self, **{k: v.to(device) for k, v in vars(self).items() if v is not None})


class EpisodeSampler:
    """Episodes by number: a subject, one of its units, `queries` stimuli and a context drawn without replacement. The
    size of the context is drawn once for a batch, from at most `SIZES` evenly spread ones: products of few different
    sizes run faster, and their code, which the library keeps for each, takes less memory.

    Args:
        context: least and most pairs. batch: episodes.
    Attributes:
        count: usable units of all subjects. means, spreads: of their responses.
    Raises:
        BadInput: no subject, embeddings of different widths, too few stimuli, no unit whose responses vary.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        *,
        context: tuple[int, int] = (5, 100),
        queries: int = 100,
        batch: int = 64,
        seed: int = 0,
    ) -> None:
        low, high = context
        if not 1 <= low <= high:
            raise bad("context", "least and most pairs, 1 <= least <= most", context)
        if queries < 1 or batch < 1:
            raise bad("queries, batch", "at least 1 each", (queries, batch))
        widths = {s.features.shape[1] for s in subjects}
        if len(widths) != 1:
            raise bad("subjects", "at least one, all with embeddings of one width", sorted(widths))
        self.sizes = np.unique(np.linspace(low, high, SIZES).round().astype(int))
        self.queries, self.batch, self.seed = queries, batch, seed
        self.embed = widths.pop()
        self.subjects, self.rows = list(subjects), [s.usable_rows for s in subjects]
        for subject, rows in zip(self.subjects, self.rows, strict=True):
            if len(rows) < high + queries:
                raise bad(f"stimuli of {subject.name}", f"at least {high} of context and {queries} queries", len(rows))
            _check_features(subject, rows)
        scales = [_scales(subject) for subject in self.subjects]
        self.units = [units for units, _, _ in scales]
        self.means, self.spreads = (np.concatenate([s[i] for s in scales]) for i in (1, 2))
        self.starts = np.cumsum([0, *(len(u) for u in self.units)])
        self.count = int(self.starts[-1])

    def owner(self, unit: int) -> tuple[int, int]:
        """Which subject a unit belongs to, and its column there."""
        if not 0 <= unit < self.count:
            raise bad("unit", f"0 to {self.count - 1}", unit)
        subject = int(np.searchsorted(self.starts, unit, side="right")) - 1
        return subject, int(self.units[subject][unit - self.starts[subject]])

    def at(self, number: int, context: int | None = None) -> Episodes:
        """The batch of this number; with so many pairs of context, where it is given."""
        rng = np.random.default_rng([derive_seed(self.seed, "episodes"), number])
        drawn = int(rng.choice(self.sizes))
        S, Q = drawn if context is None else context, self.queries
        x = np.empty((self.batch, S + Q, self.embed), np.float32)
        y = np.empty((self.batch, S + Q), np.float32)
        units = np.empty(self.batch, np.int64)
        for b in range(self.batch):
            s = int(rng.integers(len(self.subjects)))
            unit = int(self.starts[s] + rng.integers(len(self.units[s])))
            subject, column = self.subjects[s], self.owner(unit)[1]
            rows = self.rows[s][rng.choice(len(self.rows[s]), S + Q, replace=False)]
            x[b], units[b] = subject.features[rows], unit
            y[b] = (subject.responses[rows, column] - self.means[unit]) / self.spreads[unit]
        x /= np.linalg.norm(x, axis=-1, keepdims=True)
        known = np.isfinite(y)
        y[~known] = 0.0
        x_, y_, known_ = torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(known)
        mask_BS = None if known[:, :S].all() else known_[:, :S]
        return Episodes(
            x_[:, :S], y_[:, :S], mask_BS, x_[:, S:], y_[:, S:], known_[:, S:], torch.from_numpy(units)
        )  # fmt: skip


def _check_features(subject: Subject, rows: np.ndarray) -> None:
    step, warn = max(AT_ONCE // subject.features.shape[1], 1), True
    for start in range(0, len(rows), step):
        read = np.asarray(subject.features[rows[start : start + step]], np.float32)
        warn = unit_norm(read, f"embeddings of {subject.name}", warn) is read and warn  # one warning is enough


def _scales(subject: Subject) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Units whose responses vary, and mean and standard deviation of each."""
    parts = [(units, *unit_scales(y)) for units, y in subject.columns()]
    units, means, spreads = (np.concatenate([p[i] for p in parts]) if parts else np.zeros(0) for i in range(3))
    varies = spreads > 0
    if not varies.any():
        raise BadInput(f"{subject.name}: no unit has responses that vary: there is nothing to learn from.")
    if not varies.all():
        warnings.warn(
            f"{subject.name}: {(~varies).sum()} of {len(varies)} units never vary, or are never known: they are left "
            "out.",
            UserWarning,
            stacklevel=4,
        )
    return units[varies], means[varies], spreads[varies]


def synthetic_subject(
    features_NE: np.ndarray, units: int, *, noise: float = 1.0, seed: int = 0, name: str = "synthetic"
) -> Subject:
    """Units with random read-outs that have nothing in common: for a first stage of training before real recordings.

    Args:
        noise: variance of normal noise, in units of the variance of the signal.
    """
    rng = np.random.default_rng([derive_seed(seed, "synthetic subject"), units])
    x = unit_norm(features_NE, warn=False).astype(np.float64)
    signal = x @ rng.standard_normal((x.shape[1], units))
    measured = (signal - signal.mean(0)) / signal.std(0) + noise**0.5 * rng.standard_normal(signal.shape)
    return Subject(x.astype(np.float32), measured.astype(np.float32), name)
