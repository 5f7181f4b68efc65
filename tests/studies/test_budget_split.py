"""Money into rows, rows into cells, cells into a share with its doubt; resuming; the rules as a table."""

import json
import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.lm.tuning import Example, Preference
from smidgen.studies.budget_split import BudgetSplitStudy
from smidgen.studies.split_rule import FEW, RULES, AnnotationPrices, decision_rule, split_budget

PROMPTS = [f"question {i}" for i in range(100)]
SHOWN = [Example(p, "answer") for p in PROMPTS]
PAIRS = [Preference(p, "good", "bad") for p in PROMPTS]
SHARES = (0.0, 0.25, 0.5, 1.0)


@dataclass
class Tuned:
    model: tuple[int, int]
    stretch: float

    def numbers(self):
        return {"stretch": self.stretch}


class Toy:
    """A model is what it was trained on; a demonstration is 1 of work, a pair 2 and 1 more once."""

    def __init__(self):
        self.calls = []

    def __call__(self, model, demonstrations, pairs, seed, *, stretch):
        assert model == "base"
        self.calls.append((len(demonstrations), len(pairs), seed))
        return Tuned((len(demonstrations), len(pairs)), stretch)

    def work(self, model, demonstrations, pairs):
        training, once = len(demonstrations) + 2 * len(pairs), len(pairs)
        return SimpleNamespace(training=training, once=once, total=training + once)


def score(model, seed):
    """Best where a quarter is demonstrations, once there are 40; with 10, only demonstrations tell."""
    shown, pairs = model
    share = shown / (shown + pairs)
    return (1 - abs(share - 0.25) if shown + pairs >= 40 else share) + 0.001 * seed


def study(evaluate=score, tune=None, **settings):
    given = {"demonstrations": SHOWN, "preferences": PAIRS, "totals": (10, 40), "shares": SHARES, "seeds": (0, 1, 2)}
    given |= settings
    return BudgetSplitStudy(lambda seed: "base", tune or Toy(), evaluate=evaluate, **given)


def test_money_becomes_whole_rows():
    assert split_budget(100, 0.25) == (25, 75)
    assert split_budget(100, 0.25, AnnotationPrices(3.0, 0.5)) == (8, 152)  # 24, then the 76 that are left
    assert split_budget(100, 1.0, AnnotationPrices(3.0, 0.5)) == (33, 0)
    for wrong in (lambda: split_budget(10, 1.5), lambda: AnnotationPrices(preference=0.0), lambda: split_budget(0, 1)):
        with pytest.raises(BadInput):
            wrong()


def test_cells_have_no_prompt_twice_and_lie_in_larger_ones():
    many = study(totals=(10, 40, 100), shares=(0.0, 0.1, 0.5, 0.9, 1.0))
    orders = set()
    for seed in many.seeds:
        for cell in many.cells:
            shown, pairs = many.rows(cell, seed)
            assert (len(shown), len(pairs)) == (cell.first, cell.second)
            prompts = [r.prompt for r in (*shown, *pairs)]
            assert len(set(prompts)) == len(prompts)  # though all rows are on the same 100 prompts
            for larger in many.cells:
                if larger.first >= cell.first and larger.second >= cell.second:
                    more_shown, more_pairs = many.rows(larger, seed)
                    assert more_shown[: len(shown)] == shown and more_pairs[: len(pairs)] == pairs
        orders.add(tuple(e.prompt for e in many.rows(many.cells[-1], seed)[0]))
    assert len(orders) == len(many.seeds)


def test_ends_that_meet_late():
    halves = study(demonstrations=SHOWN[:60], preferences=PAIRS[40:], totals=(60,), shares=(0.0, 0.5, 1.0))
    assert len(halves.rows(halves.cells[0], 0)[1]) == 60
    whole = study(demonstrations=SHOWN[:60], preferences=PAIRS[40:], totals=(100,), shares=(0.5,))
    assert [len(rows) for rows in whole.rows(whole.cells[0], 0)] == [50, 50]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"held_prompts": ["question  7\n", "other"]}, "1 prompts of the preferences .*'question 7'"),
        ({"held_prompts": ["question 7"], "preferences": PAIRS[8:]}, "prompts of the demonstrations"),
        ({"totals": (101,), "shares": (1.0,)}, "takes 101 demonstrations: there are only 100"),
        ({"totals": (101,), "shares": (0.0,)}, "takes 101 preferences: there are only 100"),
        ({"totals": (120,), "shares": (0.5,)}, "20 prompts would be in both"),
        ({"shares": (0.5, 1.2)}, "share"),
        ({"seeds": ()}, "at least one"),
    ],
)
def test_what_cannot_be_bought_is_an_error_before_anything_is_trained(settings, said):
    with pytest.raises(BadInput, match=said):
        study(**settings)


