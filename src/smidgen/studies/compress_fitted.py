"""A model that `fit` made, compressed: each of its arrays in the format that it bears, judged by its predictions.

What is lost is how far the probabilities of new rows move (half the sum of their absolute changes, on the mean over
rows): no more of the accuracy can be lost, if the probabilities were right. Of a regression: the root mean square of
the changes, as a share of the spread of the predictions. Both are 0 before. There are few arrays, so that every
option of every array is measured, not forecast.
"""

import time as clock
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.compress.allocate import Choice, Infeasible, best_mix, frontier
from smidgen.compress.fitting import Limit
from smidgen.data.views.cache import fill
from smidgen.data.views.rows import Rows
from smidgen.data.views.view import encoders_of
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import json_bytes, new_folder, tensor_bytes, write_bytes, write_json
from smidgen.kit.seeds import derive_seed
from smidgen.learn.model import Model, check_place, read_parts, sealed
from smidgen.learn.packed_arrays import packable, packed, unpacked

AS_IS = "as it is"
OPTIONS = (
    "float32", "float16", "int8/64", "int6+offset/64/double", "int5+offset/64/double", "int4+offset/32/double",
    "int4+offset/64/double", "int3+offset/32/double", "int2+offset/32/double",
)  # fmt: skip
UNIFORM = ("float32", "float16", "int8/64", "int4+offset/64/double", "int3+offset/32/double", "int2+offset/32/double")
MOST_ROWS = 400  # that losses are measured on
LEAST_ROWS = 8
Tell = Callable[[str, float], None]


@dataclass
class Opened:
    """A model's parts, and the rows that its losses are measured on: those that choose, those that judge."""

    folder: Path
    head: dict[str, Any]
    arrays: dict[str, np.ndarray]
    model: Model
    choose: Rows | None
    check: Rows | None
    made: dict[tuple[str, str], dict[str, np.ndarray]] = field(default_factory=dict)

    def with_options(self, options: dict[str, str]) -> Model:
        kept, told = packed(self.arrays, options, self.made)
        return Model.from_parts(self.head, unpacked(kept, told, str(self.folder)), str(self.folder))

    def size(self, options: dict[str, str]) -> int:
        body, head = self.written(options)
        return len(body) + len(json_bytes(head))

    def written(self, options: dict[str, str]) -> tuple[bytes, dict[str, Any]]:
        kept, told = packed(self.arrays, options, self.made)
        body = tensor_bytes(kept)
        return body, sealed(self.head, body, told)


