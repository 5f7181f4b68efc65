"""Strategies: what each asks and pays, that budgets nest, that work goes on; the choice among them, and pilots."""

import json
from collections import Counter
from functools import partial
from itertools import islice

import numpy as np
import pytest

from smidgen.budget.meter import Meter
from smidgen.data.generation_file import identity
from smidgen.data.novelty import NoveltyFilter
from smidgen.data.strategies import AnswerAugmentation, Mixed, NewQuestion, QuestionRephrase, training_rows
from smidgen.data.strategy_choice import BETWEEN, FEW, MANY, pilot_then_commit, recommend_strategy
from smidgen.data.strategy_prompts import FILE, StrategyPrompts, load_prompts
from smidgen.data.teacher import CallableTeacher, Completion, Example, TeacherBudget, Unparsable
from smidgen.data.verification import Numeric
from smidgen.kit.errors import BadInput

SEEDS = [Example(f"What is {i} plus one hundred and {word}?", str(i), id=f"s{i}") for i, word in enumerate("abcde")]
ALL = [AnswerAugmentation(), QuestionRephrase(), NewQuestion(n_context=2)]


class Talker:
    """Both teachers: counts what it is asked; every third question and every fifth answer is of no use."""

    name = "talker"

    def __init__(self, breaks_at: int | None = None) -> None:
        self.asked: list = []
        self.breaks_at = breaks_at

    def ask(self, prompts):
        return [self._say(prompt) for prompt in prompts]

    def _say(self, prompt):
        if len(self.asked) == self.breaks_at:
            raise ConnectionError("gone")
        self.asked.append(prompt)
        if prompt.kind == "answer":
            return Completion("nothing" if prompt.seed % 5 == 0 else f"because\n#### {prompt.seed}")
        unique = " ".join(f"w{prompt.seed}x{k}" for k in range(5))
        return Completion("" if prompt.seed % 3 == 0 else f"<question>{unique}</question>")


def generate(strategy, calls, teacher=None, **settings):
    teacher = teacher or Talker()
    return strategy.generate(SEEDS, TeacherBudget(calls), teacher, teacher, **settings)


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.name)
def test_calls_are_counted_as_they_are_made(strategy):
    teacher = Talker()
    made = generate(strategy, 60, teacher)
    kinds = Counter(prompt.kind for prompt in teacher.asked)
    assert made.spent["calls"] == len(teacher.asked) and 59 <= len(teacher.asked) <= 60
    assert made.spent["failures"] == sum(made.dropped.values()) > 5
    if strategy.name == "answers":
        assert set(kinds) == {"answer"} and {row.calls for row in made.rows} == {1}
        assert {row.input for row in made.rows} <= {e.input for e in SEEDS}
        assert set(Counter(p.fields["question"] for p in teacher.asked).values()) == {12}  # Q / S each
        assert len({p.seed for p in teacher.asked}) == 60  # no sample twice
    else:
        assert kinds["answer"] == len(teacher.asked) - kinds["answer"] - made.dropped["question: empty"]
        assert {row.calls for row in made.rows} == {2}
        assert not {row.input for row in made.rows} & {e.input for e in SEEDS}
    assert all(row.total_calls <= 60 for row in made.rows) and len({len(r.parent_ids) for r in made.rows}) == 1
    assert all(row.output.startswith("because\n####") and row.verified is None for row in made.rows)
    assert {row.augmenter for row in made.rows} == {"" if strategy.name == "answers" else "talker"}


def test_what_a_batch_is_changes_nothing():
    one, many = (generate(NewQuestion(n_context=2), 61, batch=batch) for batch in (1, 50))
    assert one.rows == many.rows and one.dropped == many.dropped
    assert {k: v for k, v in one.spent.items() if k != "seconds"} == {
        k: v for k, v in many.spent.items() if k != "seconds"
    }


