"""The local page in process: who may ask, what is shown, what is said when something is wrong."""

import asyncio
import html
import json
import re
import socket
import sqlite3
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from smidgen.cli.main import main
from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput, NotFound
from smidgen.learn.model import Model
from smidgen.papers import catalogue, evidence, find, harness, page
from smidgen.papers.judge import judge
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Result, Trial, fit_member
from smidgen.tasks.read import read
from smidgen.web import models, sections
from smidgen.web.app import make_app
from smidgen.web.guard import HEADERS, Keys
from web.samples import HOSTILE, hostile, regression, two_classes

PORT = 8765
BASE = f"http://127.0.0.1:{PORT}"
SECRET = "the words of row four"
POST = {"origin": BASE, "sec-fetch-site": "same-origin"}


class Shop:
    """A folder with a table, a model fitted on it, a store with its study, and a page over them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.keys = folder, folder / "runs.db", Keys(PORT)
        rng = np.random.default_rng(0)
        rows = [(round(float(x), 3), "high" if x + e > 0 else "low") for x, e in rng.normal(size=(24, 2))]
        notes = [SECRET if i == 3 else f"note number {i} about this and that" for i in range(24)]
        lines = [f"{x},{note},{y}" for (x, y), note in zip(rows, notes, strict=True)]
        self.table = folder / "shop.csv"
        self.table.write_text("\n".join(["size,note,level", *lines]) + "\n")
        self.task = read(self.table, "level")
        state = fit_member(self.task, Rows(self.task.frame), "learn/logistic", "linear", {}, 0)
        about = {"metric": "log_loss", "estimate": 0.3, "interval": [0.2, 0.4], "n": 24}
        self.model = Model.assemble(self.task, [state], [1.0], [0.0], about)
        self.model.save(folder / "shop-model")
        self.id = self.add_study("shop", self.task.fingerprint, two_classes() | doubts(), str(self.table))
        self.app = make_app(str(self.store), folder, self.keys)
        self.client = self.browser()
        self.client.get("/", params={"token": self.keys.token})
        self.stranger = self.browser()

    def browser(self) -> TestClient:
        return TestClient(self.app, base_url=BASE, raise_server_exceptions=False)

    def add_study(self, name: str, fingerprint: str, summary: dict, source: str, trials: int = 7) -> str:
        options = {"source": source, "target": "level", "group": None, "named_kind": None, "named_metric": None}
        with RunStore(self.store) as store:
            study = store.open_study(name, fingerprint, options, {"out": str(self.folder / "shop-model")})
            keys = []
            for i in range(trials):
                trial = Trial(
                    task=fingerprint,
                    method="learn/knn" if i % 2 else "learn/svm",
                    version=1,
                    view="100%" if i == 0 else "linear",
                    draw=f"cv:k=5:r={i}",
                    seed=0,
                )
                fence = store.claim(trial.key, trial.to_json(), study=study.id)
                assert fence is not None
                result = Result(error="it <b>failed</b>") if i == 6 else Result(np.full((4, 2), i / 7), float(10 - i))
                store.finish(trial.key, fence, result)
                keys.append(trial.key)
            store.finish_study(study.id, "done", summary, keys)
        return study.id

    def studies(self) -> list[str]:
        with RunStore(self.store) as store:
            return [study.id for study in store.studies()]

    def post(self, path: str, client: TestClient | None = None, **fields: str):
        return (client or self.client).post(
            path, data={"form": self.keys.form} | fields, headers=POST, follow_redirects=False
        )


def doubts() -> dict:
    row = {"row": 4, "name": "", "truth": "low", "predicted": "high", "probability": 0.97, "given": 0.03}
    names = [{"method": f"learn/{m}", "view": "linear", "params": {}} for m in ("logistic", "svm")]
    gaps = [[None, [-0.2, -0.3, -0.1]], [[0.2, 0.1, 0.3], None]]
    return {
        "doubts": {"wrong": [row], "labels": [], "counts": {"wrong": 5, "labels": 0}},
        "comparisons": {"metric": "log_loss", "level": 0.9, "names": names, "gaps": gaps},
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


def text(answer) -> str:
    body = re.sub(r"<[^>]+>", " ", re.sub(r"<title>.*?</title>", "", answer.text))
    return html.unescape(re.sub(r"\s+", " ", body))


# -- who may ask --


@pytest.mark.parametrize(
    "host", ["evil.example:8765", "127.0.0.1:8766", "127.0.0.1", "127.0.0.1:8765.evil.example", ""]
)
def test_a_foreign_host_is_refused(shop, host):
    assert shop.client.get("/", headers={"host": host}).status_code == 403


def test_own_hosts_are_answered(shop):
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert shop.client.get("/", headers={"host": f"{host}:{PORT}"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": f"http://localhost:{PORT}"},
        {"origin": BASE, "sec-fetch-site": "cross-site"},
        {"origin": BASE, "sec-fetch-site": "same-site"},
    ],
)
def test_a_form_of_another_site_does_nothing(shop, headers):
    answer = shop.client.post(f"/studies/{shop.id}/remove", data={"form": shop.keys.form}, headers=headers)
    assert answer.status_code == 403
    assert shop.id in shop.studies()


def test_a_form_needs_cookie_and_field(shop):
    path = f"/studies/{shop.id}/remove"
    assert shop.post(path, shop.stranger).status_code == 403
    assert shop.post(path, form="").status_code == 403
    assert shop.post(path, form=shop.keys.cookie).status_code == 403
    assert shop.client.put(path, headers=POST).status_code == 405
    assert shop.client.get(path).status_code == 200  # looking removes nothing
    assert shop.id in shop.studies()


def test_a_form_of_thousands_of_fields_is_not_read(shop):
    fields = {f"f{i}": "x" for i in range(2001)} | {"form": shop.keys.form}
    path = f"/studies/{shop.id}/remove"
    answer = shop.client.post(path, data=fields, headers=POST)
    assert answer.status_code == 400 and "too many fields" in answer.text and "shop" in shop.client.get("/studies").text


def test_what_is_no_request_is_not_answered(shop):
    said = []
    scope = {"type": "websocket", "path": "/", "headers": [(b"host", f"127.0.0.1:{PORT}".encode())]}
    asyncio.run(shop.app(scope, None, said.append))
    assert said == []


def test_a_form_is_a_form_and_small(shop):
    path = f"/studies/{shop.id}/remove"
    assert shop.client.post(path, json={"form": shop.keys.form}, headers=POST).status_code == 415
    assert shop.post(path, more="x" * (1 << 20)).status_code == 413
    streamed = {**POST, "content-type": "application/x-www-form-urlencoded"}
    assert shop.client.post(path, content=iter([b"a=1"]), headers=streamed).status_code == 413


def test_parts_of_the_page_are_not_for_other_sites(shop):
    for site in ("cross-site", "same-site"):
        headers = {"sec-fetch-site": site}
        assert shop.client.get("/", headers=headers | {"sec-fetch-mode": "no-cors"}).status_code == 403
        assert shop.client.get("/", headers=headers | {"sec-fetch-mode": "navigate"}).status_code == 200


def test_the_token_becomes_a_cookie(shop):
    client = shop.browser()
    answer = client.get(f"/papers?token={shop.keys.token}&q=a+b", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/papers?q=a+b")
    cookie = answer.headers["set-cookie"]
    assert shop.keys.token not in cookie and f"smidgen-{PORT}=" in cookie
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    wrong = shop.browser().get("/?token=guess", follow_redirects=False)
    assert wrong.status_code == 403 and "set-cookie" not in wrong.headers


def test_headers_are_on_everything(shop, monkeypatch):
    answers = [shop.client.get(p) for p in ("/", "/nothing", "/static/page.js", "/papers/035", f"/studies/{shop.id}")]
    answers.append(shop.client.get("/", headers={"host": "evil.example"}))
    monkeypatch.setattr("smidgen.web.studies.listing.list_studies", lambda *a, **k: 1 / 0)
    answers.append(shop.client.get("/"))
    assert [a.status_code for a in answers] == [200, 404, 200, 200, 200, 403, 500]
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value or (name, answer.headers[name]) == ("referrer-policy", "same-origin")
        assert "ZeroDivision" not in answer.text
    assert "unsafe" not in HEADERS["content-security-policy"]
    report = shop.client.get(f"/studies/{shop.id}/report")
    assert "sandbox" in report.headers["content-security-policy"]
    assert "unsafe" not in report.headers["content-security-policy"]
    assert "'none'" in report.headers["content-security-policy"]


# -- what is shown --


def test_contents_of_rows_need_the_cookie(shop):
    path = f"/studies/{shop.id}?contents=1"
    assert SECRET in shop.client.get(path).text
    assert SECRET not in shop.stranger.get(path).text
    assert "opened the address" in text(shop.stranger.get(path))
    assert SECRET not in shop.client.get(f"/studies/{shop.id}/report").text


def test_contents_of_a_changed_or_missing_file_are_not_shown(tmp_path):
    shop = Shop(tmp_path)
    whole = shop.table.read_text()
    shop.table.write_text(whole.replace("note number 0", "note number 00"))
    assert "has changed since the study" in text(shop.client.get(f"/studies/{shop.id}"))
    assert SECRET not in shop.client.get(f"/studies/{shop.id}").text
    shop.table.unlink()
    assert "is not there any more" in text(shop.client.get(f"/studies/{shop.id}"))


def test_images_are_shown_as_images(tmp_path):
    image = pytest.importorskip("PIL.Image")
    shop = Shop(tmp_path)
    folder = tmp_path / "photos"
    for k in range(8):
        path = folder / ("cat" if k % 2 else "dog") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.new("RGB", (600, 400), (k, 99, 10)).save(path)
    (tmp_path / "secret.png").write_bytes((folder / "dog" / "0.png").read_bytes())
    rows = [
        {"row": None, "name": name, "truth": "cat", "predicted": "dog", "probability": 0.9, "given": 0.1}
        for name in ("cat/1.png", "../secret.png")
    ]
    summary = two_classes() | {"doubts": {"wrong": rows, "labels": [], "counts": {"wrong": 2, "labels": 0}}}
    id = shop.add_study("photos", read(folder).fingerprint, summary, str(folder))
    # a folder of images has the target "class"; the study keeps it
    with sqlite3.connect(shop.store) as c:
        options = json.loads(c.execute("select options from studies where id = ?", (id,)).fetchone()[0])
        c.execute("update studies set options = ? where id = ?", (json.dumps(options | {"target": "class"}), id))
    path = f"/studies/{id}/image/wrong/0"
    answer = shop.client.get(path)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    assert answer.content[:4] == b"\x89PNG" and f'src="{path}"' in shop.client.get(f"/studies/{id}?contents=1").text
    assert shop.stranger.get(path).status_code == 403
    assert shop.client.get(f"/studies/{id}/image/wrong/1").status_code == 404  # outside the folder


def test_rows_to_look_at_are_told_as_in_the_report(shop):
    """Titles, words and cells are the report's, whatever the study; a page adds what the rows hold."""
    sure = doubts()["doubts"]["wrong"][0] | {"probability": 0.998, "given": 0.002}
    one = two_classes() | {"doubts": {"wrong": [sure], "labels": [sure], "counts": {"wrong": 31, "labels": 1}}}
    for k, summary in enumerate((one, regression(), one | {"doubts": {"wrong": [sure], "counts": 7}})):
        id = shop.add_study(f"told {k}", "a" * 32, summary, "")
        page, report = (text(shop.client.get(f"/studies/{id}{more}")) for more in ("", "/report"))
        for listed in sections.doubts(summary):
            for said in (
                listed["title"],
                listed["text"],
                *listed["heads"],
                *(t for row in listed["rows"] for t, _ in row),
            ):
                assert said.replace("\u00a0", " ") in page and said.replace("\u00a0", " ") in report, said
        assert "100 %" not in page and ("and 30 more" in page) == (k == 0)
        shop.post(f"/studies/{id}/remove")