def open_fitted(folder: Path, calibration: Any, seed: int = 0) -> Opened:
    """
    Args:
        calibration: rows as the model takes them (a file, a folder of images, a data frame), labels not needed; None:
            nothing is measured.

    Raises:
        BadInput: no model, a damaged one, one that is compressed already; rows that do not fit it, or fewer than 8.
    """
    head, arrays = read_parts(folder)
    if head.get("packed"):
        raise BadInput(f"{folder} is compressed already: compress the model that it was made from.")
    model = Model.from_parts(head, arrays, str(folder))
    if calibration is None:
        return Opened(folder, head, arrays, model, None, None)
    frame = model.read(calibration)
    if len(frame) < LEAST_ROWS:
        raise bad(str(calibration), f"at least {LEAST_ROWS} rows to calibrate by", len(frame), "Better a hundred.")
    order = np.random.default_rng(derive_seed(seed, "compress", "rows")).permutation(len(frame))[:MOST_ROWS]
    cut = max(1, len(order) // 2)
    parts = [Rows(frame.iloc[np.sort(part)].reset_index(drop=True)) for part in (order[:cut], order[cut:])]
    for rows in parts:  # texts are read and pictures encoded once, not for each option
        fill(rows, sorted({e for m in model.members for e in encoders_of(m.view)}), None, columns=model.columns)
    return Opened(folder, head, arrays, model, parts[0], parts[1])


def lost(opened: Opened, options: dict[str, str], rows: Rows | None) -> float:
    """What a model loses with these options; 0 where there are no rows to measure it on."""
    if rows is None:
        return 0.0
    was, now = opened.model.chances(rows), opened.with_options(options).chances(rows)
    if not np.isfinite(now).all():
        return float("inf")
    if opened.model.kind == "classification":
        return float(np.abs(was - now).sum(1).mean() / 2)
    return float(np.sqrt(np.mean((was - now) ** 2)) / max(float(np.std(was)), 1e-12))


def choices(opened: Opened, tell: Tell) -> list[Choice]:
    """Every option of every array that can be packed, measured (or, without rows, its relative squared error)."""
    names = [n for n, a in opened.arrays.items() if packable(a)]
    out = []
    for i, name in enumerate(names):
        array = opened.arrays[name]
        out.append(Choice(name, AS_IS, array.nbytes, 0.0))
        for option in OPTIONS:
            kept, told = packed({name: array}, {name: option}, opened.made)
            size = sum(v.nbytes for v in kept.values())
            if size >= array.nbytes:
                continue
            if opened.choose is None:
                back = unpacked(kept, told, name)[name]
                loss = float(((back - array) ** 2).sum() / max(float((array**2).sum()), 1e-30))
            else:
                loss = lost(opened, {name: option}, opened.choose)
            out.append(Choice(name, option, size, loss))
        tell("weighing arrays", (i + 1) / len(names))
    if not out:
        raise BadInput(f"{opened.folder} has no array of floats worth packing: it is as small as it gets.")
    return out


def options_of(mix: dict[str, str]) -> dict[str, str]:
    """Of a mix what is packed."""
    return {name: option for name, option in mix.items() if option != AS_IS}


def compress_fitted(
    folder: Path, limit: Limit, calibration: Any, place: Path, seed: int, dry_run: bool, tell: Tell
) -> dict[str, Any]:
    """See `smidgen.studies.compressing.compress`."""
    start = clock.perf_counter()
    check_place(place)
    opened = open_fitted(folder, calibration, seed)
    found = choices(opened, tell)
    smallest = {c.layer: c for c in sorted(found, key=lambda c: -c.bytes)}
    least = opened.size(options_of({n: c.option for n, c in smallest.items()}))
    numbers = sum(opened.arrays[n].size for n in smallest)
    whole = sum(f.stat().st_size for f in folder.iterdir() if f.is_file() and f.name != "report.html")
    unit = "change of probabilities" if opened.model.kind == "classification" else "share of the spread"
    told: dict[str, Any] = {"unit": unit, "bytes_before": whole, "own_calibration": False, "numbers": numbers}
    curve = [{"bytes": opened.size(options_of(m.options)), "loss": m.loss} for m in frontier(found, 12)]
    uniform = [{"name": o, "bytes": opened.size(_uniform(found, o))} for o in UNIFORM]
    if limit.loss is None:
        beside = least - sum(c.bytes for c in smallest.values())
        most = limit.bytes if limit.bytes is not None else int(beside + numbers * (limit.bits or 0.0) / 8)
        if least > most:
            raise Infeasible(
                f"No mix fits {most:,} bytes: the smallest reachable is {least:,} bytes ({least / 1e6:.2f} MB).", least
            )
    if dry_run:
        seconds = round(clock.perf_counter() - start, 2)
        return {**told, "dry_run": True, "smallest": least, "uniform": uniform, "curve": curve, "seconds": seconds}
    tried: list[dict[str, Any]] = []

    def measure(name: str, options: dict[str, str]) -> dict[str, Any]:
        tried.append({"name": name, "bytes": opened.size(options), "options": options,
                      "loss": lost(opened, options, opened.choose), "recovered": False})  # fmt: skip
        tell(f"measured: {name}", 1.0)
        return tried[-1]

    if limit.loss is None:
        measure("mixed", options_of(_within(opened, found, most)))
        fits = [u for u in uniform if u["bytes"] <= most]
        for u in sorted(fits, key=lambda u: u["bytes"])[-1:]:
            measure(f"{u['name']} throughout", _uniform(found, u["name"]))
        chosen = min(tried, key=lambda t: (t["loss"], t["bytes"]))
    else:
        for share in (1.0, 0.7, 0.5, 0.3, 0.15, 0.05, 0.0):
            mix = best_mix(found, most_loss=limit.loss * share)
            one = measure(f"forecast to lose {limit.loss * share:.2g}", options_of(mix.options))
            if one["loss"] <= limit.loss:
                break
        chosen = tried[-1]
    body, head = opened.written(chosen["options"])
    with new_folder(place) as new:
        write_bytes(new / "arrays.safetensors", body)
        write_json(new / "model.json", head)
    taken = chosen["options"]
    layers = [
        {"name": n, "kind": "array", "format": taken.get(n, AS_IS), "shared_with": [],
         "bits": round(8 * _size(found, n, taken.get(n, AS_IS)) / opened.arrays[n].size, 3),
         "bytes": _size(found, n, taken.get(n, AS_IS))}
        for n in smallest
    ]  # fmt: skip
    known = opened.check is not None
    return {
        "model": str(place),
        "bytes": sum(f.stat().st_size for f in place.iterdir()),
        "bits_per_weight": round(8 * sum(a["bytes"] for a in layers) / numbers, 4),
        "loss_before": 0.0 if known else None,
        "loss_after": lost(opened, taken, opened.check) if known else None,
        "layers": layers,
        "kept": [n for n in opened.arrays if n not in smallest],
        "tried": [{**{k: t[k] for k in ("name", "bytes", "recovered")}, "loss": t["loss"] if known else None}
                  for t in tried],
        "curve": curve,
        "forecast": sum(c.loss for c in found if taken.get(c.layer, AS_IS) == c.option),
        "recovery_steps": 0,
        "notes": _notes(opened),
        **told,
    }  # fmt: skip


def _notes(opened: Opened) -> list[str]:
    notes = []
    if opened.check is None:
        notes.append("No rows were given: arrays were rounded by their size alone, and what that loses is not known. "
                     "Give --calibration with rows as the model takes them.")  # fmt: skip
    if any(e.startswith(("minilm", "tokens")) for m in opened.model.members for e in encoders_of(m.view)):
        notes.append("The sentence encoder that this model reads texts with is a package of its own and not in the "
                     "folder: its 91 MB are not counted, and stay as they are.")  # fmt: skip
    return notes


def _within(opened: Opened, found: list[Choice], most: int) -> dict[str, str]:
    budget = most
    for _ in range(30):
        try:
            mix = best_mix(found, most_bytes=budget).options
        except Infeasible:
            break
        over = opened.size(options_of(mix)) - most
        if over <= 0:
            return mix
        budget -= over
    least = {c.layer: c.option for c in sorted(found, key=lambda c: -c.bytes)}
    return least


def _uniform(found: list[Choice], option: str) -> dict[str, str]:
    """The option for all arrays that have it."""
    return {c.layer: option for c in found if c.option == option}


def _size(found: list[Choice], name: str, option: str) -> int:
    return next(c.bytes for c in found if c.layer == name and c.option == option)
