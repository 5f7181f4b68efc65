"""One trainer for an encoder tuned whole, by a prefix or by LoRA, on a few hundred texts and their augmented copies.

Cross-entropy on a linear head. With `contrast` the supervised contrastive loss of sentence vectors is added, which
"Effectiveness of Data Augmentation for Parameter Efficient Tuning with Limited Data" (2023, arXiv 2303.02577) proposes
for prefixes; with `mixup` texts are mixed. Batches hold as many rows of each class. A budget is a number of epochs, of
which augmented data makes more updates, or of updates, the same for all: what was spent of both is noted.

Dims: B texts of a batch, S tokens, D width, C classes, N rows.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.data.augment.text_mixup import SentenceMixup
from smidgen.data.augment.texts import TextAugmenter, augment
from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.learn.supervised_contrastive import CrossBatchMemory, supervised_contrastive_loss
from smidgen.nets.adapters import Adapted, FullTuning, Tuner
from smidgen.nets.text_encoder import Batch, Pooling, Text, TextEncoder, pool
from smidgen.train.loop import LoopConfig, Run, train
from smidgen.train.mixup import Mix
from smidgen.train.schedules import Cosine

RATES = {"full": 1e-4, "prefix": 1e-2, "lora": 2e-3}  # for some dozens of updates; `search_rate` finds better ones
AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """
    Attributes:
        epochs: over the rows, copies included, or over the given rows alone where `budget` is "steps": then every
            augmentation gets as many updates as none.
        batch: B. rate: peak of Adam's rate for what the tuner trains; None: `RATES`, or see `search_rate`.
        head_rate: of the linear head. warmup: share of the updates, before a cosine down to 0. weight_decay: AdamW's.
        balanced: as many rows of each class in a batch; else rows as they come.
        mixup: mixes texts. contrast: weight of the contrastive term. temperature: its. memory: earlier rows that it
            compares with.
        dropout: before the head. seed: of all draws.
    """

    epochs: int = 6
    budget: Literal["epochs", "steps"] = "epochs"
    batch: int = 16
    rate: float | None = None
    head_rate: float = 5e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    balanced: bool = True
    mixup: SentenceMixup | None = None
    contrast: float = 0.0
    temperature: float = 0.1
    memory: int = 0
    dropout: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        if self.budget not in ("epochs", "steps"):
            raise bad("budget", "epochs or steps", self.budget)
        for name in ("contrast", "memory", "weight_decay"):
            if getattr(self, name) < 0:
                raise bad(name, "0 or more", getattr(self, name))
        if not (self.head_rate > 0 and (self.rate is None or self.rate > 0)):
            raise bad("rate", "above 0", (self.rate, self.head_rate))
        if self.contrast and self.mixup and self.mixup.where != "cls":
            raise bad("mixup", "at 'cls' beside a contrastive term", self.mixup.where, "Mixed texts have no one class.")


@dataclass(frozen=True)
class Spent:
    """What a training took. `updates`; `epochs`: over given rows and copies; `rows`: of both; `trained`: numbers that
    the tuner and the head train; `no_positives`: updates whose contrastive term had none; `loss`: of the last."""

    updates: int
    epochs: float
    rows: int
    trained: int
    no_positives: int
    loss: float


class TextNet(nn.Module):
    """Tuned encoder and head. `lower` is a part of it only where it is trained."""

    def __init__(self, encoder: TextEncoder, body: Adapted, classes: int, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self.pooling: Pooling = encoder.config.pooling
        self.body, self.drop = body, nn.Dropout(dropout)
        with torch.random.fork_rng(devices=[]):  # it draws weights that are drawn anew below
            self.head = nn.Linear(encoder.width, classes)
        generator = torch.Generator().manual_seed(derive_seed(seed, "head"))
        nn.init.normal_(self.head.weight, std=0.02, generator=generator)
        nn.init.zeros_(self.head.bias)
        self.embeddings: Any = None
        if encoder.config.frozen is None and isinstance(body.tuner, FullTuning):
            self.embeddings = copy.deepcopy(encoder.lower).requires_grad_(True)
        self._lower = (encoder.lower,)  # in a tuple: its weights are not this module's

    def vectors(self, batch: Batch, mix: Mix | None = None, where: str = "") -> Tensor:
        """Sentence vectors `[B, D]`; of mixed texts, where they are mixed before them."""
        mask_BS, lower = batch["attention_mask"], self.embeddings or self._lower[0]
        if mix is not None and where == "embedding":
            words_BSD, mask_BS = mix.states(lower.words(batch["input_ids"]), mask_BS)
            x_BSD = lower({**batch, "attention_mask": mask_BS}, words_BSD)
        else:
            x_BSD = batch["states"] if "states" in batch else lower(batch)
            if mix is not None and where == "hidden":
                x_BSD, mask_BS = mix.states(x_BSD, mask_BS)
        return pool(self.body(x_BSD, mask_BS), mask_BS, self.pooling)

    def train(self, mode: bool = True) -> "TextNet":
        """Dropout where something is trained; frozen layers always speak as they were read."""
        super().train(mode)
        self._lower[0].eval()
        return self


class AdapterClassifier:
    """A text classifier that tunes an encoder.

    Args:
        encoder: where it is cut, and what it reads. It is not changed: many classifiers may share it.
        tuner: what is trained. augmenter: makes copies of the training texts.

    Attributes:
        classes_: sorted. net_: `TextNet`. rate_: that was used. spent_: see `Spent`. data_: training texts and copies.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        tuner: Tuner,
        config: TuningConfig | None = None,
        augmenter: TextAugmenter | None = None,
    ) -> None:
        self.encoder, self.tuner, self.augmenter = encoder, tuner, augmenter
        self.config = config or TuningConfig()

    def fit(self, texts: Sequence[Text], y: Any, parent: Any = None) -> "AdapterClassifier":
        """Trains on texts and labels. Raises BadInput: fewer than 2 classes, or an augmenter that cannot work."""
        c = self.config
        self.classes_, labels = np.unique(np.asarray(y), return_inverse=True)
        if len(self.classes_) < 2:
            raise bad("labels", "at least 2 classes", len(self.classes_))
        self.data_ = augment(texts, labels, self.augmenter, derive_seed(c.seed, "copies"), parent)
        items, y_N = self.encoder.read(self.data_.texts), torch.from_numpy(self.data_.y)
        given, rows = len(texts), len(items)
        updates = c.epochs * math.ceil((given if c.budget == "steps" else rows) / c.batch)
        order = _batches(self.data_.y, c.batch, updates, c.balanced, derive_seed(c.seed, "batches"))
        body = Adapted(self.encoder.upper(), self.tuner, c.seed)
        self.net_ = TextNet(self.encoder, body, len(self.classes_), c.dropout, c.seed)
        self._without, last = 0, math.nan
        memory = CrossBatchMemory(c.memory, self.encoder.width) if c.memory and c.contrast else None
        draws = torch.Generator().manual_seed(derive_seed(c.seed, "mixup"))

        def batch_of(number: int) -> tuple[Batch, Tensor, Tensor]:
            at = order[number]
            return self.encoder.collate([items[i] for i in at]), y_N[at], torch.as_tensor(at)

        def loss_of(net: Any, batch: Batch, y_B: Tensor, rows_B: Tensor) -> tuple[Tensor, int]:
            return self._loss(net, batch, y_B, rows_B, memory, draws), len(y_B)

        def note(update: Any) -> None:
            nonlocal last
            last = update.loss

        self.rate_ = c.rate if c.rate is not None else RATES[self.tuner.name]
        groups = [
            {"params": [*body.trained(), *_own(self.net_.embeddings)], "lr": self.rate_},
            {"params": list(self.net_.head.parameters()), "lr": c.head_rate},
        ]
        schedule = Cosine(steps=updates, warmup=int(c.warmup * updates), least=0.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(c.seed, "dropout"))
            run = Run(self.net_, torch.optim.AdamW(groups, weight_decay=c.weight_decay))
            train(run, batch_of, loss_of, schedule, LoopConfig(), steps=updates, on_update=note)
        self.net_.eval()
        trained = sum(p.numel() for group in groups for p in group["params"])
        self.spent_ = Spent(updates, updates * c.batch / rows, rows, trained, self._without, last)
        return self

    def predict_proba(self, texts: Sequence[Text]) -> np.ndarray:
        """Probabilities `[n, C]` of `classes_`, float32."""
        return self.scores(self.embed(texts))

    def scores(self, z_ND: np.ndarray) -> np.ndarray:
        """Probabilities `[n, C]` of sentence vectors that `embed` gave."""
        with torch.no_grad():
            return self.net_.head(torch.from_numpy(z_ND)).softmax(1).numpy()

    def predict(self, texts: Sequence[Text]) -> np.ndarray:
        """The likeliest class of each text."""
        return self.classes_[self.predict_proba(texts).argmax(1)]

    def embed(self, texts: Sequence[Text]) -> np.ndarray:
        """Sentence vectors `[n, D]` under the tuned encoder, not normalised, float32."""
        items, out = self.encoder.read(texts), np.zeros((len(texts), self.encoder.width), np.float32)
        order = sorted(range(len(items)), key=lambda i: len(items[i]["input_ids"]))
        for start in range(0, len(order), AT_ONCE):
            at = order[start : start + AT_ONCE]
            with torch.no_grad():
                out[at] = self.net_.vectors(self.encoder.collate([items[i] for i in at])).numpy()
        return out

    def _loss(
        self, net: TextNet, batch: Batch, y_B: Tensor, rows_B: Tensor, memory: CrossBatchMemory | None, draws: Any
    ) -> Tensor:
        """Sum over the batch of cross-entropy and `contrast` times the contrastive loss."""
        c = self.config
        mix = c.mixup.draw(y_B, draws) if c.mixup else None
        z_BD = net.vectors(batch, mix, c.mixup.where if c.mixup else "")
        seen_BD = mix.rows(z_BD) if mix is not None and c.mixup and c.mixup.where == "cls" else z_BD
        logits_BC = net.head(net.drop(seen_BD))
        loss = mix.cross_entropy(logits_BC, y_B).sum() if mix else F.cross_entropy(logits_BC, y_B, reduction="sum")
        if c.contrast:
            term = supervised_contrastive_loss(z_BD, y_B, c.temperature, memory, rows_B)
            self._without += term.no_positives
            loss = loss + c.contrast * len(y_B) * term.loss
            if memory is not None:
                memory.add(z_BD, y_B, rows_B)
        return loss


