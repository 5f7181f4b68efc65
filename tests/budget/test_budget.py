"""Durations, sizes, budgets and the meter."""

import contextlib
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.budget.budget import Budget, parse_bytes, parse_duration, show_bytes
from smidgen.budget.meter import Meter
from smidgen.kit.errors import BadInput


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60s", 60),
        ("2m", 120),
        ("2 min", 120),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1h 5m 2s", 3902),
        ("90", 90),
        (90, 90),
        (1.5, 1.5),
        ("0.5H", 1800),
        (".5s", 0.5),
        ("1d", 86400),
        ("3 sec", 3),
        ("1d2h3m4s", 93784),
        (1e-7 * 1e4, 1e-3),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "0",
        "0s",
        "-5s",
        "5 parsecs",
        "1h30",
        "30 1h",
        "1m1m",
        "1e3",
        "nan",
        "inf",
        float("nan"),
        float("inf"),
        -1,
        "5s!",
        "٥s",
        None,
        True,
        "9" * 400,
    ],
)
def test_what_is_no_duration_is_refused_in_one_sentence(text):
    with pytest.raises(BadInput) as caught:
        parse_duration(text, "--time")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4GB", 4_000_000_000),
        ("50MB", 50_000_000),
        ("1.5GiB", 3 * 2**29),
        ("1000", 1000),
        ("1 kib", 1024),
        ("2g", 2 * 10**9),
        (7, 7),
        ("64kB", 64_000),
        ("1", 1),
        ("5 b", 5),
        ("5 bytes", 5),
        ("1 byte", 1),
        ("3tb", 3 * 10**12),
        ("3t", 3 * 10**12),
        ("3k", 3000),
        ("3m", 3_000_000),
        ("3MiB", 3 * 2**20),
        ("3TiB", 3 * 2**40),
        ("1e", None),
        ("0", None),
        ("0.2", None),
        ("-1MB", None),
        ("4 gigs", None),
        ("4GB2", None),
        ("99999999TB", None),
        ("", None),
        ("1GB 1MB", None),
    ],
)
def test_sizes(text, count):
    if count is None:
        with pytest.raises(BadInput, match="such as 4GB"):
            parse_bytes(text, "--memory")
    else:
        assert parse_bytes(text) == count


@given(st.integers(1, 10**15))
def test_a_shown_size_reads_back_within_its_rounding(count):
    assert parse_bytes(show_bytes(count)) == pytest.approx(count, rel=0.051)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (999.96, "1.0 KB"),
        (999_949, "999.9 KB"),
        (999_950, "1.0 MB"),
        (2_340_000_000, "2.3 GB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_a_size_is_shown_in_the_unit_that_its_rounding_reaches(count, shown):
    assert show_bytes(count) == shown


@given(st.text(max_size=12))
def test_any_text_is_a_number_or_bad_input(text):
    for parse in (parse_duration, parse_bytes):
        with contextlib.suppress(BadInput):
            assert parse(text) > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0},
        {"trials": -1},
        {"trials": 2.5},
        {"memory": float("inf")},
        {"model_bytes": "5MB"},
        {"seconds": True},
    ],
)
def test_a_budget_names_its_wrong_field(wrong):
    with pytest.raises(BadInput, match=f"Budget.{next(iter(wrong))}"):
        Budget(**wrong)


def test_only_a_clock_makes_a_budget_irreproducible():
    assert Budget(trials=5, memory=10**9).by_count
    assert not Budget(trials=5, seconds=60).by_count


def test_the_meter_adds_up_takes_peaks_and_reads_its_clock():
    now = [100.0]
    meter = Meter(lambda: now[0])
    meter.add(trials=2, cpu_seconds=0.5, peak_memory_bytes=700)
    meter.add(trials=1, cpu_seconds=0.25, peak_memory_bytes=300)
    now[0] = 107.5
    spent = meter.spent()
    assert spent == {"cpu_seconds": 0.75, "peak_memory_bytes": 700, "seconds": 7.5, "trials": 3}
    assert list(spent) == sorted(spent)
    assert json.loads(json.dumps(spent)) == spent
    meter.add(trials=1)
    now[0] = 101.23456
    assert meter.spent()["seconds"] == 1.235
    assert spent["trials"] == 3, "a ledger once read must not change"
    for wrong in ({"trials": -1}, {"bytes": float("nan")}, {"seconds": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            meter.add(labels=1, **wrong)
    assert "labels" not in meter.spent(), "a refused entry must leave nothing"


def test_the_meter_loses_nothing_between_threads():
    meter = Meter(lambda: 0.0)
    threads = [threading.Thread(target=lambda: [meter.add(fits=1) for _ in range(2000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.spent()["fits"] == 16_000
