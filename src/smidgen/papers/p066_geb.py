"""Claim 066: a plain small decoder that processors run well, its filters and its care for spikes (GEB-1.3B, 2024)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

RATE = 3e-3

CLAIM = Claim(
    title="GEB-1.3B: a light language model for CPUs",
    year=2024,
    gives="A plain decoder small enough to generate text on a CPU, together with the text filters and the remedies for "
    "loss spikes used in training it. A starting point for a simple language model without a GPU.",
    room="nets",
    implements=(
        "nets.presets.geb_1_3b",
        "nets.presets.geb_mini",
        "nets.decoder.Decoder",
        "nets.cache.Cache",
        "data.filters.perplexity",
        "data.filters.keywords",
        "data.filters.ngrams",
        "data.filters.rules",
        "data.filters.joiner",
        "data.filters.repeats",
        "data.filters.steps",
        "train.guard",
        "lm.generate",
        "lm.choices",
        "lm.likelihood",
        "lm.tuning",
        "lm.cpu_study",
    ),
    keywords="small LLM, no GPU, CPU inference, decoder transformer, Chinese and English, bilingual, pre-training, "
    "loss spikes, unstable training, perplexity filter, text cleaning, grouped-query attention, RoPE, chat alignment, "
    "DPO, text generation",
    says="A plain decoder with four query heads to a key/value head is good enough and light on a CPU; untied "
    "embeddings are better; loss spikes are kept away by replacing batches and shrinking the embedding's gradients; "
    "text is cleaned by perplexity and by the density of keywords.",
    experiment="""
        The model of 1.35 B parameters cannot be trained here. Its design at 676,736 parameters, the same number in all
        arms: 3 layers of width 128, 4 heads, 576 tokens of byte-level BPE; what one key/value head (instead of 4) or a
        tied embedding saves goes into the feed-forward (352; 288 with all heads, 416 tied). 3 M parameters would
        have taken an hour: the width and the vocabulary were made smaller, not the 500 steps of 16 x 64 tokens. AdamW
        (0.9, 0.95), weight decay 0.1, clipping at 1, 10 % of warm-up, cosine to 10 %, peak rate 3e-3 (of 1.5e-3
        to 1.2e-2, a factor of 2 apart, the best on seeds from 1000 on) for all arms. Text: a seed's 6000 lines of GSM8K
        (questions and answers) and SST-2, a third each. Loss is in nats a token, on 750 test lines. 5 seeds, not 3:
        nine parts share the error, and with 3 seeds an interval would be 2.7 times as wide.

        Spikes: one batch of 20 has the characters of its rows shuffled. Plain training has steps with a loss above 1.5
        times the running median at 3e-3 already (17 of 500), so the rate was not raised. All of these are the corrupted
        batches themselves: no clean batch ever spiked, up to a rate of 0.1, or 0.03 without clipping; higher rates
        only learn less. Counting steps with a loss above 1.5 times the median would only say that the guard does what
        it is told; counted are steps on corrupted batches, also those that it does not notice. It replaces the batch;
        gradients of the embedding are shrunk to a tenth, which Adam sees through clipping alone.

        Filters: beside the 6000 lines 1500 of junk: a line with its characters shuffled, HTML or CSS, another language,
        a menu with offers, as many of each. A 5-gram model of bytes and the terms come from 2000 other lines, both
        limits (1.5 % of good lines may go by each) from 2000 more. "Unfiltered" and "filtered" have equally many
        steps. Time of a token: 32 tokens after 64 and after 512, one thread, best of 5.

        Untied against tied embeddings is reported, not judged ("loss untied less tied").
        """,
    published=(
        Published(
            value="32.23; TinyLlama-1.1B 24.80, Llama-7B 29.65",
            metric="mean accuracy, percent",
            data="MMLU, C-Eval, CMMLU",
            where="arXiv 2406.09900",
        ),
        Published(
            value=12.0,
            metric="tokens a second in float32 on a CPU (machine not stated)",
            data="GEB-1.3B",
            where="arXiv 2406.09900",
        ),
    ),
    parts=(
        Part(
            name="grouped heads: loss",
            says="With one key/value head for four its loss is at most 1.02 times that with all four.",
            gain=("1.02 x loss full", "loss gqa"),
            unit="nats a token",
        ),
        Part(
            name="grouped heads: cache",
            says="The cache has exactly a quarter of the bytes (shown: minus the bytes off).",
            gain=(0.0, "bytes off a quarter"),
            null=-1.0,
            unit="bytes",
        ),
        Part(
            name="spikes: steps",
            says="The guard leaves at most half of the steps on corrupted batches.",
            gain=(0.5, "share of corrupted steps left"),
            unit="share",
        ),
        Part(
            name="spikes: loss",
            says="With the guard and shrunk gradients training ends at a lower loss on clean text.",
            gain=("loss plain", "loss guarded"),
            unit="nats a token",
        ),
        Part(
            name="filters: junk",
            says="The two filters find at least 90 % of the junk lines.",
            gain=("junk found", 0.9),
            unit="share",
        ),
        Part(
            name="filters: clean",
            says="They lose at most 5 % of the clean lines.",
            gain=(0.05, "clean lost"),
            unit="share",
        ),
        Part(
            name="filters: loss",
            says="After equally many steps the loss on clean text is lower with filtered text.",
            gain=("loss unfiltered", "loss filtered"),
            unit="nats a token",
        ),
        Part(
            name="cache: logits",
            says="One token at a time gives the logits of the whole text, to 1e-4.",
            gain=(1e-4, "logits apart"),
            unit="logits",
        ),
        Part(
            name="cache: time",
            says="After 512 tokens a token takes less than twice the time that it takes after 64.",
            gain=(2.0, "time of long over short"),
            unit="ratio",
        ),
    ),
    seeds=5,
    minutes=8,
    data=("gsm8k", "sst2", "langid_udhr"),
    added="2026-11-24",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """All arms on the same lines, two at a time. At smoke scale a tiny model on a few made lines."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    from smidgen.nets.products import full_speed
    from smidgen.papers import geb_lines
    from smidgen.papers.geb_training import Corpus, Size

    full = scale == Scale.FULL
    size = Size() if full else Size(vocab=257, hidden=32, layers=1, length=16, longest=64, steps=2, rows=2)
    texts = geb_lines.drawn(seed) if full else geb_lines.made(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(2) as pool, full_speed():
            corpus = Corpus.of(texts, size, seed)
            arms = {name: pool.submit(ARMS[name], corpus, size, seed) for name in ARMS}
            got = {name: arm.result() for name, arm in arms.items()}
        values = {k: v for arm in got.values() for k, v in arm.numbers.items()}
        values |= corpus.numbers | decoding(got["gqa"].model, size)
    finally:
        torch.set_num_threads(threads)
    return values | derived(values)


@dataclass(frozen=True)
class Arm:
    """What one training gave."""

    model: Any
    numbers: dict[str, float]


def plain_arm(name: str, kind: str, tokens: str) -> Callable[[Any, Any, int], Arm]:
    """Training of one shape on the corpus's tokens of that name; called with corpus, size and seed."""

    def train_arm(corpus: Any, size: Any, seed: int) -> Arm:
        from smidgen.nets.decoder import parameters
        from smidgen.papers.geb_training import held_loss, trained

        model, _ = trained(size.config(kind), getattr(corpus, tokens), size, seed, RATE)
        cache = float(model.new_cache(1, size.longest).bytes)
        numbers = {f"loss {name}": held_loss(model, corpus.held, size), f"cache bytes {name}": cache}
        return Arm(model, {**numbers, f"parameters {name}": float(parameters(model.config))})

    return train_arm


def spiky_arm(name: str, guarded: bool, rate: float = RATE) -> Callable[[Any, Any, int], Arm]:
    """Training with corrupted batches among the others, with the guard and shrunk gradients or without."""

    def train_arm(corpus: Any, size: Any, seed: int) -> Arm:
        from smidgen.papers.geb_training import Corruption, held_loss, spikes, trained

        corruption = Corruption(corpus.tokenizer, seed)
        model, tried = trained(size.config("gqa"), corpus.clean, size, seed, rate, corruption, guarded)
        done = [t for t in tried if t.used]
        numbers = {
            f"loss {name}": held_loss(model, corpus.held, size),
            f"corrupted steps {name}": float(sum(corruption.hits(t.number) for t in done)),
            f"spike steps {name}": float(spikes([t.loss for t in done])),
            f"spikes on clean batches {name}": float(spikes([t.loss for t in tried if not corruption.hits(t.number)])),
            f"clean batches left out {name}": float(sum(not t.used and not corruption.hits(t.number) for t in tried)),
        }
        return Arm(model, numbers)

    return train_arm


ARMS: dict[str, Callable[[Any, Any, int], Arm]] = {
    "gqa": plain_arm("gqa", "gqa", "clean"),
    "full": plain_arm("full", "full", "clean"),
    "tied": plain_arm("tied", "tied", "clean"),
    "unfiltered": plain_arm("unfiltered", "gqa", "dirty"),
    "filtered": plain_arm("filtered", "gqa", "kept"),
    "spiky": spiky_arm("plain", False),
    "guarded": spiky_arm("guarded", True),
}


def decoding(model: Any, size: Any) -> dict[str, float]:
    """How far logits of one token at a time are from those of the whole text, and the time of a token by length."""
    import torch

    from smidgen.lm.cpu_study import CpuStudy

    short, new = size.longest // 10, size.longest // 20
    long = 8 * short
    ids_BT = torch.randint(size.vocab, (1, long), generator=torch.Generator().manual_seed(0))
    cache = model.new_cache(1, long)
    with torch.no_grad():
        whole_BTV = model(ids_BT)
        each_BTV = torch.cat([model(ids_BT[:, i : i + 1], cache=cache) for i in range(long)], 1)
    rows = CpuStudy(prompt_lens=(short, long), new_tokens=new, rounds=5).run(model)
    seconds = [1 / row.tokens_per_second for row in rows]
    return {
        "logits apart": (whole_BTV - each_BTV).abs().max().item(),
        "ms a token, short": 1000 * seconds[0],
        "ms a token, long": 1000 * seconds[1],
        "time of long over short": seconds[1] / seconds[0],
    }


def derived(values: dict[str, float]) -> dict[str, float]:
    """What the parts need of the numbers of the arms."""
    return {
        "1.02 x loss full": 1.02 * values["loss full"],
        "bytes off a quarter": abs(values["cache bytes gqa"] - values["cache bytes full"] / 4),
        "share of corrupted steps left": values["corrupted steps guarded"] / max(1.0, values["corrupted steps plain"]),
        "loss untied less tied": values["loss gqa"] - values["loss tied"],
    }