@pytest.mark.parametrize("strategy", [*ALL, Mixed(((ALL[0], 0.3), (ALL[2], 0.7)))], ids=lambda s: s.name)
def test_a_smaller_budget_makes_the_first_rows_of_a_larger_one(strategy, tmp_path):
    whole = generate(strategy, 60, store=tmp_path / "f")
    for calls in range(2, 60, 7):
        small = generate(strategy, calls)
        assert small.rows == whole.within(calls)
        again = generate(strategy, calls, Talker(breaks_at=0), store=tmp_path / "f")  # from the file alone
        assert again.rows == small.rows and again.dropped == small.dropped
    assert generate(strategy, 60, seed=1).rows != whole.rows


def test_stopped_work_goes_on_and_lost_calls_count_as_paid(tmp_path):
    strategy, store = NewQuestion(n_context=2), tmp_path / "f"
    whole = generate(strategy, 100)
    with pytest.raises(ConnectionError):
        generate(strategy, 40, Talker(breaks_at=30), store=store, batch=4)
    lines = [json.loads(line) for line in store.read_text().splitlines()]
    assert "asking" in lines[-1] and lines[-1]["calls"] == 8
    done = sum("item" in line for line in lines)
    teacher = Talker()
    made = generate(strategy, 40, teacher, store=store, batch=4)
    known = sum(line.get("calls", 0) for line in lines if "item" in line)
    assert made.spent["failures: lost"] == 8 and made.spent["calls"] <= 40
    assert len(teacher.asked) == made.spent["calls"] - 8 - known and done > 0
    assert made.rows == whole.rows[: len(made.rows)] and len(made.rows) > 5
    further = generate(strategy, 60, store=store)
    assert further.rows[: len(made.rows)] == made.rows and len(further.rows) > len(made.rows)
    meter = Meter(lambda: 0.0)
    generate(strategy, 60, Talker(), store=store, meter=meter)
    assert meter.spent().get("teacher_calls", 0) == 0  # what this run cost


def test_a_killed_write_is_cut_off_and_another_file_refused(tmp_path):
    strategy, store = QuestionRephrase(), tmp_path / "f"
    whole = generate(strategy, 40)
    generate(strategy, 40, store=store, batch=4)
    text = store.read_text()
    store.write_text(text[: text.index('{"item": 6') + 9])
    made = generate(strategy, 40, store=store, batch=4)
    assert made.spent["failures: lost"] > 0 and made.rows == whole.rows[: len(made.rows)]
    others = ({"seed": 1}, {"prompts": "maths"}, {"novelty": None}, {"novelty": NoveltyFilter(test=("x",))})
    for other in others:
        with pytest.raises(BadInput, match="another strategy"):
            generate(strategy, 40, store=store, **other)
    with pytest.raises(BadInput, match="another strategy"):
        generate(QuestionRephrase(reuse_answer=True), 40, store=store)
    store.write_text(text.replace('"item": 3', '"item": 4'))
    with pytest.raises(BadInput, match="line .* is not a row"):
        generate(strategy, 40, store=store)


def test_an_answer_that_is_known_is_not_paid_again():
    teacher = Talker()
    made = QuestionRephrase(reuse_answer=True).generate(
        [*SEEDS[:4], Example("no answer yet")], TeacherBudget(50), teacher, teacher
    )
    by_seed = {row.parent_ids[0]: row for row in made.rows}
    assert {by_seed[e.id].output for e in SEEDS[:4]} == {e.output for e in SEEDS[:4]}
    assert {by_seed[e.id].calls for e in SEEDS[:4]} == {1} and by_seed["4"].calls == 2
    assert by_seed["s0"].responder == "" and by_seed["4"].responder == "talker"


def test_checks_drop_or_mark_what_is_wrong():
    def adder(prompt):
        i = int(prompt.fields["question"].split()[2])
        return f"so\n#### {i + (prompt.seed % 2)}"  # right every other time

    for keep in (False, True):
        strategy = AnswerAugmentation(verify=Numeric(), keep_wrong=keep)
        teacher = CallableTeacher(adder, "adder")
        made = strategy.generate(SEEDS, TeacherBudget(40), teacher, teacher)
        right = {e.input: e.output for e in SEEDS}
        assert all((row.output == f"so\n#### {right[row.input]}") == row.verified for row in made.rows)
        wrong = sum(row.verified is False for row in made.rows)
        assert (wrong > 5, made.dropped.get("wrong answer", 0) > 5) == (keep, not keep)
        assert len(made.rows) + sum(made.dropped.values()) == 40
    new = generate(NewQuestion(n_context=1, verify=Numeric()), 20)
    assert {row.verified for row in new.rows} == {None}  # nothing to compare with


