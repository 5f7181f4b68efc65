"""Trainers of preferences, DPO and KTO, and what they note on their way.

The reference is the model that the preference stage starts from, frozen. It is asked once for each answer, and its
log-likelihoods are kept: it costs one forward pass in all. Stages go through `stage.train_stage`, so that one that
was stopped goes on to the same bits. Dims: B pairs or answers of a batch, N rows.
"""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smidgen.kit.errors import BadInput
from smidgen.kit.files import digest
from smidgen.lm.instruct import StageConfig
from smidgen.lm.likelihood import Pair, log_likelihoods, padded
from smidgen.lm.preference import (
    Displaced,
    DisplacementGuard,
    Look,
    kto_losses,
    mean,
    reference_drift,
    smoothed_dpo_losses,
)  # fmt: skip
from smidgen.lm.stage import (
    Preference,
    Words,
    places,
    reference_log_likelihoods,
    rows_of,
    train_stage,
    weights_digest,
)  # fmt: skip
from smidgen.nets.decoder import Decoder
from smidgen.train.loop import Run, Update

GoOn = Callable[[], bool]


@dataclass(frozen=True)
class Judged:
    """An answer that someone called good or bad, without another to compare it with."""

    prompt: str
    answer: str
    good: bool


def unpaired(pairs: Sequence[Preference]) -> list[Judged]:
    """Two judged answers of each pair: what KTO may learn of the same money."""
    return [Judged(p.prompt, a, good) for p in pairs for a, good in ((p.chosen, True), (p.rejected, False))]


@dataclass(frozen=True)
class PreferenceReport:
    """How a preference stage went: a look an update, when good answers were displaced (`DisplacementGuard`), mean
    log-likelihoods of good and bad answers under the reference, and whether the stage came to its end."""

    looks: tuple[Look, ...]
    displaced: Displaced | None
    reference_chosen: float
    reference_rejected: float
    finished: bool


