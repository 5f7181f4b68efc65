"""Settings of few-shot learning by image translation, and of the plain peer that uses pseudo-labels alone."""

from dataclasses import dataclass
from typing import Literal

from smidgen.kit.errors import bad

Use = Literal["translation", "pseudo-labels"]


@dataclass(frozen=True, kw_only=True)
class SparseSettings:
    """Published defaults (Manni et al., 2025), where the paper has them.

    Attributes:
        mu: the unlabelled rows are used in every mu-th epoch. start: not in the first so many epochs.
        use: "translation": they are redrawn as other classes; "pseudo-labels", the peer: the same rows, selected in
            the same way, are taken for labelled ones, beside as many that are.
        percentile: rows below this quantile of confidence in their batch are left out of every loss.
        gp_weight, rec_weight: of the gradient penalty and of the way back (cycle).
        proto_temp, vote_temp: temperatures of prototype and mutual loss, and of votes.
        ema, ema_mix: memory of earlier votes, see `TemporalEnsemble`.
        mutual, peers, entropy, mixup: weights of the mutual loss, of the divergence within it, of the entropy; Beta
            parameter of mixup.
        realism: None, or the quantile of real rows' scores that a translation must reach, and be of the wanted class
            to the discriminator, to train the classifier.
        batch: rows of one. labelled_steps: labelled batches an epoch; None: once through the rows.
        most_unlabelled: rows used of a pass, drawn anew each time; None: all.
        rate, beta1, beta2, weight_decay: of AdamW; the last of the classifier alone.
        validation: share of each class's labelled rows that training leaves out and checkpoints are chosen by; classes
            of fewer than 4 rows give none. 0: the last weights are taken.
        repeat_channels: one-channel pictures are repeated where the networks take more.
        seed: of all that is drawn.
    """

    mu: int = 10
    start: int = 0
    use: Use = "translation"
    percentile: float = 0.75
    gp_weight: float = 10.0
    rec_weight: float = 10.0
    proto_temp: float = 0.1
    vote_temp: float = 0.5
    ema: float = 0.99
    ema_mix: float = 0.3
    mutual: float = 0.1
    peers: float = 0.1
    entropy: float = 0.1
    mixup: float = 0.2
    realism: float | None = None
    batch: int = 24
    labelled_steps: int | None = None
    most_unlabelled: int | None = None
    rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    weight_decay: float = 1e-4
    validation: float = 0.2
    repeat_channels: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("mu", 1), ("start", 0), ("batch", 1), ("labelled_steps", 1), ("most_unlabelled", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise bad(name, f"at least {least}", value)
        for name in ("gp_weight", "rec_weight", "mutual", "peers", "entropy", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise bad(name, "0 or more", getattr(self, name))
        for name in ("proto_temp", "vote_temp", "mixup", "rate"):
            if not getattr(self, name) > 0:
                raise bad(name, "above 0", getattr(self, name))
        for name in ("percentile", "validation", "ema", "beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise bad(name, "from 0 to below 1", getattr(self, name))
        if not 0 <= self.ema_mix <= 1 or not 0 <= (self.realism or 0.0) <= 1:
            raise bad("ema_mix, realism", "from 0 to 1", f"{self.ema_mix}, {self.realism}")
        if self.use not in ("translation", "pseudo-labels"):
            raise bad("use", "translation or pseudo-labels", self.use)

    def due(self, epoch: int) -> bool:
        """Whether epoch number `epoch`, from 1, uses the unlabelled rows."""
        return epoch > self.start and (epoch - self.start) % self.mu == 0
