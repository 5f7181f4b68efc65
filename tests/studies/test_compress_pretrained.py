"""Folders of transformers opened: which texts are read and how many, what the answer is, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.studies import compress_pretrained as pretrained
from smidgen.studies.compress_texts import own_windows

transformers = pytest.importorskip("transformers")
WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]  # 150
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1}


class Letters:
    """A tokenizer of letters that keeps what it was asked."""

    eos_token_id: int | None = None

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __call__(self, text: Any, **how: Any) -> dict[str, Any]:
        self.asked.append((text, how))
        if isinstance(text, str):
            return {"input_ids": [ord(c) % 50 for c in text]}
        return {"input_ids": torch.zeros(len(text), 3), "attention_mask": torch.ones(len(text), 3)}

    def get_vocab(self) -> dict[str, int]:
        return dict.fromkeys(WORDS, 0)


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> Letters:
    made = Letters()
    monkeypatch.setattr(pretrained, "tokenizer_of", lambda folder: made)
    return made


def sizes(parts: Any) -> list[int]:
    return [sum(len(batch["input_ids"]) for batch in part) for part in parts]


def model_of(**config: Any) -> Any:
    return SimpleNamespace(config=SimpleNamespace(**config))


def test_an_encoder_reads_so_many_texts_and_so_much_of_each(letters: Letters) -> None:
    texts = [f"text {i}" for i in range(1200)]
    made = pretrained._texts(model_of(), Path("m"), texts, None, 3)
    assert sizes(made) == [512, 128, 256] and [len(b["input_ids"]) for b in made[1]] == [32] * 4
    assert made[0][0].keys() == {"input_ids", "attention_mask"}
    assert {how["max_length"] for _, how in letters.asked} == {128}
    for given, limit in (({"max_position_embeddings": None}, 128), ({"max_position_embeddings": 0}, 128),
                         ({"max_position_embeddings": 40}, 40), ({"max_position_embeddings": 512}, 128)):  # fmt: skip
        letters.asked.clear()
        assert sizes(pretrained._texts(model_of(**given), Path("m"), texts[:12], None, 3)) == [6, 2, 4]
        assert {how["max_length"] for _, how in letters.asked} == {limit}
    assert sizes(pretrained._texts(model_of(), Path("m"), None, None, 3)) == [130, 42, 84]  # 256 salads
    letters.get_vocab = lambda: {"word": 1}  # type: ignore[method-assign]
    assert pretrained._texts(model_of(), Path("m"), None, None, 3) == ([], [], [])


def test_a_causal_model_reads_so_many_windows_and_no_more_texts_than_it_takes(letters: Letters) -> None:
    def read(lengths: list[int], window: int = 2) -> tuple[list[int], int]:
        letters.asked.clear()
        texts = [f"{i:03d}".ljust(n, "x") for i, n in enumerate(lengths)]
        texts += [f"{i:03d}" for i in range(100, 108)]  # as few texts are none
        found = pretrained._windows(model_of(max_position_embeddings=window), Path("m"), texts, None, 0)
        return sizes(found), len(letters.asked)

    assert read([1600, 1600]) == ([256, 32, 64], 10)
    assert read([7040, 7040, 7040, 7040])[1] == 5  # 28,160 tokens are 40 times the windows there are at most
    assert read([7040, 7040, 7040, 7041])[1] == 4
    assert read([28_159])[1] == 2
    batches = pretrained._windows(model_of(), Path("m"), [f"{i:02d}" * 100 for i in range(20)], None, 0)
    assert [b["input_ids"].shape for b in batches[0]] == [(8, 128)] * 2
    assert letters.asked[0][1] == {"add_special_tokens": False, "verbose": False}
    assert read([1] * 8, 4)[0] == [6, 2, 4]
    letters.eos_token_id = 0
    assert read([1] * 8, 4)[0] == [10, 2, 4]  # an end goes along with each


@pytest.mark.parametrize(
    ("config", "length"),
    [({}, 128), ({"max_position_embeddings": None}, 128), ({"max_position_embeddings": 0}, 128),
     ({"max_position_embeddings": 9}, 9), ({"max_position_embeddings": 4096}, 128)],
)  # fmt: skip
def test_own_texts_are_split_by_batches(config: dict, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def own(model: Any, n: int, seed: int) -> list[int]:
        asked.append((n, seed))
        return list(range(8))

    monkeypatch.setattr(pretrained, "own_windows", own)
    made = pretrained._windows(model_of(**config), Path("m"), None, None, 5)
    assert [[b["input_ids"] for b in part] for part in made] == [[0, 1, 2, 3, 4], [5], [6, 7]]
    assert asked == [(length, 5)]


class Writer:
    """Continues each beginning by random tokens, as it is asked to."""

    config = SimpleNamespace(vocab_size=13)

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def generate(self, first: torch.Tensor, **how: Any) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        self.asked.append(how)
        return torch.cat([first, torch.randint(13, (len(first), how["max_new_tokens"] + 2))], 1)


def test_own_windows_are_drawn_from_the_whole_vocabulary_and_leave_the_generator_alone() -> None:
    one, state = Writer(), torch.get_rng_state()
    made = own_windows(one, 7)
    assert torch.equal(torch.get_rng_state(), state)
    assert [w.shape for w in made] == [(8, 7)] * 8
    firsts = torch.cat([w[:, 0] for w in made])
    assert set(firsts.tolist()) <= set(range(13)) and len(set(firsts.tolist())) > 8
    asked = one.asked[0]
    assert asked.pop("attention_mask").tolist() == [[1]] * 8
    assert asked == {"do_sample": True, "top_k": 0, "max_new_tokens": 6, "min_new_tokens": 6, "pad_token_id": 0}
    assert all(torch.equal(a, b) for a, b in zip(made, own_windows(Writer(), 7, 0), strict=True))
    assert not torch.equal(made[0], own_windows(Writer(), 7, 1)[0])


def test_rows_count_as_often_as_they_are() -> None:
    """Batches of two rows and of one: distances are means of each, the whole is the mean over rows."""
    told = {"a": torch.zeros(2, 1), "b": torch.zeros(1, 1)}
    wanted = pretrained._Wanted(None, ["a", "b"], lambda model, b: told[b], lambda said, was, b: said.sum())  # type: ignore[arg-type]
    told |= {"a": torch.tensor([[1.0], [3.0]]), "b": torch.tensor([[2.0]])}
    assert wanted(None, ["a", "b"]) == pytest.approx((4 * 2 + 2 * 1) / 3)  # type: ignore[arg-type]
    told |= {"a": torch.tensor([[-1.0], [-3.0]]), "b": torch.tensor([[-2.0]])}
    assert wanted(None, ["a", "b"]) == 0.0  # type: ignore[arg-type]
    learnt = torch.nn.Embedding(3, 2)
    kept = pretrained._Wanted(learnt, [torch.tensor([1])], lambda model, b: model(b), lambda said, was, b: said.sum())
    assert not kept.said[0].requires_grad and isinstance(kept(learnt, [torch.tensor([1])]), float)
    told["b"] = torch.tensor([[8.5]])
    assert wanted(None, ["a", "b"]) == pytest.approx(0.5 / 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="longer"):
        wanted(None, ["a"])  # type: ignore[arg-type]


# -- whole folders --


def saved(kind: str, folder: Path, **more: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(WORDS) + 4, max_position_embeddings=12, **SIZES, **more)
    model = getattr(transformers, kind)(config).eval()
    model.save_pretrained(folder)
    from tokenizers import Tokenizer, models, pre_tokenizers

    ids = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    made = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]").save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    place = tmp_path_factory.mktemp("folders")

    def folder(kind: str) -> Path:
        if not (place / kind).exists():
            saved(kind, place / kind)
        return place / kind

    return folder


TEXTS = [f"{WORDS[i]} {WORDS[2 * i]} {WORDS[3 * i]}" for i in range(12)]


@pytest.mark.parametrize(
    ("kind", "unit", "answer"),
    [("BertModel", "1 - cosine", pretrained.embedding), ("BertForSequenceClassification", "nats", pretrained._logits)],
)
def test_what_counts_of_an_answer_is_told_by_the_head(folders: Any, kind: str, unit: str, answer: Any) -> None:
    opened = pretrained.open_pretrained(folders(kind), TEXTS)
    subject = opened.subject
    assert (subject.unit, subject.answer, opened.own, opened.folder) == (unit, answer, False, folders(kind))
    assert subject.mask is pretrained.mask_of and subject.model is opened.model
    assert sizes((subject.learn, subject.choose, subject.check)) == [6, 2, 4]
    again = pretrained.open_pretrained(folders(kind), TEXTS, None, 0).subject
    assert all(torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(subject.learn, again.learn, strict=True))
    other = pretrained.open_pretrained(folders(kind), TEXTS, None, 1).subject
    assert any(not torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(subject.learn, other.learn, strict=True))
    assert subject.loss(opened.model, subject.check) == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        for p in opened.model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    assert subject.loss(opened.model, subject.check) > 1e-4
    salads = pretrained.open_pretrained(folders(kind))
    assert salads.own and sizes((salads.subject.learn, salads.subject.choose, salads.subject.check)) == [130, 42, 84]


def test_an_encoder_of_first_tokens_is_read_by_them(folders: Any, tmp_path: Path) -> None:
    import shutil

    place = tmp_path / "m"
    shutil.copytree(folders("BertModel"), place)
    (place / "1_Pooling").mkdir()
    (place / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    opened = pretrained.open_pretrained(place, TEXTS)
    assert opened.subject.answer is pretrained.first and opened.subject.unit == "1 - cosine"
    (place / "tokenizer.json").unlink()
    with pytest.raises(BadInput, match="has no tokenizer that can be opened"):
        pretrained.open_pretrained(place, TEXTS)


@pytest.mark.parametrize(
    ("name", "causal", "headless"),
    [("LlamaForCausalLM", True, False), ("GPT2LMHeadModel", True, True), ("BertModel", False, True),
     ("BertForMaskedLM", False, False)],
)  # fmt: skip
def test_models_are_told_by_the_end_of_their_names(name: str, causal: bool, headless: bool) -> None:
    made = type(name, (), {})()
    assert pretrained._causal(made) == causal and pretrained._headless(made) == headless
