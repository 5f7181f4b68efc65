"""A language model from a text, end to end: plan, mixture, training, stopping and going on, evaluation, the folder."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from smidgen.cli.main import main
from smidgen.data.mix_schedules import Cooldown
from smidgen.kit.errors import BadInput
from smidgen.lm import held as helds
from smidgen.lm import job, search, shards
from smidgen.lm import plan as plans
from smidgen.lm import setup as setups
from smidgen.lm import train as trainer
from smidgen.lm import work as works
from smidgen.lm.corpus import open_corpus
from smidgen.lm.evaluate import evaluate, windows
from smidgen.lm.forecast import Forecast
from smidgen.lm.held import Held, loss_of
from smidgen.lm.mixture import Mixture, Phase, cooled, numbered, shares_of
from smidgen.lm.model import load
from smidgen.lm.plan import ACTIVATIONS, make_plan, row_bytes, size_for
from smidgen.lm.prepare import prepare, survey
from smidgen.lm.wish import Wish, parse_count, parse_mix, parse_temperature
from smidgen.nets.decoder import Decoder, DecoderConfig
from smidgen.train import checkpoint
from smidgen.train.loop import NonFinite
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
    mixture = Mixture(orders, (Phase(0, (3.0, 1.0)),), batch=8, seed=5)
    rows = torch.cat([mixture.at(n).ids_BT for n in range(0, 4000, 8)])
    share = (rows[:, 0] % 10 == 1).float().mean()
    assert abs(float(share) - 0.75) < 0.03
    first = [int(r[0]) // 10 for r in rows if r[0] % 10 == 2]
    assert len(set(first)) == len(first)  # the larger stream is not yet through: nothing twice
    again = Mixture(orders, (Phase(0, (3.0, 1.0)),), batch=8, seed=5)
    assert torch.equal(again.at(20_000).ids_BT, mixture.at(20_000).ids_BT)  # beyond a block, at once
    assert again.resume(mixture.state(24)) == 24
    for other in (Mixture(orders, (Phase(0, (1.0, 1.0)),), 8, 5), Mixture(orders, (Phase(0, (3.0, 1.0)),), 8, 6)):
        with pytest.raises(BadInput, match="another mixture"):
            other.resume(mixture.state(24))
    for weights in ((1.0, 0.0), (1.0, math.inf), (1.0,)):
        with pytest.raises(BadInput, match="--mix"):
            Mixture(orders, (Phase(0, weights),), batch=8)


def test_a_mixture_cools_down_at_its_row():
    sizes = {"a": 100, "b": 10_000}
    phases = cooled(sizes, Cooldown(5.0, 1.0, 0.25), steps=1000, rows=8)
    assert [p.start for p in phases] == [0, 2000] and phases[0].weights == pytest.approx((0.2847, 0.7153), abs=1e-4)
    orders = tuple(Order(Numbers(m, 4000), 4, 1, seed=m) for m in (1, 2))
    mixture = Mixture(orders, phases, batch=8, seed=5)
    rows = torch.cat([mixture.at(n).ids_BT for n in range(0, 8000, 8)])[:, 0] % 10 == 1
    early, late = rows[:2000].float().mean(), rows[2000:].float().mean()
    assert abs(float(early) - 0.2847) < 0.03 and abs(float(late) - 1 / 101) < 0.01
    assert shares_of(phases, 8000)[0] == pytest.approx(0.25 * 0.2847 + 0.75 / 101, abs=1e-4)
    assert cooled(sizes, Cooldown(5.0, 1.0, 0.0), 1000, 8) == (Phase(0, phases[1].weights),)
    with pytest.raises(BadInput, match="within the run"):
        cooled(sizes, Cooldown(5.0, 1.0, 2000), 1000, 8)


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
    assert timed.flops == pytest.approx(0.85 * 100 * 1e11, rel=0.01)
    large = make_plan(corpus_bytes=10**9, size=30_000_000, seconds=None, flops_a_second=0)
    assert large.rows * row_bytes(large.config, large.context) <= ACTIVATIONS and large.accumulate > 1
    assert make_plan(corpus_bytes=10**7, size=10**6, seconds=None, flops_a_second=1e11, lr=3e-3).lr == 3e-3
    assert size_for(600, 2e11, 1e9) < size_for(6000, 2e11, 1e9)
    with pytest.raises(BadInput, match="--size 10M"):
        make_plan(corpus_bytes=10**7, size=None, seconds=None, flops_a_second=1e11)


def test_flags():
    assert [parse_count(t) for t in ("10M", "1.5b", "300k", "2000")] == [10_000_000, 1_500_000_000, 300_000, 2000]
    assert parse_mix(["b=1", "a=3"]) == {"b": 1.0, "a": 3.0} and parse_temperature("5,1,0.5") == (5.0, 1.0, 0.5)
    for wrong in ("M", "-3", "ten"):
        with pytest.raises(BadInput, match="--size"):
            parse_count(wrong)
    for pairs in (["a"], ["a=1", "b=x"]):
        with pytest.raises(BadInput, match="--mix"):
            parse_mix(pairs)
    for wrong in ("", "a", "1,2,3,4"):
        with pytest.raises(BadInput, match="--mix-temperature"):
            parse_temperature(wrong)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "--size 10M"),
        ({"size": 10}, "--size"),
        ({"size": 10**6, "mix": {"a": 1.0}}, "a weight for each of a, b"),
        ({"size": 10**6, "mix": {"a": 1.0, "b": -1.0}}, "weights above 0"),
        ({"size": 10**6, "mix": {"a": math.inf, "b": 1.0}}, "weights above 0"),
        ({"size": 10**6, "mix": {"a": 1.0, "b": 1.0}, "mix_temperature": (2.0,)}, "without --mix"),
        ({"size": 10**6, "mix_temperature": (5.0, 1.0, 2.0)}, "switch"),
        ({"size": 10**6, "precision": "fp8"}, "--precision"),
        ({"size": 10**6, "rate": -1.0}, "--rate"),
        ({"size": 10**6, "batch": 0}, "--batch"),
    ],
)
def test_wishes_that_cannot_be_are_told_before_anything_is_read(tmp_path, asked, said):
    with pytest.raises(BadInput, match=said):
        job.begin({"a": open_corpus([__file__]), "b": None}, Wish(**asked), tmp_path)  # pyright: ignore


@pytest.fixture(autouse=True)
def short_searches(monkeypatch):
    monkeypatch.setattr(plans, "FEWEST", 5)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "animals.txt"
    path.write_text(TEXT * 40)
    return path


@pytest.fixture(scope="module")
def trained(text):
    args = ["lm", "train", str(text), "--time", "10s", "--context", "16", "--json"]
    assert main([*args, "--out", str(text.parent / "m")]) == 0
    return text.parent


def test_learns_and_opens_in_transformers(trained, capsys):
    model = load(trained / "m")
    found = evaluate(model, [TEXT])
    assert found["bits_per_byte"] < 3.5 and found["bytes"] == len(TEXT)  # the text's letters alone have over 4 bits
    assert not (trained / "m" / ".train").exists() and (trained / "m" / "log.jsonl").read_text()
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


def test_bits_are_those_of_one_plain_pass(trained):
    model = load(trained / "m")
    said = TEXT[:30]  # shorter than the context: one window
    ids = torch.tensor([model.tokenizer.encode_document(said).tolist()])
    assert ids.shape[1] <= 17
    with torch.no_grad():
        chances = torch.log_softmax(model.decoder(ids[:, :-1]).double(), -1)
    nats = -chances[0, torch.arange(ids.shape[1] - 1), ids[0, 1:]].sum()
    assert evaluate(model, [said])["bits_per_byte"] == pytest.approx(float(nats) / math.log(2) / len(said), rel=1e-5)


def test_bad_input(trained, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "short.txt").write_text("Hi there.")
    animals = str(trained / "animals.txt")
    cases = [
        (["train", str(tmp_path / "empty.txt"), "--size", "100k"], "no text"),
        (["train", str(tmp_path / "short.txt"), "--size", "100k"], "fewer than one context"),
        (["train", str(tmp_path / "short.txt"), "--size", "100k"], "fewer than one context"),  # and again
        (["train", animals, "--time", "5s", "--out", str(trained / "m")], "not empty"),
        (["train", animals, "--out", str(tmp_path / "n"), "--resume"], "nothing to go on"),
        (["train", animals, "--size", "100k", "--precision", "fp8"], "--precision"),
        (["generate", str(tmp_path / "none"), "Once"], "no such model folder"),
    ]
    for args, said in cases:
        out = [] if "--out" in args or args[0] != "train" else ["--out", str(tmp_path / "x")]
        assert main(["lm", *args, *out]) == 2
        out, err = capsys.readouterr()
        assert said in err.splitlines()[-1] and not out, err


def begun(text, out, keep_stable=False, **more):
    """A small training by count, set up as the command does; with a search."""
    corpora = {"animals": open_corpus([text])}
    surveys = {name: survey(c) for name, c in corpora.items()}
    sizes = {"size": 60_000, "seconds": None, "tokens": 32_000, "context": 16, "words": 300, "batch": 8} | more
    plan = make_plan(corpus_bytes=surveys["animals"].bytes, flops_a_second=1e11, **sizes)
    prepared = prepare(corpora, surveys, plan.words, out / ".train")
    texts = {n: s.digest for n, s in surveys.items()}
    said = Forecast(1.0, 10**9, (1.0, 2.0, 3.0), 1e11)
    setup = setups.Setup(
        plan=plan, forecast=said, texts=texts, precision="fp32", seed=3, asked={}, keep_stable=keep_stable
    )
    return setups.fitting(setup, prepared), prepared


def go(setup, prepared, out, stop=10**9, in_search=False):
    """Trains until so many updates, or checks of the search, were made."""
    done = 0

    def count(update=None):
        nonlocal done
        done += 1

    def stopped():
        if in_search:
            count()
        return done >= stop

    got = trainer.train_model(setup, prepared, out, say=lambda s: None, on_update=count, stopped=stopped)
    return {**got, "updates": done}


def test_goes_on_after_stops_to_the_same_bits(text, tmp_path):
    results = []
    for name, stops in (("whole", []), ("parts", [(8, True), (20, False), (40, False), (25, False)])):
        out = tmp_path / name
        setup, prepared = begun(text, out)
        for stop, in_search in stops:
            assert not go(setup, prepared, out, stop, in_search)["finished"]
            assert 1 <= len(json.loads((out / ".train" / "rate.json").read_text())) <= (1 if in_search else 5)
        got = go(setup, prepared, out)
        assert got["finished"] and got["steps"] > 90
        log = (out / "log.jsonl").read_text()
        results.append((load(out).decoder.state_dict(), log, got["lr"], got["loss"], got["steps"]))
    (a, log_a, *rest_a), (b, log_b, *rest_b) = results
    assert all(torch.equal(a[k], b[k]) for k in a) and rest_a == rest_b
    assert [json.loads(x)["loss"] for x in log_a.splitlines()] == [json.loads(x)["loss"] for x in log_b.splitlines()]


def test_micro_batches_follow_one_another():
    order = Order(Numbers(1, 400), 4, 8)
    assert [numbered(order)(n)[0].number for n in range(3)] == [0, 8, 16]


def test_a_search_goes_on_from_what_it_found(text, tmp_path):
    setup, prepared = begun(text, tmp_path / "m")
    (tmp_path / "m" / ".train" / "rate.json").write_text('{"0.0005": 0.0}')  # a rate that nothing beats
    assert go(setup, prepared, tmp_path / "m")["lr"] == 0.0005


def test_a_rate_that_breaks_down_is_passed_over(text, tmp_path, monkeypatch):
    setup, prepared = begun(text, tmp_path / "m")
    rates, held = search.RATES[setup.plan.optimizer], prepared.held_by({"animals": 1.0})

    def run(plan, batches, held, precision, seed, lr, steps, go_on):
        if lr == rates[0] or all_break:
            raise NonFinite("broken")
        return abs(math.log(lr / rates[-1]))

    monkeypatch.setattr(search, "short_run", run)

    def find(work):
        work.mkdir(exist_ok=True)
        return search.find_rate(setup.plan, None, held, "fp32", 0, work, lambda text: None, lambda: True)

    all_break = False
    best = find(tmp_path / "one")
    assert best == rates[-1] and find(tmp_path / "one") == best  # also from what was kept
    kept = {str(lr): abs(math.log(lr / 0.004)) for lr in search.RATES["adamw"][:3]}
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "rate.json").write_text(json.dumps(kept))  # stopped after three: the best is still to come
    plan = replace(setup.plan, optimizer="adamw")
    monkeypatch.setattr(search, "short_run", lambda *a: abs(math.log(a[5] / 0.004)))
    found = search.find_rate(
        plan,
        None,
        Held(prepared.held, {"animals": 1.0}),
        "fp32",
        0,
        tmp_path / "three",
        lambda text: None,
        lambda: True,
    )
    assert found == min(search.RATES["adamw"], key=lambda lr: abs(math.log(lr / 0.004))) and str(found) not in kept
    monkeypatch.setattr(search, "short_run", run)
    all_break = True
    with pytest.raises(NonFinite, match="every rate"):
        find(tmp_path / "two")


def spoil_after(monkeypatch, when):
    """Weights become NaN in each update, counted from the first, of which `when` says so."""
    made = 0

    def optimizer_of(model, *args):
        optimizer = search.optimizer_of(model, *args)
        inner = optimizer.step

        def step():
            nonlocal made
            inner()
            made += 1
            if when(made):
                with torch.no_grad():
                    next(model.parameters()).fill_(math.nan)

        optimizer.step = step
        return optimizer

    monkeypatch.setattr(trainer, "optimizer_of", optimizer_of)


@pytest.mark.parametrize(("spoilt", "returns"), [(39, [20]), (40, [40, 20])])  # at 40 it is kept spoilt
def test_goes_back_to_a_checkpoint_when_the_weights_are_spoilt(spoilt, returns, text, tmp_path, monkeypatch):
    results = []
    for name, stops in (("whole", []), ("parts", [spoilt + 8 * len(returns)])):  # one of them stops after the return
        setup, prepared = begun(text, tmp_path / name, lr=1e-3, tokens=8 * 16 * 60)
        spoil_after(monkeypatch, lambda made: made == spoilt)
        said, done = [], []

        def sitting(stop, out=tmp_path / name, setup=setup, prepared=prepared, said=said, done=done):
            stopped = lambda: len(done) >= stop  # noqa: E731
            return trainer.train_model(setup, prepared, out, say=said.append, on_update=done.append, stopped=stopped)

        assert not any(sitting(stop)["finished"] for stop in stops)
        got = sitting(10**9)
        back = [int(line.split(" to ")[1].split(",")[0]) for line in said if "going back" in line]
        assert got["finished"] and got["loss"] < 5 and back == returns
        log = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        assert [x["step"] for x in log if not x["action"]] == list(range(1, 61))
        assert [x["action"] for x in log if x["action"]] == (["replace_batch"] * 4 + ["rollback"]) * len(returns)
        results.append(load(tmp_path / name).decoder.state_dict())
    assert all(torch.equal(results[0][k], results[1][k]) for k in results[0])


def test_a_loss_that_stays_high_is_taken_as_it_is(text, tmp_path, monkeypatch):
    setup, prepared = begun(text, tmp_path / "m", lr=1e-3, tokens=8 * 16 * 90)
    said, done = [], []
    real = trainer.loss_of
    monkeypatch.setattr(trainer, "loss_of", lambda *a: (real(*a)[0] + 2000 * (len(done) >= 50), real(*a)[1]))
    got = trainer.train_model(setup, prepared, tmp_path / "m", say=said.append, on_update=done.append)
    assert got["finished"] and got["steps"] == 90
    assert [line for line in said if "going back" in line] == [
        "going back from update 50 to 40, and over the batches in between"
    ]


def test_weights_that_are_spoilt_again_and_again_end_it(text, tmp_path, monkeypatch):
    setup, prepared = begun(text, tmp_path / "m", lr=1e-3, tokens=8 * 16 * 60)
    spoil_after(monkeypatch, lambda made: made >= 30)
    said = []
    with pytest.raises(NonFinite, match="again and again after update"):
        trainer.train_model(setup, prepared, tmp_path / "m", say=said.append)
    assert "to 20, and" in str(said) and "to 0, and" in str(said)  # where 20 does not help, from before it
    kept = [checkpoint.load(c) for c in checkpoint.published(tmp_path / "m" / ".train" / "checkpoints")]
    assert any(all(t.isfinite().all() for t in state["model"].values()) for state in kept)


def test_made_longer_it_goes_on_from_before_the_fall(text, tmp_path):
    for name, updates in (("long", 90), ("short", 60)):
        out = tmp_path / name
        setup, prepared = begun(text, out, keep_stable=name == "short", lr=1e-4, tokens=8 * 16 * updates)
        plan = replace(setup.plan, first_steps=600)  # of which warm-up and looks are shares
        setup = replace(setup, plan=plan)
        setups.write_setup(setup, out / ".train")
        got = go(setup, prepared, out)
        assert got["finished"] and got["steps"] == updates, got
    corpora, more = {"animals": open_corpus([text])}, str(8 * 16 * 30)
    again = job.begin(corpora, Wish(), out / ".train", resume=True, more=more)[0]
    assert (out / ".train" / "finished").exists()  # until it is under way
    assert go(again, prepared, out)["steps"] == 90
    a, b = (load(tmp_path / name).decoder.state_dict() for name in ("long", "short"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_what_is_finished_is_made_longer_only_where_that_was_kept(text, tmp_path, capsys):
    command = ["lm", "train", str(text), "--out", str(tmp_path / "m"), "--context", "16"]
    small = ["--size", "60k", "--batch", "64", "--rate", "0.005"]
    assert main([*command, *small, "--dry-run", "--resume"]) == 2 and "--dry-run" in capsys.readouterr().err
    assert main([*command, *small, "--dry-run", "--precision", "mixed"]) == 0
    shown = capsys.readouterr().err
    assert "0.005 of Muon from given" in shown and "mixed" in shown and "64 x 16 tokens" in shown
    assert main([*command, *small, "--keep-stable"]) == 0 and capsys.readouterr()
    for more, said in (
        (["--resume"], "say how much --more"),
        (["--resume", "--more", "much"], "--more"),
        (["--resume", "--more", "30m"], "--more: expected tokens such as 20M"),
        (["--resume", "--more", "2k", "--rate", "0.1"], "--rate: expected as when this training began (0.005)"),
        (["--more", "2k", *small], "not empty"),
    ):
        assert main([*command, *more]) == 2
        assert said in capsys.readouterr().err.splitlines()[-1]
    assert main([*command, "--resume", "--more", "20k"]) == 0
    assert "going on from update" in capsys.readouterr().err and load(tmp_path / "m")
    for path in sorted((tmp_path / "m" / ".train").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert main([*command, "--resume", "--more", "20k"]) == 2
    assert "is a finished model" in capsys.readouterr().err


def test_a_mix_trains_to_a_good_end(text, tmp_path, capsys):
    other = tmp_path / "numbers.txt"
    other.write_text("".join(f"{i} and {i + 1} are {2 * i + 1}. " for i in range(500)))
    command = ["lm", "train", str(text), str(other), "--context", "16", "--size", "60k", "--batch", "128", "--json"]
    assert main([*command, "--out", str(tmp_path / "m"), "--mix", "animals=3", "--mix", "numbers=1"]) == 0
    out, err = capsys.readouterr()
    got = json.loads(out)
    assert "animals  75% of the training" in err and "numbers  25% of the training" in err
    parts = got["parts"]
    assert parts.keys() == {"animals", "numbers"} and min(parts.values()) < got["bits_per_byte"] < max(parts.values())
    assert got["bytes"] > got["tokens"] > 0 and got["flops"] > got["tokens"]
    cooled = [*command, "--out", str(tmp_path / "n"), "--rate", "0.005"]
    assert main([*cooled, "--mix-temperature", "9,1,0.5", "--keep-stable"]) == 0
    assert main([*cooled, "--resume", "--more", "20k"]) == 0  # the switch stays where it was
    assert main([*cooled, "--resume", "--more", "20k", "--mix-temperature", "9,1,0.6"]) == 2
    assert "--mix-temperature: expected as when" in capsys.readouterr().err.splitlines()[-1]


def test_one_command_at_a_time_works_in_a_folder(text, tmp_path, capsys):
    log = tmp_path / "m" / ".train" / "log.jsonl"
    with works.working(tmp_path / "m", resume=False) as work:
        log.write_text("a line\n")
        (work / "setup.json").write_text("{}")
        for more in ([], ["--resume"]):
            assert main(["lm", "train", str(text), "--size", "60k", "--out", str(tmp_path / "m"), *more]) == 2
            assert "another training goes on there" in capsys.readouterr().err
    assert log.read_text() == "a line\n"


def test_a_stop_while_tokenizing_loses_nothing(text, tmp_path, capsys, monkeypatch):
    command = ["lm", "train", str(text), "--out", str(tmp_path / "m")]
    small = ["--context", "16", "--size", "60k", "--batch", "64"]

    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shards, "write", stop)
        assert main([*command, *small]) == 130
        assert "--resume" in capsys.readouterr().err
    work = tmp_path / "m" / ".train"
    assert json.loads((work / "spent.json").read_text()) > 0 and (work / "tokenizer.json").exists()
    assert main([*command, *small]) == 2  # not over it
    assert main([*command, "--resume"]) == 0 and load(tmp_path / "m")


def test_no_model_comes_out_of_no_update(text, tmp_path):
    setup, prepared = begun(text, tmp_path / "m", seconds=100.0, lr=1e-3)
    (tmp_path / "m" / ".train" / "spent.json").write_text("100")
    with pytest.raises(BadInput, match="before the first update"):
        go(setup, prepared, tmp_path / "m")
    assert not (tmp_path / "m" / "config.json").exists()


def test_time_spent_is_not_given_again(text, tmp_path, monkeypatch):
    setup, prepared = begun(text, tmp_path / "m", seconds=100.0, lr=1e-3)
    assert not go(setup, prepared, tmp_path / "m", 5)["finished"]
    spent = tmp_path / "m" / ".train" / "spent.json"
    assert 0 < float(spent.read_text()) < 100
    spent.write_text("100")
    got = go(setup, prepared, tmp_path / "m")
    assert got["finished"] and got["updates"] == 0 and got["steps"] == 5  # the time is up


def test_nothing_is_lost_when_saving_fails(text, tmp_path, monkeypatch):
    setup, prepared = begun(text, tmp_path / "m", lr=1e-3, tokens=6000)
    (tmp_path / "m" / "notes.txt").write_text("mine")

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(works, "save", full)
        with pytest.raises(OSError, match="No space"):
            go(setup, prepared, tmp_path / "m")
    got = go(setup, prepared, tmp_path / "m")
    assert (
        got["finished"]
        and got["updates"] == 0
        and load(tmp_path / "m")
        and (tmp_path / "m" / "notes.txt").read_text() == "mine"
    )


def test_going_on_is_with_what_was_begun(text, tmp_path, capsys, monkeypatch):
    work = tmp_path / "m" / ".train"
    setup, _ = begun(text, tmp_path / "m", lr=1e-3, tokens=6000)
    setups.write_setup(replace(setup, asked={"size": 60_000}, precision="bf16"), work)
    command = ["lm", "train", str(text), "--out", str(tmp_path / "m"), "--resume"]
    for more, said in ((["--seed", "4"], "--seed: expected as when"), (["--size", "90k"], "(60000), got 90000")):
        assert main([*command, *more]) == 2
        assert said in capsys.readouterr().err.splitlines()[-1]
    changed = tmp_path / "animals.txt"
    changed.write_text(TEXT * 41)
    assert main(["lm", "train", str(changed), "--out", str(tmp_path / "m"), "--resume"]) == 2
    assert "not those that this training began with" in capsys.readouterr().err
    assert main([*command, "--size", "60k"]) == 0
    assert "bf16" in capsys.readouterr().err


def test_a_look_at_the_held_out_loss_counts_every_window_once(monkeypatch):
    held, length = Numbers(1, 16 * 21 + 3), 16
    config = DecoderConfig(5000, 32, 1, 2, 2, 32, length)
    model = Decoder(config)
    windows = Order(held, length, 1, seed=0).epoch_windows
    with torch.no_grad():
        each = [loss_of(model, Order(held, length, 1, seed=0).at(n)) for n in range(windows)]
    plain = sum(float(loss) for loss, _ in each) / sum(n for _, n in each)
    for rows in (1, 8, 16):
        monkeypatch.setattr(helds, "ROWS", rows)
        assert Held({"a": held}, {"a": 2.0}).loss(model, length) == pytest.approx(plain, rel=1e-6)
    assert Held({"a": held}, {"a": 2.0}).loss(model, length, most=3) != pytest.approx(plain, rel=1e-6)
