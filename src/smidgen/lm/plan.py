"""From a corpus and a size or a time to a whole plan: what will be trained, and for how long.

Nothing here trains; `train.py` measures the speed that a plan needs and keeps to the plan. Sources: tokens a parameter
after Hoffmann et al. (2022, arXiv 2203.15556); batch size after the Step Law (2025, arXiv 2503.04715), which far below
its own range is an extrapolation; repeats after Muennighoff et al. (2023, arXiv 2305.16264): four passes over the same
text are nearly as good as new text, many more are worth little; eight are the most that is planned for a size.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from smidgen.kit.errors import BadInput, bad
from smidgen.laws.step_law import step_law
from smidgen.nets.decoder import DecoderConfig, flops_per_token, parameters
from smidgen.nets.presets import sized

TOKENS_A_PARAMETER = 20.0
MOST_PASSES = 8.0  # over the corpus, when no time asks for more
TRAINING_SHARE = 0.85  # of the time; the rest goes to tokenizing, the search and saving
ACTIVATIONS = 1 << 30  # bytes that the activations of one micro-batch may take, about
SMALLEST = 60_000  # parameters
WORD_BYTES = 3.2  # of English text, a token of a few thousand words; only for a first guess
RATES = {"muon": (5e-3, 1e-2, 2e-2), "adamw": (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)}  # peak rates that the short search tries
SEARCHED, FEWEST = 0.025, 20  # of the updates, for each rate of the search; with fewer updates it says nothing
LOOKS = 20  # at the held-out loss in a training
USUAL = {"muon": 1e-2, "adamw": 2e-3}  # where nothing can be searched


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `smidgen lm train` is going to do.

    Attributes:
        config: of the decoder. context: tokens a window.
        rows: windows of a micro-batch, as many as memory allows; accumulate: micro-batches an update.
        words: of the tokenizer. tokens: trained on in all; seconds: for that, search and start included; None: as long
            as the tokens take. passes: over the corpus.
        optimizer: "muon", or "adamw" where the step law, which was fitted on it, gives the rate.
        lr: peak rate, None: found by a short search among `RATES`. lr_from, batch_from: where they come from.
        warmup, decay: shares of the updates. first_steps: updates of the first plan of a training that was made longer;
            its warm-up, looks and search stay what they were.
    """

    config: DecoderConfig
    context: int
    rows: int
    accumulate: int
    words: int
    tokens: int
    seconds: float | None
    passes: float
    lr: float | None
    lr_from: str
    batch_from: str
    optimizer: str
    warmup: float = 0.02
    decay: float = 0.2
    first_steps: int | None = None

    @property
    def first(self) -> int:
        """Updates of the first plan."""
        return self.first_steps or self.steps

    @property
    def steps(self) -> int:
        return max(1, math.ceil(self.tokens / (self.rows * self.accumulate * self.context)))

    @property
    def search_steps(self) -> int:
        """Updates of each rate that a search tries; 0: there is none."""
        steps = round(SEARCHED * self.first)
        return steps if self.lr is None and steps >= FEWEST else 0

    @property
    def look_every(self) -> int:
        """Updates from one look at the held-out loss to the next."""
        return max(20, self.first // LOOKS)

    @property
    def parameters(self) -> int:
        return parameters(self.config)

    @property
    def flops(self) -> float:
        return self.tokens * flops_per_token(self.config, self.context)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "parameters": self.parameters, "steps": self.steps, "flops": self.flops}


def words_for(size: int, corpus_bytes: int) -> int:
    """Vocabulary: a tied embedding takes at most about a fifth of the parameters, and each word is seen often."""
    width = max(32.0, (size / 80) ** (1 / 3) * 2)  # as `sized` chooses, roughly
    by_size = 0.2 * size / width
    by_text = corpus_bytes / 400
    limit = max(320.0, min(by_size, by_text, 32_768.0))
    return 64 * round(limit / 64)


def row_bytes(config: DecoderConfig, context: int) -> float:
    """What the activations of one window take in training, in float32: those that the gradient needs of each layer, as
    much again of one while it goes backward, and those outside the layers. Measured peaks lie within a tenth of it.
    """
    scores = config.heads * (context + 64) / 2 if context <= 512 else 0  # kept attention (`nets.fused`)
    layer = 8 * config.hidden + 4 * config.ffn + scores
    return 4 * context * ((config.layers + 1) * layer + 14 * config.hidden)


def size_for(seconds: float, flops_a_second: float, corpus_tokens: float) -> int:
    """Parameters that use the time well: 20 tokens for each, but not more passes over the text than help."""
    compute = seconds * flops_a_second
    best = math.sqrt(compute / (6 * TOKENS_A_PARAMETER))
    repeated = MOST_PASSES * corpus_tokens
    if TOKENS_A_PARAMETER * best > repeated:  # text is short: a larger model, trained for less
        best = min(compute / (6 * repeated), 4 * best)
    return max(SMALLEST, int(best))


def make_plan(
    *,
    corpus_bytes: int,
    size: int | None,
    seconds: float | None,
    flops_a_second: float,
    context: int = 256,
    tokens: int | None = None,
    words: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    optimizer: str | None = None,
) -> Plan:
    """The plan for a size, a time, or both; what is given is kept, the rest follows.

    Args:
        corpus_bytes: of text. size: parameters. flops_a_second: that training reaches here (measured).
    Raises:
        BadInput: neither size nor time, or numbers that cannot be.
    """
    if size is None and seconds is None:
        raise BadInput("Say how large (--size 10M) or how long (--time 30m) the training shall be.")
    corpus_tokens = max(1.0, corpus_bytes / WORD_BYTES)
    if size is None:
        assert seconds is not None
        size = size_for(seconds, flops_a_second, corpus_tokens)
    if size < SMALLEST:
        raise bad("--size", f"at least {SMALLEST:,} parameters", f"{size:,}")
    words = words or words_for(size, corpus_bytes)
    config = sized(size, words, context)
    per_token = flops_per_token(config, context)
    if tokens is None:
        if seconds is None:
            tokens = int(min(TOKENS_A_PARAMETER * parameters(config), MOST_PASSES * corpus_tokens))
        else:
            tokens = int(TRAINING_SHARE * seconds * flops_a_second / per_token)
    tokens = max(tokens, 50 * context)
    law = step_law(max(1, parameters(config) - words * config.hidden), tokens)
    windows = batch or max(4, round(law.batch_tokens / context))
    accumulate = math.ceil(windows / max(1, ACTIVATIONS // row_bytes(config, context)))
    optimizer = optimizer or ("adamw" if law.usable and lr is None else "muon")
    if lr is not None:
        lr_from = "given"
    elif law.usable and optimizer == "adamw":
        lr, lr_from = law.lr, "the step law"
    else:
        lr_from = f"a short search (the step law is for models {law.outside:,.0f} times larger or longer trained)"
    return Plan(
        config=config,
        context=context,
        rows=math.ceil(windows / accumulate),
        accumulate=accumulate,
        words=words,
        tokens=tokens,
        seconds=seconds,
        passes=tokens / corpus_tokens,
        lr=lr,
        lr_from=lr_from,
        optimizer=optimizer,
        batch_from="given" if batch else "the step law" + ("" if law.usable else ", far outside of its range"),
    )
