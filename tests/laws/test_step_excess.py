"""What a rule costs on a sweep: exact on made bowls, and which size a mixture of experts is to be asked by."""

import gzip

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.optimal_step import fit_optimal_step
from smidgen.laws.step_excess import excess_by, excess_of, sparse_sweep
from smidgen.laws.step_law import step_law
from smidgen.tasks.expert_runs import FILE, expert_runs
from smidgen.tasks.scaling_testbed import STEP_LENGTH


def made():
    """Cells of experts whose best rate and batch are those of the published law at all their parameters."""
    active, d, i, j = (
        a.ravel() for a in np.meshgrid([2e8, 6e8, 1.2e9], [2e9, 8e9, 2e10], range(9), range(9), indexing="ij")
    )
    n = np.full(len(d), 2.15e9)
    at = [step_law(*cell) for cell in zip(n, d, strict=True)]
    lr = np.array([a.lr for a in at]) * 2.0 ** ((i - 4) / 2)
    batch = np.array([a.batch_tokens for a in at]) * 2.0 ** ((j - 4) / 2)
    loss = 2.0 * (1 + 0.01 * ((i - 4) ** 2 + (j - 4) ** 2))
    return {"n": n, "active": active, "d": d, "lr": lr, "batch_tokens": batch, "loss": loss}


def test_the_nearest_run_is_scored_in_each_cell():
    runs = made()

    def twice(cell):  # two steps of the grid off in the rate, one in the batch
        at = step_law(2.15e9, cell[1])
        return 2 * at.lr, 1.5 * at.batch_tokens

    found = excess_of(runs, twice, ("active", "d"))
    assert len(found) == 9 and list(found.values()) == pytest.approx([0.05] * 9)
    both = excess_by(runs)
    assert max(both["n"].values()) == pytest.approx(0) and min(both["active"].values()) > 0
    assert list(both["active"])[0] == (2.15e9, 2e8, 2e9)
    assert 0 < np.mean(list(both["one setting"].values())) < np.mean(list(both["active"].values()))
    law = fit_optimal_step(sparse_sweep(runs))
    assert law.lr_coefficients[1:] == pytest.approx((0.0, 0.307), abs=1e-3)  # active parameters change nothing
    with pytest.raises(BadInput, match="above 0"):
        excess_of(runs, lambda cell: (0.0, 1.0))
    with pytest.raises(BadInput, match="at least 2"):
        excess_by({k: v[:81] for k, v in runs.items()})


def test_the_released_file_of_experts_is_read(tmp_path, monkeypatch):
    text = "N,Na,D,lr,bs,loss,smooth loss,moe_name\n2150612992,187973632,2e9,1.7e-4,32,2.72,2.68,1in89\n"
    (tmp_path / FILE).write_text(text)
    found = expert_runs(tmp_path / FILE)
    assert {k: v.tolist() for k, v in found.items()} == {
        "n": [2150612992], "active": [187973632], "d": [2e9], "lr": [1.7e-4], "batch_tokens": [32 * STEP_LENGTH],
        "loss": [2.68],
    }  # fmt: skip
    (tmp_path / "MANIFEST.csv").write_text("name\n")
    (tmp_path / "steplaw_moe").mkdir()
    with gzip.open(tmp_path / "steplaw_moe" / f"{FILE}.gz", "wt") as file:
        file.write(text)
    monkeypatch.setenv("SMIDGEN_DATA", str(tmp_path))
    assert expert_runs()["loss"].tolist() == [2.68]
    for old, new, match in (("2.68", "", "line 2, column smooth loss"), ("Na", "n", "columns of moe")):
        (tmp_path / FILE).write_text(text.replace(old, new))
        with pytest.raises(BadInput, match=match):
            expert_runs(tmp_path / FILE)
    with pytest.raises(BadInput, match="no such file of runs"):
        expert_runs(tmp_path / "none.csv")
