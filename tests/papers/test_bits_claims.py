"""What the claims about bits make of their measurements: known laws come out as they went in."""

import numpy as np
import pandas as pd
import pytest

from smidgen.laws import float_bits, qid
from smidgen.papers import p042_qid, p045_float_bits, p068_qat


def test_042_finds_a_law_in_its_rows_and_counts_cells():
    law, rows = qid.QiDLaw(0.05, 0.1, 0.4, 3.0), []
    for width, n in ((16, 6e3), (32, 25e3), (64, 98e3)):
        for step in (150, 600, 2400):
            for name, (bits, _, _) in (p042_qid.ROUNDED | p042_qid.SEARCHED).items():
                lost = float(law.qid(n, step * 512.0, bits)[0]) * (-1 if (width, step, bits) == (16, 2400, 4) else 1)
                rows.append((f"{width} after {step}", name, n, step * 512.0, float(bits), 2.0, 2.0 + lost, width, step))
    columns = ["checkpoint", "quantizer", "n", "d", "bits", "loss_fp", "loss_q", "width", "step"]
    found = p042_qid.judged(pd.DataFrame(rows, columns=columns), 150, 2400)
    assert (found["alpha"], found["beta"], found["gamma"]) == pytest.approx((0.1, 0.4, 3.0), rel=1e-3)
    assert found["share of cells"] == pytest.approx(11 / 12) and found["rows left out"] == 1


def test_045_tells_the_law_from_one_of_bits_alone():
    truth = float_bits.FloatBitsLaw(30.0, 0.3, 60.0, 0.35, 1.2, 40.0, 2.5, 1.5)
    rows = []
    for width, n in ((16, 3e3), (32, 12e3), (64, 54e3)):
        for d in (25_600.0, 76_800.0, 230_400.0):
            whole = truth.cn * n**-truth.alpha + truth.cd * d**-truth.beta + truth.l0
            for e, m, block in ((3, 2, 16), (2, 1, 16), (1, 2, 16), (1, 1, 16), (1, 1, 4)):
                lost = float(truth.penalty(n, d, e, m, block))
                rows.append((width, n, d, e, m, block, whole + lost, lost, whole))
    names = ["width", "n", "d", "e", "m", "block", "loss", "penalty", "whole"]
    found = p045_float_bits.judged(pd.DataFrame(rows, columns=names))
    assert found["error of the law"] < 0.1 * found["error of E + M alone"] < 0.2 * found["error of no penalty"]
    assert (found["delta"], found["nu"]) == pytest.approx((2.5, 1.5), rel=0.05)
    shares = [found[f"share {s}"] for s in ("of E2M1 better", "growing with D", "falling with N", "growing with B")]
    assert shares == [1.0, 1.0, 1.0, 1.0]


def test_068_reads_the_best_share_off_a_parabola():
    rows = []
    for steps in p068_qat.BUDGETS:
        for bits in (2, 4):
            best = np.log(0.1 * steps ** (0.2 if bits == 2 else 0.1))
            for f in p068_qat.FRACTIONS:
                rows.append((steps, f, "fused", bits, 2.0 + 0.1 * (np.log(f) - best) ** 2))
                if f in p068_qat.CLASSIC and steps > 100:
                    rows.append((steps, f, "classic", bits, rows[-1][-1] + 0.05))
    table = pd.DataFrame(rows, columns=["steps", "fraction", "kind", "bits", "loss"])
    tokens = 512 * table.steps
    table = table.assign(targets_qat=tokens * table.fraction, targets_fp=tokens * (1 - table.fraction))
    found = p068_qat.judged(table, 28e3, p068_qat.BUDGETS)
    assert found["published share, 4 bits, 900 updates"] == pytest.approx(np.exp(-6.7297 / np.log(512 * 900 / 14e3)))
    assert found["best share, 2 bits, 900 updates"] == pytest.approx(0.1 * 900**0.2)
    assert found["least step of log f"] == pytest.approx(0.1 * np.log(3)) and found["loss fused"] == pytest.approx(
        found["loss classic"] - 0.05
    )
    assert found["largest rise of log f"] == pytest.approx(0.2 * np.log(9))
    assert p068_qat.top(np.array([0.1, 0.3, 1.0]), np.array([3.0, 3.5, 2.0]))[0] == 0.0  # opens downward: the end
