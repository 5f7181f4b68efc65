"""The saved result: a folder with `model.json` and `arrays.safetensors`. Loading it builds arrays and never runs code.

A model is a few members (view and head), each with a weight and a temperature. What is in memory after a fit is
built from the very state that is saved, so a loaded model gives bit-equal predictions.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from smidgen.data.views.cache import fill
from smidgen.data.views.rows import Rows
from smidgen.data.views.view import encoders_of
from smidgen.kit import methods
from smidgen.kit.errors import BadInput, SmidgenError
from smidgen.kit.files import (
    digest,
    json_bytes,
    new_folder,
    parse_tensors,
    read_bytes,
    read_json,
    tensor_bytes,
    write_bytes,
    write_json,
)
from smidgen.kit.state import pack, unpack
from smidgen.learn.blend import blend
from smidgen.learn.member import Member
from smidgen.nets import minilm
from smidgen.tasks.read import read_new
from smidgen.tasks.task import Column, ColumnKind, Task

SCHEMA = 1
PACKED_SCHEMA = 2  # of folders whose arrays were compressed
MAX_MEMBERS = 64
MAX_BYTES = 4 << 30
ENCODER = "encoder"  # the folder of a sentence encoder of the model's own
FILES = {"model.json", "arrays.safetensors", "report.html", ENCODER}  # what a model folder holds


@dataclass
class Model:
    """Predicts from new rows.

    Attributes:
        kind: "classification" or "regression"; classes: as the person wrote them, in the order of the probabilities.
        columns: what the rows must hold. target_name: the column that may be there and is not used.
        members, weights, log_t: what is blended.
        about: what is known of it (metric, estimate, interval, level, n, ...), plain data.
        encoder: what reads its texts, if that lies in its own folder (`nets.packed_minilm`); None: the installed one.
    """

    kind: str
    classes: tuple[Any, ...]
    columns: tuple[Column, ...]
    target_name: str
    members: list[Member]
    weights: list[float]
    log_t: list[float]
    about: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    encoder: Any = None

    @classmethod
    def assemble(
        cls, task: Task, states: list[dict[str, Any]], weights: list[float], log_t: list[float], about: dict[str, Any]
    ) -> "Model":
        """A model from the states of members fitted on a task."""
        arrays: dict[str, np.ndarray] = {}
        plain = unpack(pack(states, arrays), arrays)
        members = [Member.from_state(s, task.columns) for s in plain]
        return cls(task.kind, task.classes, task.columns, task.target_name, members, weights, log_t, about)

    def read(self, source: Any) -> pd.DataFrame:
        """Rows to predict from a file, a folder of images, any dataframe or an array, with this model's columns
        in place.
        """
        return read_new(source, self.columns, self.target_name)

    def predict_proba(self, source: Any) -> np.ndarray:
        """Probabilities float64 `[n, classes]`; rows sum to 1. Raises BadInput for a regression model or bad rows."""
        if self.kind != "classification":
            raise BadInput("This model predicts numbers, not classes: use predict.")
        return self._blend(self.read(source))

    def predict(self, source: Any) -> np.ndarray:
        """The most probable class of each row, as the person wrote it, or the value (float64)."""
        frame = self.read(source)
        out = self._blend(frame)
        if self.kind == "regression":
            return out
        names = np.empty(len(self.classes), object)
        names[:] = self.classes
        return names[out.argmax(1)]

    def _blend(self, frame: pd.DataFrame) -> np.ndarray:
        return self.chances(Rows(frame))

    def chances(self, rows: Rows) -> np.ndarray:
        """As `predict_proba` (of a regression: values `[n]`), of rows that are read already."""
        if not len(rows):
            return np.zeros((0, len(self.classes)) if self.classes else 0)
        if self.path is None:
            return self._chances(rows)
        try:  # what came from a folder may say anything that its description allows
            out = self._chances(rows)
        except SmidgenError:
            raise
        except Exception as error:
            raise self._damaged(f"{type(error).__name__}: {str(error)[:100]}") from error
        if out.shape != (len(rows), len(self.classes))[: 1 + bool(self.classes)] or not np.isfinite(out).all():
            raise self._damaged("its answers are no numbers" if self.kind == "regression" else "no probabilities")
        return out

    def _damaged(self, why: str) -> BadInput:
        return BadInput(f"The model in {self.path} cannot answer ({why}): the folder is damaged or was edited.")

    def _chances(self, rows: Rows) -> np.ndarray:
        from threadpoolctl import threadpool_limits

        with minilm.using(self.encoder):
            fill(rows, sorted({e for m in self.members for e in encoders_of(m.view)}), None, columns=self.columns)
            with threadpool_limits(1):  # sums must not depend on how many threads there are
                return self.blended([m.predict(rows) for m in self.members])

    def blended(self, predictions: list[np.ndarray]) -> np.ndarray:
        """One answer of those of the members."""
        out = blend(predictions, self.weights, self.log_t)
        return out / out.sum(1, keepdims=True) if self.classes else out

    def to_parts(self) -> tuple[dict[str, Any], bytes]:
        """`model.json` and the bytes of `arrays.safetensors`."""
        arrays: dict[str, np.ndarray] = {}
        members = pack([m.get_state() for m in self.members], arrays)
        body = tensor_bytes(arrays)
        own = {} if self.encoder is None else {ENCODER: self.encoder.told}
        head = {
            "schema": PACKED_SCHEMA if own else SCHEMA,
            "kind": self.kind,
            "classes": list(self.classes),
            "target": self.target_name,
            "columns": [asdict(c) for c in self.columns],
            "weights": self.weights,
            "log_t": self.log_t,
            "members": members,
            "about": self.about,
            "arrays": {"sha256": digest(body), "bytes": len(body)},
            **own,
        }
        return {**head, "sha256": _digest(head)}, body

    def saved_bytes(self) -> int:
        """Bytes that the folder takes, without a report."""
        head, body = self.to_parts()
        own = {} if self.encoder is None else self.encoder.files()
        return len(json_bytes(head)) + len(body) + sum(map(len, own.values()))

    def save(self, folder: str | Path, extra: dict[str, str] | None = None) -> Path:
        """Writes the folder as a whole or not at all, with `extra` text files beside the model. An older one is
        replaced.

        Raises:
            BadInput: something else than a model lies under that name.
        """
        check_place(folder)
        head, body = self.to_parts()
        own = {} if self.encoder is None else self.encoder.files()
        with new_folder(Path(folder)) as new:
            write_encoder(new, own)
            write_bytes(new / "arrays.safetensors", body)
            write_json(new / "model.json", head)
            for name, text in (extra or {}).items():
                write_bytes(new / name, text.encode())
        self.path = Path(folder).absolute()
        return self.path

    @classmethod
    def load(cls, folder: str | Path) -> "Model":
        """The model of a folder.

        Raises:
            BadInput: no model, damaged, edited, made by a newer smidgen, or of a method that is not installed here.
            MissingExtra: its arrays were compressed, and torch is not installed.
        """
        head, arrays = read_parts(folder)
        if head.get("packed"):
            from smidgen.learn.packed_arrays import unpacked

            arrays = unpacked(arrays, head["packed"], f"{folder}/model.json")
        made = cls.from_parts(head, arrays, str(folder))
        if ENCODER in head:
            from smidgen.nets.packed_minilm import PackedMiniLM

            made.encoder = PackedMiniLM(Path(folder) / ENCODER, head[ENCODER])
        made.path = Path(folder).absolute()
        return made

    @classmethod
    def from_parts(cls, head: dict[str, Any], arrays: dict[str, np.ndarray], where: str = "the model") -> "Model":
        """The model of what `to_parts` gave, as read. Raises BadInput for what makes no sense."""
        try:
            return cls._from_parts(head, arrays)
        except BadInput:
            raise
        except Exception as error:  # any shape of nonsense in an edited file must end in one sentence
            raise BadInput(
                f"{where}/model.json is damaged or was edited ({type(error).__name__}: {str(error)[:100]})."
            ) from None

    @classmethod
    def _from_parts(cls, head: dict[str, Any], arrays: dict[str, np.ndarray]) -> "Model":
        columns = tuple(
            Column(name=str(c["name"]), kind=c["kind"], note=str(c["note"]), form=str(c["form"]))
            for c in head["columns"]
        )
        if len({c.name for c in columns}) < len(columns) or not {c.kind for c in columns} <= set(get_args(ColumnKind)):
            raise ValueError("columns must have a known kind and differ by name")
        if not all(isinstance(c, str | int | float) for c in head["classes"]):
            raise ValueError("classes must be texts or numbers")
        states = unpack(head["members"], arrays)
        weights, log_t = [float(w) for w in head["weights"]], [float(t) for t in head["log_t"]]
        if not states or len(states) > MAX_MEMBERS or not len(states) == len(weights) == len(log_t):
            raise ValueError("members, weights and temperatures do not match")
        if not np.isfinite([*weights, *log_t]).all() or min(weights) < 0 or abs(sum(weights) - 1) > 1e-6:
            raise ValueError("weights must be finite, not negative, and sum to 1")
        if head["kind"] not in ("classification", "regression") or (head["kind"] == "classification") != (
            len(head["classes"]) > 0
        ):
            raise ValueError("the kind of task and the classes do not match")
        for state in states:
            if (state["kind"], state["classes"]) != (head["kind"], len(head["classes"])):
                raise ValueError("a member is of another kind of task")
            if state["method"] not in methods.names():
                raise BadInput(
                    f"The model needs the method '{str(state['method'])[:60]}', which is not installed here: "
                    "install the package that brings it, or update smidgen."
                )
            if state["version"] != methods.card(state["method"]).version:
                raise BadInput(
                    f"The model needs version {state['version']} of '{state['method']}', this smidgen has "
                    f"version {methods.card(state['method']).version}: fit it again."
                )
        members = [Member.from_state(s, columns) for s in states]
        return cls(
            head["kind"], tuple(head["classes"]), columns, str(head["target"]), members, weights, log_t, head["about"]
        )


def read_parts(folder: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What model.json says and the arrays beside it, checked against their digests; compressed ones as they lie.

    Raises:
        BadInput: no model, damaged, edited, or made by a newer smidgen.
    """
    folder = Path(folder)
    if not folder.is_dir() or not (folder / "model.json").is_file():
        raise BadInput(f"{folder} is not a model folder: it has no model.json. `smidgen fit` makes one.", see="model")
    head = read_json(folder / "model.json")
    if not isinstance(head, dict) or not isinstance(head.get("schema"), int):
        raise BadInput(
            f"{folder}/model.json does not describe a model: the file is damaged or was edited.", see="model"
        )
    if head["schema"] > PACKED_SCHEMA:
        raise BadInput(
            f"{folder} was saved by a newer smidgen (model schema {head['schema']}, "
            f"this one reads up to {PACKED_SCHEMA}): update smidgen.",
            see="model",
        )
    path = folder / "arrays.safetensors"
    body = read_bytes(path, MAX_BYTES)
    arrays = parse_tensors(body, str(path))
    if not isinstance(head.get("arrays"), dict) or digest(body) != head["arrays"].get("sha256"):
        raise BadInput(
            f"{path} is not the file that model.json describes: the folder is damaged or was edited.", see="model"
        )
    if head.pop("sha256", None) != _digest(head):
        raise BadInput(f"{folder}/model.json is not as it was saved: the file is damaged or was edited.", see="model")
    return head, arrays


