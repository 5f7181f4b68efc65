"""The parts of compression by themselves: bytes of files, distances of answers, batches, windows, texts, limits."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from smidgen.compress.fitting import Limit
from smidgen.kit.errors import BadInput
from smidgen.kit.files import tensor_bytes as saved
from smidgen.studies import compress_folder, compress_module, compressing
from smidgen.studies import compress_pretrained as pretrained
from smidgen.studies.compress_texts import documents_of, split, texts_of, word_salads

# -- networks and folders --


def test_the_bytes_of_a_file_of_tensors_are_counted_without_it() -> None:
    rng = np.random.default_rng(0)
    kinds = {"float32": "F32", "float16": "F16", "uint8": "U8", "int64": "I64", "bool": "BOOL"}
    for count in range(6):
        arrays = {f"name{i}" * (i + 1): (rng.random((i + 1, 3)) * 9).astype(list(kinds)[i % 5]) for i in range(count)}
        tensors = {n: (kinds[str(a.dtype)], list(a.shape), a.nbytes) for n, a in arrays.items()}
        assert compress_folder.tensor_bytes(tensors) == len(saved(arrays))
        from safetensors.numpy import save

        for meta in (None, {"format": "pt"}, {"format": "p" * 40}):
            assert compress_folder.tensor_bytes(tensors, meta) == len(save(arrays, metadata=meta))


def test_files_go_into_the_folder_and_count(tmp_path: Path) -> None:
    carried = {"tokenizer.json": b"t" * 9, "1_Pooling/config.json": b"{}"}
    net = torch.nn.Linear(4, 3)
    size = compress_folder.write(tmp_path / "m", net, {"a": 1}, {}, [], carried)
    assert {n: (tmp_path / "m" / n).read_bytes() for n in carried} == carried
    assert size == sum(f.stat().st_size for f in (tmp_path / "m").rglob("*") if f.is_file())
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["a"] == 1 and "quantization_config" in config


def test_answers_are_compared_as_they_are_meant() -> None:
    said, wanted = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[3.0, 0.0], [1.0, 2.0]])
    assert float(compress_module._error(said, wanted, None)) == pytest.approx((16 + 4) / (9 + 1 + 4))
    assert float(compress_module._error(said, 0 * wanted, None)) == pytest.approx(26 / 4 / 1e-12)
    unit = torch.nn.functional.normalize
    a, b = unit(said, dim=1), unit(wanted, dim=1)
    assert float(pretrained.angle(a, b, None)) == pytest.approx(1 - (0.6 + 1 / 5**0.5) / 2)
    p, q = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    kl = float((q * (q / p).log()).sum(1).mean())
    assert float(pretrained._divergence(p.log(), q.log(), None)) == pytest.approx(kl)
    assert float(pretrained._divergence(p.log(), p.log(), None)) >= 0

    net = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 2.0]]))
    judge = compress_module._Judge(net, [said, wanted[:1]])
    was = [said @ net.weight.T, wanted[:1] @ net.weight.T]
    with torch.no_grad():
        net.weight.mul_(1.1)
        assert judge(net, [said, wanted[:1]]) == pytest.approx(0.01, rel=1e-4)
        net.weight.add_(1.0)
        now = [said @ net.weight.T, wanted[:1] @ net.weight.T]
        off = sum(float((a - b).square().sum()) for a, b in zip(now, was, strict=True))
        assert judge(net, [said, wanted[:1]]) == pytest.approx(off / sum(float(b.square().sum()) for b in was))
    assert math.isnan(judge(net, []))
    half = {
        "a": torch.ones(2, dtype=torch.float16),
        "b": (torch.ones(2, dtype=torch.bfloat16), 3),
        "c": torch.arange(2),
    }
    wide = compress_module._wide(half)
    assert (
        wide["a"].dtype == wide["b"][0].dtype == torch.float32 and wide["b"][1] == 3 and wide["c"].dtype == torch.int64
    )


class Words(torch.nn.Module):
    """States of each token are its embedding; logits are states by the embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(11, 4)
        self.calls = 0

    def forward(self, input_ids: Any, attention_mask: Any = None, use_cache: bool = True) -> Any:
        states = self.table(input_ids)
        return SimpleNamespace(last_hidden_state=states, logits=states @ self.table.weight.T)


