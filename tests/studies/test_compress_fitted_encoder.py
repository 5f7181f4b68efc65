"""A model compressed with a sentence encoder of its own: who has which time and room, and what is told of both."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.compress.allocate import Infeasible, frontier
from smidgen.compress.fitting import Limit
from smidgen.compress.work_folder import WorkFolder
from smidgen.studies import compress_encoder, compress_fitted
from smidgen.studies.compress_fitted import OPTIONS, UNIFORM, Work, bytes_of
from smidgen.studies.compress_opened import head_bytes

pytest.importorskip("torch")
TEXTS = "reads texts"


class Known:
    """An opened model whose losses add up: 0.01 a step of coarseness for the matrix, half as much for the vector."""

    def __init__(self, folder: Path, rows: bool = True) -> None:
        rng = np.random.default_rng(0)
        self.arrays = {"0.big": rng.normal(size=(64, 96)), "1.small": rng.normal(size=80).astype(np.float32)}
        self.arrays["1.ints"] = np.arange(9)
        self.model = SimpleNamespace(weights=[0.75, 0.25], kind="classification", members=TEXTS)
        self.choose = self.check = SimpleNamespace() if rows else None
        self.folder, self.beside = folder, (None, 0)

    def member_of(self, name: str) -> int:
        return int(name[0])

    def lost(self, options: dict[str, str], part: str = "choose") -> float:
        return sum((9 - OPTIONS.index(o)) / (1 + (n == "1.small")) for n, o in options.items()) / 100

    def size(self, options: dict[str, str]) -> int:
        return 1000 + sum(bytes_of(a.shape, options[n]) if n in options else a.nbytes for n, a in self.arrays.items())

    def written(self, options: dict[str, str]) -> tuple[bytes, bytes]:
        return b"x" * 100, head_bytes({"own": options})


@pytest.fixture(autouse=True)
def _described_once(monkeypatch: pytest.MonkeyPatch, described: dict[str, Any]) -> None:
    monkeypatch.setattr(compress_fitted, "_described", lambda opened, name: described[name])


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    known: Any = Known(Path("m"))
    return {name: compress_fitted._described(known, name) for name in ("0.big", "1.small")}


class Encoding:
    """An encoder of 4,096 weights that takes 3,000 bytes at least; keeps what it was asked."""

    made: list[Any] = []
    numbers, smallest, smallest_packed, before, recovery_steps = 4096, 3000, 2500, 90_000, 6
    files = {"model.safetensors": b"m" * 40, "tokenizer.json": b"t" * 2}
    layers = [{"name": "encoder.l", "bytes": 2560}]
    tried = [{"name": "encoder: mixed", "bytes": 4000, "recovered": True, "loss": 0.1}]

    def __init__(self, *given: Any) -> None:
        self.given, self.asked = given, []
        self.made.append(self)

    def uniforms(self, beside: int) -> list[dict[str, Any]]:
        return [{"name": "encoder in int4", "bytes": beside + 3500}]

    def fit(self, work: Work, *asked: Any) -> list[str]:
        self.asked = [(work.until, len(work.told.measured)), *asked]  # type: ignore[union-attr]
        return ["of the encoder"]


@pytest.fixture
def made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compresses with a clock that goes on by a second at each look; gives the result and the encoder."""
    monkeypatch.setattr(compress_encoder, "Encoding", Encoding)
    monkeypatch.setattr(compress_fitted, "reads_texts", lambda model: model.members == TEXTS)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").write_bytes(b"y" * 50)

    def go(limit: Limit, dry: bool = False, seconds: Any = None, steps: Any = None, own: Any = True, rows: Any = True,
           start: float = 0.0):  # fmt: skip
        ticks, known, tell = itertools.count(), Known(tmp_path / "m", rows), lambda *_: None
        folder = WorkFolder(None, "")
        Encoding.made.clear()
        found = compress_fitted._compressed(
            known, limit, tmp_path / "out", 5, dry, tell, start, seconds, steps, own, lambda: float(next(ticks)), folder
        )  # type: ignore[arg-type]
        encoder = Encoding.made[-1] if Encoding.made else None
        assert encoder is None or encoder.given == (known, 5, tell, folder)
        return found, encoder

    return go


def plain_work(folder: Path) -> Work:
    work = Work(Known(folder), lambda *_: None, lambda: 0.0, None, WorkFolder(None, ""))  # type: ignore[arg-type]
    work.weigh()
    return work


