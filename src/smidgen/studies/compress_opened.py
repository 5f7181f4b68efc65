"""A model that `fit` made, opened to be compressed: its arrays, the rows that judge, and what a change of arrays does.

An array belongs to one member of the blend, so that what a member says with some options is computed once and kept: a
changed array costs one member's predictions, not the blend's.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data.views.cache import fill
from smidgen.data.views.rows import Rows
from smidgen.data.views.view import encoders_of
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import tensor_bytes
from smidgen.kit.seeds import derive_seed
from smidgen.kit.state import unpack
from smidgen.learn.member import Member
from smidgen.learn.model import Model, read_parts, sealed
from smidgen.learn.packed_arrays import Parts, described, empty_parts, key, packed, unpack_array, whole_dtype
from smidgen.nets import minilm
from smidgen.studies import compress_folder

MOST_ROWS = 400  # that losses are measured on
LEAST_ROWS = 8
ENOUGH = 100  # rows beside those, with which nothing is learned from rows that choose
Options = Mapping[str, str]  # of packed arrays
_KINDS = {"f": "F", "i": "I", "u": "U"}


@dataclass
class Opened:
    """
    Attributes:
        head, arrays: of the folder, as read. model: of them.
        choose, check: rows that choose, and rows that nothing is chosen by; None: no rows were given. learn: those that
            texts are learned from, for the encoder: none that judge, and none that choose where there are enough.
        encoder: what reads texts in place of the installed sentence encoder. beside: model.json's word of it, and the
            bytes of its files.
    """

    folder: Path
    head: dict[str, Any]
    arrays: dict[str, np.ndarray]
    model: Model
    choose: Rows | None = None
    check: Rows | None = None
    learn: Rows | None = None
    encoder: Any = None
    beside: tuple[dict[str, Any] | None, int] = (None, 0)
    made: dict[tuple[str, str], Parts] = field(default_factory=dict)
    said: dict[tuple, np.ndarray | None] = field(default_factory=dict)
    was: dict[str, np.ndarray] = field(default_factory=dict)

    def member_of(self, name: str) -> int:
        """Whose array it is."""
        return int(name.partition(".")[0])

    def read_with(self, encoder: Any) -> None:
        """From now on texts are read by this encoder; what the model as it was says stays as it was."""
        for part, rows in (("choose", self.choose), ("check", self.check)):
            if rows is not None:
                self._before(part)
                setattr(self, part, Rows(rows.frame))
        self.encoder = encoder
        self.said.clear()

    def lost(self, options: Options, part: str = "choose") -> float:
        """What the model loses with these options, on the rows that choose or "check"; infinite where it cannot answer,
        0 where there are no rows."""
        if getattr(self, part) is None:
            return 0.0
        was, parts = self._before(part), [self._says(i, options, part) for i in range(len(self.model.members))]
        found = [p for p in parts if p is not None]
        if len(found) < len(parts):
            return float("inf")
        now = self.model.blended(found)
        if not np.isfinite(now).all():
            return float("inf")
        if self.model.kind == "classification":
            return float(np.abs(was - now).sum(1).mean() / 2)
        return float(np.sqrt(np.mean((was - now) ** 2)) / max(float(np.std(was)), 1e-12))

    def size(self, options: Options) -> int:
        """Bytes of the whole folder with these options; nothing is packed for it."""
        tensors = {}
        for name, array in self.arrays.items():
            parts = (
                empty_parts(array.shape, options[name]) if name in options else {"": (whole_dtype(array), array.shape)}
            )
            plain = name not in options and parts[""][0] == array.dtype
            for part, (kind, shape) in parts.items():
                at = name if plain else key(name, part)
                size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
                tensors[at] = (_kind(kind), list(shape), size)
        body = compress_folder.tensor_bytes(tensors)
        head = sealed(self.head, b"", described(self.arrays, options), self.beside[0])
        head["arrays"]["bytes"] = body
        return body + len(head_bytes(head)) + self.beside[1]

    def written(self, options: Options) -> tuple[bytes, bytes]:
        """What arrays.safetensors and model.json hold."""
        kept, told = packed(self.arrays, options, self.made)
        body = tensor_bytes(kept)
        return body, head_bytes(sealed(self.head, body, told, self.beside[0]))

    def _before(self, part: str) -> np.ndarray:
        if part not in self.was:
            self.was[part] = self.model.chances(getattr(self, part))
        return self.was[part]

    def _says(self, i: int, options: Options, part: str) -> np.ndarray | None:
        """What a member says of rows; None: it cannot be built, or cannot answer."""
        own = {n: o for n, o in options.items() if self.member_of(n) == i}
        known = (part, i, tuple(sorted(own.items())))
        if known not in self.said:
            rows = getattr(self, part)
            try:
                with self._reading(rows), np.errstate(all="ignore"):  # what is not finite is seen in `lost`
                    self.said[known] = self._member(i, own).predict(rows)
            except (BadInput, ValueError, ArithmeticError, np.linalg.LinAlgError):  # a rounding that a head cannot bear
                self.said[known] = None
        return self.said[known]

    def _member(self, i: int, own: Options) -> Member:
        if not own:
            return self.model.members[i]
        arrays = dict(self.arrays)
        kept, _ = packed({n: arrays[n] for n in own}, own, self.made)
        for name, option in own.items():
            parts = {part: kept[key(name, part)] for part in empty_parts(arrays[name].shape, option)}
            arrays[name] = unpack_array(parts, option, arrays[name].shape, str(arrays[name].dtype))
        return Member.from_state(unpack(self.head["members"][i], arrays), self.model.columns)

    @contextmanager
    def _reading(self, rows: Rows) -> Iterator[None]:
        from threadpoolctl import threadpool_limits

        with minilm.using(self.encoder):
            fill(rows, encoders(self.model), None, columns=self.model.columns)
            with threadpool_limits(1):  # as the model itself predicts
                yield


def head_bytes(head: dict[str, Any]) -> bytes:
    """model.json of a compressed model: without blanks, which are a tenth of a small one."""
    return (json.dumps(head, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def encoders(model: Model) -> list[str]:
    """What the views of a model stand on."""
    return sorted({e for m in model.members for e in encoders_of(m.view)})


def reads_texts(model: Model) -> bool:
    """Whether it needs the sentence encoder."""
    return any(e.startswith(("minilm", "tokens")) for e in encoders(model))


def open_fitted(
    folder: Path, calibration: Any, seed: int = 0, tell: Callable[[str, float], None] = lambda *_: None
) -> Opened:
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
        return Opened(folder, head, arrays, model)
    frame = model.read(calibration)
    if len(frame) < LEAST_ROWS:
        raise bad(str(calibration), f"at least {LEAST_ROWS} rows to calibrate by", len(frame), "Better a hundred.")
    order = np.random.default_rng(derive_seed(seed, "compress", "rows")).permutation(len(frame))
    cut, end = max(1, min(len(order), MOST_ROWS) // 2), min(len(order), MOST_ROWS)
    rest = order[end:]
    places = (order[:cut], order[cut:end], rest if len(rest) >= ENOUGH else np.r_[order[:cut], rest])
    choose, check, learn = (Rows(frame.iloc[np.sort(part)].reset_index(drop=True)) for part in places)
    for rows in (choose, check):  # texts are read and pictures encoded once, not for each option
        tell("reading rows", 0.0)
        fill(rows, encoders(model), None, columns=model.columns)
    return Opened(folder, head, arrays, model, choose, check, learn)


def _kind(kind: np.dtype) -> str:
    return "BOOL" if kind.kind == "b" else f"{_KINDS[kind.kind]}{8 * kind.itemsize}"
