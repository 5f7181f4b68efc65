"""Numbers as people write them, and the three sentences."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from smidgen.web import svg, words
from web import samples


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.41234, "0.412"),
        (0.05, "0.0500"),
        (12345.6, "12,346"),
        (-1.5, "−1.50"),
        (0, "0"),
        (0.0, "0"),
        (3, "3"),
        (1e-7, "1.00e−07"),
        (float("nan"), "–"),
        (None, "–"),
        (True, "–"),
    ],
)
def test_number(value, text):
    assert words.number(value) == text


def test_units():
    assert [words.duration(s) for s in (0.84, 31.4, 125, 7300)] == ["0.8 s", "31 s", "2 min 5 s", "2 h 1 min"]
    assert [words.size(b) for b in (900, 184_000, 4.2e9)] == ["900 bytes", "184 KB", "4.20 GB"]


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(3, 8))
def test_ticks_are_round_and_inside(low, width, most):
    high = low + width
    assume(width > 1e-4 * abs(low))
    found = svg.ticks(low, high, most)
    labels = svg.tick_labels(found)
    assert 2 <= len(found) <= most
    assert all(low - 1e-6 * width <= v <= high + 1e-6 * width for v in found)
    assert len(set(labels)) == len(labels) or width < 1e-2 * abs(low)


@given(st.text())
def test_clean_text_is_valid_xml(text):
    from xml.etree import ElementTree

    made = ElementTree.fromstring(svg.label(text, 1, 2))
    assert (made.text or "") == words.clean(text, 80)


def test_three_sentences():
    found, good, then = words.sentences(samples.two_classes())
    assert found == (
        "A mix of 3: logistic (62\u00a0%), shrinkage_lda (25\u00a0%) and extra_trees (13\u00a0%) was chosen "
        "to tell the 2 classes of "
        "“churned” apart, from 50 labelled rows, among 10 ways tried."
    )
    assert good.startswith(
        "On new rows, expect a log loss of 0.324 (90\u00a0% interval 0.238 to 0.437, judged on 50 rows), against 0.684"
    )
    assert "clearly better" in good
    assert "still improving" in then and "950 unlabelled rows" in then
    assert all(s.endswith(".") for s in (found, good, then))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"curve": [{"n": 25, "estimate": 0.33}, {"n": 50, "estimate": 0.324}]}, "curve is flat"),
        (
            {"curve": [{"n": 25, "estimate": 0.33}, {"n": 50, "estimate": 0.324}], "interval": [0.31, 0.34]},
            "interval is small",
        ),
        (
            {"curve": [{"n": 25, "estimate": 0.33}, {"n": 50, "estimate": 0.324}], "interval": [0.2, 0.6]},
            "interval is wide",
        ),
        ({"curve": [{"n": 25, "estimate": 0.2}, {"n": 50, "estimate": 0.324}]}, "too rough"),
        ({"curve": None, "interval": [0.2, 0.9]}, "say little about the target"),
        ({"curve": None, "interval": [0.2, 0.9], "n": 6}, "With 6 rows nothing is certain"),
        (
            {
                "metric": "accuracy",
                "estimate": 0.9,
                "interval": [0.85, 0.93],
                "baseline": {"estimate": 0.5},
                "curve": [{"n": 25, "estimate": 0.7}, {"n": 50, "estimate": 0.9}],
            },
            "still improving",
        ),
    ],
)
def test_what_to_do_next_follows_the_curve(change, says):
    assert says in words.sentences({**samples.two_classes(), **change})[2]


def test_a_model_that_is_no_better_is_called_so():
    s = {**samples.two_classes(), "estimate": 0.7, "interval": [0.6, 0.9]}
    assert "no better than that" in words.sentences(s)[1]
    s |= {"metric": "accuracy", "estimate": 0.5, "baseline": {"estimate": 0.58}}
    assert "no better than that" in words.sentences(s)[1]


def test_gain_per_doubling():
    curve = [{"n": 10, "estimate": 1.0}, {"n": 20, "estimate": 0.8}, {"n": 40, "estimate": 0.6}]
    assert words.gain_per_doubling({"metric": "log_loss", "curve": curve}) == pytest.approx(0.25)
    assert words.gain_per_doubling({"metric": "accuracy", "curve": curve}) == pytest.approx(-0.25)
    assert words.gain_per_doubling({"metric": "log_loss", "curve": curve[:1]}) is None


def test_methods_of_one_name_are_told_apart():
    forest = {"method": "learn/forest", "view": "tree", "params": {"depth": 3, "share": 0.25}}
    rows = [forest, {**forest, "view": "linear"}, {**forest, "params": {"depth": 5}}, {"method": "learn/svm"}, forest]
    assert words.told_apart(rows) == [
        "forest on tree (depth=3, share=0.250) no. 1",
        "forest on linear",
        "forest on tree (depth=5)",
        "svm",
        "forest on tree (depth=3, share=0.250) no. 5",
    ]


def test_settings_are_written_in_one_way():
    assert words.settings({"depth": 3, "share": 0.25, "most": float("inf"), "kind": "a"}) == [
        *("depth=3", "share=0.250", "most=inf", "kind=a")
    ]
    assert words.settings(None) == words.settings(["depth"]) == []


def test_chance_and_intervals():
    assert [words.chance(p) for p in (0.0, 0.001, 0.42, 0.999, 1.0, None)] == [
        "0\u00a0%",
        "< 1\u00a0%",
        "42\u00a0%",
        "> 99\u00a0%",
        "100\u00a0%",
        "–",
    ]
    assert words.alike(0.079, -0.001, 0.159) == ["0.079", "−0.001", "0.159"]
    assert words.alike(7.26, -17.51, 32.2) == ["7.3", "−17.5", "32.2"]
    assert words.alike(0.0, 0.0, 0.0) == ["0", "0", "0"]