def test_pairs_that_say_nothing_are_dropped_and_counted():
    same = [Preference(p, "good", "good") for p in PROMPTS[:30]]
    few = study(preferences=[*same, *PAIRS[30:]], totals=(70,), shares=(0.0,))
    assert few.dropped == 30 and study().dropped == 0
    assert all(p.chosen != p.rejected for p in few.rows(few.cells[0], 0)[1])
    with pytest.raises(BadInput, match="only 70"):
        study(preferences=[*same, *PAIRS[30:]], totals=(71,), shares=(0.0,))


def test_a_share_is_recommended_with_its_doubt(tmp_path):
    result = study(values=("stretch",)).run(tmp_path / "s")
    table = result.table
    assert list(table.columns) == ["total", "share", "n_sft", "n_pref", "seed", "score", "stretch"]
    assert len(table) == result.trials == 24 and result.finished and (table["stretch"] == 1).all()
    best = result.recommend(40)
    assert (best.share, best.low, best.high, best.n_sft, best.n_pref) == (0.25, 0.25, 0.25, 10, 30)
    assert best.regime == "mixed" and best.measured and best.chances[0.25] == 1
    few = result.recommend(10)
    assert (few.share, few.regime) == (1.0, "demonstrations")
    between = result.recommend(20)  # halfway in the logarithm: 0.5 / 0.25 / ... and 1 - |share - 0.25|, averaged
    assert not between.measured and between.n_sft + between.n_pref == 20
    assert result.scores(20).loc[0].tolist() == pytest.approx([0.375, 0.6, 0.625, 0.625], abs=0.03)
    for total in (5, 50):
        with pytest.raises(BadInput, match="10 to 40"):
            result.recommend(total)


def test_noise_widens_the_interval(tmp_path):
    def noisy(model, seed):
        return math.sin(100 * seed + 7 * model[0])

    got = study(noisy, totals=(40,), seeds=range(6)).run(tmp_path / "s").recommend(40)
    assert got.low < got.high and max(got.chances.values()) < 1 and sum(got.chances.values()) == pytest.approx(1)


@pytest.mark.parametrize("cut", [0, 1, 11, 23])
def test_stopped_anywhere_and_resumed_it_loses_the_trial_that_ran(tmp_path, cut):
    whole, toy = study().run(tmp_path / "whole"), Toy()

    def interrupted(model, seed):
        if len(toy.calls) > cut:
            raise KeyboardInterrupt
        return score(model, seed)

    with pytest.raises(KeyboardInterrupt):
        study(interrupted, toy).run(tmp_path / "s")
    rest, seen = Toy(), []
    again = study(tune=rest).run(tmp_path / "s", progress=lambda done, of: seen.append((done, of)))
    assert again.table.equals(whole.table) and len(rest.calls) == 24 - cut
    assert seen[-1] == (24, 24)
    assert all(json.loads(line) for line in (tmp_path / "s").read_text().splitlines())
    with pytest.raises(BadInput, match="another search space"):
        study(demonstrations=SHOWN[1:]).run(tmp_path / "s")


def test_budgets_and_failures(tmp_path):
    part = study().run(tmp_path / "s", max_trials=5)
    assert not part.finished and len(part.table) == 5
    with pytest.raises(BadInput, match="at least 2"):
        part.recommend(10)

    def shaky(model, seed):
        if model == (10, 30) and seed == 2:
            raise RuntimeError("out of memory")
        return score(model, seed)

    lame = study(shaky).run(tmp_path / "t")
    assert lame.table["score"].isna().sum() == 1 and lame.recommend(40).share == 0.25  # from the two whole seeds
    assert len(lame.scores(40)) == 2 and len(lame.scores(10)) == 3
    with pytest.raises(BudgetSpent):
        study(lambda model, seed: math.nan).run(tmp_path / "u")


