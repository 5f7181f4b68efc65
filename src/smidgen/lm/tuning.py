"""From a language model to one that answers: supervised on answers, then by preferences, as GEB-1.3B was aligned.

`sft` learns answers and not their prompts. `dpo` (Rafailov et al., 2023, arXiv 2305.18290, eq. 7) makes chosen answers
likelier than rejected ones, against a frozen reference. Both leave the model as it is and train a copy; `instruct` and
`preference_train` train in place, can be stopped, and say how it went.
"""

import copy
from collections.abc import Callable, Sequence

from smidgen.kit.errors import BadInput
from smidgen.lm.instruct import StageConfig, instruct
from smidgen.lm.model import LanguageModel
from smidgen.lm.preference import dpo_losses
from smidgen.lm.preference_train import DPOTrainer
from smidgen.lm.stage import Example, Preference, TuneConfig, supervised_loss
from smidgen.train.loop import Update

__all__ = ["Example", "Preference", "TuneConfig", "dpo", "dpo_losses", "sft", "supervised_loss"]


def sft(
    model: LanguageModel,
    examples: Sequence[Example],
    config: TuneConfig,
    on_update: Callable[[Update], None] | None = None,
) -> LanguageModel:
    """A copy of the model that has learnt the answers.

    Raises:
        BadInput: no examples, or one longer than the context.
    """
    decoder = copy.deepcopy(model.decoder)
    tell = (lambda run, update: on_update(update)) if on_update else None
    instruct(decoder, model.tokenizer, examples, _by_epochs(config, len(examples)), on_update=tell)
    return LanguageModel(decoder, model.tokenizer)


def dpo(
    model: LanguageModel,
    pairs: Sequence[Preference],
    config: TuneConfig,
    beta: float = 0.1,
    reference: LanguageModel | None = None,
    on_update: Callable[[Update], None] | None = None,
) -> LanguageModel:
    """A copy of the model that prefers the chosen answers.

    Args:
        reference: stays as it is; by default the model as it is given.
    Raises:
        BadInput: no pairs, one longer than the context, or a reference of another tokenizer.
    """
    asked = reference or model
    if asked.tokenizer.identity != model.tokenizer.identity:
        raise BadInput("The reference has another tokenizer than the model: their likelihoods cannot be compared.")
    decoder = copy.deepcopy(model.decoder)
    settings = _by_epochs(config, len(pairs))
    trainer = DPOTrainer(decoder, asked.decoder, words=model.tokenizer, config=settings, beta=beta)
    trainer.fit(pairs, on_update=on_update)
    return LanguageModel(decoder, model.tokenizer)


def _by_epochs(config: TuneConfig, rows: int) -> StageConfig:
    """As many updates, told in passes over the rows."""
    return StageConfig(
        epochs=config.steps * config.batch / max(rows, 1), batch=config.batch, lr=config.lr, warmup=config.warmup,
        decay=config.decay, seed=config.seed,
    )  # fmt: skip
