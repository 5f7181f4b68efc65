"""What rounding checkpoints of a training loses, and how far their weights still moved (Ouyang et al., 2024, arXiv
2411.17691): rows for `laws.qid.fit_qid`.

A quantizer is anything that changes the weights of a model in place: `Rounding` here, or one that looks at data. Its
settings (group, calibration texts) must be the same for all checkpoints of a law, and checkpoints should come from one
constant rate: a fall of the rate changes what rounding loses.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from smidgen.compress.layers import find, set_weight, weight_of
from smidgen.formats.format import Format
from smidgen.formats.scales import Search
from smidgen.kit.errors import BadInput, bad

Quantizer = Callable[[nn.Module], Any]
Loss = Callable[[nn.Module], float]


@dataclass(frozen=True)
class Rounding:
    """Each weight by itself to the nearest that a format says; embeddings and what shares its weight with one stay
    whole, unless `embeddings`."""

    format: Format
    search: Search = "absmax"
    embeddings: bool = False

    def __call__(self, model: nn.Module) -> nn.Module:
        for layer in find(model):
            names = (layer.name, *layer.others)
            if self.embeddings or not any(isinstance(model.get_submodule(n), nn.Embedding) for n in names):
                weight = weight_of(model, layer)
                set_weight(model, layer, self.format.quantize(weight, search=self.search).dequantize())
        return model


@dataclass(frozen=True)
class Checkpoint:
    """A model at one moment: `n` parameters (as a law is to count them), `d` tokens trained on so far, `model`: gives
    it; `name`: for the table."""

    name: str
    n: float
    d: float
    model: Callable[[], nn.Module]


def measure_qid(model: nn.Module, quantizer: Quantizer, loss: Loss, whole: float | None = None) -> float:
    """Loss of a rounded copy less that of the model, on the same texts; below 0 by noise at times.

    Args:
        loss: of a model, nats a token. whole: the model's, where it is known.
    Raises:
        BadInput: the rounded model's loss is not a number.
    """
    rounded = copy.deepcopy(model)
    quantizer(rounded)
    found = loss(rounded)
    if not np.isfinite(found):
        raise BadInput("The loss of the rounded model is not a number: its weights cannot be read in this format.")
    return found - (loss(model) if whole is None else whole)


def sweep_checkpoints(
    checkpoints: Iterable[Checkpoint], quantizers: Mapping[str, tuple[float, Quantizer]], loss: Loss,
    cache: Path | None = None,
) -> pd.DataFrame:  # fmt: skip
    """A row for each checkpoint and quantizer: checkpoint, quantizer, n, d, bits, loss_fp, loss_q.

    Args:
        quantizers: by name, (bits a weight as the law is to count them, quantizer). A name stands for all settings:
            another group is another name.
        cache: a file of JSON lines; rows of the same weights, quantizer name and bits are read from it. The texts that
            `loss` reads are no part of its key: take another file for others.
    Raises:
        BadInput: no checkpoints or no quantizers.
    """
    known = _read(cache)
    rows = []
    for point in checkpoints:
        model = point.model()
        key, whole = fingerprint(model), None
        for name, (bits, quantizer) in quantizers.items():
            row = known.get((key, name, float(bits)))
            if row is None:
                if whole is None:
                    whole = loss(model)
                lost = measure_qid(model, quantizer, loss, whole)
                row = {"key": key, "quantizer": name, "bits": float(bits), "loss_fp": whole, "loss_q": whole + lost}
                if cache is not None:
                    with cache.open("a") as file:
                        file.write(json.dumps(row) + "\n")
            rows.append({"checkpoint": point.name, "n": point.n, "d": point.d, **row})
    if not rows:
        raise bad("sweep", "at least one checkpoint and one quantizer", "none")
    return pd.DataFrame(rows).drop(columns="key")


def weight_drift(
    before: nn.Module, after: nn.Module, levels: tuple[float, ...] = (0.5, 0.9, 0.99), *, relative: bool = True
) -> dict[float, float]:
    """Quantiles of how far weights moved between two checkpoints of one model.

    Args:
        relative: to the root mean square of the later weight, layer by layer; rounding to few bits moves a weight by
            some part of that.
    Raises:
        BadInput: other layers or shapes.
    """
    pairs = list(zip(find(before), find(after), strict=False))
    if not pairs or [(a.name, a.shape) for a, _ in pairs] != [(b.name, b.shape) for b in find(after)]:
        raise BadInput("The two checkpoints do not have the same layers: they are of different models.")
    moved = []
    for a, b in pairs:
        old, new = weight_of(before, a), weight_of(after, b)
        scale = float(new.square().mean().sqrt()) if relative else 1.0
        moved.append(((new - old).abs() / max(scale, 1e-12)).flatten())
    values = torch.cat(moved).numpy()
    return {level: float(np.quantile(values, level)) for level in levels}


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of all weights and buffers, names included."""
    out = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        out.update(name.encode())
        out.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if value.dim() else
                   str(value.item()).encode())  # fmt: skip
    return out.hexdigest()


def _read(cache: Path | None) -> dict[tuple[str, str, float], dict[str, Any]]:
    if cache is None or not cache.is_file():
        return {}
    rows = []
    for line in cache.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:  # the last line of a sweep that was stopped
            continue
    return {(row["key"], row["quantizer"], row["bits"]): row for row in rows}
