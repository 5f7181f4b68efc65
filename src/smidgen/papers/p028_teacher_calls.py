"""Claim 028: few teacher calls a seed go to more answers, many to new questions (2024)."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

SIZES, RATIOS = (20, 100, 500), (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # seeds; calls a seed
LOW, HIGH = RATIOS[:2], RATIOS[4:]
RESPONDER = 300  # rows with labels that the responder learns from
DRAWS = 4  # of seeds and responder, averaged in one measurement
ROWS, TEST = 5369, 500
CLASSES = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")

CLAIM = Claim(
    title="Choosing how to spend teacher calls on synthetic data",
    year=2024,
    gives="More answers, reworded questions or wholly new questions? Depending on how many seed questions and paid "
    "model calls you have, it picks what to request from a teacher language model for fine-tuning a smaller one.",
    room="data",
    implements=(
        "data.teacher",
        "data.generation",
        "data.strategies",
        "data.strategy_choice",
        "studies.strategies",
        "laws.budget_grid.crossover",
    ),
    keywords="synthetic data, language model distillation, API cost, query budget, question generation, paraphrase, "
    "answer augmentation, instruction tuning, maths problems, SQL, question answering, seed set, strategy, "
    "cost-effectiveness",
    says="With few teacher calls a seed question, more answers to the seeds train the best student; with many, new "
    "questions do, and go on gaining where answers and rephrasings level off. With many seeds all are about equal.",
    experiment="""
        The mechanics of the budget, not the writing of a language model: TREC questions of 6 types, seeds without
        labels. The responder is logistic regression on MiniLM vectors of 300 other labelled rows; each call samples a
        label from its probabilities. Answer: a label of a seed, 1 call. Rephrase: the seed with words swapped and left
        out, and its label, 2 calls. New: the unused row nearest to a random seed, and its label, 2 calls; such a
        writer is better than a language model, for its questions are real ones. The student: softmax regression on
        the same vectors, 1,000 updates of 32 rows whatever their number, accuracy on the 500 test rows. S of 20, 100
        and 500 seeds, r of 0.5 to 16 calls a seed; rows of a smaller budget are the first of a larger one; 4 draws of
        responder and seeds are averaged in one measurement, rephrasing (not judged) is measured on the first.

        Few calls: mean over r of 0.5 and 1. Many: over 8 and 16, where new questions must gain 2 points on average and
        surely more than none. Not judged: by S, at how many calls a seed they overtake for good, where they do.
        """,
    published=(
        Published(
            value="answers at a low ratio, new questions at a high one",
            metric="best strategy by teacher calls a seed question",
            data="maths, code and question answering, a large language model teaching a smaller one",
            where="arXiv 2409.19759, abstract",
        ),
    ),
    parts=(
        *(
            Part(
                name=f"few calls, {size} seeds",
                says=f"With {size} seeds and at most 1 call a seed, more answers are better than new questions.",
                gain=(f"answers {size} low", f"new {size} low"),
                unit="points",
            )
            for size in SIZES
        ),
        *(
            Part(
                name=f"many calls, {size} seeds",
                says=f"With {size} seeds and at least 8 calls a seed, new questions are better by 2 points.",
                gain=(f"new {size} high", f"answers {size} high"),
                margin=2.0,
                unit="points",
            )
            for size in SIZES[:2]
        ),
        Part(
            name="the gap shrinks",
            says="At 8 calls a seed new questions gain less over answers with 500 seeds than with 20.",
            gain=("gap 20 at 8", "gap 500 at 8"),
            unit="points",
        ),
    ),
    seeds=5,
    minutes=5,
    resampled=TEST / ROWS,
    data=("trec",),
    added="2026-11-29",
)


@dataclass
class World:
    """Questions with labels, test questions, and vectors of any texts, each made once."""

    texts: list[str]
    labels: list[str]
    test_texts: list[str]
    test_labels: list[str]
    encoder: Callable[[list[str]], Any]
    vectors: dict[str, Any]
    seeds: tuple[int, ...]
    responder: int
    updates: int

    def encode(self, texts: Sequence[str]) -> Any:
        import numpy as np

        new = [t for t in dict.fromkeys(texts) if t not in self.vectors]
        if new:
            self.vectors.update(zip(new, self.encoder(new), strict=True))
        return np.stack([self.vectors[t] for t in texts])


def run(scale: Scale, seed: int) -> dict[str, float]:
    """Accuracies in points by strategy, seeds and ratio, and what the parts need of them. At smoke scale made-up
    questions."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    from smidgen.kit.seeds import derive_seed
    from smidgen.laws.budget_grid import crossover

    full = scale == Scale.FULL
    with threadpool_limits(1, user_api="blas"):  # small matrices
        world = _trec() if full else _made()
        draws = [measure(world, derive_seed(seed, "draw", i), rephrase=i == 0) for i in range(DRAWS if full else 1)]
    values: dict[str, float] = {}
    for name in dict.fromkeys(k for draw in draws for k in draw):
        values[name] = float(np.mean([draw[name] for draw in draws if name in draw]))
    for size in SIZES:
        for name in ("answers", "new"):
            for part, ratios in (("low", LOW), ("high", HIGH)):
                values[f"{name} {size} {part}"] = float(np.mean([values[f"{name} {size} at {r:g}"] for r in ratios]))
        values[f"gap {size} at 8"] = values[f"new {size} at 8"] - values[f"answers {size} at 8"]
        answers_DB, new_DB = (
            [[draw[f"{name} {size} at {r:g}"] for r in RATIOS] for draw in draws] for name in ("answers", "new")
        )
        found = crossover(RATIOS, np.array(answers_DB), np.array(new_DB))
        if found:
            values[f"new overtakes at {size}"] = found[0]
    return values