def write_encoder(folder: Path, files: dict[str, bytes]) -> None:
    """Puts the files of an encoder of its own into a model's folder; nothing where there are none."""
    for name, data in files.items():
        (folder / ENCODER).mkdir(exist_ok=True)
        write_bytes(folder / ENCODER / name, data)


def sealed(
    head: dict[str, Any], body: bytes, packed: dict[str, Any], encoder: dict[str, Any] | None = None
) -> dict[str, Any]:
    """model.json of a model whose arrays were compressed to these bytes, with its digests. encoder: the files of the
    one that lies in the folder, each with its digest."""
    whole = {**head, "schema": PACKED_SCHEMA, "packed": packed, "arrays": {"sha256": digest(body), "bytes": len(body)}}
    if encoder is not None:
        whole[ENCODER] = encoder
    return {**whole, "sha256": _digest(whole)}


def _digest(head: dict[str, Any]) -> str:
    return digest(json.dumps(head, sort_keys=True))


def check_place(folder: str | Path) -> None:
    """Raises BadInput when a model saved there would replace anything but an older model."""
    path = Path(folder)
    if path.is_dir():
        names = {p.name for p in path.iterdir()}
        if names and ("model.json" not in names or names - FILES):
            strange = sorted(names - FILES)[:1] or sorted(names)[:1]
            raise BadInput(
                f"{path}: this folder holds other files ({strange[0]}) and would be replaced by the model: "
                "name a new folder."
            )
    elif path.exists() or path.is_symlink():
        raise BadInput(f"{path}: this is a file; name a folder for the model.")


def load(folder: str | Path) -> Model:
    """The model that `smidgen fit` saved in a folder. See `Model.load`."""
    return Model.load(folder)