class DPOTrainer:
    """Trains the policy, in place, on pairs.

    Args:
        reference: stays as it is; default: a copy of the policy as it is given.
        beta, label_smoothing: of `preference.smoothed_dpo_losses`. guard: told of displacement.
    """

    def __init__(
        self,
        policy: Decoder,
        reference: Decoder | None = None,
        *,
        words: Words,
        config: StageConfig,
        beta: float = 0.1,
        label_smoothing: float = 0.0,
        guard: DisplacementGuard | None = None,
    ) -> None:
        zero_B = torch.zeros(1)
        smoothed_dpo_losses(zero_B, zero_B, zero_B, zero_B, beta, label_smoothing)  # checks them before any work
        self.policy, self.words, self.config = policy, words, config
        self.reference = _apart(policy, reference)
        self.beta, self.label_smoothing, self.guard = beta, label_smoothing, guard or DisplacementGuard()

    def loss(self, pairs: Sequence[Preference]) -> Tensor:
        """Of each pair `[B]`, with a gradient for the policy alone."""
        rows = self._rows(pairs)
        with torch.no_grad():
            good_B, bad_B = log_likelihoods(self.reference, *self._padded(rows)).chunk(2)
        chosen_B, rejected_B = log_likelihoods(self.policy, *self._padded(rows)).chunk(2)
        return smoothed_dpo_losses(chosen_B, rejected_B, good_B, bad_B, self.beta, self.label_smoothing)

    def fit(
        self,
        pairs: Sequence[Preference],
        *,
        folder: Path | None = None,
        go_on: GoOn | None = None,
        on_update: Callable[[Update], None] | None = None,
    ) -> PreferenceReport:
        """Trains for the epochs of the settings, or until `go_on()` says no.

        Args:
            folder: of the checkpoint and of the reference's log-likelihoods; a stage that was stopped goes on there.
            on_update: told of each update.
        Raises:
            BadInput: no pairs, one longer than the context, a folder of another stage. NonFinite.
        """
        N, rows, tune = len(pairs), self._rows(pairs), self.config.tune(len(pairs))
        known_2N = reference_log_likelihoods(self.reference, rows, self.words.end, _in(folder, "reference"))

        def batches(number: int) -> tuple[Tensor, ...]:
            picked = places(number, tune, N)
            both = [*picked, *(N + i for i in picked)]
            return (*self._padded([rows[i] for i in both]), known_2N[both])

        def loss_of(model: Decoder, ids_BT: Tensor, targets_BT: Tensor, known_B: Tensor) -> tuple[Tensor, int]:
            nats_B = log_likelihoods(model, ids_BT, targets_BT)
            chosen_B, rejected_B = nats_B.chunk(2)
            watch.see(chosen_B, rejected_B, *(nats_B - known_B).chunk(2))
            good_B, bad_B = known_B.chunk(2)
            losses_B = smoothed_dpo_losses(chosen_B, rejected_B, good_B, bad_B, self.beta, self.label_smoothing)
            return losses_B.sum(), len(losses_B)

        watch = _Watch(self.guard, go_on, on_update)
        reference = weights_digest(self.reference)
        identity = digest("dpo", repr((self.beta, self.label_smoothing)), reference, json.dumps(rows))
        run = train_stage(
            self.policy, batches, loss_of, tune, identity, kept=_in(folder, "stage"),
            save_every=self.config.save_every, on_update=watch.note, go_on=watch.go_on,
        )  # fmt: skip
        return watch.report(run, tune.steps, *known_2N.chunk(2))

    def _rows(self, pairs: Sequence[Preference]) -> list[Pair]:
        """All chosen answers, then all rejected ones."""
        texts = [*((p.prompt, p.chosen) for p in pairs), *((p.prompt, p.rejected) for p in pairs)]
        return rows_of(self.policy, self.words, texts)

    def _padded(self, rows: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        return padded(rows, self.policy.config.max_len, self.words.end)


class KTOTrainer:
    """Trains the policy, in place, on answers that are each good or bad.

    The drift from the reference is estimated from prompts with the answer to another one, as the paper does; which
    other one is fixed, so that the reference is asked for these once too.

    Args:
        reference, guard: as of `DPOTrainer`. beta, good_weight, bad_weight: of `preference.kto_losses`.
    """

    def __init__(
        self,
        policy: Decoder,
        reference: Decoder | None = None,
        *,
        words: Words,
        config: StageConfig,
        beta: float = 0.1,
        good_weight: float = 1.0,
        bad_weight: float = 1.0,
        guard: DisplacementGuard | None = None,
    ) -> None:
        self.settings = (beta, good_weight, bad_weight)
        kto_losses(torch.zeros(1), torch.tensor([True]), 0.0, *self.settings)
        self.policy, self.words, self.config = policy, words, config
        self.reference, self.guard = _apart(policy, reference), guard or DisplacementGuard()

    def fit(
        self, answers: Sequence[Judged], *, folder: Path | None = None, go_on: GoOn | None = None
    ) -> PreferenceReport:
        """As `DPOTrainer.fit`; `batch` of the settings counts answers.

        Raises:
            BadInput: also where all answers are to one prompt: nothing tells the drift then.
        """
        N, tune = len(answers), self.config.tune(len(answers))
        rows = rows_of(self.policy, self.words, [(a.prompt, a.answer) for a in answers])
        others = [(answers[i].prompt, answers[j].answer) for i, j in enumerate(_elsewhere(answers))]
        rows += rows_of(self.policy, self.words, others)
        good_N = torch.tensor([a.good for a in answers])
        known_2N = reference_log_likelihoods(self.reference, rows, self.words.end, _in(folder, "reference"))

        def batches(number: int) -> tuple[Any, ...]:
            picked = places(number, tune, N)
            theirs = [N + i for i in picked]
            own, other = (
                (*padded([rows[i] for i in which], self.policy.config.max_len, self.words.end), known_2N[which])
                for which in (picked, theirs)
            )
            return own, other, good_N[picked]

        def loss_of(model: Decoder, own: Any, other: Any, good_B: Tensor) -> tuple[Tensor, int]:
            with torch.no_grad():
                drift = reference_drift(log_likelihoods(model, *other[:2]) - other[2])
            nats_B = log_likelihoods(model, *own[:2])
            gained_B = nats_B - own[2]
            watch.see(nats_B[good_B], nats_B[~good_B], gained_B[good_B], gained_B[~good_B])
            return kto_losses(gained_B, good_B, drift, *self.settings).sum(), len(good_B)

        watch = _Watch(self.guard, go_on)
        identity = digest(
            "kto", repr(self.settings), weights_digest(self.reference), json.dumps([rows, good_N.tolist()])
        )
        run = train_stage(
            self.policy, batches, loss_of, tune, identity, kept=_in(folder, "stage"),
            save_every=self.config.save_every, on_update=watch.note, go_on=watch.go_on,
        )  # fmt: skip
        known_N = known_2N[:N]
        return watch.report(run, tune.steps, known_N[good_N], known_N[~good_N])


class _Watch:
    """Notes a look after each update, in what the checkpoint keeps."""

    def __init__(
        self, guard: DisplacementGuard, go_on: GoOn | None, tell: Callable[[Update], None] | None = None
    ) -> None:
        self.guard, self.asked, self.tell, self._seen = guard, go_on, tell, [float("nan")] * 4

    def see(self, *parts: Tensor) -> None:
        self._seen = [float(t.detach().mean()) if len(t) else float("nan") for t in parts]

    def note(self, run: Run, update: Update) -> None:
        looks = run.extra.setdefault("looks", [])
        looks.append(tuple(Look(update.step, update.loss, *self._seen)))
        if run.extra.get("displaced") is None:
            newest = [Look(*x) for x in looks[-self.guard.window :]]
            found = self.guard.check(newest)
            run.extra["displaced"] = None if found is None else tuple(found)
        if self.tell:
            self.tell(update)

    def go_on(self, run: Run) -> bool:
        stopped = self.guard.action == "stop" and run.extra.get("displaced") is not None
        return not stopped and (self.asked is None or self.asked())

    def report(self, run: Run, steps: int, chosen_N: Tensor, rejected_N: Tensor) -> PreferenceReport:
        found = run.extra.get("displaced")
        return PreferenceReport(
            tuple(Look(*x) for x in run.extra.get("looks", [])),
            None if found is None else Displaced(*found),
            mean(chosen_N.tolist()),
            mean(rejected_N.tolist()),
            run.step == steps,
        )


def _elsewhere(answers: Sequence[Judged]) -> list[int]:
    """For each answer the place of the next one, in a circle, that is to another prompt."""
    N = len(answers)
    if len({a.prompt for a in answers}) < 2:
        raise BadInput("KTO needs answers to at least 2 prompts: it puts each under another one.")
    out, later = [0] * N, -1
    for i in reversed(range(2 * N)):
        here, after = answers[i % N].prompt, (i + 1) % N
        later = after if answers[after].prompt != here else later
        if i < N:
            out[i] = later
    return out


def _in(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / f"{name}.safetensors"


def _apart(policy: Decoder, reference: Decoder | None) -> Decoder:
    """The reference, which training does not move: a copy where it is the policy itself."""
    return copy.deepcopy(policy).eval() if reference is None or reference is policy else reference
