"""A model that `fit` made, compressed: each of its arrays in the format that it bears, judged by its predictions.

What is lost is how far the probabilities of new rows move (half the sum of their absolute changes, on the mean over
rows): no more of the accuracy can be lost, if the probabilities were right. Of a regression: the root mean square of
the changes, as a share of the spread of the predictions. Both are 0 before. As many options are measured as the time
allows, the others are forecast (`compress_weighing`); what is chosen among is always measured.
"""

import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.compress.allocate import Choice, Infeasible, best_mix, frontier
from smidgen.compress.fitting import Limit, best_within, smallest_mix
from smidgen.compress.work_folder import WorkFolder, beside, identity
from smidgen.kit.errors import BadInput
from smidgen.kit.files import new_folder, write_bytes
from smidgen.learn.model import check_place, write_encoder
from smidgen.learn.packed_arrays import empty_parts, pack_array, packable, unpack_array
from smidgen.nets import minilm
from smidgen.studies.compress_opened import Opened, open_fitted, reads_texts
from smidgen.studies.compress_weighing import Array, Weighed, weigh
from smidgen.studies.trialfile import content

AS_IS = "as it is"
OPTIONS = (  # the coarsest first
    "int2+offset/32/double", "int3+offset/32/double", "int4+offset/64/double", "int4+offset/32/double",
    "int5+offset/64/double", "int6+offset/64/double", "int8/64", "float16", "float32",
)  # fmt: skip
UNIFORM = ("float32", "float16", "int8/64", "int4+offset/64/double", "int3+offset/32/double", "int2+offset/32/double")
SHARES = (1.0, 0.7, 0.5, 0.3, 0.15, 0.05, 0.0)  # of a limit of loss, that mixes are forecast to lose
WEIGHING = 0.7  # of the time, at most, that goes into measuring options; the rest into measuring mixes
SAMPLE = 1 << 14  # numbers of an array that errors are forecast by
Tell = Callable[[str, float], None]
Mixture = dict[str, str]


