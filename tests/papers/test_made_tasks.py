"""What claims 016 and 030 measure with: chains of calculations, their preferences, and what is judged of scores."""

import numpy as np
import pytest

from smidgen.papers.calculator import LARGEST, Fact, chains_of, facts_of, final_number, preference_of
from smidgen.papers.p030_quantity_quality import BUDGETS, SHARES, judged

FACTS = [Fact(a, s, b, r) for a in range(1, 9) for b in range(1, 7) for s, r in (("+", a + b), ("*", a * b)) if r <= 30]


def test_chains_mean_the_same_from_left_to_right_and_by_precedence():
    chains = chains_of(FACTS)
    assert len(chains) > 200 and len({c.prompt for c in chains}) == len(chains)
    for chain in chains:
        assert eval(chain.prompt.rstrip("?")) == chain.second.result == final_number(chain.answer)  # digits and signs


def test_rejected_answers_end_in_a_wrong_number():
    chains, both = chains_of(FACTS)[:200], set()
    for chain in chains:
        pair = preference_of(chain, 0)
        assert pair.chosen == chain.answer and final_number(pair.rejected) not in (None, chain.second.result)
        assert 0 <= final_number(pair.rejected) <= LARGEST
        both.add(pair.rejected.count(";"))
    assert both == {0, 2}  # a wrong result alone, or a wrong first step gone on with


def test_facts_are_right_calculations_with_small_whole_numbers():
    assert facts_of(["so 24/2=<<24/2=12>>12 and 3*9=28 and 50+1=51"]) == [Fact(24, "/", 2, 12)]


def test_what_is_judged_of_scores():
    sets, draws = 2, 3
    best = np.linspace(0, len(SHARES) - 1, len(BUDGETS)).round()  # the share that is best grows with the budget
    scores_BS = 80.0 - 5 * abs(np.arange(len(SHARES)) - best[:, None])
    values = judged(np.tile(scores_BS, (sets, draws, 1, 1)))
    assert values["correlation"] == pytest.approx(1)
    assert values["score at 2048, best other share"] == 75 and values["score at 2048, share 1"] == 80
    lead = scores_BS[:, 1:-1] - scores_BS[:, [0, -1]].max(1, keepdims=True)
    assert values["score of the mixture"] - values["score of its better end"] == pytest.approx(lead.max())
    assert judged(np.tile(scores_BS[:1], (sets, draws, len(BUDGETS), 1)))["correlation"] == 0  # no share moves
