"""Bounds on a saved model: who leaves, when the report has room, and what larger bounds would bring."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.kit.seeds import derive_seed
from smidgen.studies import bits_ladder, size_ladder
from smidgen.studies.candidates import Candidate
from smidgen.studies.choose import ChoiceConfig, OutOfFold, choose
from smidgen.studies.estimate import Judged
from smidgen.studies.losses import Scale
from smidgen.studies.prices import offers_of
from smidgen.studies.size import limit_for, needs, within_size
from smidgen.studies.size_ladder import changes, ladder, whole

N = 40


def tried(count: int) -> list[Candidate]:
    return [Candidate(f"learn/m{k}", "linear", seconds=0.1) for k in range(count)]


def board_of(count: int, lift: float = 0.6) -> OutOfFold:
    """Candidates that get better, each on rows of its own luck."""
    rng, y = np.random.default_rng(1), np.arange(N) % 2
    rows = []
    for k in range(count):
        up = 1 / (1 + np.exp(-(rng.normal(size=N) + (0.3 + lift * k) * (2 * y - 1))))
        rows.append([np.c_[1 - up, up]])
    return OutOfFold(np.array(rows), y, np.full(count, 1 / count), np.arange(N))


def race_of(folds: Any = lambda c: 5) -> Any:
    return SimpleNamespace(folds_of=folds, choice=ChoiceConfig(draws=10), task=SimpleNamespace(target=np.arange(N) % 2),
                           units=np.arange(N))  # fmt: skip


def test_a_members_bytes_grow_with_its_rows() -> None:
    own = tried(3)
    race = race_of(lambda c: {"learn/m0": 2, "learn/m1": 5, "learn/m2": 10}[c.method])
    need = needs(own, {c.key: 10_000 for c in own}, race)
    assert need == pytest.approx([1.15 * 10_000 / 0.5 + 2000, 1.15 * 10_000 / 0.8 + 2000, 1.15 * 10_000 / 0.9 + 2000])
    assert [limit_for(n) for n in (0.0, 0.1, 595_999.0, 595_999.5, 596_000.0)] == [
        4000,
        4001,
        599_999,
        796_000,
        796_000,
    ]


@pytest.mark.parametrize("unit", [1000, 300_000])
def test_the_smallest_bound_of_the_choice_is_exact(unit: int) -> None:
    own, board, race = tried(3), board_of(3), race_of()
    sizes = {c.key: unit * (k + 1) for k, c in enumerate(own)}
    need, weights = needs(own, sizes, race), choose(board, race.choice).weights
    top = limit_for(float(need[weights > 0].sum()))
    free, left = within_size(own, board, race, sizes, top)
    assert free.weights == pytest.approx(weights) and len(left.prior) == 3 and sum(weights > 0) >= 2
    tight, left = within_size(own, board, race, sizes, top - 2)
    assert need[tight.weights > 0].sum() <= top - 2 - (200_000 if top - 2 >= 600_000 else 4000)
    chosen = np.flatnonzero(weights)
    dear = chosen[np.argmax(need[chosen] / weights[chosen])]
    assert tight.weights[dear] == 0 and tight.weights.sum() == pytest.approx(1)
    assert len(left.prior) < 3 and left.prior.sum() == pytest.approx(1)
    with pytest.raises(BadInput) as refused:
        within_size(own, board, race, sizes, 100)
    assert str(refused.value).startswith("--size 100 bytes: the smallest model that was found is learn/m0 with about ")
    assert str(refused.value).endswith("; allow that much, or less in --methods.")


def test_what_never_fits_is_no_candidate() -> None:
    own, board, race = tried(3), board_of(3), race_of()
    sizes = {own[0].key: 1000, own[1].key: 1000, own[2].key: 90_000}
    choice, left = within_size(own, board, race, sizes, 20_000)
    part = OutOfFold(board.predictions[:2], board.truth, np.full(2, 0.5), board.units)
    alone = choose(part, race.choice)
    assert choice.weights[:2] == pytest.approx(alone.weights) and choice.weights[2] == 0 and len(left.prior) == 2
    assert choice.log_t[:2] == pytest.approx(alone.log_t) and choice.log_t[2] == choose(board, race.choice).log_t[2]


# -- ladders --


def known_of(count: int = 3) -> Any:
    own, board = tried(count), board_of(count)
    sizes = {c.key: 1000 * (k + 1) for k, c in enumerate(own)}
    return SimpleNamespace(tried=own, sizes=sizes, race=race_of(), board=lambda of: board)


def test_a_ladder_looks_at_twice_four_and_ten_times_the_bound_and_at_all() -> None:
    known, seen = known_of(), []
    own = size_ladder.within_size

    def asked(*given: Any) -> Any:
        seen.append(given[-1])
        return own(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(size_ladder, "within_size", asked)
        first = math.ceil(needs(known.tried, known.sizes, known.race)[0]) + 4000
        top = whole(known)
        rungs = ladder(known, Scale.of("log_loss"), first, 20, 0)
        assert seen == [first, *(first * t for t in (2, 4, 10) if first * t < top), top]
        assert rungs[-1].limit <= top and all(r.change_K.shape == (20,) for r in rungs)
        seen.clear()
        assert ladder(known, Scale.of("log_loss"), top, 20, 0) == [] == seen
        assert len(ladder(known, Scale.of("log_loss"), top - 1, 20, 0)) <= 1 and seen == [top - 1, top]
        seen.clear()
        assert ladder(known, Scale.of("log_loss"), first - 2, 20, 0) == [] and seen == [first - 2]


def judged_of(p: np.ndarray, rows: np.ndarray | None = None) -> Judged:
    rows = np.arange(N) if rows is None else rows
    return Judged(rows, p[rows], np.ones(len(rows)))


def test_changes_of_losses_near_nothing_and_of_many_draws() -> None:
    known, y = known_of(), np.arange(N) % 2
    sure = np.where(y[:, None] == [0, 1], 1.0, 0.0)
    half = np.full((N, 2), 0.5)
    accuracy = Scale.of("accuracy")
    got = changes(judged_of(half), judged_of(sure), known, accuracy, 30, 3)
    before = 1 - accuracy.metric.score(y, half, np.ones(N))
    assert got.shape == (30,) and got.mean() == pytest.approx(math.log(1e-4 / before), abs=0.4)
    assert changes(judged_of(sure), judged_of(sure), known, accuracy, 30, 3) == pytest.approx(np.zeros(30))
    known.race.units = np.arange(N) // 4  # whole groups are drawn
    loss, scale = Scale.of("log_loss"), 1.8
    one, two = (np.c_[1 - p, p] for p in (np.linspace(0.2, 0.8, N), np.linspace(0.1, 0.9, N)))
    got = changes(judged_of(one), judged_of(two), known, loss, 250, 3)
    rng, found = np.random.default_rng(derive_seed(3, "size")), []

    def log_loss(p: np.ndarray, m: np.ndarray) -> float:
        return math.log(-(np.log(p[np.arange(N), y]) @ m) / m.sum())

    middle = log_loss(two, np.ones(N)) - log_loss(one, np.ones(N))
    for _ in range(200):
        m = np.repeat(np.bincount(rng.integers(0, 10, 10), minlength=10), 4).astype(float)
        found.append(log_loss(two, m) - log_loss(one, m))
    off = np.array(found) - middle
    assert got == pytest.approx(middle + scale * (rng.choice(off, 250) - off.mean()), rel=1e-5, abs=1e-7)


# -- fewer bits --


def test_members_that_learn_from_all_rows_once_are_not_fitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = known_of()
    monkeypatch.setattr(bits_ladder, "study_board", lambda *given: known)
    rows = [{"method": c.method, "view": c.view, "params": {"k": k}} for k, c in enumerate(known.tried)]
    found: Any = SimpleNamespace(id="s", asked={"size": "9KB"}, summary={"leaderboard": rows})
    own: Any = SimpleNamespace(task=SimpleNamespace(fingerprint="f"), seed=4)

    def made(slow: tuple[str, ...], prices: dict[str, float]) -> Any:
        card = lambda name: SimpleNamespace(pretraining=name in slow, version=2)  # noqa: E731
        monkeypatch.setattr(bits_ladder.methods, "card", card)
        return bits_ladder.bits_ladder(offers_of(prices), own, found, None)  # type: ignore[arg-type]

    assert made((), {"mb": 1.0, "hour": 1.0}) is None
    ladder = made((), {"mb@8": 1.0, "mb": 1.0, "hour": 1.0, "mb@4": 2.0})
    assert [o.name for o in ladder.offers] == ["mb@8", "mb@4"] and ladder.limit == 9000 and ladder.why == ""
    assert ladder.params == {c.key: {"k": known.tried.index(c)} for c in ladder.wanted} and len(ladder.wanted) > 1
    assert [(t.method, t.params, t.seed, t.version) for t in ladder.trials()] == 2 * [
        (c.method, ladder.params[c.key], 4, 2) for c in ladder.wanted
    ]
    names = tuple(c.method for c in ladder.wanted)
    for first, bound, sizes in ((5000, 9000, (5, 9)), (5001, 9001, (6, 10))):  # kilobytes are rounded up
        assert ladder._resumed(first, bound) == (
            f"allow {sizes[0]}KB first (smidgen studies resume s --size {sizes[0]}KB), then smidgen compress the model "
            f"--size {sizes[1]}KB"
        )
    slow = made(names, {"mb@8": 1.0})
    words = f"{names[0]} learns from all rows once, and that is too slow to be done again"
    assert slow.why == words and slow.trials() == [] and slow.others(9) == ([], [{"purchase": "mb@8", "why": words}])
    found.asked = {}
    assert made((), {"mb@8": 1.0}).limit is None
    known.tried = []
    gone = made((), {"mb@8": 1.0})
    assert gone.why == "the trials of its members are no longer there" and gone.wanted == [] and gone.params == {}
