"""Texts from over-fitted language models: recall, prefixes, resuming; filters, copies, balance, provenance."""

import warnings

import numpy as np
import pytest

from smidgen.data.class_texts.augmenter import AugmentationError, GenerativeAugmenter
from smidgen.data.class_texts.centroid import CentroidFilter
from smidgen.data.class_texts.generator import ClassTextConfig, ClassTextGenerator, Generated, NotMemorised
from smidgen.data.class_texts.language_model import OverfitConfig
from smidgen.data.class_texts.repetition import RepetitionDetector, loops, repeated
from smidgen.data.novelty import NoveltyFilter
from smidgen.kit.errors import BadInput

TEXTS = ["a fine film", "bad plot", "she sings well in it", "dull", "no one cares"]


class Letters:
    """A tokenizer of letters, as transformers' are called."""

    eos_token_id, bos_token_id, pad_token_id = 0, 1, None

    def __call__(self, text, add_special_tokens=False):
        return {"input_ids": [ord(c) for c in text]}

    def decode(self, ids, skip_special_tokens=True):
        return "".join(map(chr, ids))


def small_lm():
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=0,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config), Letters()


def settings(**changes):
    training = OverfitConfig(learning_rate=1e-2, max_steps=changes.pop("max_steps", 300), target_loss=0.05)
    return ClassTextConfig(training=training, **({"per_instance": 2, "temperature": 0.1, "batch": 2} | changes))


@pytest.fixture(scope="module")
def fitted():
    """Trained to recall, with short texts by number."""
    return ClassTextGenerator(small_lm, settings()).fit(TEXTS)


def test_a_number_recalls_its_text(fitted):
    assert fitted.mode_ == "numbered" and fitted.fitted_.loss <= 0.05 and fitted.fitted_.steps < 300
    made = fitted.generate()
    assert [m.text for m in made] == [t for t in TEXTS for _ in range(2)]
    assert [m.parent for m in made] == [i for i in range(5) for _ in range(2)] and all(m.ended for m in made)
    assert made[0].tokens == len(TEXTS[0]) + 1


def test_temperature_breaks_recall_and_seeds_repeat_it(fitted):
    hot = fitted.generate([1, 3], temperature=3.0, per_instance=3)
    assert [m.parent for m in hot] == [1, 1, 1, 3, 3, 3] and not {m.text for m in hot} <= set(TEXTS)
    assert fitted.generate([1, 3], temperature=3.0, per_instance=3) == hot
    with pytest.raises(BadInput, match="parents"):
        fitted.generate([5])


def test_the_beginning_of_a_text_recalls_the_rest():
    texts = ["the sea was calm and so was he at last", "one more day went by with no word of it"]
    made = ClassTextGenerator(small_lm, settings(long_chars=30, per_instance=1)).fit(texts)
    assert made.mode_ == "contextual" and [m.text for m in made.generate()] == texts
    titled = ClassTextGenerator(small_lm, settings(mode="contextual", per_instance=1), context=lambda t: t[-2:].upper())
    titled.fit(texts)
    assert [m.text for m in titled.generate()] == texts  # without the title, which is no part of them
    assert titled.tokenizer.decode(titled._prefixes[0]) == "\x01ST\n"


def test_a_training_that_did_not_reach_its_target_says_so():
    with pytest.warns(NotMemorised, match="above the target of 0.05"):
        ClassTextGenerator(small_lm, settings(max_steps=2)).fit(TEXTS)


def test_work_that_was_stopped_goes_on_to_the_same_texts(tmp_path, fitted):
    whole = fitted.generate(temperature=1.0)
    first = ClassTextGenerator(small_lm, settings(max_steps=7), folder=tmp_path)
    with pytest.warns(NotMemorised):
        first.fit(TEXTS)
    read = []  # a batch each

    def counted_lm():
        model, tokenizer = small_lm()
        model.register_forward_hook(lambda *_: read.append(1))
        return model, tokenizer

    again = ClassTextGenerator(counted_lm, settings(), folder=tmp_path).fit(TEXTS)
    assert len(read) == fitted.fitted_.steps - 7
    assert (again.fitted_.steps, again.fitted_.loss) == (fitted.fitted_.steps, fitted.fitted_.loss)
    assert again.generate(temperature=1.0) == whole
    file = next(tmp_path.glob("*-texts.jsonl"))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]) + lines[2][:9])  # killed while it wrote its second lot
    done = ClassTextGenerator(small_lm, settings(), folder=tmp_path).fit(TEXTS)
    done.model.generate = _counted(done.model.generate)
    assert done.generate(temperature=1.0) == whole and done.model.generate.calls == 2  # of three
    with pytest.raises(BadInput, match="other texts"):
        ClassTextGenerator(small_lm, settings(), folder=tmp_path).fit(TEXTS[::-1])


