"""Claim 007: texts that a language model writes for each class train a better classifier (Bayer et al., 2021).

Where this differs from the plan of the re-test, and why; all was fixed on seeds from 1000 on.

- The small language model is trained on the unlabelled sentences anew for each seed, for a minute or so of one core,
  and over-fitted for up to 300 steps (600 at 300 rows), not 200. In 300 steps the 150 texts of a class were not learned
  by heart in development (loss 2.8 to 3.1, of 50 texts 0.3 to 0.5), and what such a model writes may be of no class.
  The loss that was reached is among the numbers.
- The words of TF-IDF and their weights are counted on the unlabelled sentences, in all arms: what the language model
  has read the baseline has read too, as in the paper.
- Made texts that are like a test sentence, a given one or an earlier made one are dropped in all arms of generation.
- Synonyms of EDA are the nearest words of MiniLM's own vectors, not WordNet's. TREC is left out.
- Without numbering is measured at 100 rows, not judged. So is logistic regression on MiniLM's vectors.
"""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

SET, POOL, TEST = "sst2", 6909, 872
SIZES, EACH = (100, 300), 5  # training rows; texts made of each
WORDS, HIDDEN, LAYERS, LENGTH = 2048, 128, 2, 96  # of the language model; tokens
UPDATES, TEXTS_AN_UPDATE, RATE = 160, 64, 3e-3
FIT_STEPS, FIT_RATE, TARGET = {100: 300, 300: 600}, 3e-3, 0.2  # by training rows

