"""`smidgen laws step`: the published law, a sweep of one's own, and sweeps that cannot be used."""

import csv
import json

import numpy as np
import pytest

from smidgen.cli.main import main

COLUMNS = ("n", "d", "lr", "batch_tokens", "loss")


def sweep(path, rates=(0.25, 0.5, 1.0, 2.0, 4.0)):
    """Bowls around lr = 30 N^-0.5 D^0.1 and batch = 2 D^0.5, at the given multiples of both."""
    rows = []
    for n in (1e5, 1e6, 1e7):
        for d in (1e8, 3e8, 1e9):
            lr, batch = 30 * n**-0.5 * d**0.1, 2 * d**0.5
            rows += [
                (n, d, lr * a, batch * b, 2 + 1e6 / d + 0.01 * (np.log(a) ** 2 + np.log(b) ** 2))
                for a in rates
                for b in (0.25, 0.5, 1.0, 2.0, 4.0)
            ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return str(path)


def asked(capsys, *more):
    assert main(["laws", "step", "--params", "1e8", "--tokens", "2e9", "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def test_published_law(capsys):
    found = asked(capsys)
    assert found["lr"] == pytest.approx(1.79 * 1e8**-0.713 * 2e9**0.307, rel=1e-3)  # the paper's formula
    assert found["batch_tokens"] == pytest.approx(0.58 * 2e9**0.571, rel=1e-3)
    assert found["lr_plateau"][0] < found["lr"] < found["lr_plateau"][1]


def test_a_sweep_of_ones_own(capsys, tmp_path):
    found = asked(capsys, "--sweep", sweep(tmp_path / "runs.csv"))
    assert found["lr"] == pytest.approx(30 * 1e8**-0.5 * 2e9**0.1, rel=0.1)
    assert found["lr_plateau"][0] < found["lr"] < found["lr_plateau"][1]


def test_a_sweep_without_a_minimum_inside_gives_no_width(capsys, tmp_path):
    found = asked(capsys, "--sweep", sweep(tmp_path / "few.csv", rates=(1.0,)))  # too few runs a cell for a bowl
    assert found["lr_plateau"] is None and found["lr"] > 0
    assert main(["laws", "step", "--params", "1e8", "--tokens", "2e9", "--sweep", str(tmp_path / "few.csv")]) == 0
    assert "not told by this sweep" in capsys.readouterr().out


def test_a_damaged_sweep_is_one_sentence(capsys, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("n,d,lr,batch_tokens,loss\n1e5,1e8,fast,100,2.0\n")
    assert main(["laws", "step", "--params", "1e8", "--tokens", "2e9", "--sweep", str(path)]) == 2
    assert "line 2, column lr" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--params", "inf"], ["--tokens", "inf"], ["--params", "nan"], ["--tokens", "1e999"]])
@pytest.mark.parametrize("own", [False, True])
def test_sizes_that_are_no_number_are_one_sentence(capsys, tmp_path, more, own):
    given = {"--params": "1e8", "--tokens": "2e9", more[0]: more[1]}
    runs = ["--sweep", sweep(tmp_path / "runs.csv")] if own else []
    assert main(["laws", "step", *(part for pair in given.items() for part in pair), *runs]) == 2
    told = capsys.readouterr().err
    assert "expected a finite number above 0" in told and told.count("\n") == 1