@dataclass
class Work:
    """The options of a model's arrays and the mixes that were measured.

    Attributes:
        until: when the time is over, by `now`; None: never. folder: of the work, open: what was measured is kept there.
    """

    opened: Opened
    tell: Tell
    now: Callable[[], float]
    until: float | None
    folder: WorkFolder
    choices: list[Choice] = field(default_factory=list)
    tried: list[dict[str, Any]] = field(default_factory=list)
    told: Weighed | None = None

    def weigh(self) -> None:
        """Gives every option of every array a loss.

        Raises:
            BadInput: there is nothing to pack.
        """
        opened, start = self.opened, self.now()
        arrays = [_described(opened, name) for name, a in opened.arrays.items() if packable(a)]
        if not arrays:
            raise BadInput(f"{opened.folder} has no array of floats worth packing: it is as small as it gets.")
        ends = None if self.until is None else start + WEIGHING * (self.until - start)

        def more() -> bool:
            return opened.choose is not None and (ends is None or self.now() < ends)

        self.told = weigh(
            arrays, lambda name, option: self.lost({name: option}), more,
            lambda done, of: self.tell("weighing arrays", done / of),
        )  # fmt: skip
        for array in arrays:
            own = opened.arrays[array.name]
            self.choices.append(Choice(array.name, AS_IS, own.nbytes, 0.0))
            for place, option in enumerate(array.options):
                rows = opened.choose is not None
                loss = self.told.loss(array, place) if rows else array.errors[place] ** 2
                self.choices.append(Choice(array.name, option, bytes_of(own.shape, option), loss))

    @property
    def least(self) -> Mixture:
        """The smallest mix."""
        return smallest_mix(self.choices)

    def size(self, mixture: Mixture) -> int:
        return self.opened.size(options_of(mixture))

    def uniform(self, option: str) -> Mixture:
        """The option for all arrays that have it."""
        return {c.layer: option for c in self.choices if c.option == option}

    def lost(self, options: Mixture) -> float:
        """On the rows that choose, read by the encoder that there is now."""
        return self.folder.value(["lost", options, self.opened.beside[0]], lambda: self.opened.lost(options))

    def measure(self, name: str, mixture: Mixture) -> dict[str, Any]:
        options = options_of(mixture)
        for one in self.tried:
            if one["options"] == options:
                return one
        loss = self.lost(options)
        made = {"name": name, "bytes": self.opened.size(options), "options": options, "loss": loss, "recovered": False}
        self.tried.append(made)
        self.tell(f"measured: {name}", 1.0)
        return made

    def within_bytes(self, most: int) -> dict[str, Any]:
        """The better one of the best mix and the uniform widths within so many bytes, the largest of them first, the
        others as long as there is time."""
        self.measure("mixed", best_within(self.choices, self.size, most, most))
        fits = sorted(
            ((self.size(self.uniform(o)), o) for o in UNIFORM if self.size(self.uniform(o)) <= most), reverse=True
        )
        for i, (_, option) in enumerate(fits):
            if i == 0 or self.until is None or self.now() < self.until:
                self.measure(f"{option} throughout", self.uniform(option))
        return min(self.tried, key=lambda t: (t["loss"], t["bytes"]))

    def within_loss(self, most: float) -> dict[str, Any]:
        """The mix forecast to lose the limit, or the first more careful one that is measured to keep it; or a uniform
        width that keeps it in fewer bytes. The finest of those is measured however short the time, the others as long
        as there is time."""
        for share in SHARES:
            mix = best_mix(self.choices, most_loss=most * share)
            best = self.measure(f"forecast to lose {most * share:.2g}", mix.options)
            if best["loss"] <= most:
                break
        smaller = [o for o in UNIFORM if self.size(self.uniform(o)) < best["bytes"]]
        for i, option in enumerate(smaller):
            if i and self.until is not None and self.now() >= self.until:
                break
            one = self.measure(f"{option} throughout", self.uniform(option))
            if one["loss"] > most:
                break
            best = one
        return best


def compress_fitted(
    folder: Path, limit: Limit, calibration: Any, place: Path, seed: int, dry_run: bool, tell: Tell, *,
    seconds: float | None = None, steps: int | None = None, with_encoder: bool | None = None, fresh: bool = False,
    now: Callable[[], float] = clock.perf_counter,
) -> dict[str, Any]:  # fmt: skip
    """See `smidgen.studies.compressing.compress`. seconds: None, or where there are steps: all that there is to measure
    is measured. now: the clock."""
    start = now()
    check_place(place)
    opened = open_fitted(folder, calibration, seed, tell)
    with WorkFolder(None if dry_run else beside(place), _identity(opened, seed), fresh=fresh) as work_folder:
        made = _compressed(
            opened, limit, place, seed, dry_run, tell, start - work_folder.before, seconds, steps, with_encoder, now,
            work_folder,
        )  # fmt: skip
    return made if dry_run else {**made, "notes": [*made["notes"], *work_folder.notes]}


def _identity(opened: Opened, seed: int) -> str:
    rows = [r.frame for r in (opened.choose, opened.check, opened.learn) if r is not None]
    cells = [content(frame[name]) for frame in rows for name in frame.columns]
    encoder = minilm.load().identity if rows and reads_texts(opened.model) else ""
    return identity(opened.head, opened.arrays, cells, encoder, seed)


