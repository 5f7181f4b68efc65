"""A language model from a text, end to end: plan, mixture, training, resuming, evaluation, the folder."""

import json
import math

import numpy as np
import pytest
import torch

from smidgen.cli.lm import parse_mix, parse_size
from smidgen.cli.main import main
from smidgen.kit.errors import BadInput
from smidgen.lm.evaluate import evaluate, windows
from smidgen.lm.mixture import Mixture
from smidgen.lm.model import load
from smidgen.lm.plan import make_plan, size_for
from smidgen.train.order import Order

TEXT = "".join(f"The {a} {b} the {c}. " for a in ("cat", "dog", "owl") for b in ("sees", "hears") for c in "abcdefgh")


class Numbers:
    """A stream whose tokens say which stream they are of."""

    fingerprint = "n"

    def __init__(self, mark: int, length: int):
        self.mark, self.length = mark, length

    def __len__(self):
        return self.length

    def read(self, start, stop):
        return np.arange(start, stop) * 10 + self.mark

    def starts(self, start, stop):
        return np.empty(0, np.int64)


def test_mixture_has_its_shares_and_starts_anywhere():
    orders = tuple(Order(Numbers(m, n), 4, 1, seed=m) for m, n in ((1, 200), (2, 4000)))
    mixture = Mixture(orders, (3.0, 1.0), batch=8, seed=5)
    rows = torch.cat([mixture.at(n).ids_BT for n in range(0, 4000, 8)])
    share = (rows[:, 0] % 10 == 1).float().mean()
    assert abs(float(share) - 0.75) < 0.03
    first = [int(r[0]) // 10 for r in rows if r[0] % 10 == 2]
    assert len(set(first)) == len(first)  # the larger stream is not yet through: nothing twice
    again = Mixture(orders, (3.0, 1.0), batch=8, seed=5)
    assert torch.equal(again.at(20_000).ids_BT, mixture.at(20_000).ids_BT)  # beyond a block, at once
    with pytest.raises(BadInput, match="--mix"):
        Mixture(orders, (1.0, 0.0), batch=8)


def test_windows_count_each_token_once():
    for length in (2, 5, 9, 17, 40):
        ids = list(range(length))
        counted = [i for row, skip in windows(ids, 8) for i in row[1 + skip :]]
        assert counted == ids[1:] and all(len(row) <= 9 for row, _ in windows(ids, 8))
        assert all(skip >= 4 for row, skip in windows(ids, 8)[1:])


def test_plan_keeps_what_is_given():
    plan = make_plan(corpus_bytes=10**7, size=10**6, seconds=None, flops_a_second=1e11)
    assert abs(math.log(plan.parameters / 1e6)) < 0.3 and plan.tokens == pytest.approx(20 * plan.parameters, rel=0.01)
    assert plan.lr is None and "search" in plan.lr_from and "outside" in plan.batch_from
    timed = make_plan(corpus_bytes=10**7, size=10**6, seconds=100, flops_a_second=1e11)
    assert timed.flops == pytest.approx(100 * 1e11, rel=0.01)
    assert make_plan(corpus_bytes=10**7, size=10**6, seconds=None, flops_a_second=1e11, lr=3e-3).lr == 3e-3
    assert size_for(600, 2e11, 1e9) < size_for(6000, 2e11, 1e9)
    with pytest.raises(BadInput, match="--size 10M"):
        make_plan(corpus_bytes=10**7, size=None, seconds=None, flops_a_second=1e11)


def test_flags():
    assert [parse_size(t) for t in ("10M", "1.5b", "300k", "2000")] == [10_000_000, 1_500_000_000, 300_000, 2000]
    assert parse_mix(["b=1", "a=3"], ["a", "b"]) == (3.0, 1.0) and parse_mix([], ["a"]) is None
    for wrong in ("M", "-3", "ten"):
        with pytest.raises(BadInput, match="--size"):
            parse_size(wrong)
    for pairs in (["a=0"], ["a=1"], ["a=1", "b=x"], ["a=1", "c=1"]):
        with pytest.raises(BadInput, match="--mix"):
            parse_mix(pairs, ["a", "b"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    (folder / "animals.txt").write_text(TEXT * 40)
    args = ["lm", "train", str(folder / "animals.txt"), "--time", "4s", "--context", "16", "--json"]
    assert main([*args, "--out", str(folder / "m")]) == 0
    return folder


def test_learns_and_opens_in_transformers(trained, capsys):
    model = load(trained / "m")
    found = evaluate(model, [TEXT])
    assert found["bits_per_byte"] < 3.5 and found["bytes"] == len(TEXT)  # the text's letters alone have over 4 bits
    transformers = pytest.importorskip("transformers")
    other = transformers.AutoModelForCausalLM.from_pretrained(trained / "m")
    ids = torch.tensor([[model.tokenizer.end, *model.tokenizer.encode("The cat")]])
    with torch.no_grad():
        assert torch.allclose(other(ids).logits, model.decoder(ids), atol=1e-4)
    assert main(["lm", "eval", str(trained / "m"), str(trained / "animals.txt"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {"bits_per_byte", "perplexity", "tokens_per_second", "memory_bytes"} <= shown.keys()
    assert main(["lm", "generate", str(trained / "m"), "The", "--max-tokens", "5", "--seed", "1"]) == 0
    assert capsys.readouterr().out.startswith("The")


def test_bad_input(trained, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "short.txt").write_text("Hi there.")
    cases = [
        (["lm", "train", str(tmp_path / "empty.txt"), "--size", "100k"], "no text"),
        (["lm", "train", str(tmp_path / "short.txt"), "--size", "100k"], "fewer than one context"),
        (["lm", "train", str(trained / "animals.txt"), "--time", "5s", "--out", str(trained / "m")], "not empty"),
        (["lm", "train", str(trained / "animals.txt"), "--out", str(tmp_path / "n"), "--resume"], "nothing to go on"),
        (["lm", "generate", str(tmp_path / "none")], "no such model folder"),
    ]
    for args, said in cases:
        out = [] if "--out" in args or args[1] != "train" else ["--out", str(tmp_path / "x")]
        assert main([*args, *out]) == 2
        err = capsys.readouterr().err
        assert said in err.splitlines()[-1], err


def test_goes_on_after_a_stop(trained, tmp_path, monkeypatch):
    from smidgen.lm import train as trainer
    from smidgen.lm.corpus import open_corpus

    plan = make_plan(corpus_bytes=10**5, size=100_000, seconds=None, flops_a_second=1e11, context=16, tokens=9000,
                     words=300, batch=8, lr=3e-3)  # fmt: skip
    corpora = {"animals": open_corpus([trained / "animals.txt"])}
    results = []
    for name, stops in (("whole", [10**9]), ("parts", [20, 45, 10**9])):
        out = tmp_path / name
        prepared = trainer.prepare(corpora, plan.words, out / ".train")
        fitted = trainer.fitting(plan, prepared)
        for stop in stops:
            done = {"n": 0}
            got = trainer.train_model(
                fitted, prepared, out, say=lambda s: None, on_update=lambda u, d=done: d.update(n=u.step),
                stopped=lambda d=done, s=stop: d["n"] >= s,
            )  # fmt: skip
        assert got["finished"] and got["steps"] == fitted.steps
        results.append((load(out).decoder.state_dict(), (out / "log.jsonl").read_text()))
    (a, log_a), (b, log_b) = results
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert [json.loads(x)["loss"] for x in log_a.splitlines()] == [json.loads(x)["loss"] for x in log_b.splitlines()]