def search_rate(
    classifier: AdapterClassifier, texts: Sequence[Text], y: Any, rates: Sequence[float], folds: int = 3
) -> tuple[float, dict[float, float]]:
    """The rate with the least log loss on held-out folds of the training texts, and the loss of each.

    Copies are made of training parts alone, so none is validated on. Give the data of a study's training rows only.
    """
    from sklearn.model_selection import StratifiedKFold

    y, losses = np.asarray(y), {}
    if not rates:
        raise bad("rates", "at least one", rates)
    parts = StratifiedKFold(folds, shuffle=True, random_state=classifier.config.seed)
    for rate in rates:
        config, own = replace(classifier.config, rate=float(rate)), []
        for learn, held in parts.split(np.zeros(len(y)), y):
            one = AdapterClassifier(classifier.encoder, classifier.tuner, config, classifier.augmenter)
            p = one.fit(_some(texts, learn), y[learn]).predict_proba(_some(texts, held))
            at = np.searchsorted(one.classes_, y[held])
            own.append(float(-np.log(np.maximum(p[np.arange(len(held)), at], 1e-7)).mean()))
        losses[float(rate)] = float(np.mean(own))
    return min(losses, key=lambda r: losses[r]), losses


def _batches(y: np.ndarray, size: int, count: int, balanced: bool, seed: int) -> list[list[int]]:
    """Rows of each batch. Balanced: each class goes round its own rows, shuffled anew each time; which class has one
    row more, where they do not go up evenly, takes turns."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(y == c) for c in np.unique(y)] if balanced else [np.arange(len(y))]
    queues: list[list[int]] = [[] for _ in groups]

    def take(g: int) -> int:
        if not queues[g]:
            queues[g] = rng.permutation(groups[g]).tolist()
        return queues[g].pop()

    slots = iter(range(size * count))
    return [[take(next(slots) % len(groups)) for _ in range(size)] for _ in range(count)]


def _own(module: nn.Module | None) -> list[nn.Parameter]:
    return [] if module is None else list(module.parameters())


def _some(texts: Sequence[Text], at: Any) -> list[Text]:
    return [texts[int(i)] for i in at]
