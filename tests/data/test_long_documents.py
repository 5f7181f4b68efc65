"""Long documents put together from sentences."""

from collections import Counter

import pytest

from smidgen.data.long_documents import make_long_documents
from smidgen.kit.errors import BadInput

OWN = {label: [f"{label}{i}" for i in range(9)] for label in ("a", "b", "c")}
NEUTRAL = [f"n{i}" for i in range(20)]


def test_documents_hold_their_own_sentences_at_random_places():
    texts, labels = make_long_documents(OWN, NEUTRAL, 60, seed=1)
    assert Counter(labels) == {"a": 20, "b": 20, "c": 20}
    assert labels[:20].tolist() != ["a"] * 20
    places = Counter()
    for text, label in zip(texts, labels, strict=True):
        words = text.split()
        assert len(words) == len(set(words)) == 25
        assert Counter(w[0] for w in words) == {label: 8, "n": 17}
        places.update(i for i, w in enumerate(words) if w[0] == label)
    assert set(places) == set(range(25)) and max(places.values()) < 3 * min(places.values())
    again, other = (make_long_documents(OWN, NEUTRAL, 60, seed=s)[0] for s in (1, 2))
    assert texts == again and texts != other


def test_errors():
    with pytest.raises(BadInput, match="neutral"):
        make_long_documents(OWN, NEUTRAL[:3], 2)
    with pytest.raises(BadInput, match="sentences of 'a'"):
        make_long_documents({"a": ["one"], "b": OWN["b"]}, NEUTRAL, 2)
    with pytest.raises(BadInput, match="own"):
        make_long_documents(OWN, NEUTRAL, 2, sentences=5)