def measure(world: World, seed: int, rephrase: bool) -> dict[str, float]:
    """One draw of responder and seeds: accuracies of the students, and of the responder."""
    import numpy as np

    from smidgen.data.strategies import AnswerAugmentation, NewQuestion, QuestionRephrase
    from smidgen.data.strategy_prompts import load_prompts
    from smidgen.data.teacher import Example, TeacherBudget
    from smidgen.kit.seeds import derive_seed
    from smidgen.laws.budget_grid import nested
    from smidgen.studies.strategies import EqualUpdatesHead

    order = nested(len(world.texts), seed, "rows").tolist()
    labelled, rest = order[: world.responder], order[world.responder :]
    responder = Responder(world, labelled, seed)
    prompts = load_prompts("classification", labels=CLASSES)
    strategies: dict[str, Any] = {"answers": AnswerAugmentation(temperature=1.0), "new": NewQuestion(n_context=1)}
    if rephrase:
        strategies["rephrased"] = QuestionRephrase()
    values = responder.accuracies()
    for size, count in zip(SIZES, world.seeds, strict=True):
        seeds = [Example(world.texts[i]) for i in rest[:count]]
        for name, strategy in strategies.items():
            made = strategy.generate(
                seeds,
                TeacherBudget(int(RATIOS[-1] * count)),
                Writer(world, rest[count:], seed),
                responder,
                prompts=prompts,
                novelty=None,
                seed=derive_seed(seed, "generation", count),
                batch=1024,
            )
            for ratio in RATIOS:
                rows = made.within(int(ratio * count))
                student = EqualUpdatesHead(world.encode, updates=world.updates, seed=derive_seed(seed, "student"))
                student.fit([row.input for row in rows], [row.output for row in rows])
                right = student.predict(world.test_texts) == np.array(world.test_labels)
                values[f"{name} {size} at {ratio:g}"] = 100 * float(right.mean())
    return values