def test_a_question_that_was_written_is_answered_though_tokens_ended():
    for tokens in range(20, 600, 20):
        teacher = Talker()
        NewQuestion(n_context=1).generate(SEEDS, TeacherBudget(100, tokens), teacher, teacher, novelty=None)
        asked = [prompt.kind for prompt in teacher.asked]
        useful = sum(prompt.kind == "new" and prompt.seed % 3 > 0 for prompt in teacher.asked)
        assert asked.count("answer") == useful, tokens


def test_a_check_may_answer_with_a_bool_of_numpy(tmp_path):
    wrong = AnswerAugmentation(verify=lambda question, answer, reference: np.bool_(False))
    made = generate(wrong, 20, store=tmp_path / "rows.jsonl")
    assert made.rows == [] and made.dropped["wrong answer"] > 0


def test_other_settings_are_other_work():
    assert identity(partial(int, base=2)) != identity(partial(int, base=3)) == identity(partial(int, base=3))
    assert json.dumps(identity(AnswerAugmentation(temperature=np.float32(0.5))))
    assert identity(Numeric.__call__) != identity(AnswerAugmentation.items)


def test_questions_that_are_not_new_cost_no_answer(tmp_path):
    def make(*budgets, **settings):
        said = iter(["What is 0 plus one hundred and A", "one new thing", "a test row", "One new thing!", "two others"])

        def teacher(prompt):
            return "#### 1" if prompt.kind == "answer" else f"<question>{next(said)}</question>"

        both, novelty = CallableTeacher(teacher, "t"), NoveltyFilter(test=("A test row?",))
        for calls in budgets:
            made = NewQuestion(n_context=1).generate(
                SEEDS, TeacherBudget(calls), both, both, novelty=novelty, batch=3, **settings
            )
        return made

    made = make(7)
    assert made.dropped == {"like: seed": 1, "like: test": 1, "like: earlier": 1}
    assert [(r.input, r.total_calls) for r in made.rows] == [("one new thing", 3), ("two others", 7)]
    stopped = make(4, 7, store=tmp_path / "f")  # what was let through before the stop is remembered
    assert stopped.rows == made.rows and stopped.dropped == made.dropped


def test_a_mixture_has_its_shares_at_every_moment():
    strategy = Mixed(((AnswerAugmentation(), 0.5), (QuestionRephrase(), 0.2), (NewQuestion(n_context=1), 0.3)))
    spent: Counter = Counter()
    for item in islice(strategy.items(SEEDS, 0), 200):
        spent[item.strategy] += item.calls
        total = spent.total()
        assert all(abs(spent[part.name] - share * total) <= 2.001 for part, share in strategy.parts)


def test_wrong_settings():
    for make, said in (
        (lambda: AnswerAugmentation(temperature=0), "same text"),
        (lambda: QuestionRephrase(temperature=-1), "0 or more"),
        (lambda: NewQuestion(n_context=0), "whole number"),
        (lambda: Mixed(((ALL[0], 0.5), (ALL[1], 0.4))), "sum to 1"),
        (lambda: Mixed(((ALL[0], 0.5), (ALL[0], 0.5))), "each strategy once"),
        (lambda: generate(ALL[1], 1), "at least 2 calls, one row of 'rephrased'"),
        (lambda: generate(NewQuestion(n_context=6), 10), "at most the 5 seeds"),
        (lambda: generate(ALL[0], 10, batch=0), "at least 1"),
        (lambda: ALL[0].generate([SEEDS[0], SEEDS[0]], TeacherBudget(3), Talker(), Talker()), "each once"),
    ):
        with pytest.raises(BadInput, match=said):
            make()


def test_training_begins_with_seeds_that_have_answers():
    made = generate(AnswerAugmentation(), 3)
    inputs, outputs = training_rows([Example("q"), Example("a", "b")], made.rows)
    assert inputs == ["a", *(r.input for r in made.rows)] and outputs == ["b", *(r.output for r in made.rows)]


