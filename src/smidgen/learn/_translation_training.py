"""The three phases of few-shot image translation: labelled rows, unlabelled rows, translated rows (SPARSE).

Each update of the loop (`train.loop`) moves what its loss has a gradient of: one optimizer holds the three networks,
and what a phase must not move is frozen while its loss is built. Dims: B rows, K classes.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.seeds import derive_seed
from smidgen.learn import _translation_losses as losses
from smidgen.learn._translation_settings import SparseSettings
from smidgen.learn.vote_ensemble import TemporalEnsemble, confident_votes, most_confident
from smidgen.train.loop import LoopConfig, Run, Update, train

NETWORKS = ("generator", "discriminator", "classifier")
_LOOP = LoopConfig(clip=None)


class Networks(nn.Module):
    """The three networks as one module."""

    generator: nn.Module
    discriminator: nn.Module
    classifier: nn.Module

    def __init__(self, generator: nn.Module, discriminator: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.generator, self.discriminator, self.classifier = generator, discriminator, classifier

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What each says of the classes of x, `[B, K]`, in the order of `NETWORKS`."""
        return self.generator(x, mode="classify"), self.discriminator(x)[1], self.classifier(x)


class Trainer:
    """Runs the phases on one set of networks; each method is one phase of an epoch and gives its mean losses."""

    def __init__(self, nets: Networks, classes: int, settings: SparseSettings) -> None:
        self.nets, self.classes, self.settings = nets, classes, settings
        groups = [
            {
                "params": list(getattr(nets, name).parameters()),
                "weight_decay": settings.weight_decay if name == "classifier" else 0.0,
            }
            for name in NETWORKS
        ]
        betas = (settings.beta1, settings.beta2)
        self.run = Run(nets, torch.optim.AdamW(groups, lr=settings.rate, betas=betas))

    def labelled(self, x: Tensor, y: Tensor, epoch: int) -> dict[str, float]:
        """The supervised phase: batches of the rows in random order, again from the start where they end early."""
        s = self.settings
        size = min(s.batch, len(x))
        steps = s.labelled_steps or -(-len(x) // size)
        random = np.random.default_rng(derive_seed(s.seed, "labelled", epoch))
        rounds = [random.permutation(len(x)) for _ in range(-(-steps * size // len(x)))]
        order = torch.from_numpy(np.concatenate(rounds)[: steps * size].reshape(steps, size)).to(x.device)
        share = random.beta(s.mixup, s.mixup, steps)
        pairs = torch.from_numpy(np.stack([random.permutation(size) for _ in range(steps)])).to(x.device)

        def batches(number: int) -> tuple[Any, ...]:
            i = number - first
            return x[order[i]], y[order[i]], float(share[i]), pairs[i]

        first = self.run.batch
        return {"labelled": self._train(batches, self._supervised, steps)}

    def unlabelled(
        self,
        batches: Iterator[tuple[Tensor, Tensor]],
        memory: TemporalEnsemble,
        known: tuple[Tensor, Tensor],
        epoch: int,
    ) -> dict[str, float]:
        """The phases on unlabelled rows: of each batch the confident ones, for all that follows.

        Args:
            batches: (index `[B]` in the data set, pictures). known: labelled pictures and their labels; only the peer
                looks at them here.
        """
        found: dict[str, list[float]] = {}
        kept = seen = 0
        for number, (index_B, x) in enumerate(batches):
            labels_B, chosen_B = self.pseudo_labels(index_B, x, memory)
            x, labels_B = x[chosen_B], labels_B[chosen_B]
            kept, seen = kept + len(x), seen + len(chosen_B)
            random = torch.Generator().manual_seed(derive_seed(self.settings.seed, "unlabelled", epoch, number))
            for name, loss_of in self._steps(x, labels_B, known, random).items():
                found.setdefault(name, []).append(self._train(lambda _: (), loss_of, 1))
        return {k: float(np.mean(v)) for k, v in found.items()} | {"kept": kept / max(seen, 1)}

    def pseudo_labels(self, index_B: Tensor, x: Tensor, memory: TemporalEnsemble) -> tuple[Tensor, Tensor]:
        """(labels `[B]`, kept `[B]`) by the votes of classifier and discriminator, now and earlier."""
        s = self.settings
        with torch.no_grad(), _as_used(self.nets):
            logits = (self.nets.classifier(x), self.nets.discriminator(x)[1])
        return most_confident(memory.update(index_B, confident_votes(logits, s.vote_temp)), s.percentile)

    def _steps(
        self, x: Tensor, labels_B: Tensor, known: tuple[Tensor, Tensor], random: torch.Generator
    ) -> dict[str, Callable[..., Any]]:
        """The losses of one unlabelled batch, in the order of their updates."""
        if self.settings.use == "pseudo-labels":
            take = torch.randint(len(known[0]), (len(x),), generator=random).to(x.device)
            rows = {"x": torch.cat([x, known[0][take]]), "labels_B": torch.cat([labels_B, known[1][take]])}
            return {"pseudo-labelled": partial(self._plain, **rows)}
        target_B = torch.randint(self.classes, (len(x),), generator=random).to(x.device)
        phases = {"discriminator": self._judge, "generator": self._redraw, "synthetic": self._synthetic}
        rows = {"x": x, "labels_B": labels_B, "target_B": target_B, "random": random}
        return {name: partial(phase, **rows) for name, phase in phases.items()}

    def _supervised(self, nets: Networks, x: Tensor, y: Tensor, share: float, order_B: Tensor) -> tuple[Tensor, int]:
        s = self.settings
        logits = nets.logits(x)
        mutual = losses.mutual_losses(logits, y, s.proto_temp, s.peers)
        x_mixed, y_mixed = losses.mixed(x, F.one_hot(y, self.classes).to(x), share, order_B)
        total = x.new_zeros(())
        for own, teach, blend in zip(logits, mutual, nets.logits(x_mixed), strict=True):
            total = total + losses.prototype_loss(own, y, s.proto_temp) + s.mutual * teach
            total = total + s.entropy * losses.entropy_loss(own) + losses.soft_cross_entropy(blend, y_mixed)
        total = total + sum(losses.class_loss(own, y) for own in logits[1:])
        return total * len(x), len(x)

    def _plain(self, nets: Networks, x: Tensor, labels_B: Tensor) -> tuple[Tensor, int]:
        """The peer: classifier and discriminator take pseudo-labels for labels, beside as many labelled rows.

        Without those the confident rows, which are mostly of one class, would teach that there is no other.
        """
        loss = losses.class_loss(nets.classifier(x), labels_B) + losses.class_loss(nets.discriminator(x)[1], labels_B)
        return loss * len(x), len(x)

    def _judge(
        self, nets: Networks, x: Tensor, labels_B: Tensor, target_B: Tensor, random: torch.Generator
    ) -> tuple[Tensor, int]:
        """The discriminator: real against translated, and the class of real ones."""
        with torch.no_grad():
            fake = nets.generator(x, target_B)
        real_score, logits_BK = nets.discriminator(x)
        loss = nets.discriminator(fake)[0].mean() - real_score.mean() + losses.class_loss(logits_BK, labels_B)
        penalty = losses.gradient_penalty(nets.discriminator, x, fake, random)
        return (loss + self.settings.gp_weight * penalty) * len(x), len(x)

    def _redraw(
        self, nets: Networks, x: Tensor, labels_B: Tensor, target_B: Tensor, random: torch.Generator
    ) -> tuple[Tensor, int]:
        """The generator: real to the discriminator, of the wanted class to it and to itself, and the way back."""
        with _frozen(nets.discriminator):
            fake = nets.generator(x, target_B)
            score, logits_BK = nets.discriminator(fake)
        own_BK = nets.generator(fake, mode="classify")
        back = (nets.generator(fake, labels_B) - x).abs().mean()
        loss = losses.class_loss(logits_BK, target_B) + losses.class_loss(own_BK, target_B) - score.mean()
        return (loss + self.settings.rec_weight * back) * len(x), len(x)

    def _synthetic(
        self, nets: Networks, x: Tensor, labels_B: Tensor, target_B: Tensor, random: torch.Generator
    ) -> tuple[Tensor, int]:
        """The classifier: translated pictures and what they were translated to."""
        with torch.no_grad():
            fake = nets.generator(x, target_B)
            good_B = self.realistic(fake, target_B, x)
        if not bool(good_B.any()):
            return torch.zeros((), requires_grad=True), 1  # a gradient of nothing: no weight moves
        fake, target_B = fake[good_B], target_B[good_B]
        return losses.class_loss(nets.classifier(fake), target_B) * len(fake), len(fake)

    def realistic(self, fake: Tensor, target_B: Tensor, real: Tensor) -> Tensor:
        """Which translations pass the filter `[B]`; without one all do."""
        level = self.settings.realism
        if level is None:
            return torch.ones_like(target_B, dtype=torch.bool)
        with torch.no_grad():
            score, logits_BK = self.nets.discriminator(fake)
            least = self.nets.discriminator(real)[0].flatten(1).mean(1).quantile(level)
        return (score.flatten(1).mean(1) >= least) & (logits_BK.argmax(1) == target_B)

    def _train(self, batches: Callable[[int], tuple[Any, ...]], loss_of: Callable[..., Any], steps: int) -> float:
        """So many updates more; their mean loss."""
        seen: list[Update] = []
        train(
            self.run, batches, loss_of, lambda _: 1.0, _LOOP, steps=self.run.step + steps, on_update=seen.append
        )  # fmt: skip
        return float(np.mean([update.loss for update in seen]))


@contextlib.contextmanager
def _frozen(net: nn.Module) -> Iterator[None]:
    """Within the block no loss that is built has a gradient of these weights."""
    before = [p.requires_grad for p in net.parameters()]
    net.requires_grad_(False)
    try:
        yield
    finally:
        for p, flag in zip(net.parameters(), before, strict=True):
            p.requires_grad_(flag)


@contextlib.contextmanager
def _as_used(net: nn.Module) -> Iterator[None]:
    """Within the block the networks are as in use (no dropout); afterwards each part as it was."""
    before = {part: part.training for part in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for part, flag in before.items():
            part.training = flag