class Responder:
    """Logistic regression that samples a label at every call."""

    name = "sampled labels"

    def __init__(self, world: World, rows: list[int], seed: int) -> None:
        from smidgen.learn.logistic import LogisticClassifier

        self.world = world
        self.model = LogisticClassifier(random_state=seed)
        self.model.fit(world.encode([world.texts[i] for i in rows]), [world.labels[i] for i in rows])

    def ask(self, prompts: Sequence[Any]) -> list[Any]:
        import numpy as np

        from smidgen.data.teacher import Completion

        p_NC = self.model.predict_proba(self.world.encode([p.fields["question"] for p in prompts]))
        draws_N = np.array([np.random.default_rng(prompt.seed).random() for prompt in prompts])
        codes_N = np.minimum((p_NC.cumsum(1) < draws_N[:, None]).sum(1), p_NC.shape[1] - 1)
        return [Completion(str(self.model.classes_[code])) for code in codes_N]

    def accuracies(self) -> dict[str, float]:
        """On the test rows: of the likeliest label, and expected of a sampled one."""
        import numpy as np

        p_NC = self.model.predict_proba(self.world.encode(self.world.test_texts))
        right_NC = np.array(self.world.test_labels)[:, None] == np.asarray(self.model.classes_)[None]
        best = p_NC.argmax(1)
        return {
            "responder's likeliest label": 100 * float(right_NC[np.arange(len(best)), best].mean()),
            "responder's sampled label": 100 * float((p_NC * right_NC).sum(1).mean()),
        }


class Writer:
    """Writes a new question, the unused row nearest to the seed, or a seed in other order and with words left out."""

    name = "nearest row"

    def __init__(self, world: World, pool: list[int], seed: int) -> None:
        self.world, self.pool = world, [world.texts[i] for i in pool]
        self.vectors_ND = world.encode(self.pool)
        self.unused: Any = None

    def ask(self, prompts: Sequence[Any]) -> list[Any]:
        from smidgen.data.teacher import Completion

        return [
            Completion(f"<question>{self._reworded(p) if p.kind == 'rephrase' else self._nearest(p)}</question>")
            for p in prompts
        ]

    def _nearest(self, prompt: Any) -> str:
        import numpy as np

        if self.unused is None:
            self.unused = np.ones(len(self.pool), bool)
        near_N = self.vectors_ND @ self.world.encode([prompt.fields["parents"][0].input])[0]
        at = int(np.where(self.unused, near_N, -np.inf).argmax())
        self.unused[at] = False
        return self.pool[at]

    def _reworded(self, prompt: Any) -> str:
        """One word in ten swapped with another, at least one pair; one in ten left out."""
        import numpy as np

        rng = np.random.default_rng(prompt.seed)
        words = prompt.fields["parents"][0].input.split()
        for _ in range(max(1, round(0.1 * len(words)))):
            i, j = rng.integers(0, len(words), 2)
            words[i], words[j] = words[j], words[i]
        kept = [w for w in words if rng.random() >= 0.1]
        return " ".join(kept or words)


@functools.cache
def _trec() -> World:
    """Questions that are twice there, or in the test part, are left out."""
    from smidgen.nets import minilm
    from smidgen.tasks import known

    encoder = minilm.load().encode
    (texts, labels), (test_texts, test_labels) = known.texts("trec"), known.texts("trec", "test")
    test = [" ".join(t.split()) for t in test_texts]
    rows = {" ".join(t.split()): str(y) for t, y in zip(texts, labels, strict=True)}
    known_test = set(test)
    rows = {t: y for t, y in rows.items() if t not in known_test}
    return World(
        list(rows), list(rows.values()), test, [str(y) for y in test_labels], encoder, {}, SIZES, RESPONDER, 1000
    )


def _made() -> World:
    """Questions of words that tell their class more or less, and vectors of their words."""
    import numpy as np

    from smidgen.kit.seeds import derive_seed

    rng = np.random.default_rng(28)

    def question(code: int) -> str:
        told = [CLASSES[code].lower() + str(rng.integers(6)) for _ in range(2)]
        return " ".join([*told, *(f"word{rng.integers(60)}" for _ in range(5))])

    def encoder(texts: list[str]) -> Any:
        words = {w for t in texts for w in t.split()}
        own = {w: np.random.default_rng(derive_seed(0, w)).normal(size=24) for w in words}
        x = np.array([np.sum([own[w] for w in t.split()], axis=0) for t in texts])
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    pairs = dict.fromkeys((question(i % 6), CLASSES[i % 6]) for i in range(300))
    rows, test = list(pairs)[:240], list(pairs)[240:]
    return World(
        *([t for t, _ in rows], [y for _, y in rows], [t for t, _ in test], [y for _, y in test]),
        encoder, {}, (4, 6, 8), 60, 30,
    )  # fmt: skip
