"""Training of claim 066's small decoders: shapes, tokens, batches with corrupted ones among them, and spikes."""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

VOCAB, HIDDEN, LAYERS, LONGEST, ROWS, LENGTH, STEPS = 576, 128, 3, 640, 16, 64, 500
FFN = {"gqa": 352, "full": 288, "tied": 416}  # the same number of parameters in all: 676,736
WARM_UP, LEAST, CLIP = 0.1, 0.1, 1.0
ONE_IN, FACTOR, WINDOW, ALPHA = 20, 1.5, 50, 0.1  # batches of which one is corrupted; the guard's rule; shrinking


@dataclass(frozen=True)
class Size:
    """Of a run: the model's and the training's."""

    vocab: int = VOCAB
    hidden: int = HIDDEN
    layers: int = LAYERS
    length: int = LENGTH
    longest: int = LONGEST
    steps: int = STEPS
    rows: int = ROWS

    def config(self, kind: str) -> Any:
        """ "gqa" (4 heads on 1 of keys and values, untied: GEB's), "full" (4 on 4), "tied"."""
        from smidgen.nets.decoder import DecoderConfig

        ffn, kv_heads = FFN[kind] * self.hidden // HIDDEN, 4 if kind == "full" else 1
        return DecoderConfig(
            self.vocab, self.hidden, self.layers, 4, kv_heads, ffn, self.longest, tie_embeddings=kind == "tied"
        )


@dataclass(frozen=True)
class Corpus:
    """Tokens `[N]` of the clean lines, of clean and junk lines, of those that the filters keep, and held out; what the
    filters did; and the tokenizer."""

    clean: Any
    dirty: Any
    kept: Any
    held: Any
    tokenizer: Any
    numbers: dict[str, float]

    @staticmethod
    def of(texts: Any, size: Size, seed: int) -> "Corpus":
        import torch

        from smidgen.lm import tokenizer as tokenizers
        from smidgen.papers import geb_lines

        tokenizer = tokenizers.train(texts.clean, size.vocab)

        def tokens(lines: Sequence[str]) -> Any:
            return torch.tensor(tokenizer.encode("\n".join(lines)))

        mixed = [*((t, True) for t in texts.clean), *((t, False) for t in texts.junk)]
        random.Random(seed).shuffle(mixed)
        kept, numbers = geb_lines.filtered(mixed, texts.reference)
        dirty = tokens([t for t, _ in mixed])
        return Corpus(tokens(texts.clean), dirty, tokens(kept), tokens(texts.held), tokenizer, numbers)


class Tried(NamedTuple):
    """A batch: its number, its loss, and whether there was an update with it."""

    number: int
    loss: float
    used: bool


@dataclass(frozen=True)
class Corruption:
    """Which batches have their characters shuffled, and what they are then; by the number of the batch alone."""

    tokenizer: Any
    seed: int

    def hits(self, number: int) -> bool:
        from smidgen.kit.seeds import derive_seed

        block, place = divmod(number, ONE_IN)
        return place == derive_seed(self.seed, "corrupt", block) % ONE_IN

    def of(self, rows: Any, number: int) -> Any:
        """The same rows with the characters of each shuffled; a shuffled text has more tokens, the first ones stay."""
        import torch

        from smidgen.papers import geb_lines

        own = random.Random(number)
        texts = [geb_lines.shuffled(self.tokenizer.decode(row), own) for row in rows.tolist()]
        ids = [(self.tokenizer.encode(t) * rows.shape[1])[: rows.shape[1]] for t in texts]
        return torch.tensor(ids)


def trained(
    config: Any,
    tokens: Any,
    size: Size,
    seed: int,
    rate: float,
    corruption: Corruption | None = None,
    guarded: bool = False,
) -> tuple[Any, list[Tried]]:
    """A model, and every batch that was tried, also those that the guard left out."""
    from smidgen.lm.search import optimizer_of
    from smidgen.nets.decoder import Decoder
    from smidgen.train.guard import SpikeGuard, shrink_shallow_gradients
    from smidgen.train.loop import LoopConfig, Run, train
    from smidgen.train.schedules import Cosine

    asked: list[int] = []
    tried: list[Tried] = []

    def batches(number: int) -> tuple[Any, Any]:
        import torch

        asked.append(number)
        own = torch.Generator().manual_seed(seed * 1_000_003 + number)
        starts = torch.randint(len(tokens) - size.length, (size.rows, 1), generator=own)
        rows = tokens[starts + torch.arange(size.length + 1)]
        if corruption is not None and corruption.hits(number):
            rows = corruption.of(rows, number)
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()

    def loss_of(model: Any, ids_BT: Any, targets_BT: Any) -> tuple[Any, int]:
        return model(ids_BT, targets_BT=targets_BT), targets_BT.numel()

    model = Decoder(config, seed)
    if guarded:
        shrink_shallow_gradients(model, ALPHA)
    run = Run(model, optimizer_of(model, rate, "adamw"), SpikeGuard(factor=FACTOR, window=WINDOW) if guarded else None)
    schedule = Cosine(steps=size.steps, warmup=round(WARM_UP * size.steps), least=LEAST)
    train(
        run, batches, loss_of, schedule, LoopConfig(clip=CLIP), steps=size.steps,
        on_update=lambda update: tried.append(Tried(asked[-1], update.loss, update.action is None)),
    )  # fmt: skip
    return model.eval(), tried


def spikes(losses: Sequence[float]) -> int:
    """Losses above 1.5 times the median of the 50 before them (at least 10)."""
    return sum(
        loss > FACTOR * statistics.median(losses[max(0, i - WINDOW) : i]) for i, loss in enumerate(losses) if i >= 10
    )


def held_loss(model: Any, tokens: Any, size: Size) -> float:
    """Nats a token of the held-out lines, in windows."""
    import torch

    from smidgen.nets.decoder import mean_loss

    count = (len(tokens) - 1) // size.length
    rows = tokens[: count * size.length + 1]
    with torch.no_grad():
        return mean_loss(model, rows[:-1].view(count, -1), rows[1:].view(count, -1)).item()