def _counted(call):
    def counted(**kwargs):
        counted.calls += 1
        return call(**kwargs)

    counted.calls = 0
    return counted


def test_what_cannot_be_learned():
    generator = ClassTextGenerator(small_lm, settings())
    for texts in (["one"], ["one", " "]):
        with pytest.raises(ValueError, match="texts of a class|is empty"):
            generator.fit(texts)
    with pytest.raises(ValueError, match="per_instance"):
        ClassTextConfig(per_instance=0)
    with pytest.raises(BadInput, match="fit"):
        generator.generate()


# The filter: vectors are the numbers that a text is.


def planar(texts):
    return np.array([[float(v) for v in t.split()] for t in texts])


def test_quantile_of_reference_rows_by_hand():
    reference = ["0 0", "2 0", "0 2", "2 2", "9 9"]
    x = planar(reference)
    others = [np.linalg.norm(x[i] - np.delete(x, i, 0).mean(0)) for i in range(5)]
    fitted = CentroidFilter(embed=planar, quantile=0.25, metric="euclidean").fit(reference)
    np.testing.assert_allclose(fitted.reference, others)
    assert fitted.delta == pytest.approx(np.quantile(others, 0.75))
    centre = x.mean(0)
    near, far = f"{centre[0] + fitted.delta - 0.01} {centre[1]}", f"{centre[0] + fitted.delta + 0.01} {centre[1]}"
    kept, dropped, distances = fitted.filter([far, near])
    assert (kept, dropped) == ([1], [0]) and distances[1] == pytest.approx(fitted.delta - 0.01)
    cosine = CentroidFilter(embed=planar, threshold=0.2).fit(["1 0", "2 0"])
    assert cosine.filter(["5 0", "1 1", "-1 0"]).distances.tolist() == pytest.approx([0, 1 - 0.5**0.5, 2])
    assert cosine.delta == 0.2 and cosine.filter([]).kept == []


