"""Long documents with a known label, put together from short real sentences: for measuring what reading less costs."""

from collections.abc import Mapping

import numpy as np

from smidgen.kit.errors import bad


def make_long_documents(
    sentences_by_class: Mapping[str, list[str]],
    neutral: list[str],
    count: int,
    *,
    sentences: int = 25,
    own: int = 8,
    seed: int = 0,
) -> tuple[list[str], np.ndarray]:
    """Long documents from real sentences, in classes of equal size, in random order.

    Args:
        sentences_by_class: sentences of each label. neutral: sentences that say nothing of it.
        count: of documents. sentences: of a document; `own` of them, at random places, are of the label's class. None
            is twice in a document.

    Returns:
        Texts, and labels `[count]`.

    Raises:
        BadInput: fewer sentences than a document needs; more of its own than it has.
    """
    if not 0 <= own <= sentences:
        raise bad("own", f"0 to {sentences}, the sentences of a document", own)
    for name, given, needed in (
        *((f"sentences of '{label}'", s, own) for label, s in sentences_by_class.items()),
        ("neutral", neutral, sentences - own),
    ):
        if needed > len(given):
            raise bad(name, f"at least {needed}", len(given))
    rng = np.random.default_rng(seed)
    names = np.array(sorted(sentences_by_class))
    labels = names[rng.permutation(np.arange(count) % len(names))]
    texts, order = [], range(sentences)
    for label in labels:
        mine = iter(rng.choice(len(sentences_by_class[label]), own, replace=False))
        others = iter(rng.choice(len(neutral), sentences - own, replace=False))
        places = set(rng.choice(sentences, own, replace=False).tolist())
        chosen = [sentences_by_class[label][next(mine)] if i in places else neutral[next(others)] for i in order]
        texts.append(" ".join(chosen))
    return texts, labels