@pytest.mark.parametrize("task", ["generic", "maths", "sql", "choice", "classification"])
def test_prompts_of_each_task(task):
    prompts = load_prompts(task, labels=("YES", "no") if task == "classification" else ())
    tricky = "Is {answer} {question} a \\1 {x}?"
    for prompt in (
        prompts.ask_answer(tricky, temperature=0.5, seed=3),
        prompts.ask_question("rephrase", [Example(tricky)], temperature=0.5, seed=3),
        prompts.ask_question("new", [Example(tricky, "the answer"), Example("other")], temperature=0.5, seed=3),
    ):
        assert tricky in prompt.text and prompt.seed == 3 and prompt.system  # what is filled in is not read again
        assert prompt.text.count("{") == tricky.count("{")
    assert "the answer" in prompt.text and "other" in prompt.text
    assert prompts.read_question("Sure!\n<question> a\nb </question> bye") == "a\nb"
    good = {"sql": "ok <sql>\nselect 1\n</sql>", "classification": "Label: yes.", "choice": "it is\n#### (C)"}
    final = {"sql": "select 1", "classification": "YES", "choice": "C"}.get(task, "12")
    text = good.get(task, "no #### 3\nso\n #### 12 \n")
    assert prompts.read_answer(text) == (final if prompts.keep == "final" else text.strip(), final)
    assert prompts.final("12") == "12"
    for unread in ("<question>  </question>", "a question?"):
        with pytest.raises(Unparsable):
            prompts.read_question(unread)
    with pytest.raises(Unparsable):
        prompts.read_answer("maybe")


def test_labels_with_a_full_stop_can_be_answered():
    prompts = load_prompts("classification", labels=("U.S.", "EU"))
    read = lambda label: prompts.read_answer(label)[1]  # noqa: E731
    assert [read(label) for label in ("U.S.", "u.s.", "EU.", "eu")] == ["U.S.", "U.S.", "EU", "EU"]
    with pytest.raises(BadInput, match="no two alike"):
        load_prompts("classification", labels=("yes", "Yes"))


def test_wrong_prompts(tmp_path):
    good = {"answer": "{question}", "rephrase": "{question}", "new": "{examples}"}
    good |= {"question_pattern": "(.+)", "answer_pattern": "(.+)"}
    assert StrategyPrompts(**good).read_answer(" a ") == ("a", "a")
    for wrong, said in (
        ({"answer": "what?"}, "prompt 'answer'"),
        ({"new": "{examples} {question}"}, "prompt 'new'"),
        ({"answer": "{question} {labels}"}, "allowed answers"),
        ({"answer_pattern": "(.+"}, "regular expression"),
        ({"answer_pattern": ".+"}, "one group"),
        ({"keep": "all"}, "'final'"),
    ):
        with pytest.raises(BadInput, match=said):
            StrategyPrompts(**{**good, **wrong})
    with pytest.raises(BadInput, match="Did you mean 'maths'"):
        load_prompts("math")
    own = tmp_path / "own.toml"
    own.write_text(FILE.read_text().replace("[maths]", "[physics]"))
    assert load_prompts("physics", path=own) == load_prompts("maths")
    own.write_text("[a")
    with pytest.raises(BadInput, match="cannot be read as prompts"):
        load_prompts("a", path=own)


def test_the_recommendation_follows_the_ratio_and_says_what_it_rests_on():
    few, some, more, many = (recommend_strategy(100, int(100 * r)) for r in (FEW, BETWEEN - 0.01, BETWEEN, MANY))
    assert [r.name for r in (few, some, more, many)] == ["answers", "answers", "new", "new"]
    assert [r.evidence for r in (few, some, more, many)] == ["published direction", "guess", "guess", few.evidence]
    weak = recommend_strategy(100, 10_000, augmenter_strength="weak", verified=True)
    assert weak.name == "rephrased" and "one call a row" in weak.reason and "100 calls a seed" in weak.reason
    assert recommend_strategy(7000, 100_000).name == "answers"
    measured = [recommend_strategy(10, n, crossover=(3.0, 2.0, 5.0)) for n in (20, 25, 35, 50)]
    assert [(m.name, m.evidence) for m in measured] == [
        ("answers", "measured"), ("answers", "guess"), ("new", "guess"), ("new", "measured"),
    ]  # fmt: skip
    for wrong in ({"n_calls": 0}, {"augmenter_strength": "none"}, {"crossover": (3.0, 4.0, 5.0)}):
        with pytest.raises(BadInput):
            recommend_strategy(**{"n_seed": 3, "n_calls": 5, **wrong})


