"""Claim 008: augmentation under full, prefix and LoRA tuning, and a contrastive term for prefixes (2023).

Where this differs from the plan of the re-test, and why; all was fixed before seeds below 1000 ran.

- Each seed has training and test rows of its own (no two judged seeds share any), so that seeds are independent.
  Intervals are Student's over seeds, as of all claims here, not "4 of 5".
- EDA makes one copy of each text ("x2" is read as twice the rows), one of its four operations a copy, as published.
- Separation is judged on copies of test texts: on those of training texts full tuning, which learns these by heart,
  wins whatever it says of others. That is measured beside it.
- Sentence vectors are means over tokens, as MiniLM was trained, not the first token.
- Rates were chosen on rows of seeds from 1000 on, by log loss without augmentation, of three for each tuner: full
  3e-5 to 3e-4, LoRA 5e-4 to 2e-3, prefix 1e-2 to 1e-1, where 3e-2 was as good as 1e-1 and nearer to what is published.
  A first look, which set these ranges, was at 500 rows drawn from all of the training part, some of judged seeds too;
  no arm with augmentation was in it. Differences between rates were small.
- The weight of the contrastive term was fixed untried.
- Epochs are the same for all arms, so augmented arms make twice the updates. The arms without augmentation are
  measured with as many updates too ("long"), beside it, not judged.
"""

from typing import Any

from smidgen.papers.claim import Claim, Part, Published, Scale

SET, JUDGED, HANDS = "sst2", 5, 9
TRAIN, TEST = 100, 600
TUNERS = ("full", "prefix", "lora")
RATES = {"full": 3e-5, "prefix": 3e-2, "lora": 1e-3}
EPOCHS, TOKENS, FROZEN, PREFIX, RANK = 6, 24, 4, 10, 8
CONTRAST, TEMPERATURE = 1.0, 0.1

CLAIM = Claim(
    title="Does text augmentation help when you tune only adapters?",
    year=2023,
    gives="A grid of experiments on your own few hundred texts that shows whether word swaps, back-translation or "
    "mixing aid or harm a LoRA or prefix-tuned model. A contrastive loss is there for when they harm.",
    room="studies",
    implements=(
        "studies.augment_peft",
        "studies.augment_peft_cells",
        "studies.augment_peft_measures",
        "studies.text_separation",
        "learn.adapter_tuning",
        "learn.tuned_folder",
        "learn.supervised_contrastive",
        "nets.adapters",
        "nets.text_encoder",
        "data.augment.texts",
        "data.augment.synonyms",
        "data.augment.back_translation",
        "data.augment.text_mixup",
    ),
    keywords="text classification, data augmentation, EDA synonyms, back-translation, Mixup, LoRA, prefix tuning, "
    "P-tuning, parameter-efficient fine-tuning, BERT, limited data, supervised contrastive loss, ablation study",
    says="With limited data, prefix tuning separates the classes of augmented texts less well than fine-tuning does; a "
    "contrastive term added to its loss makes up for part of it.",
    experiment=f"""
        SST-2: {TRAIN} training sentences and {TEST} test sentences a seed, as many of each class in training. The
        encoder is all-MiniLM-L6-v2, where the paper has BERT and RoBERTa: its first {FROZEN} layers are frozen, the
        last 2 are tuned whole, by a prefix of {PREFIX}, or by LoRA of rank {RANK}; {TOKENS} tokens, {EPOCHS} epochs,
        batches of 16, as many of each class. EDA: one copy of each sentence, 0.1 of each operation, synonyms from the
        nearest MiniLM word vectors. Contrastive term: weight {CONTRAST:g}, temperature {TEMPERATURE:g}.

        Arms: each tuner with and without EDA, and prefix with EDA and the contrastive term. Beside them, not judged:
        no augmentation with as many updates as EDA makes, and Mixup of sentence vectors. Separation is the mean
        silhouette, by cosine, of EDA copies of test sentences.
        """,
    published=(
        Published(
            value="can boost; varies by technique, can lead to a notable degradation with larger models, harder tasks",
            metric="performance of parameter-efficient tuning with augmentation",
            data="P-tuning v2 and LoRA, several text sets",
            where="arXiv 2303.02577, abstract",
        ),
        Published(
            value="sentence embeddings of augmented data are less separated between classes than with fine-tuning",
            metric="separation under prefix tuning",
            data="P-tuning v2",
            where="arXiv 2303.02577, abstract",
        ),
    ),
    parts=(
        Part(
            name="contrast repairs",
            says="Beside EDA, the contrastive term makes prefix tuning better by half a point.",
            gain=("prefix eda contrast", "prefix eda"),
            margin=0.5,
            unit="points",
        ),
        Part(
            name="separation",
            says="Classes of EDA copies lie further apart under full tuning than under a prefix.",
            gain=("silhouette: full eda", "silhouette: prefix eda"),
            unit="silhouette",
        ),
        Part(
            name="interaction",
            says="EDA gives full tuning more than it gives a prefix.",
            gain=("gain: full", "gain: prefix"),
            unit="points",
        ),
    ),
    seeds=JUDGED,
    minutes=9,
    data=(SET,),
    added="2026-11-29",
)


