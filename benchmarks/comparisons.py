"""Do the intervals of the differences between candidates hold? On the development cells that `priors.py measure` made.

    python benchmarks/priors.py measure     # once
    python benchmarks/comparisons.py        # prints a table; takes seconds

In each cell every candidate has out-of-fold predictions of few rows, and predictions of test rows by its fit on all of
them. The differences that `studies.compare` states from the former should hold those of the latter, all at once, in
90 % of the cells; among them are the differences between the candidates that were luckiest on the few rows.
"""

from pathlib import Path
from unittest.mock import patch

import numpy as np

from priors import CELLS
from smidgen.learn.blend import tempered
from smidgen.studies import compare
from smidgen.studies.choose import ChoiceConfig, OutOfFold, choose
from smidgen.studies.estimate import IntervalConfig
from smidgen.tasks.metrics import METRICS

FACTORS = (1.0, 1.2, 1.6, 1.8, 2.0)


def held(path: Path, name: str, factor: float) -> tuple[bool, float, int]:
    """Whether all true differences lie in their intervals; the share of pairs that were told apart; of them how many
    the wrong way round.
    """
    cell = np.load(path)
    count, n = len(cell["out"]), len(cell["y"])
    board = OutOfFold(cell["out"].astype(float), cell["y"], np.full(count, 1 / count), cell["units"])
    log_t = choose(board, ChoiceConfig()).log_t
    losses = np.stack([compare.losses_of(board, k, float(log_t[k]), name) for k in range(count)])
    best = np.argsort(losses.mean(1), kind="stable")[: compare.MOST]
    with patch.object(compare, "WIDEN", factor):
        _, low, high = compare.gaps(losses[best], board.units, name, IntervalConfig(widen_accuracy=factor))
    metric = METRICS["log_loss" if name == "log_loss" else "accuracy"]
    sign = 1 if name == "log_loss" else -1
    truth = cell["y_test"].astype(int)
    unseen = [sign * metric.score(truth, tempered(cell["test"][k].astype(float), float(log_t[k]))) for k in best]
    true = np.subtract.outer(unseen, unseen) * n / (n + IntervalConfig().baseline_rows)
    pairs = np.triu_indices(len(best), 1)
    low, high, true = low[pairs], high[pairs], true[pairs]
    apart = low * high > 0
    return bool(((low <= true) & (true <= high)).all()), float(apart.mean()), int((apart & (low * true < 0)).sum())


def main() -> None:
    paths = sorted(CELLS.glob("*.npz"))
    if not paths:
        raise SystemExit("no cells: python benchmarks/priors.py measure")
    print(f"{len(paths)} cells; intervals that should hold together in 90 % of them\n")
    print("| loss | factor | cells where all hold | pairs told apart | wrongly |")
    print("| --- | --- | --- | --- | --- |")
    for name in ("log_loss", "error"):
        for factor in FACTORS:
            all_hold, apart, wrong = zip(*(held(p, name, factor) for p in paths), strict=True)
            print(f"| {name} | {factor} | {np.mean(all_hold):.1%} | {np.mean(apart):.1%} | {sum(wrong)} |", flush=True)


if __name__ == "__main__":
    main()