def test_arrays_have_a_fifth_of_the_time_and_the_encoder_what_is_left(made_of, tmp_path) -> None:
    found, encoder = made_of(Limit(bytes=9000), seconds=50.0)
    # arrays end at 10; they are measured before 7 by the clock, which was at 0 when that began and at 7 when it ended
    assert encoder.asked == [(10.0, 6), None, 9000, 42.0, None] and found["measured"]["options"] == 6
    words = (
        f"In the time 6 of {found['measured']['of']} options were measured, the others forecast: --time gives it more."
    )
    assert found["notes"] == [words, "of the encoder"]
    assert made_of(Limit(bytes=9000), seconds=1.0)[1].asked[3] == 0.0
    whole, encoder = made_of(Limit(bytes=9000))
    assert encoder.asked[1:] == [None, 9000, None, None] and whole["notes"] == ["of the encoder"]
    assert made_of(Limit(bytes=9000), seconds=50.0, steps=3)[1].asked[1:] == [None, 9000, None, 3]
    assert made_of(Limit(loss=0.2), seconds=None)[1].asked[1:] == [0.2, None, None, None]
    alone, encoder = made_of(Limit(bytes=9000), seconds=50.0, own=False)
    assert encoder is None and alone["measured"]["options"] > 6  # seven tenths of all the time


def test_what_is_told_is_of_both(made_of, tmp_path) -> None:
    found, _ = made_of(Limit(bytes=9000))
    out = tmp_path / "out"
    assert (out / "encoder" / "model.safetensors").read_bytes() == b"m" * 40
    assert found["bytes"] == sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    assert found["bytes_before"] == 50 + 90_000 and found["recovery_steps"] == 6 and found["model"] == str(out)
    assert found["numbers"] == 64 * 96 + 80 + 4096 and found["kept"] == ["1.ints"]
    assert [a["name"] for a in found["layers"]] == ["0.big", "1.small", "encoder.l"]
    assert found["bits_per_weight"] == round(8 * sum(a["bytes"] for a in found["layers"]) / found["numbers"], 4)
    assert found["tried"][0] == {"name": "encoder: mixed", "bytes": 4000, "recovered": True, "loss": 0.1}
    assert len(found["tried"]) > 1 and not any(t["recovered"] for t in found["tried"][1:])
    work = plain_work(tmp_path)
    assert found["curve"] == [
        {"bytes": work.size(c.options) + 3000, "loss": c.loss} for c in frontier(work.choices, 12)
    ]
    alone, _ = made_of(Limit(bytes=9000), own=False)
    assert alone["bytes_before"] == 50 and alone["curve"][0]["bytes"] == found["curve"][0]["bytes"] - 3000
    assert alone["numbers"] == 64 * 96 + 80 and alone["recovery_steps"] == 0
    assert alone["notes"] == [
        "The sentence encoder that this model reads texts with is a package of its own and not in the folder: its 91 "
        "MB are not counted. --with-encoder puts a small one in."
    ]
    blind, _ = made_of(Limit(bits=8), own=False, rows=False)
    assert blind["notes"][0] == (
        "No rows were given: arrays were rounded by their size alone, and what that loses is not known. "
        "Give --calibration with rows as the model takes them."
    )
    assert len(blind["notes"]) == 2 and blind["measured"]["options"] == 0


def test_the_least_and_the_bits_are_of_both(made_of, tmp_path) -> None:
    work = plain_work(tmp_path)
    least = work.size(work.least) + 3000
    dry, _ = made_of(Limit(bytes=least), dry=True)
    assert dry["smallest"] == least and dry["uniform"] == [{"name": "encoder in int4", "bytes": least + 500}]
    assert "would_be" not in dry and dry["dry_run"] is True
    with pytest.raises(Infeasible) as refused:
        made_of(Limit(bytes=least - 1))
    assert str(refused.value) == (
        f"No mix fits {least - 1:,} bytes: the smallest reachable is {least:,} bytes ({least / 1e6:.2f} MB)."
    )
    packed = sum(bytes_of(work.opened.arrays[n].shape, o) for n, o in work.least.items()) + 2500
    numbers = 64 * 96 + 80 + 4096
    for bits, most in ((8.0, int(least - packed + numbers)), (6.5, int(least - packed + numbers * 6.5 / 8))):
        assert made_of(Limit(bits=bits))[1].asked[2] == most
    with pytest.raises(Infeasible):
        made_of(Limit(bits=8 * (packed - 1) / numbers), dry=True)
    alone, _ = made_of(Limit(bytes=least), dry=True, own=False, start=-0.016)
    taken = dict(compress_fitted.best_within(work.choices, work.size, least, least))
    packed = sum(c.bytes for c in compress_fitted.best_of(work.choices, taken))
    assert alone["would_be"] == work.size(taken) <= least
    assert alone["bits_per_weight"] == round(8 * packed / (64 * 96 + 80), 4)
    assert alone["smallest"] == least - 3000 and [u["name"] for u in alone["uniform"]] == list(UNIFORM)
    assert alone["seconds"] == 1.02  # two looks at the clock


# -- which mixes are measured while there is time --


def late(work: Work, ticks: Any, until: float) -> Work:
    work.until, work.now = until, lambda: float(next(ticks))
    return work