def test_a_pilot_finds_the_arm_that_wins_in_the_end(tmp_path):
    """Answers lead in the pilot and level off; new questions go on gaining."""
    arms = {"more": AnswerAugmentation(), "other": NewQuestion(n_context=1)}

    def score(rows, repeat):
        n = len(rows)
        error = 0.3 * n**-0.05 if rows[0].strategy == "answers" else 1.2 * n**-0.5
        return 1 - error * (1 + 0.01 * (repeat - 1))

    teacher = Talker()
    got = pilot_then_commit(arms, SEEDS, TeacherBudget(800), teacher, teacher, score, novelty=None, folder=tmp_path)
    lasts = [forecast.scores[-1][1] for forecast in got.forecasts.values()]
    assert lasts[0] > lasts[1] and got.chosen.name == "other" and got.chosen.evidence == "measured"
    assert got.forecasts["other"].best > 0.8
    assert got.spent["calls"] == len(teacher.asked) and 798 <= len(teacher.asked) <= 800
    count = Counter(row.strategy for row in got.rows)
    pilot = generate(AnswerAugmentation(), 40).rows
    assert got.rows[: len(pilot)] == pilot and count["answers"] == len(pilot)  # it is paid for, and stays
    assert got.rows[len(pilot) :] == generate(NewQuestion(n_context=1), 760).rows
    again = pilot_then_commit(
        arms, SEEDS, TeacherBudget(800), Talker(0), Talker(0), score, novelty=None, folder=tmp_path
    )
    assert again.rows == got.rows


def test_a_pilot_under_a_bound_of_tokens_forecasts_calls_that_can_be_made():
    arms = {"more": AnswerAugmentation(), "other": NewQuestion(n_context=1)}
    score = lambda rows, repeat: 1 - 0.5 * len(rows) ** -0.3 * (1 + 0.01 * repeat)  # noqa: E731
    teacher = Talker()
    got = pilot_then_commit(arms, SEEDS, TeacherBudget(1000, 6000), teacher, teacher, score, novelty=None, share=0.2)
    assert got.spent["tokens"] < 6600 and got.spent["calls"] == len(teacher.asked)
    for forecast in got.forecasts.values():
        calls = [n for n, _ in forecast.scores]
        assert calls[-1] < 0.9 * 200 and len(set(calls)) > 1  # tokens ended the arm before its 200 calls
    told = int(got.chosen.reason.split("with ")[1].split(" calls")[0].replace(",", ""))
    assert told < 700  # of the 800 that calls alone would leave


def test_a_pilot_that_tells_nothing_says_so():
    arms = {"a": AnswerAugmentation(), "b": AnswerAugmentation(temperature=1.0)}
    got = pilot_then_commit(
        arms, SEEDS, TeacherBudget(400), Talker(), Talker(), lambda rows, repeat: 0.5 + 0.05 * repeat
    )
    assert got.chosen.evidence == "guess" and "not told apart" in got.chosen.reason
    for budget, settings, said in (
        (400, {"share": 0.6}, "less than 1 / 2"),
        (10, {}, "enough for a pilot of 5%"),
        (400, {"steps": (0.01, 1)}, "at least one"),
        (400, {"steps": (0.5, 0.2, 1)}, "rising"),
    ):
        with pytest.raises(BadInput, match=said):
            pilot_then_commit(
                arms, SEEDS, TeacherBudget(budget), Talker(), Talker(), lambda rows, repeat: 0.5, **settings
            )
    with pytest.raises(BadInput, match="0 to 1"):
        pilot_then_commit(arms, SEEDS, TeacherBudget(400), Talker(), Talker(), lambda rows, repeat: 50.0)