def test_texts_are_read_as_their_folder_says() -> None:
    net = Words()
    ids, mask = torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    batch = {"input_ids": ids, "attention_mask": mask}
    unit = torch.nn.functional.normalize
    with torch.no_grad():
        e = net.table.weight
        means = torch.stack([e[[1, 2, 3]].mean(0), e[[4, 5]].mean(0)])
        assert torch.allclose(pretrained.embedding(net, batch), unit(means, dim=1), atol=1e-6)
        assert torch.allclose(pretrained.first(net, batch), unit(e[[1, 4]], dim=1))
        assert pretrained.mask_of(batch).tolist() == [[True] * 3, [True, True, False]]
        logp = torch.log_softmax(e[ids] @ e.T, -1)
        assert torch.allclose(pretrained._logits(net, batch), logp.flatten(0, 1))
        assert torch.allclose(pretrained._next_token(net, {"input_ids": ids}), logp.flatten(0, 1))
        batches = [{"input_ids": ids}, {"input_ids": ids[:1, :2]}]
        own = [-float(logp[r, t, ids[r, t + 1]]) for r in range(2) for t in range(2)] + [-float(logp[0, 0, 2])]
        assert pretrained._nats(net, batches) == pytest.approx(sum(own) / 5) and math.isnan(pretrained._nats(net, []))
        wanted = pretrained._Wanted(
            net, [batch, {k: v[:1] for k, v in batch.items()}], pretrained.embedding, pretrained.angle
        )
        assert wanted(net, [batch, {k: v[:1] for k, v in batch.items()}]) == pytest.approx(0, abs=1e-6)
        was = [unit(means, dim=1), unit(means[:1], dim=1)]
        net.table.weight.copy_(e.flip(0))
        now = pretrained.embedding(net, batch)
        apart = [float(1 - (a * b).sum()) for a, b in zip([*now, now[0]], [*was[0], was[1][0]], strict=True)]
        assert wanted(net, [batch, {k: v[:1] for k, v in batch.items()}]) == pytest.approx(sum(apart) / 3, rel=1e-5)
    assert math.isnan(pretrained._Wanted(net, [], pretrained.embedding, pretrained.angle)(net, []))


def test_batches_hold_texts_of_like_length_and_only_what_is_read() -> None:
    asked = []

    def tokenizer(part: list[str], **how: Any) -> dict[str, Any]:
        asked.append((part, how))
        return {"input_ids": len(part), "attention_mask": 1, "special": 2}

    texts = ["x" * (i % 40) for i in range(70)]
    made = pretrained.batched(tokenizer, texts, 128)
    assert [b["input_ids"] for b in made] == [32, 32, 6] and set(made[0]) == {"input_ids", "attention_mask"}
    assert [t for part, _ in asked for t in part] == sorted(texts, key=len)
    assert asked[0][1] == {"padding": True, "truncation": True, "max_length": 128, "return_tensors": "pt"}
    rows = [torch.arange(3)] * 17
    assert [len(b["input_ids"]) for b in pretrained._stacked(rows)] == [8, 8, 1]


def test_windows_are_whole_and_enough(monkeypatch: Any, tmp_path: Path) -> None:
    class Tokenizer:
        eos_token_id: int | None = 7

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [int(c) for c in text]}

    made = Tokenizer()
    monkeypatch.setattr(pretrained, "tokenizer_of", lambda folder: made)
    model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=4))
    texts = [f"{i:05d}" for i in range(12)]  # with its end 6 tokens each
    learn, choose, check = pretrained._windows(model, tmp_path, texts, None, 0)
    rows = torch.cat([b["input_ids"] for part in (learn, choose, check) for b in part])
    assert rows.shape == (18, 4)
    flat = [int(c) for t in texts for c in [*t, 7]]
    assert sorted(rows.tolist()) == sorted([flat[i : i + 4] for i in range(0, 72, 4)])
    assert [sum(len(b["input_ids"]) for b in part) for part in (learn, choose, check)] == [9, 3, 6]
    made.eos_token_id = None
    rows = torch.cat([b["input_ids"] for part in pretrained._windows(model, tmp_path, texts, None, 0) for b in part])
    assert rows.shape == (15, 4)
    eight = [f"{i:04d}" for i in range(8)]
    assert pretrained._windows(model, tmp_path, eight, None, 0)
    with pytest.raises(BadInput, match="hold 31 tokens: at least 32"):
        pretrained._windows(model, tmp_path, [*eight[:7], "777"], None, 0)
    long = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=512))
    made = Tokenizer()
    with pytest.raises(BadInput, match=f"at least {8 * 128:,}"):
        pretrained._windows(long, tmp_path, texts, None, 0)


