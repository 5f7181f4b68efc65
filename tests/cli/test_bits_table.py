"""`smidgen laws bits`: the table of bits, what fits a memory, and the warning far outside of the laws' runs."""

import json

import pytest

from smidgen.cli.main import main


def test_table_and_memory(capsys):
    assert main(["laws", "bits", "--params", "1e9", "--tokens", "2e10", "--memory", "5e8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    four = next(r for r in found["rows"] if r["bits"] == 4 and r["way"].startswith("rounded"))
    assert four["lost"] == pytest.approx(0.017 * 2e10**0.5251 / (1e9**0.2261 * 4**5.4967), rel=1e-6)
    assert found["memory"][0]["loss"] == min(r["loss"] for r in found["memory"])


def test_far_outside_is_said(capsys):
    assert main(["laws", "bits", "--params", "1e6", "--tokens", "2e7"]) == 0
    told = capsys.readouterr()
    assert "should not be relied on" in told.err and "rounded after training" in told.out
    assert main(["laws", "bits", "--params", "0", "--tokens", "2e7"]) == 2