def test_any_part_of_a_summary_may_be_missing(shop):
    whole = two_classes() | doubts()
    broken = [{k: v for k, v in whole.items() if k != key} for key in whole] + [{**whole, key: None} for key in whole]
    for name in ("leaderboard", "curve", "calibration"):
        broken += [
            {**whole, name: [{k: v for k, v in row.items() if k != key} for row in whole[name]]}
            for key in whole[name][0]
        ]
    id = shop.add_study("broken", "b" * 32, whole, "", trials=1)
    with sqlite3.connect(shop.store) as c:
        for summary in broken:
            c.execute("update studies set summary = ? where id = ?", (json.dumps(summary), id))
            c.commit()
            answer = shop.client.get(f"/studies/{id}")
            assert answer.status_code == 200, whole.keys() - summary.keys() or summary
    shop.post(f"/studies/{id}/remove")


def test_two_methods_are_compared(shop):
    first, second = (text(shop.client.get(f"/studies/{shop.id}?a={a}&b={b}")) for a, b in ((0, 1), (1, 0)))
    assert "logistic is better than svm, beyond chance." in first and "−0.300 to −0.100" in first
    assert "logistic is better than svm, beyond chance." in second and "0.100 to 0.300" in second
    assert "Choose two different" in text(shop.client.get(f"/studies/{shop.id}?a=1&b=1"))
    assert shop.client.get(f"/studies/{shop.id}?a=x&b=99999").status_code == 200


