"""Thirty canaries through every verb, also where it fails: keys in the environment, cells that nobody asked to keep,
names of people in paths, passwords, what is typed. None is in what is printed or left behind.
"""

import random
import re
from pathlib import Path

import pytest
from hostile_help import Said, cli

from smidgen.cli.main import app
from smidgen.studies import fit as studies
from smidgen.studies.pool import InlinePool

KEYS = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GITHUB_TOKEN",
        "PGPASSWORD", "WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "SMTP_PASSWORD", "USER", "LOGNAME", "HOSTNAME",
        "DATABASE_URL", "HTTPS_PROXY"]  # fmt: skip
CELLS = ["mail", "ward", "family", "other column", "other column of the pool", "other column of calibration", "a text",
         "author", "title"]  # fmt: skip
REST = ["home", "folder", "password", "password in the query", "typed", "prompt"]
CANARIES = {name: f"c4n4ry{k:02d}x" for k, name in enumerate([*KEYS, *CELLS, *REST])}
# Where a file lies is told to who works there, and kept in the run store, so that a study can go on; not in what is
# passed on. A prompt is given back.
PLACES, LOCAL = ("home", "folder"), (".db", ".db-wal", ".db-shm")


class Run:
    """Everything done once in a folder: what each command said, and what was left."""

    def __init__(self, top: Path) -> None:
        self.said: dict[str, Said] = {}
        self.home, self.folder = top / CANARIES["home"], top / CANARIES["folder"]
        self.home.mkdir()
        self.folder.mkdir()
        self.given: set[Path] = set()
        self.store = f"sqlite:///{self.folder / 'runs.db'}?password={CANARIES['password in the query']}"
        self.away = f"postgresql://me:{CANARIES['password']}@127.0.0.1:1/runs"

    def go(self, *line: str, status: int = 0) -> str:
        said = self.said[" ".join(line)] = cli(*line)
        assert said.status == status and "Traceback" not in said.err, (line, said)
        return said.out

    def write(self, name: str, text: str | bytes) -> None:
        self.given.add(self.folder / name)
        (self.folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    def tables(self) -> None:
        draw, c = random.Random(0), CANARIES
        said = [f"some words about {i} and {'good' if i % 2 else 'bad'} things" for i in range(30)]
        rows = [
            [
                f"{draw.gauss(0, 1):.3f}",
                "rgb"[i % 3],
                f"{c['mail']}.{i}@example.org",
                c["ward"],
                f"{c['family']}{i // 3}",
            ]
            + [said[i], "hi" if i % 2 else "lo"]
            for i in range(30)
        ]
        head = ["x", "colour", "mail", "ward", "family", "note", "y"]

        def table(rows: list[list[str]], names: list[str] = head) -> str:
            return "".join(",".join(cells) + "\n" for cells in [names, *rows])

        def other(what: str) -> str:
            return table([[*cells[:-1], c[what]] for cells in rows], [*head[:-1], "secret"])

        self.write("small.csv", table(rows))
        framed = b"A title\n\n" + table(rows).replace("about 3 ", "\u00e4bout 3 ").encode("latin-1") + b",,,,,,\n"
        self.write("odd.csv", framed)
        self.write("bad.csv", table([["no number", *cells[1:]] for cells in rows]))
        self.write("new.csv", other("other column").replace("words about 5 ", f"words about {c['a text']} "))
        self.write("pool.csv", other("other column of the pool").replace("some", "more"))
        self.write("rows.csv", other("other column of calibration"))
        lines = [f"the cat number {i} sat on the mat and said {i * 7 % 13} words to the dog. " * 3 for i in range(80)]
        texts = (f'{{"text": "{t}", "author": "{c["author"]}", "title": "{c["title"]}"}}\n' for t in lines)
        self.write("text.jsonl", "".join(texts))

    def tasks(self) -> None:
        here, store = str(self.folder), ["--store", self.store]
        fit = ["--target", "y", "--group", "family", "--methods", "logistic", "--workers", "1", *store]
        self.go("fit", "small.csv", *fit, "--dry-run")
        self.go("fit", "small.csv", *fit, "--trials", "2", "--out", "m", "--unlabelled", "pool.csv", "--json")
        self.go("fit", f"{here}/odd.csv", *fit, "--trials", "1", "--out", f"{here}/odd")  # much is told of this one
        self.go("fit", "bad.csv", "--target", "z", *store, status=2)
        self.go("fit", "small.csv", "--target", "y", "--store", self.away, status=1)
        study = self.go("studies", "ls", *store).splitlines()[-1].split()[0]
        self.go("studies", "ls", "--store", self.away, status=1)
        self.go("studies", "show", study, *store)
        self.go("studies", "resume", study, *store, "--workers", "1")
        self.go("predict", "m", "new.csv", "--out", "p.csv")
        self.go("predict", "m", "new.csv")
        self.go("predict", "m", "bad.csv", status=2)
        price = ["--price", "label=1", "--spend", "10"]
        self.go("plan", study, *price, "--dry-run", *store)
        self.go("plan", study, *price, "--time", "0.1s", *store, status=3)
        self.go("plan", study, *price, "--store", self.away, status=1)
        self.go("work", "--idle", "1s", "--workers", "1", *store)
        self.go("work", "--store", self.away, status=1)
        self.go("ui", "--no-browser", "--models", "nowhere", "--store", self.away, status=2)
        self.go("compress", "m", "--size", "10B", status=2)
        self.go("compress", "m", "--size", "1MB", "--without-encoder", "--calibration", "rows.csv", "--out", "s")
        self.page()
        self.go("studies", "rm", study, *store)

    def page(self) -> None:
        pytest.importorskip("starlette")
        from starlette.testclient import TestClient

        from smidgen.web.app import make_app
        from smidgen.web.guard import Keys

        keys = Keys(8765)
        browser = TestClient(make_app(self.store, self.folder, keys), base_url="http://127.0.0.1:8765")
        browser.get("/", params={"token": keys.token})
        key = re.search(r'href="(/models/[0-9a-f]+)"', browser.get("/models").text)
        study = re.search(r'href="(/studies/[^"/?]+)"', browser.get("/").text)
        assert key and study
        form = {"form": keys.form, "c0": CANARIES["typed"], "c1": "r", "c2": CANARIES["typed"]}
        for path in ("/", study[1], f"{study[1]}/report", f"{study[1]}/trials", "/models", key[1], "/openapi.json"):
            text = browser.get(path).text.replace(str(self.folder), "")
            self.said[f"page {path}"] = Said(0, text.replace(keys.form, ""), "")
            assert not any(secret in text for secret in (keys.token, keys.cookie)), path
        assert browser.post(key[1], data=form, headers={"origin": "http://127.0.0.1:8765"}).status_code in (200, 400)

    def language(self) -> None:
        pytest.importorskip("torch")
        train = ["lm", "train", "text.jsonl", "--size", "60k", "--context", "16", "--out", "lm", "--rate", "0.01"]
        self.go(*train)
        self.go(*train, status=2)
        self.go("lm", "eval", "lm", "text.jsonl")
        self.go("lm", "eval", "lm", "gone", status=2)
        self.go("lm", "generate", "lm", CANARIES["prompt"], "--max-tokens", "2")
        if _has("gguf"):
            self.go("lm", "export", "lm", "--gguf", "lm.gguf")
        texts = ["--calibration", "text.jsonl", "--column", "text", "--steps", "0"]
        self.go("compress", "lm", "--size", "100KB", *texts, "--out", "lms")
        self.go("laws", "bits", "lm", status=2)

    def words(self) -> None:
        self.go("doctor")
        self.go("doctor", "--json")
        self.go("explain")
        self.go("explain", "store")
        self.go("papers", "ls")
        self.go("papers", "find", "few labels")
        self.go("papers", "show", "999", status=2)
        self.go("papers", "check", "--no-such", status=2)
        self.go("papers", "digest", "999", status=2)
        self.go("papers", "run", "999", status=2)
        self.go("methods", "ls")
        self.go("methods", "show", "knn")
        self.go("laws", "step", status=2)
        self.go("demo", "--out", "bad.csv", status=2)


def _has(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    made = Run(tmp_path_factory.mktemp("canaries"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "Pool", InlinePool)  # without the start of workers
        for name in KEYS:
            patch.setenv(name, CANARIES[name])
        patch.setenv("DATABASE_URL", f"postgresql://u:{CANARIES['DATABASE_URL']}@127.0.0.1:1/x")
        patch.setenv("HTTPS_PROXY", f"http://u:{CANARIES['HTTPS_PROXY']}@127.0.0.1:1")
        patch.setenv("HOME", str(made.home))
        patch.chdir(made.folder)
        made.tables()
        made.tasks()
        made.language()
        made.words()
    return made


@pytest.mark.timeout(600)
def test_nothing_secret_is_written(run):
    assert len(CANARIES) == 30
    left = [p for p in run.home.parent.rglob("*") if p.is_file() and p not in run.given]
    assert len(left) > 20 and {"model.json", "report.html", "runs.db", "lm.gguf"} <= {p.name for p in left}
    bytes_of = {p: p.read_bytes() for p in left}
    found = []
    for name, canary in CANARIES.items():
        hits = [p for p, data in bytes_of.items() if canary.encode() in data or canary in p.name]
        found += [(name, str(p)) for p in hits if not (name in PLACES and p.suffix in LOCAL)]
        if name not in (*PLACES, "prompt"):
            found += [(name, line) for line, said in run.said.items() if canary in said.out + said.err]
    assert found == []


def test_every_verb_was_there(run):
    verbs = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    for group in app.registered_groups:
        inner = group.typer_instance.registered_commands if group.typer_instance else []
        verbs |= {f"{group.name} {command.name}" for command in inner}
    done = set(run.said)
    assert len(verbs) > 20 and [v for v in verbs if not any(f"{line} ".startswith(f"{v} ") for line in done)] == []