def test_uniform_widths_are_measured_largest_first_as_long_as_there_is_time(tmp_path) -> None:
    most = Known(tmp_path).size({}) // 2
    whole = plain_work(tmp_path)
    whole.within_bytes(most)
    fits = sorted(
        (o for o in UNIFORM if whole.size(whole.uniform(o)) <= most), key=lambda o: -whole.size(whole.uniform(o))
    )
    names = [f"{o} throughout" for o in fits]
    assert [t["name"] for t in whole.tried if t["name"] != "mixed"] == names and len(names) > 3
    for until, count in ((0.0, 1), (1.0, 2), (2.0, 3), (99.0, len(names))):  # the first whatever the time
        some = late(plain_work(tmp_path), itertools.count(), until)
        some.within_bytes(most)
        assert [t["name"] for t in some.tried[1:]] == names[:count]


def test_smaller_uniform_widths_are_tried_until_one_loses_too_much(tmp_path) -> None:
    """Mixes of two options lose ten times what was forecast, so that careful ones are large, uniform ones small."""

    def tried(most: float, until: float = 0.5) -> tuple[list[str], str]:
        work = plain_work(tmp_path)
        lost = work.opened.lost

        def more(options: dict[str, str], part: str = "choose") -> float:
            return lost(options) * (10 if len(set(options.values())) > 1 else 1)

        work.opened.lost = more  # type: ignore[method-assign]
        best = late(work, itertools.count(), until).within_loss(most)
        return [t["name"] for t in work.tried], best["name"]

    four, three, two = (f"int{b}+offset/{g}/double throughout" for b, g in ((4, 64), (3, 32), (2, 32)))
    forecasts = [f"forecast to lose {loss}" for loss in ("0.1", "0.07", "0.05", "0.12", "0.084")]
    assert tried(0.1) == ([*forecasts[:3], four], forecasts[2])  # that one loses too much: none is smaller after it
    assert tried(0.12) == ([*forecasts[3:], three, two], three)
    assert tried(0.12, 0.0) == ([*forecasts[3:], three], three)  # the finest whatever the time
    assert tried(0.05, 0.0)[0] == [forecasts[2], four]


def test_mixes_become_more_careful_until_one_keeps_the_limit(tmp_path) -> None:
    work = plain_work(tmp_path)
    lost = work.opened.lost
    work.opened.lost = lambda options, part="choose": 1000 * lost(options)  # type: ignore[method-assign]
    assert work.within_loss(0.1)["options"] == {}
    names = [t["name"] for t in work.tried if "forecast" in t["name"]]
    assert names == [f"forecast to lose {loss}" for loss in ("0.1", "0.07", "0.05", "0.03", "0.015", "0.005")]


def test_work_is_known_by_its_model_its_rows_and_its_seed(monkeypatch) -> None:
    def opened(**changed: Any) -> Any:
        rows = SimpleNamespace(frame=pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}))
        parts = {"choose": rows, "check": rows, "learn": rows, "head": {"k": 1}, "arrays": {"w": np.ones(3)}}
        return SimpleNamespace(model=SimpleNamespace(members=None), **{**parts, **changed})

    monkeypatch.setattr(compress_fitted, "reads_texts", lambda model: model.members == TEXTS)
    monkeypatch.setattr(compress_fitted.minilm, "load", lambda: SimpleNamespace(identity="encoder"))
    other = SimpleNamespace(frame=pd.DataFrame({"a": [1.0, 2.5], "b": ["x", "y"]}))
    reading = opened()
    reading.model = SimpleNamespace(members=TEXTS)
    made = [opened(), opened(check=other), opened(learn=other), opened(choose=other), opened(head={"k": 2}),
            opened(arrays={"w": np.zeros(3)}), reading, opened(choose=None, check=None, learn=None)]  # fmt: skip
    known = [compress_fitted._identity(one, 0) for one in made]
    assert len(set(known)) == len(known) and compress_fitted._identity(opened(), 0) == known[0]
    assert compress_fitted._identity(opened(), 1) not in known
    bare = opened(choose=None, check=None, learn=None)
    bare.model = SimpleNamespace(members=TEXTS)
    assert compress_fitted._identity(bare, 0) == known[-1]  # nothing is read


def test_nothing_that_can_answer_is_an_error(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Known, "lost", lambda self, options, part="choose": math.inf if options else 0.0)
    work = plain_work(tmp_path)
    assert work.within_loss(0.1)["options"] == {}


@pytest.mark.parametrize(("measured", "skipped", "said"), [(6, 2, 0), (6, 1, 1), (8, 0, 0), (0, 7, 1), (7, 2, 0)])
def test_options_that_were_passed_over_as_alike_need_no_more_time(measured, skipped, said, monkeypatch) -> None:
    monkeypatch.setattr(compress_fitted, "reads_texts", lambda model: False)
    told = SimpleNamespace(measured=dict.fromkeys(range(measured)), skipped=skipped)
    opened = SimpleNamespace(check=SimpleNamespace(), model=None)
    work: Any = SimpleNamespace(opened=opened, told=told, choices=[None] * 10, least=[None] * 2)
    words = f"In the time {measured} of 8 options were measured, the others forecast: --time gives it more."
    assert compress_fitted._notes(work, False) == [words] * said
    work.told = None
    assert compress_fitted._notes(work, True) == []
