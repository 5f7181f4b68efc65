"""Other rules of rate and batch: what their own models were trained with, and how they fare on the released runs."""

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.step_excess import excess_of
from smidgen.laws.step_law import step_law
from smidgen.laws.step_rules import deepseek_step, gpt3_step, minicpm_step, other_rules, setting
from smidgen.tasks.scaling_testbed import steps


def test_rules_give_what_their_models_were_trained_with():
    for n, lr, batch in ((7e9, 4.2e-4, 2304 * 4096), (67e9, 3.2e-4, 4608 * 4096)):
        found = deepseek_step(n, 2e12)
        assert found.lr == pytest.approx(lr, rel=0.02) and found.batch_tokens == pytest.approx(batch, rel=0.04)
    assert gpt3_step(1.3e9, 3e11).lr == pytest.approx(2e-4) and gpt3_step(1e12, 1).batch_tokens == pytest.approx(3.2e6)
    between = gpt3_step((1.3e9 * 2.7e9) ** 0.5, 3e11)
    assert between.lr == pytest.approx((2e-4 * 1.6e-4) ** 0.5)
    # the loss that Hoffmann et al. expect of their own model, and the batch of MiniCPM at that
    assert minicpm_step(7e10, 1.4e12).batch_tokens == pytest.approx(1.21e9 / 1.937**6.24, rel=0.01)
    with pytest.raises(BadInput, match="above 0"):
        other_rules(1e9, 0)


def test_on_the_released_runs_the_step_law_is_nearest(data_folder):
    runs = steps()
    mean = {
        rule.__name__: 100 * np.mean(list(excess_of(runs, setting(rule)).values()))
        for rule in (deepseek_step, gpt3_step, minicpm_step)
    }
    assert mean == pytest.approx({"deepseek_step": 0.756, "gpt3_step": 1.697, "minicpm_step": 1.898}, abs=5e-3)
    own = excess_of(runs, lambda cell: (step_law(*cell).lr, step_law(*cell).batch_tokens))
    assert 100 * np.mean(list(own.values())) == pytest.approx(0.096, abs=1e-3)
