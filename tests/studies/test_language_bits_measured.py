"""Widths of a language model measured one after the other: losses, intervals, bytes, and what a short time leaves."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.laws import qid
from smidgen.studies import compress_folder, compress_pretrained
from smidgen.studies import language_bits as bits
from smidgen.studies.prices import offers_of

torch = pytest.importorskip("torch")


class Net(torch.nn.Module):
    """Logits of the next token are a product of two tables."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = torch.nn.Embedding(16, 64), torch.nn.Linear(64, 16, bias=False)

    def forward(self, ids: Any) -> Any:
        return self.head(self.embed(ids))


@torch.no_grad()
def loss(model: Any, batches: Any) -> float:
    ids = torch.cat([b["input_ids"] for b in batches])
    return float(torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()))


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder of 3,000 bytes and a log that does not count; six windows in two batches."""
    ids = torch.randint(16, (6, 9), generator=torch.Generator().manual_seed(1))
    subject = SimpleNamespace(check=[{"input_ids": ids[:4]}, {"input_ids": ids[4:]}], loss=loss)
    made, asked = Net().eval(), []
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.safetensors").write_bytes(b"x" * 3000)
    (tmp_path / "m" / "log.jsonl").write_bytes(b"x" * 50)

    def opened(folder: Path, data: Any, column: Any, seed: int) -> Any:
        asked.append((folder, data, column, seed))
        return SimpleNamespace(model=made, subject=subject)

    monkeypatch.setattr(compress_pretrained, "open_pretrained", opened)
    monkeypatch.setattr(compress_pretrained, "carried_files", lambda folder: {"tokenizer.json": b"t" * 100})
    monkeypatch.setattr(compress_folder, "config_of", lambda model: {"a": 1})
    return SimpleNamespace(folder=tmp_path / "m", model=made, ids=ids, asked=asked)


def about() -> dict[str, Any]:
    return {"n": 1024, "whole": 2048, "d": 0, "vocab": 16, "packed": False, "bits": 32, "bytes": 9}


def test_losses_are_paired_by_window_with_students_interval(net: Any) -> None:
    from smidgen.formats.format import Format

    told = about()
    rows = bits._measured(net.folder, told, [2, 4, 8, 16], "texts", math.inf, 7)
    assert [r["bits"] for r in rows] == [2, 4, 8, 16] and net.asked == [(net.folder, "texts", None, 7)]
    assert (told["windows"], told["bytes"]) == (6, 3000)
    count = compress_folder.Size(net.model, {"a": 1}, {"tokenizer.json": b"t" * 100})
    whole = [loss(net.model, [{"input_ids": w[None]}]) for w in net.ids]
    for row in rows:
        other = Net().eval()
        option = None if row["bits"] == 16 else bits.OPTIONS[row["bits"]]
        with torch.no_grad():
            for p in other.parameters():
                p.copy_(Format.parse(option).quantize(p, search="absmax").dequantize() if option else p.half().float())
        lost = np.array([loss(other, [{"input_ids": w[None]}]) for w in net.ids]) - whole
        ends = stats.t.interval(0.9, 5, lost.mean(), stats.sem(lost))
        assert row["lost"] == pytest.approx(lost.mean(), rel=1e-3, abs=1e-7)
        assert row["interval"] == pytest.approx(ends, rel=1e-3, abs=1e-7)
        mix = {"embed": option, "head": option}
        assert row["bytes"] == (count(mix) if option else 3000 - 2 * 2048)
    wide = [r["interval"][1] - r["interval"][0] for r in rows]
    assert wide[0] > wide[1] > wide[2] > wide[3] > 0 and abs(rows[0]["lost"]) > 1e-3
    half = {**about(), "bits": 16}
    assert bits._measured(net.folder, half, [16], None, math.inf, 0)[0]["bytes"] == 3000
    assert next(iter(net.model.parameters())).dtype == torch.float32  # a copy is rounded


def test_four_bits_come_first_and_a_short_time_leaves_the_rest(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(bits.clock, "monotonic", lambda: now[0])
    parse, tried = bits.OPTIONS, []

    class Options(dict):
        def __getitem__(self, width: int) -> str:
            tried.append(width)
            now[0] += 1.016
            return parse[width]

    monkeypatch.setattr(bits, "OPTIONS", Options(parse))
    bits._measured(net.folder, about(), [2, 3, 4, 8], None, 99.0, 0)
    assert tried == [4, 2, 3, 8]
    tried.clear()
    now[0] = 0.0
    assert [r["bits"] for r in bits._measured(net.folder, about(), [2, 3, 4, 8], None, 1.5, 0)] == [2, 4]
    now[0] = 2.0
    assert len(bits._measured(net.folder, about(), [2, 3], None, 2.0, 0)) == 1  # at the very end one still begins
    with pytest.raises(BudgetSpent) as spent:
        bits._measured(net.folder, about(), [2, 3], None, 2.0, 0)
    assert str(spent.value) == "The time ended before one width was measured. Give more time, or fewer texts."
    monkeypatch.setattr(bits, "_described", lambda folder: about())
    now[0] = 0.0
    found = bits.plan_bits(net.folder, offers_of(["mb=2"]), 10.0, seconds=0.5)
    assert [f["purchase"] for f in found["forecasts"]] == ["mb@4"] and found["seconds"] == 1.02
    assert [u["purchase"] for u in found["unknown"]] == ["mb@2", "mb@3", "mb@5", "mb@6", "mb@8", "mb@16"]


def test_what_a_folder_says_of_itself(tmp_path: Path) -> None:
    from smidgen.nets.decoder import DecoderConfig, parameters
    from smidgen.nets.folder import to_llama

    for tied, tables in ((True, 1), (False, 2)):
        config = DecoderConfig(
            vocab=100, hidden=16, layers=2, heads=2, kv_heads=2, ffn=32, max_len=64, tie_embeddings=tied
        )
        folder = tmp_path / str(tied)
        folder.mkdir()
        for kind, width in (("float32", 32), ("float16", 16), ("bfloat16", 16), (None, 32)):
            said = {k: v for k, v in to_llama(config).items() if k not in ("dtype", "torch_dtype")}
            (folder / "config.json").write_text(json.dumps(said | ({"torch_dtype": kind} if kind else {})))
            (folder / "a.safetensors").write_bytes(b"x" * 7)
            (folder / "b.safetensors").write_bytes(b"x" * 5)
            told = bits._described(folder)
            assert told == {
                "n": parameters(config) - tables * 1600, "whole": parameters(config), "d": 0, "vocab": 100,
                "packed": False, "bits": width, "bytes": 12,
            }  # fmt: skip
        newer = {k: v for k, v in said.items() if k != "torch_dtype"} | {"dtype": "bfloat16"}
        (folder / "config.json").write_text(json.dumps(newer | {"quantization_config": {"quant_method": "x"}}))
        told = bits._described(folder)
        assert told["bits"] == 16 and told["packed"]


def test_what_is_refused_and_what_follows_from_the_distance(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput) as refused:
        bits.plan_bits(net.folder, offers_of(["label=1"]), 1.0)
    assert str(refused.value) == (
        f"{net.folder} is a language model, for which a plan tells of megabytes: --price mb=1. What more text or time "
        "would bring, smidgen lm train --dry-run forecasts."
    )
    with pytest.raises(BadInput) as refused:
        bits.plan_bits(net.folder, offers_of(["mb=1"]), 1.0, target=0.5)
    assert str(refused.value) == (
        f"{net.folder} is a language model: more bits reach no target that it has not now. Leave --target out."
    )
    told = {"n": 1e9, "whole": 1.1e9, "d": 1e11, "vocab": 32_000, "packed": False, "bits": 16, "bytes": 2.2e9}
    for far, by in ((bits.FAR, "law"), (1.001 * bits.FAR, "measured")):
        law = SimpleNamespace(outside=lambda n, d, b, far=far: far if b == 3 else math.inf, qid=qid.published().qid,
                              range_bits=(2, 4))  # fmt: skip
        monkeypatch.setattr(bits.qid, "published", lambda law=law: law)
        monkeypatch.setattr(bits, "_described", lambda folder: dict(told))
        found = bits.plan_bits(net.folder, offers_of(["mb@3=1"]), 1.0, dry_run=True)
        assert (found["by"], found["outside"], len(found["forecasts"])) == (by, far, int(by == "law"))
        assert found["greater_is_better"] is False and found["target"] is None and found["level"] == 0.9
