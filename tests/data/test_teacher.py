"""Teachers and what stands around them: the ledger, checks of answers, novelty of questions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.budget.meter import Meter
from smidgen.data.novelty import NoveltyFilter, common_subsequence, rouge_l, unlike, words
from smidgen.data.teacher import (
    CallableTeacher,
    Completion,
    Example,
    Prompt,
    TeacherBudget,
    TeacherLedger,
    Unparsable,
    named_examples,
)
from smidgen.data.verification import Exact, Executed, Numeric, last_number
from smidgen.kit.errors import BadInput

PROMPTS = [Prompt(f"say {i}") for i in range(6)]


def echo(prompt: Prompt) -> str:
    return prompt.text.upper()


def number(text: str) -> int:
    if not text.isdigit():
        raise Unparsable("no number")
    return int(text)


def test_a_spent_budget_stops_cleanly_and_pays_no_call_more():
    asked = []
    teacher = CallableTeacher(lambda p: asked.append(p.text) or "yes", "yes")
    ledger = TeacherLedger(TeacherBudget(4))
    assert len(ledger.ask(teacher, PROMPTS)) == 4 == len(asked) == ledger.calls
    assert ledger.ask(teacher, PROMPTS) == [] and len(asked) == 4 and not ledger.affords(1)
    ledger.charge(3)  # more than there was, from an earlier run
    assert ledger.ask(teacher, PROMPTS, begun=True) == [] and ledger.room() == 0


def test_all_that_comes_is_charged_and_what_is_of_no_use_is_counted_by_kind():
    said = iter(
        [
            Completion("12", tokens=5, prompt_tokens=7),
            Completion(" \n"),
            Completion("13", "length"),
            Completion("14", "refused"),
            Completion("no number here"),
            "15",
        ]
    )
    ticks = iter([0.0, 2.5])
    meter = Meter(lambda: 0.0)
    ledger = TeacherLedger(TeacherBudget(10), meter=meter, clock=lambda: next(ticks))
    replies = ledger.ask(CallableTeacher(lambda p: next(said), "t"), PROMPTS, number)
    assert [r.value for r in replies] == [12, None, None, None, None, 15]
    assert [r.failure for r in replies] == ["", "empty", "cut", "refused", "unparsable", ""]
    assert ledger.spent() == {
        "calls": 6, "tokens": 12 + 5 * 2 + 0 + 1 + 1 + 3 + 1, "seconds": 2.5, "failures": 4,
        **{f"failures: {kind}": 1 for kind in ("cut", "empty", "refused", "unparsable")},
    }  # fmt: skip
    assert meter.spent() == {
        "teacher_calls": 6, "teacher_tokens": 28, "teacher_seconds": 2.5, "teacher_failures": 4, "seconds": 0.0,
    }  # fmt: skip


def test_a_cut_completion_is_read_where_that_is_asked_for():
    teacher = CallableTeacher(lambda p: Completion("12", "length"), "t")
    assert TeacherLedger(TeacherBudget(1)).ask(teacher, PROMPTS[:1], number, take_cut=True)[0].value == 12


def test_tokens_bound_what_is_begun_and_not_what_is_finished():
    teacher = CallableTeacher(lambda p: Completion("a", prompt_tokens=4, tokens=6), "t")
    ledger = TeacherLedger(TeacherBudget(100, tokens=35))
    sizes = []
    while replies := ledger.ask(teacher, PROMPTS):
        sizes.append(len(replies))
    assert sizes == [1, 2, 1] and ledger.tokens == 40  # begun at 30, below 35
    assert len(ledger.ask(teacher, PROMPTS[:2], begun=True)) == 2


def test_a_teacher_that_breaks_is_charged_for_what_it_may_have_done():
    def broken(prompt):
        raise ConnectionError("gone")

    ledger = TeacherLedger(TeacherBudget(5))
    with pytest.raises(ConnectionError, match="gone"):
        ledger.ask(CallableTeacher(broken, "t"), PROMPTS[:3])
    assert ledger.calls == 3
    with pytest.raises(BadInput, match="a text or a Completion"):
        ledger.ask(CallableTeacher(lambda p: 3, "t"), PROMPTS[:1])

    class Half:
        name = "half"

        def ask(self, prompts):
            return [Completion("a")]

    with pytest.raises(BadInput, match="2, one a prompt, got 1"):
        TeacherLedger(TeacherBudget(5)).ask(Half(), PROMPTS[:2])


def test_messages_keep_the_turns_in_order():
    talk = Prompt("now", "rules", (("q1", "a1"), ("q2", "a2"))).messages()
    assert [m["role"] for m in talk] == ["system", *["user", "assistant"] * 2, "user"]
    assert [m["content"] for m in talk] == ["rules", "q1", "a1", "q2", "a2", "now"]


@pytest.mark.parametrize("wrong", [(0,), (2.0,), (True,), (1, 0)])
def test_budgets_are_whole_numbers(wrong):
    with pytest.raises(BadInput, match="whole number above 0"):
        TeacherBudget(*wrong)


def test_a_part_of_a_budget():
    assert TeacherBudget(1000, 300).part(0.05) == TeacherBudget(50, 15)
    assert TeacherBudget(100).part(0.29) == TeacherBudget(29)  # 28.999999999999996
    with pytest.raises(BadInput):
        TeacherBudget(10).part(0.05)


def test_seeds_are_named_and_each_there_once():
    assert [e.id for e in named_examples([Example("a", id="x"), Example("b", "3")])] == ["x", "1"]
    for wrong, said in (
        ([], "at least one"),
        ([Example("a b"), Example("c"), Example(" a  b")], "seeds 0 and 2 alike: a b"),
        ([Example("a", id="1"), Example("b")], "ids of the seeds"),
        ([Example("a"), Example(" ")], "seed 1"),
    ):
        with pytest.raises(BadInput, match=said):
            named_examples(wrong)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("She has 3 apples and gives 2 away.\n#### 1", 1),
        ("#### 4\nno:\n#### -1,250.50 dollars", Fraction("-1250.5")),
        ("it is 7, or $8.", 8),
        ("x = \u22125", -5),
        ("12 - 5", 5),
        ("12-5", 5),
        ("(1)-5", 5),
        ("3/4", Fraction(3, 4)),
        (".5", Fraction(1, 2)),
        ("1e3", 1000),
        ("version 1.2.3", None),
        ("1,5", None),  # a decimal comma, or two numbers
        ("3, 5", 5),
        ("x2", None),
        ("1/0", None),
        ("9e99999", None),
        ("9" * 5000, None),
        ("none", None),
        ("#### none, though 5 before it was 6", 5),
        ("5 #### none", None),
    ],
)
def test_the_number_of_an_answer(text, value):
    assert last_number(text) == value


@given(st.integers(-(10**9), 10**9))
def test_a_written_number_is_read_back(value):
    assert last_number(f"so it is {value:,}.") == last_number(f"#### ${value}") == value


def test_checks_say_right_wrong_or_unknown():
    numeric = Numeric()
    assert numeric("", "#### 0.75", "3/4") is True and numeric("", "#### -5", "#### 5") is False
    assert numeric("", "no idea", "5") is False and numeric("", "5", None) is None and numeric("", "5", "five") is None
    assert Numeric(0.01)("", "101", "100") is True and Numeric(0.01)("", "101.1", "100") is False
    assert Exact()("", ' "(B)". ', "b") is True and Exact()("", "-5", "5") is False and Exact()("", "b", None) is None

    def run(question, answer):
        return {"good": 1, "other": 1, "else": 2}[answer]

    executed = Executed(run)
    assert executed("", "other", "good") is True and executed("", "else", "good") is False
    assert executed("", "fails", None) is False and executed("", "good", None) is None
    assert executed("", "good", "fails") is None
    assert Executed(run, lambda a, b: abs(a - b) < 2)("", "else", "good") is True


def slow_subsequence(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1, j + 1] = table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
    return table[-1, -1]


@given(st.text("abc", max_size=40), st.text("abcd", max_size=40))
def test_the_subsequence_is_that_of_the_table(a, b):
    assert common_subsequence(a, b) == slow_subsequence(a, b)


def test_likeness():
    assert rouge_l(["the", "cat", "sat"], ["the", "cat"]) == pytest.approx(0.8)  # P 2/3, R 1
    assert rouge_l([], ["a"]) == 0
    assert words("Don't, STOP!") == ["don", "t", "stop"] and words("?!") == ["?", "!"]
    assert words("GPU\u7684\u4ef7\u683c") == ["gpu", "\u7684", "\u4ef7", "\u683c"]


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=6), max_size=12), st.floats(0.3, 1)
)
def test_the_index_lets_through_what_comparing_all_does(texts, limit):
    kept: list[list[str]] = []
    for text in texts:
        if not any(rouge_l(text, other) > limit or text == other for other in kept):
            kept.append(text)
    found, like = unlike([" ".join(t) for t in texts], NoveltyFilter(max_similarity=limit))
    assert [texts[i] for i in found] == kept and sum(like.values()) == len(texts) - len(kept)


def test_copies_of_seeds_of_test_rows_and_of_earlier_ones_are_told_apart():
    novelty = NoveltyFilter(test=("How far is the moon from the earth ?",), max_test_similarity=0.7)
    texts = [
        "how far is the MOON from the earth",
        "How far is the sun from the earth?",  # 7 of 8 words: too like the test row
        "Who wrote it?",
        "What is a quark made of?",
        "What is a QUARK made of",
        "What is a lepton made of?",
    ]
    kept, like = unlike(texts, novelty, seeds=["who wrote it"])
    assert kept == [3, 5] and like == {"test": 2, "seed": 1, "earlier": 1}


def test_by_vectors_of_any_length():
    places = {f"t{i}": np.array([np.cos(i / 40), np.sin(i / 40)]) * (i + 1) for i in range(200)}
    novelty = NoveltyFilter(encode=lambda ts: np.array([places[t] for t in ts]), max_similarity=np.cos(1.5 / 40))
    kept, like = unlike(list(places), novelty)
    assert kept == list(range(0, 200, 2)) and like == {"earlier": 100}
    with pytest.raises(BadInput, match="1 finite vectors"):
        unlike(["a"], NoveltyFilter(encode=lambda ts: np.full((1, 2), np.nan)))


@pytest.mark.parametrize("wrong", [{"test": "one text"}, {"max_similarity": 0}, {"max_test_similarity": 1.1}])
def test_wrong_filters(wrong):
    with pytest.raises(BadInput):
        NoveltyFilter(**wrong)


def test_what_was_made_is_paid_whatever_becomes_of_it():
    def broken(text):
        raise KeyError(text)

    class Plain:
        name = "plain"

        def ask(self, prompts):
            return [prompt.text for prompt in prompts]

    ledger = TeacherLedger(TeacherBudget(10))
    with pytest.raises(KeyError):
        ledger.ask(CallableTeacher(echo, "echo"), PROMPTS[:2], broken)
    with pytest.raises(BadInput, match="a Completion for each prompt, got str"):
        ledger.ask(Plain(), PROMPTS[:3])
    assert ledger.calls == 5


def test_numbers_that_cannot_be_read_in_one_way():
    assert last_number("1\u00a0000 in all") == last_number("1\u202f000") == 1000
    assert last_number("10^6") is None


def test_each_text_is_encoded_once():
    seen = []

    def encode(texts):
        seen.extend(texts)
        return np.array([[1.0, len(t)] for t in texts])

    texts = ["a", "bbbb", "cc ccc ccccccccccc", "a"]
    unlike(texts, NoveltyFilter(encode=encode, max_similarity=0.999))
    assert sorted(seen) == sorted(set(texts))
