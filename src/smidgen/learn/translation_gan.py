"""Few-shot classification of pictures by image translation (SPARSE: Manni et al., 2025, arXiv 2508.06429).

Three networks learn together. A generator redraws unlabelled pictures as other classes, a discriminator says what
looks real and which class it is, and a classifier learns from the few labelled pictures and from redrawn ones, whose
class is known because it was asked for. Every few epochs the unlabelled pictures get pseudo-labels by a vote, and only
the confident ones are used. What is known of it at small scale is in its claim, 027.

Three things differ from the published code: votes are remembered by picture, pictures that are not confident are left
out of every loss, and checkpoints are chosen on labelled rows that training does not see, never on those that judge.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.kit.config import from_mapping
from smidgen.kit.errors import bad
from smidgen.kit.extras import need
from smidgen.kit.seeds import derive_seed
from smidgen.learn._translation_settings import SparseSettings
from smidgen.learn.base import SemiSupervisedHead

CARD = {
    "title": "Image translation (SPARSE)",
    "tldr": "Three small networks; unlabelled pictures are redrawn as other classes and learnt from.",
    "features": "picture",
    "modalities": ("image",),
    "tasks": ("classification",),
    "extra": "text",
    "package": "torch",
    "papers": ("027",),
    "unlabelled": True,
    "needs_unlabelled": True,
    "max_rows": 2000,
    "max_classes": 50,
    "seconds": (30.0, 0.0),
}

STEPS = 10  # labelled batches an epoch
EVEN = 16  # edges are padded to its multiples: the discriminator halves them four times


class SPARSE:
    """Trains generator, discriminator and classifier together, on any device that they are on.

    Args:
        generator: (x, target) gives pictures, (x, mode="classify") logits (`nets.translation.AttentionUNet`).
        discriminator: gives (how real, logits) (`PatchDiscriminator`). classifier: gives logits `[B, K]`.
        num_classes: K. settings: fields of `SparseSettings`.

    Attributes:
        history_: a dictionary an epoch: mean losses of its phases, share of unlabelled rows kept ("kept"), and
            accuracy of each network on the labelled rows held back ("held generator", ...), where there are any.
        chosen_: the epoch, from 1, whose weights each network has.
    """

    def __init__(self, generator: Any, discriminator: Any, classifier: Any, num_classes: int, **settings: Any) -> None:
        self.settings = from_mapping(SparseSettings, settings, where="SPARSE")
        if num_classes < 2:
            raise bad("num_classes", "at least 2", num_classes)
        from smidgen.learn._translation_training import Networks

        self.networks = Networks(generator, discriminator, classifier)
        self.num_classes = num_classes

    def fit(self, labelled: tuple[Any, Any], unlabelled: Any = None, epochs: int = 1000) -> "SPARSE":
        """Trains for so many epochs, and gives each network its weights of the best of them.

        Best is: on the labelled rows held back, most right, and among equals the least cross-entropy; for the
        generator only of epochs after the first translations. Without rows held back the last epoch's.

        Args:
            labelled: pictures `[N, C, H, W]` in -1 to 1 and class codes `[N]`.
            unlabelled: pictures `[M, C, H, W]`, a loader of (index, pictures) (see `Pool`), or None.
        Raises:
            BadInput: shapes or sizes that do not fit the networks, a class without a labelled picture, a loader
                without indices, one channel where the networks take three and `repeat_channels` is off.
        """
        import torch

        from smidgen.learn._translation_checkpoints import Best
        from smidgen.learn._translation_rows import Pool, codes, hold_back
        from smidgen.learn._translation_training import Trainer
        from smidgen.learn.vote_ensemble import TemporalEnsemble

        s = self.settings
        if epochs < 1:
            raise bad("epochs", "at least 1", epochs)
        x = self._pictures(labelled[0])
        y = codes(labelled[1], len(x), self.num_classes, x.device)
        pool = None if unlabelled is None else Pool(unlabelled, self._channels, x.device, s.repeat_channels)
        held = torch.from_numpy(hold_back(y.cpu().numpy(), s.validation, s.seed)).to(x.device)
        memory = None if pool is None else TemporalEnsemble(pool.count, self.num_classes, decay=s.ema, mix=s.ema_mix)
        trainer = Trainer(self.networks, self.num_classes, s)
        self.history_: list[dict[str, float]] = []
        best = Best(self.networks, x[held], y[held])
        uses = pool is not None and s.use == "translation"
        first = next((epoch for epoch in range(1, epochs + 1) if s.due(epoch)), 0) if uses else 0
        with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
            torch.manual_seed(derive_seed(s.seed, "dropout"))
            for epoch in range(1, epochs + 1):
                found = trainer.labelled(x[~held], y[~held], epoch)
                if pool is not None and memory is not None and s.due(epoch):
                    batches = pool.batches(s.batch, s.most_unlabelled, derive_seed(s.seed, "pass", epoch))
                    found |= trainer.unlabelled(batches, memory, (x[~held], y[~held]), epoch)
                found |= best.look(epoch, without=("generator",) if epoch < first else ())
                self.history_.append({"epoch": float(epoch), **found})
        self.chosen_ = best.restore(epochs)
        return self

    def predict_proba(self, x: Any, how: str = "ensemble", batch: int = 256) -> np.ndarray:
        """Chances `[N, K]` of pictures `[N, C, H, W]`: "ensemble", the mean of classifier and discriminator (SPARSE_ens
        of the paper), or "classifier" or "discriminator" alone."""
        if how not in ("ensemble", "classifier", "discriminator"):
            raise bad("how", "ensemble, classifier or discriminator", how)
        x = self._pictures(x)
        nets = self.networks.eval()

        def said(part: Any) -> Any:
            chances = []
            if how != "discriminator":
                chances.append(nets.classifier(part).softmax(1))
            if how != "classifier":
                chances.append(nets.discriminator(part)[1].softmax(1))
            return sum(chances) / len(chances)

        return self._walk(said, batch, x) if len(x) else np.zeros((0, self.num_classes), np.float32)

    def translate(self, x: Any, target_class: Any, batch: int = 256) -> np.ndarray:
        """Pictures `[N, C, H, W]` redrawn as a class: a code for all, or codes `[N]`."""
        import torch

        x = self._pictures(x)
        target = torch.as_tensor(target_class, device=x.device).expand(len(x))
        generator = self.networks.eval().generator
        return self._walk(lambda part, wanted: generator(part, wanted), batch, x, target)

    def _pictures(self, x: Any) -> Any:
        from smidgen.learn._translation_rows import pictures

        device = next(self.networks.parameters()).device
        return pictures(x, self._channels, device, self.settings.repeat_channels)

    @property
    def _channels(self) -> int:
        return self.networks.generator.in_channels  # type: ignore[return-value]

    def _walk(self, function: Any, batch: int, *rows: Any) -> np.ndarray:
        """A function of rows, some at a time."""
        import torch

        with torch.inference_mode():
            parts = zip(*(r.split(batch) for r in rows), strict=True)
            return torch.cat([function(*part) for part in parts]).cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class TranslationConfig:
    """width: of the networks' first layers. epochs: of 10 batches of 24 labelled pictures. mu: every so many epochs,
    after the first third, up to `most` unlabelled pictures are used. percentile: share of them left out as not sure
    enough. use: "translation", or "pseudo-labels" for the plain peer. rate: of the optimizer; the paper's 2e-4 is for
    1000 epochs."""

    width: int = 8
    epochs: int = 24
    mu: int = 2
    most: int = 240
    percentile: float = 0.75
    use: str = "translation"
    rate: float = 2e-3

    def __post_init__(self):
        for name in ("width", "epochs", "mu", "most"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        SparseSettings(percentile=self.percentile, use=self.use, rate=self.rate)  # type: ignore[arg-type]


class TranslationClassifier(SemiSupervisedHead):
    """SPARSE on rows of pixels `[n, edge * edge * 3]`, 0 to 255. A label of -1 (of texts: None) is none.

    Without unlabelled rows only the supervised phase is run. Pictures without colour are read as one channel. How long
    a fit takes does not depend on how many rows there are. Answers have half a row's worth of the class frequencies.

    Attributes:
        classes_; share_: the class frequencies; labelled_: how many rows had a label; grey_: whether one channel is
            read; edge_; classifier_, discriminator_: weights by name; history_: see `SPARSE`.
    """

    Config = TranslationConfig

    def __init__(
        self,
        width: int = 8,
        epochs: int = 24,
        mu: int = 2,
        most: int = 240,
        percentile: float = 0.75,
        use: str = "translation",
        rate: float = 2e-3,
        random_state: int = 0,
    ):
        self.width = width
        self.epochs = epochs
        self.mu = mu
        self.most = most
        self.percentile = percentile
        self.use = use
        self.rate = rate
        self.random_state = random_state

    def _fit(self, X: np.ndarray, codes: np.ndarray) -> None:
        need("torch", extra="text", why="The method learn/translation_gan")
        from smidgen.learn.picture_rows import arrays_of, edge_of, without_colour
        from smidgen.train.device import on_best_device

        self.edge_, self.grey_ = edge_of(X.shape[1]), without_colour(X)
        known = codes >= 0
        self.share_, self.labelled_ = np.bincount(codes[known]) / known.sum(), int(known.sum())
        x, epochs = self._pictures(X), self._config.epochs

        def job(device: str) -> SPARSE:
            model = self._model()
            model.networks.to(device)
            return model.fit((x[known], codes[known]), None if known.all() else x[~known], epochs)

        model = on_best_device(job, "Image translation")
        self.history_ = model.history_
        self.classifier_ = arrays_of(model.networks.classifier)
        self.discriminator_ = arrays_of(model.networks.discriminator)

    def _model(self) -> SPARSE:
        from smidgen.nets.translation import AttentionUNet, PatchDiscriminator, PictureClassifier

        edge = self.edge_ + -self.edge_ % EVEN
        w, K, C = self.width, len(self.classes_), 1 if self.grey_ else 3
        seeds = [derive_seed(self.random_state, name) for name in ("generator", "discriminator", "classifier")]
        return SPARSE(
            AttentionUNet(K, C, (w, 2 * w, 4 * w, 8 * w), seed=seeds[0]),
            PatchDiscriminator(edge, C, K, width=w, n_strided=round(math.log2(EVEN)), seed=seeds[1]),
            PictureClassifier(K, C, (2 * w, 4 * w, 8 * w), seed=seeds[2]),
            K,
            mu=self.mu,
            start=self.epochs // 3,
            labelled_steps=STEPS,
            most_unlabelled=self.most,
            percentile=self.percentile,
            use=self.use,
            rate=self.rate,
            seed=derive_seed(self.random_state, "training"),
        )

    def _proba(self, X: np.ndarray) -> np.ndarray:
        from smidgen.learn.picture_rows import load_arrays

        model = self._model()
        load_arrays(model.networks.classifier, self.classifier_)
        load_arrays(model.networks.discriminator, self.discriminator_)
        said = model.predict_proba(self._pictures(X)).astype(np.float64)
        weight = 0.5 / (0.5 + self.labelled_)
        return (1 - weight) * said / said.sum(1, keepdims=True) + weight * self.share_

    def _pictures(self, X: np.ndarray) -> Any:
        """Float32 `[n, C, H, W]` in -1 to 1, edges repeated up to a multiple of 16."""
        import torch.nn.functional as F

        from smidgen.learn.picture_rows import as_tensor

        more = -self.edge_ % EVEN
        return F.pad(2 * as_tensor(X, self.grey_) - 1, (0, more, 0, more), "replicate")


CLASSIFIER = TranslationClassifier
