"""Both stages of tuning as one: demonstrations, then preferences, with what they cost and what tells how they went.

Dims: N rows, T tokens, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed
from smidgen.lm.generate import Said
from smidgen.lm.instruct import StageConfig, greedy_ids, instruct, said_of
from smidgen.lm.likelihood import Pair, padded
from smidgen.lm.preference import DisplacementGuard, mean
from smidgen.lm.preference_train import (
    DPOTrainer,
    GoOn,
    KTOTrainer,
    PreferenceReport,
    unpaired,
)  # fmt: skip
from smidgen.lm.stage import ASKED, Example, Preference, Words, reference_log_likelihoods, rows_of
from smidgen.nets.decoder import IGNORED, Decoder, flops_per_token
from smidgen.nets.products import full_speed


class Work(NamedTuple):
    """Floating-point operations: of training, which grow with the epochs, and once, for the reference."""

    training: float
    once: float

    @property
    def total(self) -> float:
        return self.training + self.once


@dataclass(frozen=True)
class Tuned:
    """A model after its stages. `preferences`: None where that stage was skipped; `finished`: both came to an end."""

    model: Decoder
    preferences: PreferenceReport | None
    finished: bool

    def numbers(self) -> dict[str, float]:
        """For a table: log-likelihood of good answers under the reference, what good and bad ones gained over it (means
        of the last updates), the update from which good ones were displaced; NaN where there is no such thing."""
        names = ("reference log-likelihood", "chosen gain", "rejected gain", "displaced at")
        if self.preferences is None:
            return dict.fromkeys(names, float("nan"))
        last, at = self.preferences.looks[-20:], self.preferences.displaced
        gains = [mean([x.chosen_gain for x in last]), mean([x.rejected_gain for x in last])]
        values = [self.preferences.reference_chosen, *gains, float(at.step) if at else float("nan")]
        return dict(zip(names, values, strict=True))


@dataclass(frozen=True, kw_only=True)
class TwoStages:
    """Both stages as one thing to do with a base model; a stage that has no rows is skipped.

    Without demonstrations the reference is the base itself, else the model after the first stage.

    Attributes:
        instruct, prefer: settings of the stages; their seeds are joined with that of the call.
        method: "dpo" on pairs, or "kto" on their two answers apart: twice the rows, each epoch and batch counts them.
        beta, label_smoothing, guard: of the trainers; KTO has no smoothing.
    """

    words: Words
    instruct: StageConfig
    prefer: StageConfig
    method: Literal["dpo", "kto"] = "dpo"
    beta: float = 0.1
    label_smoothing: float = 0.0
    guard: DisplacementGuard = DisplacementGuard()

    def __post_init__(self) -> None:
        if self.method not in ("dpo", "kto"):
            raise bad("method", "'dpo' or 'kto'", self.method)
        if self.method == "kto" and self.label_smoothing:
            raise bad("label_smoothing", "0 with KTO", self.label_smoothing)

    def __call__(
        self,
        model: Decoder,
        demonstrations: Sequence[Example],
        pairs: Sequence[Preference],
        seed: int = 0,
        *,
        stretch: float = 1.0,
        folder: Path | None = None,
        go_on: GoOn | None = None,
    ) -> Tuned:
        """Trains the model, the base, in place.

        Args:
            seed: joined with those of the settings.
            stretch: factor of the epochs of both stages, for runs of equal compute (see `work`).
            folder: of checkpoints; stopped anywhere, the same call on the same base goes on there.
        Raises:
            BadInput: neither demonstrations nor pairs; else as the trainers.
        """
        if not demonstrations and not pairs:
            raise BadInput("There is nothing to learn from: neither demonstrations nor preferences were given.")
        if demonstrations:
            config = _stretched(self.instruct, stretch, seed)
            ask = None if go_on is None else lambda _: go_on()
            kept = _file(folder and folder / "instruct")
            run = instruct(model, self.words, demonstrations, config, kept=kept, go_on=ask)
            if run.step < config.tune(len(demonstrations)).steps:
                return Tuned(model, None, False)
        if not pairs:
            return Tuned(model, None, True)
        report = self._prefer(model, pairs, _stretched(self.prefer, stretch, seed), folder and folder / "prefer", go_on)
        return Tuned(model, report, report.finished)

    def _prefer(
        self, model: Decoder, pairs: Sequence[Preference], config: StageConfig, folder: Path | None, go_on: GoOn | None
    ) -> PreferenceReport:
        if self.method == "kto":
            kto = KTOTrainer(model, words=self.words, config=config, beta=self.beta, guard=self.guard)
            return kto.fit(unpaired(pairs), folder=folder, go_on=go_on)
        dpo = DPOTrainer(
            model, words=self.words, config=config, beta=self.beta, label_smoothing=self.label_smoothing,
            guard=self.guard,
        )  # fmt: skip
        return dpo.fit(pairs, folder=folder, go_on=go_on)

    def work(self, model: Decoder, demonstrations: Sequence[Example], pairs: Sequence[Preference]) -> Work:
        """Operations of matrix products that a call without a stretch takes, padding left out.

        A pair is two rows trained and two that the reference reads once; KTO reads, without training, two more rows
        of mismatched answers an epoch, and the reference these too.
        """

        def forward(texts: Sequence[tuple[str, str]]) -> float:
            lengths = [len(p) + len(a) - 1 for p, a in (rows_of(model, self.words, texts) if texts else ())]
            return sum(n * flops_per_token(model.config, n, training=False) for n in lengths)

        shown = forward([(e.prompt, e.answer) for e in demonstrations])
        both = forward([(p.prompt, a) for p in pairs for a in (p.chosen, p.rejected)])
        kto = self.method == "kto"
        training = 3 * self.instruct.epochs * shown + (4 if kto else 3) * self.prefer.epochs * both
        return Work(training, (2 if kto else 1) * both)


@dataclass(frozen=True)
class Diagnosis:
    """What tells a cold start, and what a preference stage did to a model, beside its reference.

    Attributes:
        chosen, rejected: mean log-likelihood of the pairs' answers under the model, nats an answer.
        reference_chosen, reference_rejected: under the reference. A stage that begins with a low `reference_chosen`
            begins cold: no answer that the model would give is among those compared.
        preferred: share of the pairs whose chosen answer gained more than the rejected one.
        tokens: mean length of the model's own greedy answers. ended: share of them that it ended itself.
        well_formed: share of them that the caller's test accepts; NaN without one.
        kl: divergence of the model from the reference along its own greedy answers, nats an answer.
    """

    chosen: float
    rejected: float
    reference_chosen: float
    reference_rejected: float
    preferred: float
    tokens: float
    ended: float
    well_formed: float
    kl: float

    @property
    def chosen_gain(self) -> float:
        """Below 0: chosen answers were displaced."""
        return self.chosen - self.reference_chosen


def diagnose(
    model: Decoder,
    reference: Decoder,
    words: Words,
    pairs: Sequence[Preference],
    prompts: Sequence[str],
    *,
    max_tokens: int,
    well_formed: Callable[[str, Said], bool] | None = None,
) -> Diagnosis:
    """Reads pairs with both models and lets the model answer prompts; best on such as no stage saw.

    Args:
        well_formed: of a prompt and its answer, whether the answer has the form that was asked for.
    Raises:
        BadInput: no pairs or no prompts, or one that is too long.
    """
    if not prompts:
        raise BadInput("There are no prompts to answer.")
    texts = [*((p.prompt, p.chosen) for p in pairs), *((p.prompt, p.rejected) for p in pairs)]
    rows = rows_of(model, words, texts)
    chosen, rejected = (t.double() for t in reference_log_likelihoods(model, rows, words.end).chunk(2))
    before, after = (t.double() for t in reference_log_likelihoods(reference, rows, words.end).chunk(2))
    ids = greedy_ids(model, words, prompts, max_tokens)
    said = [said_of(row, words, len(row) == max_tokens) for row in ids]
    own = [([words.end, *words.encode(p)], row) for p, row in zip(prompts, ids, strict=True)]
    formed = [well_formed(p, s) for p, s in zip(prompts, said, strict=True)] if well_formed else [math.nan]
    return Diagnosis(
        chosen.mean().item(), rejected.mean().item(), before.mean().item(), after.mean().item(),
        (chosen - before > rejected - after).double().mean().item(),
        fmean(s.tokens for s in said), fmean(s.reason == "end" for s in said), fmean(formed),
        kl_along(model, reference, own, words.end).mean().item(),
    )  # fmt: skip


@torch.no_grad()
def kl_along(model: Decoder, reference: Decoder, rows: Sequence[Pair], fill: int) -> Tensor:
    """KL(model || reference) of the next token, exact over the vocabulary, summed along each row's answer `[N]`, nats.

    On answers drawn from the model its mean is the divergence of the two over whole answers.
    """
    out = []
    with full_speed():
        for i in range(0, len(rows), ASKED):
            ids_BT, targets_BT = padded(rows[i : i + ASKED], model.config.max_len, fill)
            counted_BT = targets_BT != IGNORED
            p_NV, q_NV = (
                F.linear(m.hidden(ids_BT)[counted_BT], m.output_weight_VD).double().log_softmax(-1)
                for m in (model, reference)
            )
            kl_N = (p_NV.exp() * (p_NV - q_NV)).sum(-1)
            out.append(kl_N.new_zeros(len(ids_BT)).index_add(0, counted_BT.nonzero()[:, 0], kl_N))
    return torch.cat(out)


def _stretched(config: StageConfig, stretch: float, seed: int) -> StageConfig:
    return replace(config, epochs=config.epochs * stretch, seed=derive_seed(config.seed, "stage", seed))


def _file(folder: Path | None) -> Path | None:
    return None if folder is None else folder / "stage.safetensors"
