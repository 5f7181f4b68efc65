"""A folder of transformers as what is compressed: how it reads texts, what counts of its answer, what it loses.

An encoder: the mean over the tokens of a text (its first one, where the folder says so), of unit length; its loss is
1 - mean cosine to what it was (0 before). A causal model: the distribution of the next token; its loss is in nats a
token. Any other head: its logits; its loss is the mean divergence (KL, nats) from what they were.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.compress.layers import find
from smidgen.compress.replaceable import keep_what_is_read
from smidgen.compress.subject import Answer, Distance, Subject
from smidgen.kit.errors import BadInput
from smidgen.kit.files import read_json
from smidgen.nets.packed_pretrained import from_pretrained
from smidgen.studies.compress_texts import documents_of, own_windows, split, texts_of, word_salads

MOST_TEXTS = (512, 128, 256)  # to learn from, to choose by, to judge by
MOST_TOKENS = 128  # of a text that an encoder reads
WINDOW = 128  # tokens that a causal model reads at once
MOST_WINDOWS = (256, 32, 64)
AT_ONCE = 32
Parts = tuple[list[Any], list[Any], list[Any]]
AT_ONCE_CAUSAL = 8
CARRIED = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt",
    "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "added_tokens.json", "chat_template.jinja",
    "generation_config.json", "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json",
)  # fmt: skip
SLOW = ("vocab.txt", "vocab.json", "merges.txt")  # what tokenizer.json says too


@dataclass(frozen=True)
class Pretrained:
    """A model of transformers, its folder, the subject made of it, and what to say of the data.

    Attributes:
        own: the calibration data are the model's own, nobody gave any.
    """

    folder: Path
    model: Any
    subject: Subject
    own: bool


def is_pretrained(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def open_pretrained(folder: Path, calibration: Any = None, column: str | None = None, seed: int = 0) -> Pretrained:
    """
    Raises:
        BadInput: a folder that cannot be opened, is packed already, or has no tokenizer; no calibration data in a file.
    """
    model = from_pretrained(folder)
    if getattr(model, "is_quantized", False):
        raise BadInput(f"{folder} is quantized already: compress the model that it was made from.")
    model = model.float()
    find(model)  # a damaged weight is named before anything is computed with it
    if _causal(model):
        learn, choose, check = _windows(model, folder, calibration, column, seed)
        subject = Subject(model, learn, choose, check, _next_token, _divergence, _nats, "nats a token")
    else:
        learn, choose, check = _texts(model, folder, calibration, column, seed)
        if _headless(model):
            answer = first if first_token(folder) else embedding
            loss = _Wanted(model, check, answer, angle)
            subject = Subject(model, learn, choose, check, answer, angle, loss, "1 - cosine", mask_of)
        else:
            loss = _Wanted(model, check, _logits, _divergence)
            subject = Subject(model, learn, choose, check, _logits, _divergence, loss, "nats", mask_of)
    if learn:
        keep_what_is_read(model, lambda: subject.answer(model, learn[0]))
    return Pretrained(folder, model, subject, calibration is None)


def carried_files(folder: Path) -> dict[str, bytes]:
    """Files that go with a model, as they are; of a tokenizer only its fast form where there is one."""
    names = [n for n in CARRIED if (folder / n).is_file()]
    if "tokenizer.json" in names:
        names = [n for n in names if n not in SLOW]
    found = {n: (folder / n).read_bytes() for n in names}
    if (folder / "1_Pooling" / "config.json").is_file():
        found["1_Pooling/config.json"] = (folder / "1_Pooling" / "config.json").read_bytes()
    return found


def first_token(folder: Path) -> bool:
    """Whether a folder of sentence-transformers says that a text is its first token; else it is the mean of all."""
    place = folder / "1_Pooling" / "config.json"
    said = read_json(place) if place.is_file() else {}
    return isinstance(said, dict) and said.get("pooling_mode_cls_token") is True


def first(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Unit vectors `[B, D]`: each text's first token."""
    return F.normalize(model(**batch).last_hidden_state[:, 0], dim=1)


