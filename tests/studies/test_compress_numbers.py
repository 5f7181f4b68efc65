"""What compression decides and reports, where losses and sizes are known: mixes, limits, forecasts, bytes, notes."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from smidgen.compress.allocate import Choice, Infeasible, frontier
from smidgen.compress.fitting import Limit
from smidgen.compress.work_folder import WorkFolder
from smidgen.kit.errors import BadInput
from smidgen.learn.packed_arrays import pack_array, unpack_array
from smidgen.studies import compress_fitted
from smidgen.studies.compress_fitted import AS_IS, OPTIONS, UNIFORM, Work, best_of, bytes_of, options_of
from smidgen.studies.compress_opened import Opened, head_bytes
from smidgen.studies.compress_weighing import Array, Weighed, order, weigh

# -- which options are measured, and what is said of the others --

ERRORS = (0.4, 0.2, 0.1, 0.01, 0.0)
ONE = Array("a", 100, 0.5, ("c0", "c1", "c2", "c3", "c4"), ERRORS)
TWO = Array("b", 100, 0.25, ("c0", "c1", "c2", "c3", "c4"), ERRORS)


def told(**measured: float) -> Weighed:
    return Weighed([ONE, TWO], {(k[0], k[1:]): v for k, v in measured.items()})


def test_a_loss_between_two_measured_ones_lies_on_the_line_of_logarithms() -> None:
    found = told(ac0=0.8, ac3=0.02)
    share = math.log(0.2 / 0.01) / math.log(0.4 / 0.01)
    assert found.loss(ONE, 1) == pytest.approx(0.02 * (0.8 / 0.02) ** share)
    assert [found.loss(ONE, i) for i in (0, 3)] == [0.8, 0.02] and found.loss(ONE, 4) == 0.0  # no error, no loss
    assert told(ac0=0.0, ac3=0.0).loss(ONE, 1) == 0.0
    assert told(ac0=0.8, ac3=0.0).loss(ONE, 1) == pytest.approx(1e-12 * (0.8 / 1e-12) ** share)
    near = Array("a", 9, 1.0, ("c0", "c1", "c2"), (0.1, 0.1, 0.1))
    assert told(ac0=0.3, ac2=0.2).loss(near, 1) == 0.3  # equal errors: the larger loss
    odd = Array("a", 9, 1.0, ("c0", "c1", "c2"), (0.2, 0.5, 0.1))
    assert told(ac0=0.4, ac2=0.1).loss(odd, 1) == pytest.approx(0.4)  # never beyond both
    low = Array("a", 9, 1.0, ("c0", "c1", "c2"), (0.2, 0.05, 0.1))
    assert told(ac0=0.4, ac2=0.1).loss(low, 1) == pytest.approx(0.1)


def test_beyond_what_was_measured_losses_follow_errors() -> None:
    assert told(ac2=0.3).loss(ONE, 0) == pytest.approx(1.2) and told(ac2=0.3).loss(ONE, 3) == pytest.approx(0.03)
    assert told(ac1=0.3, ac2=0.2).loss(ONE, 0) == pytest.approx(0.6)  # of the nearest
    assert told(ac1=math.inf).loss(ONE, 0) == math.inf  # coarser than what cannot be used
    assert told(ac0=math.inf, ac2=0.2).loss(ONE, 1) == pytest.approx(0.4)  # finer than it
    assert told(ac0=math.inf).loss(ONE, 1) == pytest.approx(0.5 * 0.2)  # then as if nothing were known
    assert told().loss(TWO, 2) == pytest.approx(0.25 * 0.1)
    rates = told(ac1=0.4, ac2=0.1, ac3=0.5)  # 4, 2 and 100 by weight and error
    assert rates.loss(TWO, 2) == pytest.approx(4 * 0.25 * 0.1)
    assert told(ac4=0.7, ac1=0.4).loss(TWO, 2) == pytest.approx(4 * 0.25 * 0.1)  # an error of 0 has no rate


def test_the_order_is_bisection() -> None:
    assert order(0) == [] and order(1) == [[(0, None)]] and order(2) == [[(1, None)], [(0, None)]]
    assert order(9) == [
        [(4, None)], [(0, None), (8, None)], [(2, (0, 4)), (6, (4, 8))],
        [(1, (0, 2)), (3, (2, 4)), (5, (4, 6)), (7, (6, 8))],
    ]  # fmt: skip


def test_likes_are_skipped_within_a_twentieth_and_progress_counts_them() -> None:
    for coarse, skipped in ((1.04, 2), (1.06, 1)):
        losses = {"c0": coarse, "c1": 1.0, "c2": 1.0, "c3": 1.0, "c4": 1.0}
        seen: list[tuple[int, int]] = []

        def tell(done: int, of: int, seen: list[tuple[int, int]] = seen) -> None:
            seen.append((done, of))

        found = weigh([ONE], lambda _, option, own=losses: own[option], lambda: True, tell)
        assert found.skipped == skipped and len(found.measured) == 5 - skipped
        assert seen[-1][1] == 5 and [a for a, _ in seen] == sorted({a for a, _ in seen})
    nine = Array("n", 9, 1.0, tuple(f"c{i}" for i in range(9)), tuple(0.5**i for i in range(9)))
    flat = weigh([nine], lambda *_: 1.0, lambda: True)  # what lies inside of something skipped is skipped as well
    assert len(flat.measured) == 3 and flat.skipped == 6
    big = Array("z", 200, 1.0, ("c0",), (0.1,))
    calls: list[tuple[str, str]] = []

    def measure(name: str, option: str) -> float:
        calls.append((name, option))
        return 1.0

    weigh([TWO, ONE, big], measure, lambda: len(calls) < 4)
    assert calls == [("z", "c0"), ("a", "c2"), ("b", "c2"), ("a", "c0")]  # the largest first, then by name
    assert weigh([], lambda *_: 1.0, lambda: True).measured == {}


# -- arrays of a model, whose losses add up --


class Known:
    """An opened model of two members whose loss is the sum of what its options lose; packing takes real bytes."""

    def __init__(self, tmp_path: Path, rows: bool = True, scale: float = 1.0) -> None:
        rng = np.random.default_rng(0)
        self.arrays = {
            "0.big": rng.normal(size=(64, 96)), "1.small": rng.normal(size=(80,)).astype(np.float32),
            "1.ints": np.arange(9),
        }  # fmt: skip
        self.model = SimpleNamespace(weights=[0.75, 0.25], kind="classification", members=[])
        self.choose = self.check = SimpleNamespace() if rows else None
        self.folder, self.beside, self.scale, self.calls = tmp_path / "m", (None, 0), scale, []

    def member_of(self, name: str) -> int:
        return int(name[0])

    def lost(self, options: dict[str, str], part: str = "choose") -> float:
        self.calls.append(dict(options))
        if "int2+offset/32/double" in options.values():
            return math.inf
        return self.scale * sum((20 - OPTIONS.index(o)) / (1 + (n == "1.small")) for n, o in options.items()) / 100

    def size(self, options: dict[str, str]) -> int:
        return 1000 + sum(bytes_of(a.shape, options[n]) if n in options else a.nbytes for n, a in self.arrays.items())


@pytest.fixture
def known(tmp_path: Path) -> Any:
    return Known(tmp_path)


def work_of(known: Any, until: float | None = None, now: Any = None) -> Work:
    made = Work(known, lambda *_: None, now or (lambda: 0.0), until, WorkFolder(None, ""))
    made.weigh()
    return made


def test_bytes_of_an_option_are_those_of_its_packed_parts() -> None:
    for shape, option in itertools.product(((7, 33), (64,), (3, 4, 5)), OPTIONS):
        packed = pack_array(np.random.default_rng(0).normal(size=shape), option)
        assert bytes_of(shape, option) == sum(a.nbytes for a in packed.values())


def test_options_are_those_that_make_an_array_smaller_and_carry_their_error(known: Any) -> None:
    for name, array in known.arrays.items():
        if name == "1.ints":
            continue
        made = compress_fitted._described(known, name)
        sizes = [bytes_of(array.shape, o) for o in made.options]
        assert sizes == sorted(set(sizes)) and sizes[-1] < array.nbytes
        assert made.numbers == array.size and made.weight == {"0.big": 0.75, "1.small": 0.25}[name]
        assert [OPTIONS.index(o) for o in made.options] == sorted(OPTIONS.index(o) for o in made.options)
        for option, error in zip(made.options, made.errors, strict=True):
            back = unpack_array(pack_array(array, option), option, array.shape, str(array.dtype))
            assert error == pytest.approx(np.linalg.norm(back - array) / np.linalg.norm(array), rel=1e-6)
        left = [o for o in OPTIONS if o not in made.options]
        assert all(any(bytes_of(array.shape, f) <= bytes_of(array.shape, o) for f in OPTIONS[OPTIONS.index(o) + 1 :])
                   or bytes_of(array.shape, o) >= array.nbytes for o in left)  # fmt: skip
    assert "float32" not in compress_fitted._described(known, "1.small").options  # it is that already
    many = SimpleNamespace(arrays={"0.long": np.random.default_rng(0).normal(size=(3000, 16))}, model=known.model,
                           member_of=known.member_of)  # fmt: skip
    some = many.arrays["0.long"][np.linspace(0, 2999, 1024).astype(int)]  # 2^14 numbers are looked at
    back = unpack_array(pack_array(some, "int8/64"), "int8/64", some.shape, "float64")
    made = compress_fitted._described(many, "0.long")  # type: ignore[arg-type]
    own = made.errors[made.options.index("int8/64")]
    assert own == pytest.approx(np.linalg.norm(back - some) / np.linalg.norm(some), rel=1e-6)
    assert compress_fitted._error(np.zeros((2, 64)), "int8/64") == 0.0


def test_every_option_has_its_measured_loss_and_the_clock_ends_the_measuring(known: Any) -> None:
    work = work_of(known)
    for c in work.choices:
        assert c.loss == (0.0 if c.option == AS_IS else work.told.loss(_array(work, c.layer), _place(work, c)))
        whole = known.arrays[c.layer].nbytes
        assert c.bytes == (whole if c.option == AS_IS else bytes_of(known.arrays[c.layer].shape, c.option))
    assert {c.layer for c in work.choices} == {"0.big", "1.small"}
    measured = {(n, o): known.lost({n: o}) for n, o in work.told.measured}
    assert work.told.measured == measured and len(measured) + work.told.skipped == len(work.choices) - 2
    ticks = itertools.count()
    short = work_of(known, 10.0, lambda: float(next(ticks)))  # begins at 0: options are measured before 7
    assert len(short.told.measured) == 6
    blind = work_of(Known(known.folder, rows=False))
    assert not blind.told.measured
    for c in blind.choices:
        if c.option != AS_IS:
            assert c.loss == _array(blind, c.layer).errors[_place(blind, c)] ** 2
    bare = Known(known.folder)
    bare.arrays = {"1.ints": np.arange(9)}
    with pytest.raises(BadInput, match="no array of floats worth packing"):
        work_of(bare)


def _array(work: Work, name: str) -> Array:
    return next(a for a in work.told.arrays if a.name == name)


def _place(work: Work, choice: Choice) -> int:
    return _array(work, choice.layer).options.index(choice.option)


def test_within_bytes_takes_the_best_of_what_was_measured(known: Any) -> None:
    work = work_of(known)
    assert work.least == {n: min((c for c in work.choices if c.layer == n), key=lambda c: (c.bytes, c.loss)).option
                          for n in ("0.big", "1.small")}  # fmt: skip
    most = known.size({}) // 3
    best = work.within_bytes(most)
    fitting = [o for o in UNIFORM if work.size(work.uniform(o)) <= most]
    names = [t["name"] for t in work.tried]
    assert names[0] == "mixed" and set(names[1:]) <= {f"{o} throughout" for o in fitting} and len(names) > 2
    assert all(t["bytes"] <= most and t["bytes"] == known.size(t["options"]) for t in work.tried)
    assert all(t["loss"] == known.lost(t["options"]) and not t["recovered"] for t in work.tried)
    assert (best["loss"], best["bytes"]) == min((t["loss"], t["bytes"]) for t in work.tried)
    calls = len(known.calls)
    assert work.measure("again", {**best["options"], "1.ints": AS_IS}) is best and len(known.calls) == calls
    hasty = work_of(known, 1.0)
    hasty.now = lambda: 1.0
    hasty.within_bytes(most)
    largest = max(fitting, key=lambda o: (work.size(work.uniform(o)), o))
    assert [t["name"] for t in hasty.tried] == ["mixed", f"{largest} throughout"] or len(hasty.tried) == 1


def test_within_a_loss_goes_on_until_it_is_kept_and_then_to_fewer_bytes(known: Any) -> None:
    work = work_of(known)
    best = work.within_loss(0.2)
    kept = [t for t in work.tried if t["loss"] <= 0.2]
    assert best["bytes"] == min(t["bytes"] for t in kept) and best in kept
    assert work.tried[0]["name"] == "forecast to lose 0.2"
    double = Known(known.folder)
    own = work_of(double)
    double.scale = 2.0  # mixes lose twice what was forecast
    most = max(m.loss for m in frontier(own.choices, 30) if m.loss < 0.25)
    found = own.within_loss(most)
    shares = [t["name"] for t in own.tried if "forecast" in t["name"]]
    assert shares[:2] == [f"forecast to lose {most:.2g}", f"forecast to lose {0.7 * most:.2g}"]
    assert found["loss"] <= most < own.tried[0]["loss"]
    none = own.within_loss(0.0)
    assert none["loss"] == 0.0 and none["options"] == {}
    late = work_of(known, 1.0)
    late.now = lambda: 1.0
    late.within_loss(0.2)
    assert sum("throughout" in t["name"] for t in late.tried) == 1  # the finest one, however short the time


def test_mixes_are_told_by_what_is_packed() -> None:
    choices = [Choice("a", AS_IS, 9, 0.0), Choice("a", "x", 3, 0.1), Choice("b", "x", 4, 0.2)]
    assert options_of({"a": AS_IS, "b": "x"}) == {"b": "x"}
    assert best_of(choices, {"a": "x", "b": "x"}) == choices[1:] and best_of(choices, {"a": AS_IS}) == choices[:1]
    assert [m.bytes for m in frontier(choices[:2], 2)] == [3, 9]


def made_of(known: Any, limit: Limit, tmp_path: Path, monkeypatch: Any, dry: bool = False, **more: Any) -> dict:
    known.written = lambda options: (b"x" * 100, head_bytes({"own": options}))
    known.folder.mkdir(exist_ok=True)
    (known.folder / "model.json").write_bytes(b"y" * 50)
    (known.folder / "report.html").write_bytes(b"z" * 500)
    monkeypatch.setattr(compress_fitted, "reads_texts", lambda model: False)
    place = tmp_path / "out"
    ticks = itertools.count()
    return compress_fitted._compressed(
        known, limit, place, 0, dry, lambda *_: None, 0.0, more.get("seconds"), more.get("steps"), None,
        lambda: float(next(ticks)), WorkFolder(None, ""),
    )  # fmt: skip


def test_a_result_adds_up(known: Any, tmp_path: Path, monkeypatch: Any) -> None:
    most = known.size({}) // 3
    out = made_of(known, Limit(bytes=most), tmp_path, monkeypatch)
    files = list((tmp_path / "out").iterdir())
    assert out["bytes"] == sum(f.stat().st_size for f in files) and out["bytes_before"] == 50
    layers = {a["name"]: a for a in out["layers"]}
    numbers = known.arrays["0.big"].size + known.arrays["1.small"].size
    assert out["numbers"] == numbers == 64 * 96 + 80 and out["kept"] == ["1.ints"]
    for name, layer in layers.items():
        array = known.arrays[name]
        size = array.nbytes if layer["format"] == AS_IS else bytes_of(array.shape, layer["format"])
        assert layer["bytes"] == size and layer["bits"] == round(8 * size / array.size, 3)
    assert out["bits_per_weight"] == round(8 * sum(a["bytes"] for a in layers.values()) / numbers, 4)
    taken = options_of({n: a["format"] for n, a in layers.items()})
    assert out["loss_before"] == 0.0 and out["loss_after"] == known.lost(taken) and known.size(taken) <= most
    assert out["forecast"] == pytest.approx(out["loss_after"]) and out["unit"] == "change of probabilities"
    assert out["measured"]["of"] == len(work_of(known).choices) - 2 and out["recovery_steps"] == 0
    assert [t["loss"] for t in out["tried"]] and out["notes"] == [] and out["own_calibration"] is False
    bare = made_of(Known(tmp_path, rows=False), Limit(bits=8), tmp_path, monkeypatch)
    assert bare["loss_before"] is None is bare["loss_after"] and {t["loss"] for t in bare["tried"]} == {None}
    assert bare["bits_per_weight"] <= 8 and len(bare["notes"]) == 1 and bare["measured"]["options"] == 0
    with pytest.raises(BadInput, match="needs rows to measure"):
        made_of(Known(tmp_path, rows=False), Limit(loss=0.1), tmp_path, monkeypatch)
    known.model.kind = "regression"
    assert made_of(known, Limit(loss=0.3), tmp_path, monkeypatch)["unit"] == "share of the spread"
    hasty = made_of(known, Limit(bytes=most), tmp_path, monkeypatch, seconds=9.0)
    assert "In the time" in hasty["notes"][0] and hasty["measured"]["options"] < out["measured"]["options"]
    steps = made_of(known, Limit(bytes=most), tmp_path, monkeypatch, seconds=9.0, steps=0)
    assert steps["measured"] == out["measured"]  # with a count of steps there is no clock


def test_a_dry_run_says_what_could_be_and_a_limit_below_all_is_refused(
    known: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    least = work_of(known).size(work_of(known).least)
    out = made_of(known, Limit(bytes=2 * least), tmp_path, monkeypatch, dry=True)
    assert out["smallest"] == least < out["would_be"] <= 2 * least and not (tmp_path / "out").exists()
    assert [u["name"] for u in out["uniform"]] == list(UNIFORM)
    assert [u["bytes"] for u in out["uniform"]] == [work_of(known).size(work_of(known).uniform(o)) for o in UNIFORM]
    points = [(c["bytes"], c["loss"]) for c in out["curve"]]
    assert points == sorted(points) and points[-1] == (known.size({}), 0.0) and 2 < len(points) <= 12
    most = int(least - 1000 - 72 + 0)  # what is packed at the least: all but the head and the whole numbers
    for bits, enough in ((8 * (most + 1) / (64 * 96 + 80), True), (8 * (most - 20) / (64 * 96 + 80), False)):
        if enough:
            found = made_of(known, Limit(bits=bits), tmp_path, monkeypatch, dry=True)
            assert found["would_be"] == least and found["bits_per_weight"] <= round(bits, 4) + 1e-4
        else:
            with pytest.raises(Infeasible, match=f"smallest reachable is {least:,} bytes"):
                made_of(known, Limit(bits=bits), tmp_path, monkeypatch, dry=True)
    assert made_of(known, Limit(bytes=least), tmp_path, monkeypatch, dry=True)["would_be"] == least
    with pytest.raises(Infeasible) as refused:
        made_of(known, Limit(bytes=least - 1), tmp_path, monkeypatch)
    assert refused.value.smallest == least
    with pytest.raises(Infeasible, match="leaves a model that can answer"):
        made_of(known, Limit(bytes=least), tmp_path, monkeypatch)
    assert "would_be" not in made_of(known, Limit(loss=0.1), tmp_path, monkeypatch, dry=True)


def test_the_encoder_is_meant_where_only_it_can_be(monkeypatch: Any) -> None:
    own: Any = SimpleNamespace(model=None, size=lambda options: 100)
    monkeypatch.setattr(compress_fitted, "reads_texts", lambda model: False)
    assert not compress_fitted._own_encoder(own, Limit(bytes=200), None)
    assert not compress_fitted._own_encoder(own, Limit(bytes=200), False)
    with pytest.raises(BadInput, match="reads no texts"):
        compress_fitted._own_encoder(own, Limit(bytes=200), True)
    monkeypatch.setattr(compress_fitted, "reads_texts", lambda model: True)
    for limit, asked, meant in (
        (Limit(bytes=99), None, False), (Limit(bytes=100), None, True), (Limit(bits=8), None, False),
        (Limit(bits=8), True, True), (Limit(bytes=100), False, False),
    ):  # fmt: skip
        assert compress_fitted._own_encoder(own, limit, asked) == meant


def test_losses_of_predictions() -> None:
    """Half the absolute changes of probabilities; of values their root mean square beside the spread."""
    p, q = np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([[0.6, 0.4], [0.4, 0.6]])
    model: Any = SimpleNamespace(members=[0], kind="classification", blended=lambda found: found[0])
    opened = Opened(Path("x"), {}, {}, model, choose=SimpleNamespace())  # type: ignore[arg-type]
    opened.was["choose"], opened.said["choose", 0, ()] = p, q
    assert opened.lost({}) == pytest.approx((0.3 + 0.1) / 2) and opened.lost({}, "check") == 0.0
    opened.said["choose", 0, ()] = q * np.nan
    assert opened.lost({}) == math.inf
    opened.said["choose", 0, ()] = None
    assert opened.lost({}) == math.inf
    model.kind = "regression"
    opened.was["choose"], opened.said["choose", 0, ()] = np.array([1.0, 3.0]), np.array([1.5, 3.0])
    assert opened.lost({}) == pytest.approx(0.125**0.5)
    opened.was["choose"] = np.array([1.5, 1.5])
    assert opened.lost({}) == pytest.approx(1.125**0.5 / 1e-12)