def run(scale: Scale, seed: int) -> dict[str, float]:
    """Accuracy in points of each arm, silhouettes, gains. At smoke scale a tiny encoder of no training."""
    import numpy as np
    import torch
    from threadpoolctl import threadpool_limits

    from smidgen.data.augment.text_mixup import SentenceMixup
    from smidgen.kit.seeds import derive_seed
    from smidgen.learn.adapter_tuning import AdapterClassifier, TuningConfig
    from smidgen.nets.adapters import FullTuning, LoRA, PrefixTuning
    from smidgen.studies.text_separation import class_separation

    full = scale == Scale.FULL
    encoder, eda, (texts, y, new, new_y) = _setting(seed, full)
    tuners = {"full": FullTuning(), "prefix": PrefixTuning(n_prefix=PREFIX), "lora": LoRA(r=RANK)}
    plain = {"epochs": EPOCHS if full else 1, "batch": 16 if full else 4, "temperature": TEMPERATURE}
    arms: dict[str, tuple[Any, dict[str, Any]]] = {}
    for name in TUNERS if full else TUNERS[:2]:
        arms |= {name: (None, {}), f"{name} eda": (eda, {}), f"{name} long": (None, {"epochs": 2 * plain["epochs"]})}
    arms["prefix eda contrast"] = (eda, {"contrast": CONTRAST})
    arms["prefix mixup"] = (None, {"mixup": SentenceMixup(where="cls")})
    copies = [c[0] for c in eda.copies(new, derive_seed(seed, "copies of test texts"))]
    values: dict[str, float] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            for arm, (augmenter, more) in arms.items():
                tuner = arm.split()[0]
                config = TuningConfig(**{**plain, "rate": RATES[tuner], "seed": derive_seed(seed, "training"), **more})
                one = AdapterClassifier(encoder, tuners[tuner], config, augmenter).fit(texts, y)
                values[arm] = 100 * float(np.mean(one.predict(new) == new_y))
                values[f"updates: {arm}"] = one.spent_.updates
                if augmenter is not None:
                    z = one.embed(copies)
                    values[f"silhouette: {arm}"] = class_separation(z, new_y)["silhouette"]
                    values[f"on copies: {arm}"] = 100 * float(np.mean(one.classes_[one.scores(z).argmax(1)] == new_y))
                    made = ~one.data_.original
                    own = one.embed([t for t, is_made in zip(one.data_.texts, made, strict=True) if is_made])
                    values[f"silhouette, training: {arm}"] = class_separation(own, one.data_.y[made])["silhouette"]
    finally:
        torch.set_num_threads(threads)
    return values | {f"gain: {t}": values[f"{t} eda"] - values[t] for t in TUNERS if f"{t} eda" in values}


def _setting(seed: int, full: bool) -> tuple[Any, Any, tuple[list[str], Any, list[str], Any]]:
    """Encoder, EDA, and training and test sentences with their labels."""
    import numpy as np

    from smidgen.data.augment.synonyms import NearestWords, WordList
    from smidgen.data.augment.texts import EasyDataAugmentation
    from smidgen.nets.text_encoder import EncoderConfig, TextEncoder

    if not full:
        rng = np.random.default_rng(seed)
        words = np.array([f"{a}{b}" for a in "bdfglmn" for b in ("ad", "im", "or")])
        texts, y = [" ".join(rng.choice(words, 5)) for _ in range(24)], np.array(["0", "1"] * 12)
        eda = EasyDataAugmentation(n_aug=1, synonyms=WordList({w: list(words[:3]) for w in words}))
        encoder = TextEncoder(EncoderConfig(frozen=FROZEN, max_tokens=TOKENS))
        return encoder, eda, (texts[:12], y[:12], texts[12:], y[12:])
    hand = seed if seed < JUDGED else JUDGED + seed % (HANDS - JUDGED)
    texts, y = _sentences(hand)
    train = np.concatenate([np.flatnonzero(y == c)[: TRAIN // 2] for c in ("0", "1")])
    test = np.setdiff1d(np.arange(len(y)), train)[:TEST]
    eda = EasyDataAugmentation(n_aug=1, synonyms=NearestWords())
    encoder = TextEncoder(EncoderConfig(frozen=FROZEN, max_tokens=TOKENS))
    return encoder, eda, ([texts[i] for i in train], y[train], [texts[i] for i in test], y[test])


def _sentences(hand: int) -> tuple[list[str], Any]:
    """Those of a hand, in an order that no seed changes."""
    import numpy as np

    from smidgen.tasks import known

    texts, y = known.texts(SET)
    label = dict(zip(texts, y, strict=True))  # equal sentences once
    ordered = sorted(label)
    own = [ordered[i] for i in np.random.default_rng(8).permutation(len(ordered))[hand::HANDS]]
    return own, np.array([label[t] for t in own])