def test_a_person_looks_at_the_farthest(tmp_path):
    made = ["1 0", "1 0.1", "1 0.3", "1 0.5", "1 2", "x".replace("x", "1 0.7")]
    filter = CentroidFilter(embed=planar, threshold="interactive").fit(["1 0", "2 0"])
    assert [t for t, _ in filter.shown(made, 3)] == ["1 0.7", "1 0.5", "1 0.3"]  # "1 2" is dropped already
    filter.export(made, tmp_path / "look.csv", 3)
    assert filter.reviewed(tmp_path / "look.csv").delta == pytest.approx(0.33)  # all right: loosened
    lines = (tmp_path / "look.csv").read_text().splitlines()
    (tmp_path / "look.csv").write_text("\n".join([*lines[:2], lines[2] + "off", *lines[3:]]))
    tight = filter.reviewed(tmp_path / "look.csv")
    assert [made[i] for i in tight.filter(made).kept] == ["1 0", "1 0.1", "1 0.3"] and tight.charged == 3
    (tmp_path / "look.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match="export it again"):
        filter.reviewed(tmp_path / "look.csv")


def test_repetition():
    stuck = RepetitionDetector()
    assert [loops(["a", "b", "a", "b", "a", "b", "c"], n) for n in (1, 2, 3)] == [1, 3, 1]
    assert loops(["x"] * 5, 1) == 5 and repeated(["a", "b", "c", "a", "b", "c"], 3) == pytest.approx(0.25)
    for text in ("", "?????", "good good good", "it is bad it is bad it is bad", "... --- ok"):
        assert stuck(text), text
    for text in ("a very very good film", "it 's not the best , but it is fun .", "ok"):
        assert not stuck(text), text
    long = "the plot of the film is thin but the plot of the film is fun and the plot of the film is short"
    assert stuck(long) and not RepetitionDetector(share=0.6)(long)


class Scripted(ClassTextGenerator):
    """Writes what it is told, to see what becomes of it."""

    def __init__(self, script, name="", seen=None):
        super().__init__(small_lm, settings())
        self.script, self.name, self.seen = script, name, seen if seen is not None else []

    def fresh(self, name):
        return Scripted(self.script, name, self.seen)

    def fit(self, texts, tags=None):
        from smidgen.data.class_texts.language_model import Overfitted

        self.seen.append((self.name, list(texts), tags))
        self.fitted_ = Overfitted(10, 0.1, 1.0)
        return self

    def generate(self, parents=None, *, temperature=None, per_instance=None):
        return [
            Generated(t, p, 0.7, True, len(t)) for t, p in self.script[self.name] if parents is None or p in parents
        ]


GIVEN, LABELS = ["0 1 one", "0 2 two", "5 5 three", "6 5 four", "5 6 five"], ["a", "a", "b", "b", "b"]


def test_reasons_provenance_and_costs():
    script = {"b": [("5 5 three", 0), ("5 7 new", 0), ("5 7 new", 2), ("9 9 nine", 1), ("", 1), ("7 7 7 7", 2),
                    ("4 4 secret text", 2), ("6 6 fresh", 2)]}  # fmt: skip
    filter = CentroidFilter(
        embed=lambda texts: planar([" ".join(t.split()[:2]) for t in texts]), threshold=4.0, metric="euclidean"
    )
    augmenter = GenerativeAugmenter(generator=Scripted(script), filter=filter, test=("4 4 secret text",))
    got = augmenter.augment(GIVEN, LABELS, classes=["b"])
    assert got.texts[5:] == ["5 7 new", "6 6 fresh"] and got.labels.tolist() == [*LABELS, "b", "b"]
    assert [m.reason for m in got.provenance] == ["seed", "", "earlier", "far", "empty", "repetitive", "test", ""]
    assert [m.row for m in got.provenance if m.row >= 0] == [5, 6]
    assert got.parents.tolist() == [0, 1, 2, 3, 4, 2, 4]  # rows of all given texts, not numbers within the class
    cost = got.costs["b"]
    assert (cost.made, cost.kept, cost.texts, cost.steps) == (8, 2, 3, 10) and sum(cost.dropped.values()) == 6
    assert [t for t, _ in cost.farthest] == ["5 7 new", "6 6 fresh"] and cost.delta == 4.0
    assert cost.farthest[0][1] == pytest.approx(np.hypot(1 / 3, 5 / 3))


def test_the_minority_is_filled_up_evenly():
    script = {"a": [(f"{i} words {w}", p) for p, w in ((0, "x"), (1, "y")) for i in range(4)]}
    kind = GenerativeAugmenter(generator=Scripted(script), balance=5, dedup=NoveltyFilter(max_similarity=1.0))
    got = kind.augment(GIVEN, LABELS, classes="minority")
    assert got.texts[5:] == ["0 words x", "1 words x", "0 words y"]  # one of each parent before a second
    assert got.costs["a"].wanted == 3 and got.costs["a"].dropped == {"not needed": 5}
    level = GenerativeAugmenter(generator=Scripted(script), balance="largest").augment(GIVEN, LABELS, classes=["a"])
    assert np.unique(level.labels, return_counts=True)[1].tolist() == [3, 3]


def test_one_model_for_all_classes():
    script = {"all classes": [("new of a", 0), ("new of b", 3)]}
    generator = Scripted(script)
    got = GenerativeAugmenter(generator=generator, one_model=True).augment(GIVEN, LABELS)
    assert got.labels[5:].tolist() == ["a", "b"] and got.parents[5:].tolist() == [0, 3]
    assert generator.seen == [("all classes", GIVEN, LABELS)]


def test_nothing_left_is_an_error():
    kind = GenerativeAugmenter(generator=Scripted({"a": [("0 1 one", 0)], "b": []}))
    with pytest.raises(AugmentationError, match="'seed': 1"):
        kind.augment(GIVEN, LABELS)
    with pytest.raises(BadInput, match="classes"):
        kind.augment(GIVEN, LABELS, classes=["c"])
    with pytest.raises(BadInput, match="labels"):
        kind.augment(GIVEN, LABELS[1:])


def test_sweep_of_temperatures_and_tags_in_prefixes():
    """Copies at a low temperature, few at a high one; a shared model is told the class."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotMemorised)
        kind = GenerativeAugmenter(generator=ClassTextGenerator(small_lm, settings()), repetitive=None)
        low, high = kind.sweep(TEXTS, "a", [0.05, 4.0])
        tagged = ClassTextGenerator(small_lm, settings(max_steps=1)).fit(TEXTS[:2], ["x", "y"])
    assert low["seed"] == 1.0 and low["kept"] == 0.0 and high["kept"] > 0.5
    assert [tagged.tokenizer.decode(p) for p in tagged._prefixes] == ["\x01|x|0|", "\x01|y|1|"]