CLAIM = Claim(
    title="Writing more training texts per class with a language model",
    year=2021,
    gives="Fit a text generator to each of your classes, let it write new samples, and discard those that stray from "
    "the topic. Helps text classifiers that have a few hundred rows or a rare positive class.",
    room="data",
    implements=(
        "data.class_texts.generator",
        "data.class_texts.language_model",
        "data.class_texts.centroid",
        "data.class_texts.repetition",
        "data.class_texts.augmenter",
    ),
    keywords="text augmentation, GPT-2, synthetic text, sentiment, news articles, crisis tweets, minority class, class "
    "imbalance, few labelled documents, filter bad samples, sentence embeddings, long and short texts",
    says="Texts written by a language model that was over-fitted on each class, with those dropped that lie far from "
    "the class's centre, raise a classifier's accuracy, the more the fewer labelled texts there are.",
    experiment=f"""
        SST-2: {SIZES[0]} or {SIZES[1]} training sentences drawn by the seed, equally of both classes; the {TEST}
        development sentences are the test. Language model: {LAYERS} layers of {HIDDEN}, {WORDS:,} word pieces, trained
        on the {POOL:,} training sentences without labels ({UPDATES} updates of {TEXTS_AN_UPDATE}), then over-fitted per
        class on numbered texts to a loss of {TARGET}, at most 300 or 600 steps; {EACH} texts of each, temperature 0.7.
        Filter: cosine distance of MiniLM's vectors to the class's centre; 5 % of training rows lie beyond its limit.
        Classifier: TF-IDF of one and two words, logistic regression.

        The paper's language model is GPT-2 of 355 million weights, which knows of the world; this one knows nothing but
        the unlabelled sentences. Such outside knowledge is the paper's own explanation of the gain: it may be absent.
        """,
    published=(
        Published(
            value="0.558 -> 0.713 at 100 rows, 0.722 -> 0.740 at 300",
            metric="mean accuracy without and with generated texts",
            data="SST-2, ULMFiT",
            where="arXiv 2103.14453, results on SST-2",
        ),
    ),
    parts=(
        Part(
            name="gain",
            says="At 100 rows generated and filtered texts raise accuracy by a point.",
            gain=("filtered 100", "none 100"),
            margin=0.01,
            unit="accuracy",
        ),
        Part(
            name="few rows",
            says="The gain at 100 rows is not below that at 300; surely by less than a point.",
            gain=("gain 100", "gain 300"),
            null=-0.01,
            unit="accuracy",
        ),
        Part(
            name="filter",
            says="At 100 rows the filter does no harm; surely less than a point.",
            gain=("filtered 100", "unfiltered 100"),
            null=-0.01,
            unit="accuracy",
        ),
    ),
    seeds=4,
    minutes=10,
    resampled=TEST / POOL,
    data=(SET,),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """Test accuracies of all arms, on TF-IDF and on MiniLM's vectors. At smoke scale made-up sentences."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    import torch

    full = scale == Scale.FULL
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with TemporaryDirectory() as folder:
            return _measured(Path(folder), seed, full)
    finally:
        torch.set_num_threads(threads)


def _measured(folder: Any, seed: int, full: bool) -> dict[str, float]:
    import numpy as np

    from smidgen.data.augment.synonyms import NearestWords, WordList
    from smidgen.data.augment.texts import EasyDataAugmentation, augment
    from smidgen.kit.seeds import derive_seed

    (texts, y), (test, y_test) = _sentences() if full else _made(seed)
    if full:
        from smidgen.nets import minilm

        encode, synonyms = _kept(minilm.load().encode), NearestWords()
    else:
        encode, synonyms = _kept(_letters), WordList({"good": ("fine",)})
    judge = _Judge(texts, test, y_test, encode)
    _pretrain(texts, folder / "lm", derive_seed(seed, "language model"), full)
    values: dict[str, float] = {}
    for size, few in zip(SIZES, SIZES if full else (4, 6), strict=True):
        rows = _balanced(y, few, np.random.default_rng(derive_seed(seed, "rows")))
        own, labels = [texts[i] for i in rows], y[rows]
        arms: dict[str, Any] = {"none": (own, labels)}
        eda = augment(own, labels, EasyDataAugmentation(n_aug=EACH, synonyms=synonyms), derive_seed(seed, "EDA"))
        arms["EDA"] = eda.texts, eda.y
        for name, mode, near in (
            ("filtered", "numbered", True),
            ("unfiltered", "numbered", False),
            ("no numbers", "plain", True),
        ):
            if mode == "plain" and size != SIZES[0]:
                continue
            kind = _augmenter(folder / "lm", folder / f"{mode} {size}", mode, size, near, encode, test, seed, full)
            got = _augmented(kind, own, labels)
            arms[name] = got.texts, got.labels
            if name == "filtered":
                costs = list(got.costs.values())
                values |= {f"made {size}": sum(c.made for c in costs), f"kept {size}": sum(c.kept for c in costs)}
                values[f"copies {size}"] = sum(c.dropped.get(k, 0) for c in costs for k in ("seed", "earlier"))
                values[f"far {size}"] = sum(c.dropped.get("far", 0) for c in costs)
                values[f"loss {size}"] = max((c.loss for c in costs), default=0.0)
        for name, (some, y_some) in arms.items():
            values |= {f"{prefix}{name} {size}": v for prefix, v in judge(some, y_some).items()}
        values[f"gain {size}"] = values[f"filtered {size}"] - values[f"none {size}"]
    return values


def _augmenter(
    lm: Any, folder: Any, mode: Any, size: int, near: bool, encode: Any, test: Any, seed: int, full: bool
) -> Any:
    """Both arms with numbers share a folder: its language models are trained, and its texts written, once."""
    from smidgen.data.class_texts.augmenter import GenerativeAugmenter
    from smidgen.data.class_texts.centroid import CentroidFilter
    from smidgen.data.class_texts.generator import ClassTextConfig, ClassTextGenerator
    from smidgen.data.class_texts.language_model import OverfitConfig
    from smidgen.kit.seeds import derive_seed

    steps = FIT_STEPS[size] if full else 2
    training = OverfitConfig(target_loss=TARGET, max_steps=steps, learning_rate=FIT_RATE, keep_every=steps, seed=seed)
    config = ClassTextConfig(
        mode=mode,
        training=training,
        per_instance=EACH if full else 1,
        batch=16,
        max_tokens=None if full else 4,
        seed=derive_seed(seed, "texts"),
    )
    generator = ClassTextGenerator(lambda: _load(lm), config, folder=folder)
    filter = CentroidFilter(embed=encode) if near else None
    return GenerativeAugmenter(generator=generator, filter=filter, test=tuple(test))


def _augmented(augmenter: Any, texts: Any, labels: Any) -> Any:
    """Without a warning of a loss above the target: it is among the values. Where nothing is kept, the given texts."""
    import warnings

    from smidgen.data.class_texts.augmenter import AugmentationError, Augmented
    from smidgen.data.class_texts.generator import NotMemorised

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotMemorised)
        try:
            return augmenter.augment(texts, labels)
        except AugmentationError:
            return Augmented(texts, labels, [], {})


class _Judge:
    """Trains both classifiers and gives their test accuracies; "MiniLM, " is before the names of the second."""

    def __init__(self, pool: Any, test: Any, y_test: Any, encode: Any) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit(pool)
        self.encode, self.y_test = encode, y_test
        self.tests = self.words.transform(test), encode(list(test))

    def __call__(self, texts: Any, y: Any) -> dict[str, float]:
        from sklearn.linear_model import LogisticRegression

        read = self.words.transform(texts), self.encode(texts)
        out = {}
        for prefix, x, x_test in zip(("", "MiniLM, "), read, self.tests, strict=True):
            model = LogisticRegression(C=10.0, max_iter=2000).fit(x, y)
            out[prefix] = float(model.score(x_test, self.y_test))
        return out


def _kept(encode: Any) -> Any:
    """The same encoder, which reads no text twice."""
    import numpy as np

    known: dict[str, Any] = {}

    def read(texts: Any) -> Any:
        new = [t for t in dict.fromkeys(texts) if t not in known]
        if new:
            known.update(zip(new, encode(new), strict=True))
        return np.stack([known[t] for t in texts])

    return read


def _balanced(y: Any, few: int, rng: Any) -> Any:
    """Rows of both classes alike; a larger draw holds the smaller ones of the same seed."""
    import numpy as np

    order = rng.permutation(len(y))
    return np.concatenate([order[y[order] == c][: few // 2] for c in np.unique(y)])


def _pretrain(texts: Any, folder: Any, seed: int, full: bool) -> None:
    """A language model of these texts, saved in the form of transformers."""
    import numpy as np
    import torch

    from smidgen.kit.seeds import derive_seed
    from smidgen.lm import tokenizer as tokenizers
    from smidgen.nets import folder as folders
    from smidgen.nets.decoder import Decoder, DecoderConfig
    from smidgen.train.loop import LoopConfig, Run, train
    from smidgen.train.schedules import Cosine

    words = tokenizers.train(texts, WORDS if full else 300)
    hidden, updates = (HIDDEN, UPDATES) if full else (16, 2)
    of = DecoderConfig(
        vocab=words.words, hidden=hidden,
        layers=LAYERS, heads=4, kv_heads=4, ffn=8 * round(hidden / 3), max_len=LENGTH,
    )  # fmt: skip
    ids = [[words.end, *words.encode(t)][: LENGTH - 1] + [words.end] for t in texts]
    model = Decoder(of, seed)
    rng = np.random.default_rng(derive_seed(seed, "order"))
    order = np.concatenate([rng.permutation(len(ids)) for _ in range(updates * TEXTS_AN_UPDATE // len(ids) + 1)])

    def batches(number: int) -> tuple[Any, ...]:
        some = [ids[i] for i in order[number * TEXTS_AN_UPDATE : (number + 1) * TEXTS_AN_UPDATE]]
        T = max(map(len, some)) - 1
        x = torch.tensor([s[:-1] + [words.end] * (T + 1 - len(s)) for s in some])
        return x, torch.tensor([s[1:] + [-100] * (T + 1 - len(s)) for s in some])

    def loss_of(module: Any, x_BT: Any, y_BT: Any) -> tuple[Any, int]:
        return module(x_BT, targets_BT=y_BT), int((y_BT != -100).sum())

    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = Cosine(steps=updates, warmup=min(16, updates))
    train(Run(model, optimizer), batches, loss_of, schedule, LoopConfig(), steps=updates)
    folder.mkdir(parents=True)
    folders.write(model, folder, bos=words.end, eos=words.end, pad=words.end)
    words.write(folder, LENGTH)


def _load(folder: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def _sentences() -> Any:
    from smidgen.tasks import known

    texts, y = known.texts(SET)
    assert len(texts) == POOL
    return (texts, y), known.texts(SET, "val")


def _made(seed: int) -> Any:
    """A few made-up sentences, to show that it runs."""
    import numpy as np

    rng = np.random.default_rng(seed)
    words = [["good", "fine", "warm", "film"], ["bad", "dull", "cold", "film"]]
    y = np.array(["0", "1"] * 30)
    texts = [" ".join(rng.choice(words[int(c)], 5)) for c in y]
    return (texts[:40], y[:40]), (texts[40:], y[40:])


def _letters(texts: list[str]) -> Any:
    import numpy as np

    return np.array([[t.count(c) + 0.1 for c in "abdfgilmnorw"] for t in texts])