def _compressed(
    opened: Opened, limit: Limit, place: Path, seed: int, dry_run: bool, tell: Tell, start: float,
    seconds: float | None, steps: int | None, with_encoder: bool | None, now: Callable[[], float],
    work_folder: WorkFolder,
) -> dict[str, Any]:  # fmt: skip
    folder = opened.folder
    if limit.loss is not None and opened.choose is None:
        raise BadInput(
            "--max-loss needs rows to measure the loss on: give --calibration, rows as the model takes them, or --size "
            "or --bits."
        )
    own = _own_encoder(opened, limit, with_encoder)
    until = None if seconds is None or steps is not None else start + seconds
    share = 0.2 if own else 1.0  # of the time for arrays, which are little beside an encoder
    work = Work(opened, tell, now, None if until is None else start + share * (until - start), work_folder)
    work.weigh()
    encoder = None
    if own:
        from smidgen.studies.compress_encoder import Encoding

        encoder = Encoding(opened, seed, tell, work_folder)
    numbers = sum(opened.arrays[n].size for n in work.least) + (encoder.numbers if encoder else 0)
    beside = encoder.smallest if encoder else 0
    least = work.size(work.least) + beside
    unit = "change of probabilities" if opened.model.kind == "classification" else "share of the spread"
    whole = sum(f.stat().st_size for f in folder.iterdir() if f.is_file() and f.name != "report.html")
    told: dict[str, Any] = {"unit": unit, "bytes_before": whole + (encoder.before if encoder else 0),
                            "own_calibration": False, "numbers": numbers}  # fmt: skip
    curve = [{"bytes": work.size(m.options) + beside, "loss": m.loss} for m in frontier(work.choices, 12)]
    most = limit.bytes
    if limit.bits is not None:
        packed = sum(c.bytes for c in best_of(work.choices, work.least)) + (encoder.smallest_packed if encoder else 0)
        most = int(least - packed + numbers * limit.bits / 8)
    if most is not None and least > most:
        raise Infeasible(
            f"No mix fits {most:,} bytes: the smallest reachable is {least:,} bytes ({least / 1e6:.2f} MB).", least
        )
    if dry_run:
        sizes = [{"name": o, "bytes": work.size(work.uniform(o)) + beside} for o in UNIFORM]
        if encoder:
            sizes = encoder.uniforms(work.size(work.least))
        planned = {} if encoder or most is None else _would_be(work, most)
        return {**told, "dry_run": True, "smallest": least, "uniform": sizes, "curve": curve, **planned,
                "seconds": round(now() - start, 2)}  # fmt: skip
    notes: list[str] = []
    if encoder:
        left = None if until is None else max(until - now(), 0.0)
        notes += encoder.fit(work, limit.loss, most, left, steps)
        work.until = until
    chosen = work.within_bytes(most) if most is not None else work.within_loss(limit.loss or 0.0)
    if not np.isfinite(chosen["loss"]):
        raise Infeasible("No mix within the limit leaves a model that can answer: give it more room.", least)
    body, head = opened.written(chosen["options"])
    with new_folder(place) as new:
        write_bytes(new / "arrays.safetensors", body)
        write_bytes(new / "model.json", head)
        write_encoder(new, encoder.files if encoder else {})
    taken, known = chosen["options"], opened.check is not None
    layers = [_layer(opened, n, taken.get(n, AS_IS)) for n in work.least] + (encoder.layers if encoder else [])
    return {
        "model": str(place),
        "bytes": sum(f.stat().st_size for f in place.rglob("*") if f.is_file()),
        "bits_per_weight": round(8 * sum(a["bytes"] for a in layers) / numbers, 4),
        "loss_before": 0.0 if known else None,
        "loss_after": opened.lost(taken, "check") if known else None,
        "layers": layers,
        "kept": [n for n in opened.arrays if n not in work.least],
        "tried": [{**{k: t[k] for k in ("name", "bytes", "recovered")}, "loss": t["loss"] if known else None}
                  for t in (*(encoder.tried if encoder else ()), *work.tried)],
        "curve": curve,
        "forecast": sum(c.loss for c in work.choices if taken.get(c.layer, AS_IS) == c.option),
        "measured": {"options": len(work.told.measured) if work.told else 0, "of": len(work.choices) - len(work.least)},
        "recovery_steps": encoder.recovery_steps if encoder else 0,
        "notes": [*_notes(work, own), *notes],
        **told,
    }  # fmt: skip