def test_trials_are_searched_sorted_and_paged(shop):
    path = f"/studies/{shop.id}/trials"

    def methods(query: str) -> list[str]:
        return re.findall(r'<tr><th scope="row">(\w+)', shop.client.get(path + query).text)

    assert methods("?q=knn") == ["knn"] * 3
    assert methods("?state=failed") == ["svm"] and "it &lt;b&gt;failed" in shop.client.get(path + "?state=failed").text
    assert methods("?q=%25") == ["svm"]  # a sign of SQL is only a sign
    assert methods("?sort=method&way=down")[:4] == ["svm"] * 4
    assert len(methods("?page=99999999")) == 7
    assert shop.client.get(path + "?state=odd").status_code == 400


class Watch(HTMLParser):
    """What a page would run or load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts, self.handlers, self.links = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.scripts += [dict(attrs).get("src")] if tag == "script" else []
        self.handlers += [k for k, _ in attrs if k.startswith("on") or k == "style"]
        self.links += [v or "" for k, v in attrs if k in ("href", "src", "action")]


def test_hostile_names_stay_text(shop, monkeypatch):
    monkeypatch.setattr("smidgen.nets.minilm.available", lambda: False)
    bad = HOSTILE[0]
    id = shop.add_study(
        "bad " + bad,
        "f" * 32,
        hostile() | {"doubts": {"wrong": [{"row": 1, "name": h, "truth": h, "predicted": h} for h in HOSTILE]}},
        bad,
    )
    for path in ("/", f"/studies/{id}", f"/studies/{id}/trials?q={bad}", f"/studies/{id}/remove", f"/?q={bad}"):
        answer = shop.client.get(path)
        seen = Watch(answer.text)
        assert answer.status_code == 200 and seen.scripts == ["/static/page.js"] and seen.handlers == []
        assert all(link.startswith(("/", "#", "?")) and not link.startswith("//") for link in seen.links)
        assert "\u202e" not in answer.text and "\x1b" not in answer.text
    for path in (f"/papers?q={bad}", f"/papers/{bad}", f"/studies/{bad}", f"/nothing{bad}"):
        assert Watch(shop.client.get(path).text).scripts == ["/static/page.js"]
    shop.post(f"/studies/{id}/remove")


def test_a_model_is_tried(shop):
    page = shop.client.get("/models").text
    key = re.search(r'href="/models/(\w+)"', page)
    assert key and page.count('href="/models/') == 1  # found in the study and in the folder, shown once
    path = f"/models/{key[1]}"
    answer = shop.post(path, c0="1.7", c1="a note")
    share = shop.model.predict_proba({"size": ["1.7"], "note": ["a note"]}).max()
    assert answer.status_code == 200 and "level: high" in text(answer) and f"{round(100 * share)} %" in text(answer)
    assert "Type at least one value" in text(shop.post(path))
    assert shop.post(path, c0="many").status_code == 400
    assert shop.post(path, shop.stranger, c0="1").status_code == 403
    assert "<form" not in shop.stranger.get(path).text


def test_one_folder_that_may_not_be_read_hides_no_other_model(tmp_path):
    shop = Shop(tmp_path)
    (tmp_path / "odd").symlink_to("x" * 300)  # to ask what it is fails, for everybody
    answer = shop.client.get("/models")
    assert answer.status_code == 200 and "shop-model" in text(answer)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"about": {"metric": "log_loss", "estimate": 0.3, "interval": 5}}, "log loss 0.300 predicts"),
        ({"about": {"metric": "log_loss", "estimate": 0.3, "interval": [0.2, 0.4]}}, "log loss 0.300 (0.200 to 0.400)"),
        ({"about": 7}, "predicts level"),
        ({"columns": [{"name": "size"}]}, "does not describe a model"),
    ],
)
def test_a_model_that_was_edited_is_told(tmp_path, change, says):
    shop = Shop(tmp_path)
    path = tmp_path / "shop-model" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    key = re.findall(r'href="/models/(\w+)"', shop.client.get("/models").text)[0]
    answer = shop.client.get(f"/models/{key}")
    assert answer.status_code == 200 and says in text(answer)


def test_a_prediction_looks_for_models_once(shop, monkeypatch):
    path = re.findall(r'href="(/models/\w+)"', shop.client.get("/models").text)[0]
    looks, whole = [], models.gather
    monkeypatch.setattr(models, "gather", lambda place: looks.append(place) or whole(place))
    assert shop.post(path, c0="1.7", c1="a note").status_code == 200 and len(looks) == 1
    assert shop.post(path).status_code == 400 and len(looks) == 2


# -- papers --


def test_papers_are_searched_and_filtered(shop, monkeypatch):
    monkeypatch.setattr("smidgen.nets.minilm.available", lambda: False)
    card = catalogue.find_card("015")
    found = shop.client.get("/papers", params={"q": card.title})
    assert re.findall(r'href="/papers/(\d+)"', found.text)[0] == "015"
    assert find.find(card.title).note in text(found)
    room = shop.client.get("/papers", params={"room": "compress", "state": "planned"})
    listed = re.findall(r'href="/papers/(\d+)"', room.text)
    assert listed and all(catalogue.find_card(n).room == "compress" for n in listed)


def test_a_paper_keeps_published_and_measured_apart(shop, tmp_path, monkeypatch):
    number = next(iter(catalogue.claim_files()))
    entry = catalogue.entry(number)
    claim = entry.claim
    monkeypatch.setattr(evidence, "folder", lambda: tmp_path)
    assert f"smidgen papers run {number}" in text(shop.client.get(f"/papers/{number}"))
    names = sorted({name for part in claim.parts for name in part.gain if isinstance(name, str)})
    runs = [
        {"seed": seed, "seconds": 1.5, "peak_memory_bytes": 10, "values": dict.fromkeys(names, 4321.0 + seed)}
        for seed in range(claim.seeds)
    ]
    made = harness._evidence(entry, runs, judge(claim, [run["values"] for run in runs]), "c0ffee")
    evidence.write(made, tmp_path / f"{number}.json")
    page = shop.client.get(f"/papers/{number}").text
    assert Watch(page).handlers == [] and "<svg" in page and made.verdict in page
    assert page.count(">4,321<") == len(names) > 0
    published, measured = page.split("<h2>Measured here</h2>")
    for figure in claim.published:
        assert html.escape(figure.where) in published and html.escape(figure.where) not in measured
    assert all(part.says in html.unescape(measured) for part in claim.parts)


def test_how_far_a_paper_is_is_said_in_one_way(shop, tmp_path, monkeypatch, capsys):
    number, planned = next(iter(catalogue.claim_files())), next(iter(catalogue.planned()))
    monkeypatch.setattr(evidence, "folder", lambda: tmp_path)
    for which, state in ((number, "not measured yet"), (planned, "planned")):
        assert main(["papers", "show", which]) == 0
        assert f"\nhere        {state}\n" in capsys.readouterr().out
        assert f"| {which} |" in (listed := "".join(re.findall(rf"\| {which} \|.*\|\n", page.page())))
        assert listed.endswith(f"| {state} |\n")
        found = shop.client.get("/papers", params={"state": state}).text
        assert f'href="/papers/{which}"' in found and f">{state}</span>" in found


# -- when something is wrong --


def test_unknown_names_are_told_with_the_nearest(shop):
    answer = shop.client.get("/studies/shp")
    assert answer.status_code == 404 and f"There is no study 'shp' in {shop.store}" in text(answer)
    assert shop.id in text(answer)
    paper = shop.client.get("/papers/999")
    assert paper.status_code == 404 and "Nearest:" in text(paper)
    assert shop.client.get("/models/abc").status_code == 404
    assert shop.post("/models/abc", c0="1").status_code == 404


def test_whether_something_is_missing_is_a_kind_of_error_and_no_way_of_writing(shop, monkeypatch):
    for error, status in ((BadInput("There is no sense in this."), 400), (NotFound("The study went."), 404)):
        monkeypatch.setattr("smidgen.web.studies.listing.list_studies", Mock(side_effect=error))
        answer = shop.client.get("/")
        assert answer.status_code == status and str(error) in text(answer)


def test_a_damaged_store_is_told_and_models_still_shown(tmp_path):
    shop = Shop(tmp_path)
    shop.store.write_bytes(b"not a database" * 100)
    answer = shop.client.get("/")
    assert answer.status_code == 400 and "is not a whole run store" in text(answer)
    assert "shop-model" in text(shop.client.get("/models"))


def test_without_a_store_it_says_what_to_do(tmp_path):
    store = tmp_path / "none" / "runs.db"
    for url in (str(store), f"sqlite:///{store}"):
        client = TestClient(make_app(url, tmp_path, Keys(PORT)), base_url=BASE)
        assert "smidgen fit" in text(client.get("/"))
        assert client.get("/models").status_code == 200 and client.get("/studies/x").status_code == 404
    assert not store.parent.exists()  # looking makes nothing


def test_a_taken_port_is_told_with_a_free_one(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", "--port", str(port), "--models", str(tmp_path), "--no-browser"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and re.fullmatch(
        rf"smidgen: Port {port} is in use, perhaps by another smidgen ui: try --port \d+\.\n", said.err
    )
    assert main(["ui", "--models", str(tmp_path / "none")]) == 2


def test_a_study_is_removed_and_brought_back(tmp_path):
    shop = Shop(tmp_path)
    with RunStore(shop.store) as store:
        before = store.study(shop.id), store.trials(shop.id), store.get(store.study(shop.id).trials)
    assert shop.post(f"/studies/{shop.id}/remove").headers["location"] == "/"
    assert shop.studies() == []
    assert "Undo" in shop.client.get("/").text and "Undo" not in shop.stranger.get("/").text
    assert shop.post(f"/removed/{shop.id}/undo").headers["location"] == f"/studies/{shop.id}"
    with RunStore(shop.store) as store:
        after = store.study(shop.id), store.trials(shop.id), store.get(store.study(shop.id).trials)
    assert after[:2] == before[:2]
    for key, result in before[2].items():
        assert result.predictions is None or np.array_equal(result.predictions, after[2][key].predictions)
    assert shop.post(f"/removed/{shop.id}/undo").status_code == 404
