"""Claims run over seeds: kept, resumed, stopped, and only clean full runs become evidence. Real processes and git."""

import json
import subprocess
from pathlib import Path

import pytest
import toy_claim

from smidgen.kit.errors import BadInput, SmidgenError
from smidgen.papers import evidence, harness
from smidgen.papers.catalogue import Entry
from smidgen.papers.claim import Scale
from smidgen.papers.harness import run_claim

TOY = Entry("999", toy_claim.CLAIM, toy_claim.run, Path(toy_claim.__file__), "toy_claim")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A source tree under git, as far as evidence sees one."""
    for folder in ("src/smidgen", "docs/evidence", "kept"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "docs/evidence/README.md").write_text("")
    (tmp_path / ".gitignore").write_text("kept/\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(tmp_path)]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(evidence, "TREE", tmp_path)
    monkeypatch.setattr(evidence, "in_source_tree", lambda: True)
    return tmp_path


def test_clean_full_run_is_evidence(tree):
    seen = []
    got = run_claim(TOY, kept=tree / "kept", on_seed=lambda seed, run: seen.append(seed))
    assert got.official and got.path == tree / "docs/evidence/999.json" and seen == [0, 1, 2]
    found = evidence.read("999")
    assert found is not None and found.verdict == "direction only"  # 1, 2, 3: less than the margin
    assert [r["values"]["a"] for r in found.runs] == [1, 2, 3] and found.runs[0]["values"]["none"] is None
    assert found.parts[0]["mean"] == 2 and found.peak_memory_bytes > 1e6 and len(found.commit) == 40
    assert evidence.stale(TOY, found) == ""
    text = got.path.read_text()
    assert str(tree) not in text and "directory" not in text
    # evidence itself does not make the tree unclean; a change of anything else does
    assert run_claim(TOY, kept=tree / "kept").official
    (tree / "src/smidgen/new.py").write_text("")
    other = run_claim(TOY, kept=tree / "kept")
    assert not other.official and "new.py" in other.why_not and other.path.parent == tree / "kept"


def test_goes_on_where_it_stopped(tree, monkeypatch):
    assert not run_claim(TOY, seeds=2, kept=tree / "kept").official  # two seeds are not three
    with (tree / "kept" / next(p.name for p in (tree / "kept").glob("*.jsonl"))).open("a") as file:
        file.write('\n{"seed": 2, "val')  # killed while writing
    measured = []
    real = harness._Worker.measure
    monkeypatch.setattr(harness._Worker, "measure", lambda self, s, u: measured.append(s) or real(self, s, u))
    assert run_claim(TOY, kept=tree / "kept").official and measured == [2]


def test_seeds_of_another_commit_and_a_tree_that_changes_meanwhile_do_not_count(tree, monkeypatch):
    run_claim(TOY, seeds=2, kept=tree / "kept")
    (tree / "src/smidgen/new.py").write_text("")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(tree)]
    for command in (["add", "-A"], ["commit", "-qm", "more"]):
        subprocess.run([*git, *command], check=True)
    measured = []
    real = harness._Worker.measure
    monkeypatch.setattr(harness._Worker, "measure", lambda self, s, u: measured.append(s) or real(self, s, u))
    change = lambda seed, run: (tree / "src/smidgen/late.py").write_text("")  # noqa: E731
    got = run_claim(TOY, kept=tree / "kept", on_seed=change)
    assert measured == [0, 1, 2] and not got.official and "while it ran" in got.why_not


def test_time_ends_a_seed(tmp_path):
    entry = Entry("999", toy_claim.CLAIM, toy_claim.run, TOY.path, "toy_claim")
    worker = harness._Worker(entry, Scale.FULL)
    try:
        assert worker.measure(9, 0.0) is None
    finally:
        worker.close()
    assert not worker.process.is_alive()
    got = run_claim(TOY, seconds=0, kept=tmp_path)
    assert got.stopped and got.judgement.verdict == "not finished" and not got.official


@pytest.mark.parametrize(("seed", "message"), [(7, "ZeroDivisionError: seed seven"), (8, "status 9")])
def test_failures_name_claim_and_seed(seed, message):
    worker = harness._Worker(TOY, Scale.FULL)
    try:
        with pytest.raises(SmidgenError, match=f"(?s)999, seed {seed}.*{message}"):
            worker.measure(seed, float("inf"))
    finally:
        worker.close()


def test_edited_evidence_is_refused(tree, monkeypatch):
    path = run_claim(TOY, kept=tree / "kept").path
    whole = json.loads(path.read_text())
    monkeypatch.setattr(evidence.catalogue, "claim_files", lambda: {"999": TOY.path})
    monkeypatch.setattr(evidence.catalogue, "entry", lambda n: TOY)
    assert evidence.read("999") is not None
    nonsense = [
        {**whole, "verdict": "holds"},
        {**whole, "parts": []},
        {**whole, "parts": [{**whole["parts"][0], "mean": 2.6}]},
        {**whole, "parts": [{**whole["parts"][0], "interval": [0.1, 3.7]}]},
        {**whole, "runs": whole["runs"][:2]},
        {**whole, "number": "998"},
        {**whole, "schema": 2},
        {**whole, "extra": 1},
        [1],
    ]
    for values in nonsense:
        path.write_text(json.dumps(values))
        with pytest.raises(BadInput, match=r"999\.json"):
            evidence.read("999")
    path.write_bytes(b"{\xff")
    found, errors = evidence.measured()
    assert found == {} and "999.json" in str(errors[0])


def test_digest_of_parts_ignores_layout_but_not_code(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "SOURCE", tmp_path)
    (tmp_path / "learn").mkdir()
    file = tmp_path / "learn/a.py"

    def of(text: str) -> str:
        file.write_text(text)
        return evidence.parts_sha256(["learn.a.f"])["learn.a"]

    first = of('"""Doc."""\ndef f(x):\n    "says"\n    return x + 1\n')
    assert of("def f(x):  # comment\n    return (x + 1)\n") == first
    assert of("def f(x):\n    return x + 2\n") != first
    with pytest.raises(ValueError, match="no module"):
        evidence.parts_sha256(["learn.b.f"])
