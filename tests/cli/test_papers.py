"""`smidgen papers`: what it prints, exit status, one JSON object, one sentence for bad input."""

import json
import shutil

import pytest

from smidgen.cli.main import main
from smidgen.papers import catalogue, evidence

CLAIMS = sorted(catalogue.claim_files())


def test_ls_filters_and_json(capsys):
    assert main(["papers", "ls", "--json"]) == 0
    cards = json.loads(capsys.readouterr().out)["papers"]
    assert len(cards) == catalogue.COUNT
    assert main(["papers", "ls", "--room", "learn", "--state", "works"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    works = [c for c in cards if c["room"] == "learn" and c["state"] == "works"]
    assert [line.split()[0] for line in lines] == [c["number"] for c in works] and works


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["show", "400"], "There is no paper '400'. Nearest: 105"),
        (["ls", "--room", "attic"], "--room: expected one of"),
        (["ls", "--state", "done"], "works or planned"),
        (["run"], "Name the papers"),
        (["run", CLAIMS[0], "--scale", "huge"], "smoke or full"),
        (["run", "056x"], "There is no paper"),
        (["find", " "], "Say what you look for"),
        (["digest", "--since", "monday"], "YYYY-MM-DD"),
        (["digest", "--atom", "no-such-folder/feed.xml"], "a folder that exists"),
    ],
)
def test_bad_input_is_one_sentence(args, said, capsys):
    assert main(["papers", *args]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and len(err.splitlines()) == 1


def test_show_keeps_published_and_measured_apart(capsys):
    assert main(["papers", "show", CLAIMS[0].lstrip("0")]) == 0
    text = capsys.readouterr().out
    published, measured = text.index("\npublished\n"), text.index("\nmeasured ")
    assert published < text.index("Re-tested here:") < measured
    assert main(["papers", "show", CLAIMS[0], "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["claim"]["published"] and "published" not in (shown["evidence"] or {})


def test_find_json(capsys):
    assert main(["papers", "find", "GaLore", "--count", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["papers"][0]["number"] == "056" and len(found["papers"]) == 2
    assert found["by"] in ("meaning", "words")


def test_smoke_run_is_not_judged(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["papers", "run", CLAIMS[0], "--scale", "smoke"]) == 0
    assert "runs (" in capsys.readouterr().out and not list(tmp_path.rglob("*.json"))


def test_run_out_of_time_is_said(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["papers", "run", CLAIMS[0], "--time", "0.01s"]) == 3
    out = capsys.readouterr().out
    assert "not finished" in out and "no evidence, because" in out


def test_check_names_what_is_wrong(capsys, tmp_path, monkeypatch):
    for path in evidence.folder().glob("*.json"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(evidence, "folder", lambda: tmp_path)
    assert main(["papers", "check"]) == 0
    path = tmp_path / f"{CLAIMS[0]}.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "claim_sha256": "0" * 64}))
    assert main(["papers", "check"]) == 1
    assert f"{CLAIMS[0]} " in (said := capsys.readouterr().out) and "claim changed" in said
    path.write_text("{")
    assert main(["papers", "check"]) == 1
    assert f"{CLAIMS[0]}.json" in capsys.readouterr().out
    assert main(["papers", "ls"]) == 0  # what is damaged is left out, and said
    assert f"{CLAIMS[0]}.json" in capsys.readouterr().err
    path.unlink()
    assert main(["papers", "check"]) == 1
    assert "no evidence" in capsys.readouterr().out


def test_digest_writes_a_feed(capsys, tmp_path):
    assert main(["papers", "digest"]) == 0
    assert CLAIMS[0] in capsys.readouterr().out
    assert main(["papers", "digest", "--atom", str(tmp_path / "feed.xml")]) == 0
    assert (tmp_path / "feed.xml").read_text().startswith("<?xml")