def embedding(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Unit vectors `[B, D]`: the mean over each text's tokens."""
    states = model(**batch).last_hidden_state
    seen = batch["attention_mask"][..., None].to(states.dtype)
    return F.normalize((states * seen).sum(1) / seen.sum(1), dim=1)


def _texts(model: Any, folder: Path, calibration: Any, column: str | None, seed: int) -> Parts:
    tokenizer = tokenizer_of(folder)
    texts = word_salads(tokenizer, seed) if calibration is None else texts_of(calibration, column)
    if not texts:
        return [], [], []
    limit = min(MOST_TOKENS, int(getattr(model.config, "max_position_embeddings", 0) or MOST_TOKENS))
    parts = split(texts, MOST_TEXTS, seed)
    return tuple(batched(tokenizer, part, limit) for part in parts)  # type: ignore[return-value]


def batched(tokenizer: Any, texts: list[str], limit: int) -> list[dict[str, Tensor]]:
    """Batches of texts of like length, each cut to `limit` tokens."""
    ordered = sorted(texts, key=len)
    parts = [ordered[i : i + AT_ONCE] for i in range(0, len(ordered), AT_ONCE)]
    wanted = ("input_ids", "attention_mask", "token_type_ids")
    out = []
    for part in parts:
        made = tokenizer(part, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        out.append({k: made[k] for k in wanted if k in made})
    return out


def _windows(model: Any, folder: Path, calibration: Any, column: str | None, seed: int) -> Parts:
    length = min(WINDOW, int(getattr(model.config, "max_position_embeddings", WINDOW) or WINDOW))
    if calibration is None:
        made = own_windows(model, length, seed)
        batches = [{"input_ids": w} for w in made]
        return batches[:-3], batches[-3:-2], batches[-2:]
    tokenizer = tokenizer_of(folder)
    ids: list[int] = []
    for text in documents_of(calibration, column):
        ids += tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        ids += [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
        if len(ids) > 40 * length * sum(MOST_WINDOWS):
            break
    rows = torch.tensor(ids[: len(ids) // length * length]).reshape(-1, length)
    if len(rows) < 8:
        raise BadInput(f"The calibration texts hold {len(ids):,} tokens: at least {8 * length:,} are needed.")
    parts = split(list(rows), MOST_WINDOWS, seed)
    return tuple(_stacked(part) for part in parts)  # type: ignore[return-value]


def _stacked(rows: list[Tensor]) -> list[dict[str, Tensor]]:
    return [{"input_ids": torch.stack(rows[i : i + AT_ONCE_CAUSAL])} for i in range(0, len(rows), AT_ONCE_CAUSAL)]


def tokenizer_of(folder: Path) -> Any:
    """Raises BadInput for a folder that has none."""
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever is missing, it ends in a sentence
        raise BadInput(f"{folder} has no tokenizer that can be opened ({str(error)[:120]}).") from None


def _causal(model: Any) -> bool:
    return type(model).__name__.endswith(("ForCausalLM", "LMHeadModel"))


def _headless(model: Any) -> bool:
    return type(model).__name__.endswith("Model")


def mask_of(batch: dict[str, Tensor]) -> Tensor:
    """The tokens that are no padding."""
    return batch["attention_mask"].bool()


def _next_token(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Log-probabilities `[B * S, words]`."""
    return F.log_softmax(model(**batch, use_cache=False).logits, -1).flatten(0, 1)


def _logits(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return F.log_softmax(model(**batch).logits, -1).flatten(0, -2)


def angle(said: Tensor, wanted: Tensor, batch: Any) -> Tensor:
    """1 - mean cosine of unit vectors."""
    return (1 - (said * wanted).sum(1)).mean()


def _divergence(said: Tensor, wanted: Tensor, batch: Any) -> Tensor:
    return F.kl_div(said, wanted, reduction="batchmean", log_target=True).clamp(min=0)


@torch.no_grad()
def _nats(model: nn.Module, batches: Sequence[dict[str, Tensor]]) -> float:
    total, count = 0.0, 0
    for batch in batches:
        ids = batch["input_ids"]
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        total += float(F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum"))
        count += ids[:, 1:].numel()
    return total / count if count else math.nan


class _Wanted:
    """The distance from what the network said of the batches that judge, before anything was changed."""

    @torch.no_grad()
    def __init__(self, model: nn.Module, check: Sequence[Any], answer: Answer, distance: Distance) -> None:
        self.answer, self.distance = answer, distance
        self.said = [answer(model, b) for b in check]

    @torch.no_grad()
    def __call__(self, model: nn.Module, batches: Sequence[Any]) -> float:
        total, count = 0.0, 0
        for batch, wanted in zip(batches, self.said, strict=True):
            said = self.answer(model, batch)
            total += float(self.distance(said, wanted, batch)) * len(said)
            count += len(said)
        return max(total / count, 0.0) if count else math.nan