def test_files_that_go_along(tmp_path: Path) -> None:
    for name in ("vocab.txt", "merges.txt", "modules.json", "other.bin"):
        (tmp_path / name).write_text(name)
    assert set(pretrained.carried_files(tmp_path)) == {"vocab.txt", "merges.txt", "modules.json"}
    (tmp_path / "tokenizer.json").write_text("{}")
    assert set(pretrained.carried_files(tmp_path)) == {"tokenizer.json", "modules.json"}
    assert not pretrained.first_token(tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    place = tmp_path / "1_Pooling" / "config.json"
    for said, first in (({"pooling_mode_cls_token": True}, True), ({"pooling_mode_cls_token": 1}, False), ([], False)):
        place.write_text(json.dumps(said))
        assert pretrained.first_token(tmp_path) == first
    assert pretrained.carried_files(tmp_path)["1_Pooling/config.json"] == b"[]"
    assert not pretrained.is_pretrained(tmp_path)


# -- texts and limits --


def test_six_parts_of_which_three_are_learnt_from() -> None:
    for count in (3, 5, 6, 17, 40):
        learn, choose, check = split(list(range(count)), (99, 99, 99), 1)
        one = max(1, count // 6)
        assert [len(choose), len(check)] == [one, 2 * one] and sorted([*learn, *choose, *check]) == list(range(count))
        assert [learn, choose, check] == [sorted(learn), sorted(choose), sorted(check)]
    assert [len(part) for part in split(list(range(60)), (7, 3, 5))] == [7, 3, 5]
    assert split(list(range(30)), (9, 9, 9), 1) != split(list(range(30)), (9, 9, 9), 2)


def test_texts_of_files_and_sequences(tmp_path: Path) -> None:
    lines = [f"text number {i}" for i in range(8)]
    assert texts_of([*lines, "", "  ", *lines, " text number 3 "]) == lines
    with pytest.raises(BadInput, match=r"at least 8 different texts.*got 7"):
        texts_of(lines[:7])
    plain = tmp_path / "a.txt"
    plain.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    assert texts_of(plain) == lines and documents_of(plain) == ["\n".join(lines)] and documents_of(lines) == lines
    plain.write_text(" \n ")
    with pytest.raises(BadInput, match="is empty"):
        documents_of(plain)
    plain.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="not UTF-8"):
        texts_of(plain)
    table = tmp_path / "t.csv"
    table.write_text(
        "id,said,more\n" + "\n".join(f"{i}{'z' * 60},word word {i},a b {i} and much more text" for i in range(9))
    )
    assert texts_of(table)[0] == "a b 0 and much more text"  # the longest of those that have blanks
    assert texts_of(table, "said")[1] == "word word 1"
    with pytest.raises(BadInput, match="column: expected one of id, said, more"):
        texts_of(table, "none")
    table.write_text("id,n\n" + "\n".join(f"x{i},{i}" for i in range(9)))
    with pytest.raises(BadInput, match="no column of texts"):
        texts_of(table)
    with pytest.raises(BadInput, match="no such file"):
        texts_of(tmp_path / "gone.txt")


def test_salads_are_words_of_the_vocabulary() -> None:
    words = [f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(100)]
    tokenizer = SimpleNamespace(get_vocab=lambda: dict.fromkeys([*words, "##piece", "it", "über", "x1y"], 0))
    made = word_salads(tokenizer)
    assert (
        len(made) == 256
        and {len(t.split()) for t in made} == {12}
        and {w for t in made for w in t.split()} <= set(words)
    )
    assert made == word_salads(tokenizer) != word_salads(tokenizer, 1)
    assert word_salads(SimpleNamespace(get_vocab=lambda: dict.fromkeys(words[:99], 0))) == []


def test_one_limit_and_only_folders_of_ours_are_replaced(tmp_path: Path) -> None:
    assert compressing.limit_of("12MB", None, None) == Limit(bytes=12_000_000)
    assert compressing.limit_of(None, 16, None).bits == 16 and compressing.limit_of(None, None, 0.01).loss == 0.01
    for given in ((None, None, None), ("1MB", 3, None), (None, 17, None), (None, 0, None), (None, 3, 0.1)):
        with pytest.raises(BadInput):
            compressing.limit_of(*given)
    place = tmp_path / "p"
    compressing.check_place(place)
    place.mkdir()
    compressing.check_place(place)
    with pytest.raises(BadInput, match="the model itself"):
        compressing.check_place(place, place)
    (place / "x").touch()
    with pytest.raises(BadInput, match="no compression wrote"):
        compressing.check_place(place)
    mine = {"quant_method": compressing.METHOD}
    other = {"quantization_config": {"quant_method": "other"}}
    for said, ours in ((other, False), (mine, True), ({"quantization_config": mine}, True), ([], False)):
        (place / "config.json").write_text(json.dumps(said))
        assert compressing._ours(place) == ours
    with pytest.raises(BadInput, match="is a file"):
        compressing.check_place(place / "x")
    assert compressing.place_of("a/b", None) == Path("b-small") and compressing.place_of("a", "c") == Path("c")
    layers: Any = [
        SimpleNamespace(name="a", shape=(64, 64), numbers=4096),
        SimpleNamespace(name="b", shape=(8, 64), numbers=512),
    ]
    assert compressing.bits_of(compressing.KEPT, (2, 2)) == 16.0
    four = compressing.bits_of("int4/64", (64, 64))
    assert four == pytest.approx(4.25) and compressing.bits_per_weight([], {}) == 0
    mixed = compressing.bits_per_weight(layers, {"a": "int4/64", "b": compressing.KEPT})
    assert mixed == pytest.approx((four * 4096 + 16 * 512) / 4608, abs=1e-4)
    assert compressing._known(math.nan) is None and compressing._known(0.5) == 0.5
