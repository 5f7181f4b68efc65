"""Canaries through every verb, also failing ones: in nothing that is printed, raised, or left on the disk."""

import traceback
from pathlib import Path

import pytest
from hostile_help import TIMES, cli, small_table

from smidgen.cli.main import main
from smidgen.kit.errors import SmidgenError

CANARY = "c4n4ry-p4ssw0rd"
URLS = [
    f"postgresql://me:{CANARY}@127.0.0.1:1/runs", f"postgresql://me@127.0.0.1:1/runs?password={CANARY}",
    f"postgresql://me:a%40{CANARY}@127.0.0.1:1/runs", f"mysql://me:{CANARY}@127.0.0.1/runs",
    f"postgresql//me:{CANARY}@127.0.0.1/runs", f"postgresql:/me:{CANARY}@127.0.0.1/runs", f"me:{CANARY}@127.0.0.1/runs",
    f"postgresql://me:{CANARY}@@127.0.0.1:x/runs", f"sqlite://me:{CANARY}@host/runs.db",
    f"POSTGRESQL+psycopg://me:{CANARY}@127.0.0.1:1/runs?sslkey=x",
]  # fmt: skip
VERBS = [
    ["fit", "small.csv", "--target", "y", "--trials", "1"], ["fit", "small.csv", "--target", "y", "--replay", "x"],
    ["studies", "ls"], ["studies", "show", "x"], ["studies", "resume", "x"], ["studies", "rm", "x"],
    ["plan", "x", "--price", "label=1", "--spend", "10"], ["ui", "--no-browser", "--port", "99", "--models", "nowhere"],
]  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    small_table(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PGPASSWORD", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, CANARY)


def left(folder: Path) -> list[str]:
    """Files below a folder that hold the canary, in their names or bytes."""
    found = [p for p in folder.rglob("*") if CANARY in str(p) or (p.is_file() and CANARY.encode() in p.read_bytes())]
    return [str(p) for p in found]


PAIRS = [(line, url) for i, line in enumerate(VERBS) for j, url in enumerate(URLS) if TIMES > 1 or (i + j) % 3 == 0]


@pytest.mark.parametrize(("line", "url"), PAIRS)
def test_a_store_that_cannot_be_opened(tmp_path, line, url):
    said = cli(*line, "--store", url)
    assert said.status in (1, 2) and "smidgen: " in said.err and "Traceback" not in said.err
    assert CANARY not in said.err + said.out
    assert left(tmp_path) == []


@pytest.mark.parametrize("url", [url for url in URLS if not url.startswith("sqlite")])
def test_not_in_a_traceback_either(url):
    import smidgen

    with pytest.raises(SmidgenError) as error:
        smidgen.fit("small.csv", "y", store=url, trials=1)
    assert CANARY not in "".join(traceback.format_exception(error.value))


def test_not_in_what_a_whole_run_leaves(tmp_path, capfd):
    """The store's URL with a word in its query that is no option, and keys in the environment."""
    url = f"sqlite:///{tmp_path / 'runs.db'}?password={CANARY}"
    line = ["fit", "small.csv", "--target", "y", "--trials", "2", "--methods", "logistic,lda", "--workers", "2"]
    assert main([*line, "--store", url]) == 0
    assert main(["studies", "ls", "--store", url]) == 0
    study = capfd.readouterr().out.splitlines()[-1].split()[0]
    assert main(["studies", "show", study, "--store", url]) == 0
    assert main(["studies", "resume", study, "--store", url, "--workers", "1"]) == 0
    assert main(["predict", "small-model", "small.csv", "--out", "p.csv"]) == 0
    assert (
        main(["plan", study, "--price", "label=1", "--spend", "10", "--time", "5s", "--dry-run", "--store", url]) == 0
    )
    out, err = capfd.readouterr()
    assert CANARY not in out + err
    assert (tmp_path / "small-model" / "report.html").is_file() and (tmp_path / "runs.db").is_file()
    assert left(tmp_path) == []