def test_equal_compute_stretches_all_cells_to_the_longest(tmp_path):
    toy = Toy()
    table = study(tune=toy, equal_compute=True, values=("stretch",), totals=(40,)).run(tmp_path / "s").table
    most = 40 * 3
    for row in table.to_dict("records"):
        work = toy.work("base", [0] * row["n_sft"], [0] * row["n_pref"])
        assert row["stretch"] * work.training + work.once == pytest.approx(most)
    assert table["stretch"].min() == pytest.approx(1)


def test_rules_and_how_well_they_are_known():
    assert {r.evidence for r in RULES.values()} == {"abstract", "notes", "interpolated"}
    few = decision_rule(FEW, "reasoning")
    assert (few.share, few.n_sft, few.n_pref, few.evidence) == (1.0, FEW, 0, "abstract")
    shares = [decision_rule(t, "style").share for t in (1000, 1001, 2000, 5000, 20_000, 10**6)]
    assert shares == sorted(shares, reverse=True) and shares[1] > 0.99 and shares[2] == 0.5
    for total in (1001, 5000, 20_000, 10**6):
        thinking, style = (decision_rule(total, task) for task in ("reasoning", "style"))
        assert thinking.share >= 0.1 and thinking.share >= style.share > 0 and style.evidence == "interpolated"
        assert thinking.n_sft + thinking.n_pref == total
    dear, cheap = (decision_rule(20_000, "style", AnnotationPrices(*p)) for p in ((4.0, 1.0), (1.0, 4.0)))
    assert (
        dear.share < 0.25
        and "prices" in {r.name for r in dear.rules}
        and cheap.share > decision_rule(20_000, "style").share
    )
    assert decision_rule(3000, "style", AnnotationPrices(4.0, 1.0)).share == 1.0  # that buys 750 demonstrations
    for wrong in (lambda: decision_rule(10, "maths"), lambda: decision_rule(0, "style")):
        with pytest.raises(BadInput):
            wrong()


def test_shares_that_buy_the_same_are_trained_once_and_told_once(tmp_path):
    tune = Toy()
    got = study(tune=tune, totals=(40,), shares=(0.0, 0.01, 1.0)).run(tmp_path / "store")
    assert len(tune.calls) == 2 * 3 and len(got.table) == 3 * 3
    assert list(got.scores(40).columns) == [0.0, 1.0]
    assert got.recommend(40).regime != "not told apart"


def test_between_two_totals_a_share_is_dropped_only_where_it_buys_the_same_at_both(tmp_path):
    got = study(totals=(10, 100), shares=(0.0, 0.01, 0.012, 1.0)).run(tmp_path / "store")
    assert [list(got.scores(total).columns) for total in (10, 100)] == [[0.0, 1.0], [0.0, 0.01, 1.0]]
    assert list(got.scores(30).columns) == [0.0, 0.01, 1.0]  # at 10 a hundredth buys no demonstration, at 100 one
    between = got.recommend(30)
    assert not between.measured and set(between.chances) == {0.0, 0.01, 1.0}


def test_odds_of_demonstrations_are_divided_by_the_ratio_of_prices():
    def odds(prices, total):
        share = decision_rule(total, "style", prices).share
        return share / (1 - share)

    even = odds(AnnotationPrices(), 20_000)
    assert odds(AnnotationPrices(4.0, 1.0), 80_000) == pytest.approx(even / 4)  # 20,000 demonstrations' worth


def test_without_both_ends_no_regime_is_told(tmp_path):
    for shares, kind in (((0.25, 0.5), "not told apart"), ((0.0, 0.25, 1.0), "mixed")):
        got = study(shares=shares, totals=(40,)).run(tmp_path / f"{len(shares)}.jsonl").recommend(40)
        assert (got.share, got.regime) == (0.25, kind) and got.measured


def test_the_score_is_noted_first_and_once():
    assert study(values=("alpha", "score", "zeta")).values == ("score", "alpha", "zeta")