def _would_be(work: Work, most: int) -> dict[str, Any]:
    """The mix within so many bytes, as it is forecast."""
    mix = best_within(work.choices, work.size, most, most)
    taken = best_of(work.choices, mix)
    numbers = sum(work.opened.arrays[c.layer].size for c in taken)
    return {"would_be": work.size(mix), "bits_per_weight": round(8 * sum(c.bytes for c in taken) / numbers, 4)}


def options_of(mix: Mixture) -> Mixture:
    """Of a mix what is packed."""
    return {name: option for name, option in mix.items() if option != AS_IS}


def best_of(choices: Sequence[Choice], mixture: Mixture) -> list[Choice]:
    """The choices that a mix is made of."""
    return [c for c in choices if mixture.get(c.layer) == c.option]


def bytes_of(shape: tuple[int, ...], option: str) -> int:
    """What an array of this shape takes, packed."""
    return sum(int(np.prod(s, dtype=np.int64)) * kind.itemsize for kind, s in empty_parts(shape, option).values())


def _described(opened: Opened, name: str) -> Array:
    """An array with the options that make it smaller: of equally large ones the finest."""
    array = opened.arrays[name]
    sizes = {o: bytes_of(array.shape, o) for o in OPTIONS}
    kept: list[str] = []
    for option in reversed(OPTIONS):
        if sizes[option] < (sizes[kept[-1]] if kept else array.nbytes):
            kept.append(option)
    rows = array if array.ndim > 1 else array[None]
    some = rows[np.linspace(0, len(rows) - 1, max(1, min(len(rows), SAMPLE // max(rows[0].size, 1)))).astype(int)]
    errors = tuple(_error(some[:, : 1 << 20] if some.ndim == 2 else some, o) for o in reversed(kept))
    return Array(name, array.size, opened.model.weights[opened.member_of(name)], tuple(reversed(kept)), errors)


def _error(array: np.ndarray, option: str) -> float:
    back = unpack_array(pack_array(array, option), option, array.shape, str(array.dtype))
    return float(np.sqrt(((back - array) ** 2).sum() / max(float((array**2).sum()), 1e-30)))


def _layer(opened: Opened, name: str, option: str) -> dict[str, Any]:
    array = opened.arrays[name]
    size = array.nbytes if option == AS_IS else bytes_of(array.shape, option)
    return {"name": name, "kind": "array", "format": option, "shared_with": [],
            "bits": round(8 * size / array.size, 3), "bytes": size}  # fmt: skip


def _own_encoder(opened: Opened, limit: Limit, wanted: bool | None) -> bool:
    """Whether the sentence encoder goes into the folder. Where nobody says: if a size was given that the model has room
    in as it is, so that only the encoder can be meant."""
    if wanted and not reads_texts(opened.model):
        raise BadInput("This model reads no texts by the sentence encoder: leave --with-encoder out.")
    if wanted is not None or not reads_texts(opened.model):
        return bool(wanted)
    return limit.bytes is not None and opened.size({}) <= limit.bytes


def _notes(work: Work, own: bool) -> list[str]:
    opened, notes = work.opened, []
    if opened.check is None:
        notes.append("No rows were given: arrays were rounded by their size alone, and what that loses is not known. "
                     "Give --calibration with rows as the model takes them.")  # fmt: skip
    elif work.told is not None and len(work.told.measured) + work.told.skipped < len(work.choices) - len(work.least):
        notes.append(f"In the time {len(work.told.measured)} of {len(work.choices) - len(work.least)} options were "
                     "measured, the others forecast: --time gives it more.")  # fmt: skip
    if reads_texts(opened.model) and not own:
        notes.append("The sentence encoder that this model reads texts with is a package of its own and not in the "
                     "folder: its 91 MB are not counted. --with-encoder puts a small one in.")  # fmt: skip
    return notes
