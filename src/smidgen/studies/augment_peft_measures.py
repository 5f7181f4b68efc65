"""What a tuned classifier of texts does: on test texts, and on altered ones, by how much of them was altered."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from smidgen.data.augment.texts import EDGES, EasyDataAugmentation, TextAugmenter, alteration_buckets, augment
from smidgen.kit.seeds import derive_seed
from smidgen.studies.text_separation import class_separation, copy_similarity

BUCKETS = alteration_buckets([], EDGES)[1]
LEVELS = (0.1, 0.3, 0.5)
OF_COPIES = ("silhouette", "centroid_cos", "intra", "inter", "copy_cos", *(f"accuracy {name}" for name in BUCKETS))
MEASURED = ("score", "log_loss", "updates", "epochs", "rows", "trained", "no_positives", "rate", *OF_COPIES)


def default_probes() -> list[TextAugmenter]:
    """What alters test texts: words swapped or deleted, more and more of them; no synonyms are needed."""
    return [EasyDataAugmentation(alpha_rs=level, p_rd=level, n_aug=1) for level in LEVELS]


def measure(classifier: Any, task: Any, probes: Sequence[TextAugmenter], seed: int) -> dict[str, float]:
    """Accuracy ("score") and log loss on the test texts of a task; of altered ones `OF_COPIES`: how classes lie apart,
    how near copies are to their texts, and accuracy by bucket, NaN where a bucket is empty."""
    y, texts = np.asarray(task.test_y), list(task.test_texts)
    z_ND = classifier.embed(texts)
    p_NC = classifier.scores(z_ND)
    at = np.minimum(np.searchsorted(classifier.classes_, y), len(classifier.classes_) - 1)
    known = classifier.classes_[at] == y  # a class that the training rows did not have is missed
    likely = np.where(known, p_NC[np.arange(len(y)), at], 0.0)
    out = {
        "score": float((classifier.classes_[p_NC.argmax(1)] == y).mean()),
        "log_loss": float(-np.log(np.maximum(likely, 1e-7)).mean()),
        **dict.fromkeys(OF_COPIES, math.nan),
    }
    made = [augment(texts, y, probe, derive_seed(seed, k)) for k, probe in enumerate(probes)]
    copies = [t for m in made for t in m.texts[m.given :]]
    if not copies:
        return out
    parent, labels, ratios = (
        np.concatenate([getattr(m, name)[m.given :] for m in made]) for name in ("parent", "y", "altered")
    )
    copies_ND, buckets = classifier.embed(copies), alteration_buckets(ratios, EDGES)[0]
    right = classifier.classes_[classifier.scores(copies_ND).argmax(1)] == labels
    for b, name in enumerate(BUCKETS):
        if (buckets == b).any():
            out[f"accuracy {name}"] = float(right[buckets == b].mean())
    return {**out, **class_separation(copies_ND, labels), "copy_cos": copy_similarity(z_ND[parent], copies_ND)}
