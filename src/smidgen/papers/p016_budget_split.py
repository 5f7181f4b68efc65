"""Claim 016: how to split an annotation budget between demonstrations and preferences (Raghavendra et al., 2025)."""

import functools
from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

TOTALS, SHARES = (200, 800, 2400), (0.0, 0.1, 0.5, 1.0)
TEST, DEALT = 500, 4  # expressions; hands of them: one a judged seed, the last for all others
SMALLER = 40  # times, at smoke scale
SHAPE: dict[str, Any] = {"hidden": 96, "layers": 3, "heads": 6, "kv_heads": 6, "ffn": 256, "max_len": 64}
SMALL_SHAPE: dict[str, Any] = {"hidden": 16, "layers": 1, "heads": 2, "kv_heads": 2, "ffn": 32, "max_len": 64}
BASE = {"steps": 1300, "rows": 16, "lr": 3e-3}
EPOCHS, BATCH, RATE, PREFERENCE_RATE, BETA = 2.0, 16, 3e-3, 3e-4, 0.1  # the same at all shares
LONGEST = 24  # tokens of an answer
NOTED = ("well-formed", "tokens", "nats from the base", "reference log-likelihood", "chosen gain", "rejected gain")

CLAIM = Claim(
    title="Splitting an annotation budget: demonstrations or preferences",
    year=2025,
    gives="You can pay people to write model answers or to say which of two answers is better. Given both prices and "
    "one budget, this says how to divide it before fine-tuning a language model.",
    room="studies",
    implements=(
        "studies.budget_split",
        "studies.split_rule",
        "lm.two_stages",
        "lm.preference_train",
        "lm.preference",
        "lm.instruct",
        "laws.budget_grid",
    ),
    keywords="annotation budget, labelling cost, supervised fine-tuning, SFT, DPO, KTO, RLHF, preference pairs, "
    "human feedback, instruction tuning, what to label next, cost trade-off, chatbot, reasoning tasks, cold start, "
    "likelihood displacement",
    says="With few examples all money should go to demonstrations; with more a mixture with preferences is best; "
    "preferences alone start cold where answers are worked out in steps, and a tenth of demonstrations cures it.",
    experiment="""
        A model of characters (width 96, 3 layers; 0.34 M parameters) is the base: 1300 updates of 16 x 64 characters
        of GSM8K's calculations with whole numbers up to 30, "24/2=12", those of an answer one after the other, and of
        beginnings of its questions; in a quarter of the answers they are marked as GSM8K does, "24/2=<<24/2=12>>12"
        (from bare lines alone so small a model does not learn to copy numbers). The task: expressions that chain two of
        these calculations, "24/2+10?". A demonstration works it out, "24/2=12;12+10=22;#22"; a preference has that as
        the chosen answer, and as the rejected one either a wrong first step that is gone on with or a wrong result
        alone. Score: percent of 500 other expressions whose final number is right, greedy.

        Totals of 200, 800 and 2400 examples of either kind, a price of 1 each; shares 0, 0.1, 0.5 and 1 for
        demonstrations. In a cell the two kinds have different prompts; smaller purchases lie in larger ones. Stages
        are 2 epochs in batches of 16, AdamW with a cosine. The rate of demonstrations, 3e-3, is the better of two at
        2400 and share 1 on seed 1000, which is not judged, and the corpus of the base was changed there until share 1
        learnt something; both favour share 1. DPO has a tenth of that rate and beta 0.1 on summed
        log-likelihoods, not tuned; all are the same for all shares. Seeds share no expression.
        Within 2 points: on the mean against each other share, and surely less than 4 points below it. The mixture: at
        least as good on the mean with one of the other shares, and surely less than 2 points worse.

        Smaller than was planned (width 128), so that all seeds take minutes. Demonstrations here are never wrong, which
        is hard on preferences. Reported and not judged: form and length of answers, divergence from the base, and what
        chosen and rejected answers gained over the reference (below 0: displaced).
        """,
    published=(
        Published(
            value="demonstrations alone, under 1,000 annotated examples",
            metric="best split",
            data="four tasks, several sizes of models",
            where="arXiv 2502.11284, abstract",
        ),
        Published(
            value="15 to 20 % from less than 10 % of the budget for demonstrations first",
            metric="improvement on analytical benchmarks like GSM8K over preferences alone",
            data="DPO from the base",
            where="arXiv 2502.11284, abstract",
        ),
    ),
    parts=(
        *(
            Part(
                name=f"200: all to demonstrations, not {share:g}",
                says=f"At 200 a share of 1 is at most 2 points below one of {share:g}; surely less than 4 points.",
                gain=("score at 200, share 1", f"score at 200, share {share:g}"),
                margin=-2.0,
                null=-4.0,
                unit="points",
            )
            for share in SHARES[:-1]
        ),
        Part(
            name="2400: cold start",
            says="At 2400 a tenth for demonstrations is at least 10 points better than none.",
            gain=("score at 2400, share 0.1", "score at 2400, share 0"),
            margin=10.0,
            unit="points",
        ),
        *(
            Part(
                name=f"2400: a mixture, {share:g}",
                says=f"At 2400 a share of {share:g} is at least as good as one of 1; surely less than 2 points worse.",
                gain=(f"score at 2400, share {share:g}", "score at 2400, share 1"),
                null=-2.0,
                unit="points",
                group="mixture",
            )
            for share in SHARES[:-1]
        ),
    ),
    needs={"mixture": 1},
    seeds=3,
    minutes=8,
    data=("gsm8k",),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """All cells of a seed from the same base, two shares at a time. At smoke scale a tiny one, on made-up sums."""
    import copy
    import math
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    from tempfile import TemporaryDirectory

    import torch

    from smidgen.lm.instruct import StageConfig
    from smidgen.lm.two_stages import TwoStages
    from smidgen.nets.products import full_speed
    from smidgen.papers.calculator import Characters, preference_of
    from smidgen.studies.budget_split import BudgetSplitStudy

    full = scale == Scale.FULL
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # products this small only wait for each other
    try:
        solved, questions, bought, test = _task(seed, full)
        base = _base(solved, questions, seed, full)
        scored = functools.partial(_scored, base=base, test=test, longest=LONGEST if full else 4)
        stage = functools.partial(StageConfig, epochs=EPOCHS, batch=BATCH if full else 64)
        tune = TwoStages(words=Characters(), instruct=stage(lr=RATE), prefer=stage(lr=PREFERENCE_RATE), beta=BETA)
        shown, pairs = [c.demonstration for c in bought], [preference_of(c, seed) for c in bought]
        totals = TOTALS if full else [t // SMALLER for t in TOTALS]

        def cells(share: float, folder: str) -> list[dict[Any, Any]]:
            study = BudgetSplitStudy(
                lambda _: copy.deepcopy(base), tune, shown, pairs, scored, totals, (share,), seeds=(seed,),
                held_prompts=[c.prompt for c in test], values=NOTED,
            )  # fmt: skip
            return study.run(Path(folder) / f"{share}.jsonl").table.to_dict("records")

        with TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool, full_speed():  # around both threads
            rows = [row for part in pool.map(lambda share: cells(share, folder), SHARES) for row in part]
    finally:
        torch.set_num_threads(threads)
    values = {}
    for row in rows:
        total = row["total"] * (1 if full else SMALLER)
        values |= {f"{what} at {total:g}, share {row['share']:g}": float(row[what]) for what in ("score", *NOTED)}
    values |= {f"{what} of the base": float(v) for what, v in scored(base, seed).items()}
    return {k: v for k, v in values.items() if math.isfinite(v)}


def _task(seed: int, full: bool) -> tuple[list[Any], list[str], list[Any], list[Any]]:
    """Facts by answer and questions for the base; of a seed's hand chains to buy, and others to be tested on."""
    import numpy as np

    from smidgen.kit.errors import bad
    from smidgen.kit.seeds import derive_seed
    from smidgen.papers.calculator import LARGEST, Fact, chains_of, facts_of
    from smidgen.tasks import known

    if full:
        rows = known.lines("gsm8k", "train")
        solved, questions = [facts_of([row["answer"]]) for row in rows], [row["question"] for row in rows]
    else:
        sums = [(a, b) for a in range(20) for b in range(20) if a + b <= LARGEST]
        solved, questions = [[Fact(a, "+", b, a + b)] for a, b in sums], ["how many are there in all? " * 4]
    chains = chains_of(fact for facts in solved for fact in facts)
    dealt = np.random.default_rng(derive_seed(0, "deal")).permutation(len(chains))
    hand = dealt[seed if seed < DEALT - 1 else DEALT - 1 :: DEALT]
    hand = hand[np.random.default_rng(derive_seed(seed, "hand")).permutation(len(hand))]
    most, held = (max(TOTALS), TEST) if full else (max(TOTALS) // SMALLER, 4)
    if len(hand) < most + held:
        raise bad("expressions", f"{most + held:,} a seed", f"{len(hand):,}")
    picked = [chains[i] for i in hand[: most + held]]
    return solved, questions, picked[held:], picked[:held]


def _base(solved: list[Any], questions: list[str], seed: int, full: bool) -> Any:
    """The base model: characters of calculations and questions, before any demonstration."""
    import numpy as np
    import torch

    from smidgen.kit.seeds import derive_seed
    from smidgen.lm.instruct import train_stage
    from smidgen.lm.tuning import TuneConfig, supervised_loss
    from smidgen.nets.decoder import Decoder, DecoderConfig
    from smidgen.papers.calculator import Characters, base_stream

    words, shape = Characters(), SHAPE if full else SMALL_SHAPE
    ids_N = torch.from_numpy(base_stream(solved, questions, words, seed, rounds=8 if full else 1))
    model = Decoder(DecoderConfig(vocab=words.words, **shape), seed)
    steps, rows = (int(BASE["steps"]), int(BASE["rows"])) if full else (2, 4)
    reach = torch.arange(shape["max_len"] + 1)

    def batches(number: int) -> tuple[Any, Any]:
        rng = np.random.default_rng(derive_seed(seed, "base", number))
        starts = torch.from_numpy(rng.integers(0, len(ids_N) - len(reach), (rows, 1)))
        windows = ids_N[starts + reach]
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()

    train_stage(model, batches, supervised_loss, TuneConfig(steps=steps, lr=BASE["lr"], warmup=0.05), "base")
    return model


def _scored(model: Any, seed: int, base: Any, test: list[Any], longest: int) -> dict[str, float]:
    """Percent of right final numbers and of answers in the right form, their length, and the divergence from the base
    along a part of them."""
    from smidgen.lm.instruct import greedy_ids
    from smidgen.lm.two_stages import kl_along
    from smidgen.papers.calculator import STEPS, Characters, final_number

    words = Characters()
    ids = greedy_ids(model, words, [chain.prompt for chain in test], longest)
    said = [words.decode(row) if row[-1] == words.end else "" for row in ids]
    right = [final_number(text) == chain.second.result for text, chain in zip(said, test, strict=True)]
    own = [([words.end, *words.encode(c.prompt)], row) for c, row in zip(test[:100], ids[:100], strict=True)]
    return {
        "score": 100 * sum(right) / len(test),
        "well-formed": 100 * sum(STEPS.fullmatch(text) is not None for text in said) / len(test),
        "tokens": sum(map(len, ids)) / len(test),
        "nats from the base": float(kl_along(model, base, own, words.end).mean()),
    }
