"""Hours, megabytes and bounds on a model's size, from a study's trials that were made by hand."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.kit.seeds import derive_seed
from smidgen.studies import buying, measured, other_offers, search_luck, size_ladder
from smidgen.studies.bits_ladder import BitsLadder, _chosen
from smidgen.studies.candidates import BASELINE, Candidate
from smidgen.studies.choose import ChoiceConfig, OutOfFold, choose
from smidgen.studies.estimate import judge
from smidgen.studies.losses import Scale
from smidgen.studies.measured import measure
from smidgen.studies.other_offers import LEAST, _hours, _megabytes, _not_tried, _search, wall_hours
from smidgen.studies.prices import offers_of
from smidgen.studies.purchases import mixed_draws
from smidgen.studies.ready import Ready
from smidgen.studies.size import FRAME_BYTES, GROWTH, REPORT_BYTES, limit_for, needs, within_size
from smidgen.studies.study_board import StudyBoard
from smidgen.studies.trial import Result

N = 30


def candidate(name, seconds=0.1, once=0.0):
    return Candidate(f"learn/{name}", "linear", seconds=seconds, once=once)


@pytest.fixture
def known(monkeypatch):
    """Four tried, one early, the baseline, three left; half of them cost nothing to be known of."""
    rng = np.random.default_rng(0)
    y = np.arange(N) % 2
    task: Any = SimpleNamespace(target=y, classes=("a", "b"), groups=None, __len__=lambda self: N)
    tried = [candidate(n) for n in ("m0", "m1", "m2", "m3")] + [Candidate(BASELINE, "linear", seconds=0.1)]
    early, left = [candidate("early")], [candidate("l0", 2.0, 60.0), candidate("l1", 1.0), candidate("l2", 0.5)]
    results = {}
    for k, c in enumerate([*tried, *early]):
        own = []
        for _ in range(2 if c in tried else 1):
            z = rng.normal(size=N) + (0.4 + 0.3 * k) * (2 * y - 1)
            up = 1 / (1 + np.exp(-z))
            own.append(Result(np.c_[1 - up, up], seconds=0.4 * (k + 1), model_bytes=1000 * (k + 1)))
        results[c.key] = own
    race: Any = SimpleNamespace(
        task=task,
        units=np.arange(N),
        repeats=3,
        choice=ChoiceConfig(draws=20),
        folds_of=lambda c: 5,
        folds=5,
        found=tried,
    )
    weights = lambda task, of: np.full(len(of), 1 / len(of))  # noqa: E731
    monkeypatch.setattr("smidgen.studies.priors.weights", weights)
    monkeypatch.setattr("smidgen.studies.priors.excess", lambda task, of: np.arange(float(len(of))) / 10)
    return StudyBoard(tried, early, results, left, race)


def ready_of(known, metric="log_loss"):
    own: Any = SimpleNamespace(task=known.race.task, scale=Scale.of(metric), seed=4)
    return own


STUDY: Any = SimpleNamespace(id="s-1", asked={}, summary={"seconds": 1800.0, "spent": {"model_bytes": 9000}})


def test_what_a_board_knows(known):
    board = known.board(known.tried[:2])
    assert board.predictions.shape == (2, 2, N, 2) and known.board(known.early).predictions.shape == (1, 1, N, 2)
    assert known.board([*known.tried, *known.early], repeats=1).predictions.shape == (6, 1, N, 2)
    assert known.sizes[known.tried[2].key] == 3000 and known.seconds[known.tried[2].key] == pytest.approx(1.2)


def test_a_search_is_what_its_trials_say(known):
    search = _search(known, ready_of(known), STUDY)
    of = [*known.tried[:4], *known.early]  # not the baseline
    assert other_offers._measured(known) == of and len(search.losses_C) == 5
    board = known.board(of, repeats=1)
    log_t = choose(board, known.race.choice).log_t
    from smidgen.learn.blend import tempered

    seen = [tempered(board.predictions[k, 0], float(log_t[k])) for k in range(5)]
    y = known.race.task.target
    score = Scale.of("log_loss").metric.score
    assert search.losses_C == pytest.approx([math.log(score(y, p)) for p in seen])
    rng, drawn = np.random.default_rng(derive_seed(4, "rows of a search")), []
    for _ in range(60):
        rows = rng.integers(0, N, N)
        own = np.array([math.log(score(y[rows], p[rows])) for p in seen])
        drawn.append(own - np.median(own))
    assert search.noise_C == pytest.approx(np.std(drawn, axis=0))
    pace = np.median([known.seconds[c.key] / 0.5 for c in of])  # each was forecast to take half a second
    assert other_offers._paces(known, of) == pytest.approx(pace)
    rounds = 1 + 0.6 * 2
    assert search.hours_L == pytest.approx(
        [(60 + 10 * rounds) * pace / 3600, 5 * rounds * pace / 3600, 2.5 * rounds * pace / 3600]
    )
    assert search.ranks_C.tolist() == [0, 0.1, 0.2, 0.3, 0.4] and search.ranks_L == pytest.approx([0.5, 0.6, 0.7])


def test_hours_are_steps_of_a_quarter_a_half_and_all_that_is_left(known, monkeypatch):
    (offer,) = offers_of({"hour": 2.0})
    monkeypatch.setattr(other_offers, "cores", lambda: 3)
    made: Any = _hours(offer, known, ready_of(known), STUDY, 50)
    search = _search(known, ready_of(known), STUDY)
    assert [len(s.change_K) for s in made.steps] == [50, 50, 50]  # of 1, 2 and 3 candidates
    for count, step in zip((1, 2, 3), made.steps, strict=True):
        assert step.amount == wall_hours(search.hours_L[:count], 3) and step.total == pytest.approx(0.5 + step.amount)
        assert step.change_K.tolist() == search.change(count, 50, 4).tolist()
        assert (
            "3 methods were not tried (smidgen studies resume s-1" in step.how and "the 5 that were tried" in step.how
        )
    two: Any = _hours(offer, known, ready_of(known), SimpleNamespace(id="s", asked={"workers": 1}, summary=None), 9)
    assert two.steps[-1].amount == pytest.approx(search.hours_L.sum()) == two.steps[-1].total
    assert made.cost(made.steps[0]) == 2 * made.steps[0].amount
    known.left.clear()
    assert _hours(offer, known, ready_of(known), STUDY, 9)["nothing"] == "yes"
    known.left.append(candidate("l0"))
    assert _not_tried(known) == "1 method was not tried"
    known.left.append(candidate("l1"))
    assert _not_tried(known) == "2 methods were not tried" and LEAST == search_luck.LEAST == 3
    del known.tried[:3]
    told = _hours(offer, known, ready_of(known), STUDY, 9)
    assert "the 2 that were are too few" in told["why"] and "nothing" not in told


def test_megabytes_are_rungs_above_the_bound(known, monkeypatch):
    (offer,) = offers_of({"mb": 2.0})
    why = _megabytes(offer, known, ready_of(known), STUDY, 9)
    assert why == {"why": "the study's model was not bounded in size (it has 9.0 KB), and no larger one was left out",
                   "nothing": "yes"}  # fmt: skip
    bound: Any = SimpleNamespace(id="s-1", asked={"size": "8KB"}, summary={})
    rungs = [size_ladder.Rung(12_300, np.full(9, -0.1)), size_ladder.Rung(40_000, np.full(9, -0.2))]
    monkeypatch.setattr(other_offers, "ladder", lambda *given: rungs)
    made: Any = _megabytes(offer, known, ready_of(known), bound, 9)
    assert [(s.amount, s.total) for s in made.steps] == [(pytest.approx(0.0043), 0.0123), (pytest.approx(0.032), 0.04)]
    assert "resume s-1 --size 13KB" in made.steps[0].how and "--size 40KB" in made.steps[1].how
    monkeypatch.setattr(other_offers, "ladder", lambda *given: [])
    assert "fits into the 8.0 KB" in _megabytes(offer, known, ready_of(known), bound, 9)["why"]
    del known.tried[1:]
    assert "fewer than two" in _megabytes(offer, known, ready_of(known), bound, 9)["why"]


# -- bounds --


def test_members_need_room_beside_the_folder(known):
    need = needs(known.tried, known.sizes, known.race)
    assert need == pytest.approx([GROWTH * 1000 * (k + 1) / 0.8 + 2000 for k in range(5)])
    for bytes_ in (100.0, 500.5, 3 * REPORT_BYTES - FRAME_BYTES - 1, 3 * REPORT_BYTES - FRAME_BYTES, 1e6):
        limit = limit_for(bytes_)
        room = limit - (REPORT_BYTES if limit >= 3 * REPORT_BYTES else FRAME_BYTES)
        assert room >= bytes_ and limit == math.ceil(bytes_) + (FRAME_BYTES if bytes_ < 596_000 else REPORT_BYTES)


def test_the_most_bytes_for_the_least_weight_leave_first(known):
    board, race = known.board(known.tried), known.race
    whole = choose(board, race.choice)
    need = needs(known.tried, known.sizes, race)
    chosen = np.flatnonzero(whole.weights > 0)
    top = limit_for(float(need[chosen].sum()))
    free, own = within_size(known.tried, board, race, known.sizes, top)
    assert free.weights == pytest.approx(whole.weights) and own.size == N and len(own.prior) == 5
    tight, left = within_size(known.tried, board, race, known.sizes, top - 1)
    dear = chosen[np.argmax(need[chosen] / whole.weights[chosen])]
    keep = [k for k in range(5) if k != dear]
    part = choose(OutOfFold(board.predictions[keep], board.truth, np.full(4, 0.25), board.units), race.choice)
    if need[np.array(keep)[part.weights > 0]].sum() <= top - 1 - FRAME_BYTES:
        assert tight.weights[keep] == pytest.approx(part.weights) and tight.weights[dear] == 0 and len(left.prior) == 4
        assert tight.log_t[keep] == pytest.approx(part.log_t) and tight.log_t[dear] == whole.log_t[dear]
    only, alone = within_size(known.tried, board, race, known.sizes, math.ceil(need[0]) + FRAME_BYTES)
    assert only.weights.tolist() == [1, 0, 0, 0, 0] and len(alone.prior) == 1
    with pytest.raises(BadInput, match="smallest model that was found is learn/m0 with about 3.4 KB"):
        within_size(known.tried, board, race, known.sizes, math.floor(need[0]) + FRAME_BYTES)


def test_changes_are_paired_and_widened(known):
    board, race = known.board(known.tried), known.race
    now = judge(OutOfFold(board.predictions[:1], board.truth, np.ones(1), board.units), race.choice, 0)
    then = judge(OutOfFold(board.predictions[3:4], board.truth, np.ones(1), board.units), race.choice, 0)
    got = size_ladder.changes(now, then, known, Scale.of("log_loss"), 40, 7)

    def log_loss(judged, m):
        w = judged.weights * m[judged.rows]
        own = -np.log(judged.predicted[np.arange(len(judged.rows)), board.truth[judged.rows]])
        return math.log((own @ w) / w.sum())

    ones = np.ones(N)
    middle = log_loss(then, ones) - log_loss(now, ones)
    rng, found = np.random.default_rng(derive_seed(7, "size")), []
    for _ in range(40):
        m = np.bincount(rng.integers(0, N, N), minlength=N).astype(float)
        found.append(log_loss(then, m) - log_loss(now, m))
    off = np.array(found) - middle
    assert got == pytest.approx(middle + 1.8 * (rng.choice(off, 40) - off.mean()), rel=1e-4, abs=1e-6)
    assert len(size_ladder.changes(now, then, known, Scale.of("log_loss"), 500, 7)) == 500


def test_a_ladder_has_a_rung_where_the_choice_changes(known):
    top = size_ladder.whole(known)
    board, race = known.board(known.tried), known.race
    weights = choose(board, race.choice).weights
    assert top == limit_for(float(needs(known.tried, known.sizes, race)[weights > 0].sum()))
    scale = Scale.of("log_loss")
    assert size_ladder.ladder(known, scale, top, 9, 0) == []
    first = math.ceil(needs(known.tried, known.sizes, race)[0]) + FRAME_BYTES
    rungs = size_ladder.ladder(known, scale, first, 30, 0)
    bounds = [first * t for t in (2, 4, 10) if first * t < top] + [top]
    last, expected = within_size(known.tried, board, race, known.sizes, first)[0].weights, []
    for bound in bounds:
        w = within_size(known.tried, board, race, known.sizes, bound)[0].weights
        expected += [] if np.allclose(w, last) else [bound]
        last = w
    assert [r.limit for r in rungs] == expected and rungs and all(len(r.change_K) == 30 for r in rungs)
    assert size_ladder.ladder(known, scale, 5000, 30, 0) == []  # what is there was made otherwise


def ladder_of(known, limit, summary=None, results=True):
    wanted = known.tried[:4]
    offers = offers_of({"mb@8": 2.0, "mb@4": 1.0})
    found: Any = SimpleNamespace(id="s-1", summary=summary)
    made = BitsLadder(offers, ready_of(known), found, known, wanted, {c.key: {"k": 1} for c in wanted}, limit)
    for bits, share in ((8, 4), (4, 8)) if results else ():
        for c in wanted:
            own = known.results[c.key][0]
            made.results[bits, c.key] = Result(own.predictions * 0.98 + 0.01, model_bytes=own.model_bytes // share)
    return made


def test_fewer_bits_of_what_has_room_are_less_bytes(known):
    made = ladder_of(known, None, {"model": "here/m", "spent": {"model_bytes": 8000}})
    told, unknown = made.others(30)
    assert [o.offer.name for o in told] == ["mb@8", "mb@4"] and unknown == []
    board = known.board(made.wanted, repeats=1)
    chosen = choose(board, known.race.choice).weights > 0
    need = needs(made.wanted, known.sizes, known.race)[chosen].sum()
    for other, share in zip(told, (4, 8), strict=True):
        then = needs(made.wanted, {k: v // share for k, v in known.sizes.items()}, known.race)[chosen].sum()
        least = math.ceil(8000 * then / need)
        (step,) = other.steps
        assert step.total == least / 1e6 and step.amount == pytest.approx((least - 8000) / 1e6) and step.amount < 0
        assert step.how == (f"smidgen compress here/m --size {math.ceil(least / 1e3)}KB makes it, from 8.0 KB as it is")
        rounded = OutOfFold(board.predictions * 0.98 + 0.01, board.truth, board.prior, board.units)
        before, after = (judge(b, known.race.choice, 4) for b in (board, rounded))
        assert step.change_K == pytest.approx(size_ladder.changes(before, after, known, Scale.of("log_loss"), 30, 4))
    bare = ladder_of(known, 10**9)
    (step,) = bare.others(9)[0][0].steps
    assert "compress MODEL --size" in step.how and "from the model as it is" in step.how
    fits = limit_for(float(need))
    assert step.total == pytest.approx(math.ceil(fits * needs(bare.wanted, {k: v // 4 for k, v in known.sizes.items()},
                                                              known.race)[chosen].sum() / need) / 1e6)  # fmt: skip
    assert len(ladder_of(known, fits).others(9)[0][0].steps) == 1


def test_the_same_bytes_hold_more_at_fewer_bits(known):
    first = math.ceil(needs(known.tried, known.sizes, known.race)[0]) + FRAME_BYTES
    made = ladder_of(known, first)
    steps = made.others(9)[0][0].steps
    assert steps[0].amount == 0 and steps[0].total == first / 1e6 and len(steps) > 1
    board = known.board(made.wanted, repeats=1)
    rounded = OutOfFold(board.predictions * 0.98 + 0.01, board.truth, board.prior, board.units)
    sizes = {k: v // 4 for k, v in known.sizes.items()}
    need, then = (needs(made.wanted, s, known.race) for s in (known.sizes, sizes))
    top = limit_for(float(then[choose(rounded, known.race.choice).weights > 0].sum()))
    expected, last = [], None
    for bound in [first, *(first * t for t in (2, 4, 10) if first * t < top), max(top, first)]:
        weights = within_size(made.wanted, rounded, known.race, sizes, bound)[0].weights
        if last is None or not np.allclose(weights, last):
            expected.append((bound, limit_for(float(need[weights > 0].sum()))))
        last = weights
    assert [s.total for s in steps] == [b / 1e6 for b, _ in expected]
    for step, (bound, before) in zip(steps, expected, strict=True):
        assert step.amount == pytest.approx((bound - first) / 1e6)
        kb, least = math.ceil(before / 1e3), math.ceil(bound / 1e3)
        assert step.how == (
            f"allow {kb}KB first (smidgen studies resume s-1 --size {kb}KB), then smidgen compress the model --size "
            f"{least}KB"
        )
    tiny = ladder_of(known, 5000)
    assert tiny.others(9) == (
        [],
        [{"purchase": n, "why": "no choice fits into the study's bound so"} for n in ("mb@8", "mb@4")],
    )


def test_bits_that_were_not_measured_are_said(known, monkeypatch):
    monkeypatch.setattr("smidgen.kit.methods.card", lambda name: SimpleNamespace(version=3, pretraining=None))
    known.race.task.fingerprint = "f"
    made = ladder_of(known, None, results=False)
    trials = made.trials()
    assert [t.draw for t in trials] == ["cv:k=5:r=0:b=8"] * 4 + ["cv:k=5:r=0:b=4"] * 4
    assert {(t.version, t.seed, t.view, t.task) for t in trials} == {(3, 4, "linear", "f")} and trials[0].params == {
        "k": 1
    }
    for trial in trials[:4]:
        made.keep(trial, Result(np.full((N, 2), 0.5), model_bytes=9))
    assert sorted(made.results) == sorted((8, c.key) for c in made.wanted)
    made.keep(trials[4], Result(error="odd"))
    told, unknown = made.others(9)
    assert [o.offer.name for o in told] == ["mb@8"] and unknown[0]["why"] == "learn/m0 could not be measured so (odd)"
    made.keep(trials[4], Result(np.full((N, 2), 0.5), model_bytes=9))
    assert made.others(9)[1][0]["why"] == "the time ended before learn/m1 was measured so: give more --time"
    made.why = "it is slow"
    assert made.trials() == [] and [u["why"] for u in made.others(9)[1]] == ["it is slow"] * 2


def test_members_that_are_chosen_under_some_bound_are_measured(known):
    board, race = known.board(known.tried), known.race
    kept = choose(board, race.choice).weights > 0
    assert _chosen(known, None) == [c for c, k in zip(known.tried, kept, strict=True) if k]
    first = math.ceil(needs(known.tried, known.sizes, race)[0]) + FRAME_BYTES
    for bound in (first, 2 * first, 4 * first, 10 * first):
        kept |= within_size(known.tried, board, race, known.sizes, bound)[0].weights > 0
    assert _chosen(known, first) == [c for c, k in zip(known.tried, kept, strict=True) if k]
    assert known.tried[0] in _chosen(known, first) and _chosen(known, 100) == _chosen(known, None)


# -- spending, and mixtures without room --


def test_a_spend_pays_for_the_cheapest_at_least():
    label, dear = offers_of({"label": 0.123456, "query@0.1": 3.0})
    step = other_offers.Step(0.5, 1.0, np.zeros(1), "")
    hour = other_offers.Other(offers_of({"hour": 0.2})[0], (step,))
    buying._check_spend(0.123456, [label, dear], [])
    buying._check_spend(0.1, [label], [hour])
    buying._check_spend(1e-9, [], [])
    with pytest.raises(BadInput, match="at least 0.124, the cheapest"):
        buying._check_spend(0.12, [dear, label], [])
    with pytest.raises(BadInput, match="at least 0.1, the cheapest"):
        buying._check_spend(0.0999, [label], [hour])
    with pytest.raises(BadInput, match="at least 3, the cheapest"):
        buying._check_spend(2.9, [dear], [])


def test_a_folder_says_of_which_study_it_is(tmp_path):
    assert buying.study_of(tmp_path) is None
    for said, study in (
        ('{"about": {"study": "s"}}', "s"),
        ("{}", None),
        ("[1]", None),
        ('{"about": null}', None),
        ("x", None),
    ):
        (tmp_path / "model.json").write_text(said)
        assert buying.study_of(tmp_path) == study
    with pytest.raises(BadInput, match="does not say of which study"):
        buying._id(tmp_path)
    (tmp_path / "model.json").write_text('{"about": {"study": "s"}}')
    assert buying._id(tmp_path) == "s" and buying._id("plain-id") == "plain-id"


def test_a_mixture_that_left_no_room_for_others_says_nothing(monkeypatch):
    from smidgen.tasks.read import read

    task = read((np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2), group=np.arange(60) // 6)
    offer = offers_of({"label@0.2": 1.0})
    own = Ready(task, Scale.of("accuracy"), "learn/lda", "linear", {}, 0, 5, 0.8)
    p = np.eye(2)[task.target]
    draws = mixed_draws(task, offer[0], 5, 1)
    results = {d: p for d, *_ in draws}
    for given, count in (((20.0, 0.0), 0), ((20.0, 0.5), 1)):
        monkeypatch.setattr(measured, "drawn", lambda *asked, given=given: given)
        assert len(measure(own, offer, results).mixes) == count
